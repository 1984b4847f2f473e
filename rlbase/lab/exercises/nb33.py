"""Exercises of notebook 33: two groups, one reward, and what is left that no reward can say."""

# fmt: off

from __future__ import annotations

import math

import torch
from torch import Tensor

from rlbase.lab.exercise import Case, Exercise, choice

NOTEBOOK = "33_two_groups_one_reward"

predict_one_gap = Exercise(
    "predict-one-gap", NOTEBOOK, "thrown into one pot", *(2, 5, 3),
    "Two groups of equal size look at one pair. In the first group the left answer is worth 3 more (95 % say left), in "
    "the second 1 less (27 % say left). Endlessly many labels of both are thrown together, and one Bradley-Terry "
    "reward is fitted. By how much does it put the left answer above the right one?\n\n"
    "a) by 1, the mean of 3 and -1\n\n"
    "b) by less than 1, but by more than 0\n\n"
    "c) by more than 1: the surer group weighs more\n\n"
    "d) by less than 0\n\n"
    "Put the letter into `prediction`.",
    ("Which number does the fit see: two gaps, or one share of labels?",
     "It sees the mean of the two shares, and looks for the gap with that share.",
     "The mean of 0.95 and 0.27 is 0.61. Which gap gives 61 %? Less than 1 or more: sigma(1) = 0.73."),
    "right: sigma(0.45) = 61 %. A share cannot grow beyond 1, so what a group means *strongly* is heard as little more "
    "than what it means clearly.",
    judge=choice(
        "b",
        a="The fit averages shares, not gaps: sigma(1) would be 73 %, and only 61 % of the labels say left.",
        c="The surer group has a louder opinion, but no more labels, and a share ends at 1.",
        d="61 % of all labels say left: more than half.",
    ),
)


def _groups(label: str, share: list[float], *values: list[float]) -> Case:
    return Case(label, {"rewards": torch.tensor(values).double(), "share": torch.tensor(share).double()})


def _chances(r: Tensor) -> Tensor:
    return (r[..., :, None] - r[..., None, :]).sigmoid()


def _mixed(r: Tensor, a: Tensor) -> Tensor:
    return torch.einsum("g,gij->ij", a, _chances(r))


mixed_share = Exercise(
    "mixed-share", NOTEBOOK, "what the labels say", *(2, 5, 8),
    "Write `mixed_share(rewards, share)`. `rewards` `[G, n]` is what each of `G` groups gives to each of `n` answers, "
    "`share` `[G]` which share of the labels comes from which group. Return `[n, n]`: how often answer `i` is "
    "preferred to answer `j` in all labels taken together. Within a group, Bradley and Terry are right.",
    ("Whoever labels belongs to one group: first draw the group, then the answer.",
     "P[i, j] = sum over g of share[g] sigma(rewards[g, i] - rewards[g, j]).",
     "gaps = rewards[:, :, None] - rewards[:, None, :]; return (share[:, None, None] * gaps.sigmoid()).sum(0)"),
    "right, for two groups and for three; one half on the diagonal, and the two directions of a pair add up to 1.",
    reference=_mixed,
    cases=(
        _groups("two equal groups", [0.5, 0.5], [3.0, 0.0], [-1.0, 0.0]),
        _groups("60 to 40, four answers", [0.6, 0.4], [0.0, 1.0, 2.0, -1.0], [4.0, 2.0, 0.0, 0.5]),
        _groups("three groups", [0.2, 0.5, 0.3], [2.0, 1.0, 0.0], [0.0, 2.0, 1.0], [1.0, 0.0, 5.0]),
        _groups("one group", [1.0], [0.5, -0.5, 2.0]),
    ),
    mistakes=(
        ("You averaged the rewards, then asked one rater. There is no such rater: average the shares, the sigmoids.",
         lambda r, a: _chances(a @ r)),
        ("All groups count alike here: weigh them by `share`.", lambda r, a: _chances(r).mean(0)),
        ("You summed over the groups without weights: shares above 1.", lambda r, a: _chances(r).sum(0)),
        ("Turned around: `[i, j]` is how often i, the row, is preferred.", lambda r, a: _mixed(r, a).T),
        ("The sigmoid is missing: these are mean gaps.", lambda r, a: (g := a @ r)[:, None] - g),
        ("Each group voted as a block. Raters have doubts: sigma of the gap, not its sign.",
         lambda r, a: torch.einsum("g,gij->ij", a, ((r[:, :, None] - r[:, None]).sign() + 1) / 2)),
        ("You averaged strengths exp(r), and asked one rater with those. Average the shares.",
         lambda r, a: _chances((a @ r.exp()).log())),
        ("The weight is inside the sigmoid: a group with few labels is no less sure of what it likes.",
         lambda r, a: _chances(a[:, None] * r).mean(0)),
        ("You weighed by the square of `share`.", lambda r, a: _mixed(r, a * a)),
        ("The largest group decides alone here: add up all of them.", lambda r, a: _chances(r[a.argmax()])),
        ("Only the first group speaks here: add up all of them, each with its `share`.", lambda r, a: _chances(r[0])),
        ("Only the last group speaks here: is the sum begun anew for every group?", lambda r, a: _chances(r[-1])),
        ("The mean over the groups of what is already weighed: `share` adds up to 1, so sum.",
         lambda r, a: _mixed(r, a) / len(a)),
        ("`share` adds up to 1 as it is: no softmax over it.", lambda r, a: _mixed(r, a.softmax(0))),
        ("These are log-odds: how *often* is asked.", lambda r, a: _mixed(r, a).logit()),
        ("This is who has the majority: how *often* is asked.", lambda r, a: (_mixed(r, a) > 0.5).double()),
        ("You averaged logarithms: the labels of the groups lie in one heap, and their shares are added.",
         lambda r, a: torch.einsum("g,gij->ij", a, _chances(r).log()).exp()),
        ("You averaged how often each answer is the best of all n; here only two are compared, within each group.",
         lambda r, a: (s := a @ r.softmax(1))[:, None] / (s[:, None] + s)),
        ("The pairs below the diagonal are missing: [j, i] is 1 less [i, j].", lambda r, a: _mixed(r, a).triu()),
        ("The diagonal is missing: of an answer against itself one says one half.",
         lambda r, a: _mixed(r, a).fill_diagonal_(0)),
    ),
)


def _sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _deciding(x: float, y: float) -> float:
    return (0.5 - _sigma(y)) / (_sigma(x) - _sigma(y))


def _pair(label: str, gap: float, other: float) -> Case:
    return Case(label, {"gap": gap, "other_gap": other})


deciding_share = Exercise(
    "deciding-share", NOTEBOOK, "how many it takes", *(3, 4, 7),
    "The first group puts an answer above another by `gap` > 0, the second group by `other_gap` < 0. Write "
    "`deciding_share(gap, other_gap)`: which share of the labels must come from the first group for the labels to be "
    "split evenly, so that one reward says *equal*? The arguments are numbers.",
    ("Write the share of all labels that say *first* as a function of a, the share of the first group. It is a line.",
     "a sigma(x) + (1 - a) sigma(y) = 1/2; solve for a.",
     "return (0.5 - sigma(other_gap)) / (sigma(gap) - sigma(other_gap))"),
    "right: a half where both mean it equally strongly; a mild majority needs more.",
    reference=_deciding,
    cases=(_pair("mild against strong", 0.5, -3.0), _pair("strong against mild", 3.0, -1.0),
           _pair("equally strong", 2.0, -2.0), _pair("1 against -4", 1.0, -4.0)),
    mistakes=(
        ("Half of the labels is right only where both groups mean it equally strongly.", lambda x, y: 0.5),
        ("Here the *mean reward* is 0. Labels add shares, sigma of a gap, not gaps.", lambda x, y: -y / (x - y)),
        ("That is the share of the other group: 1 minus it.", lambda x, y: 1 - _deciding(x, y)),
        ("The other group says *first* now and then as well: a sigma(x) + (1 - a) sigma(y) = 1/2.",
         lambda x, y: 0.5 / _sigma(x)),
        ("The one half is missing: solve for labels split evenly.",
         lambda x, y: _sigma(-y) / (_sigma(x) + _sigma(-y))),
        ("That is how many more labels are needed than from the other group alone: divide by what one share of the "
         "first group changes, sigma(x) - sigma(y).", lambda x, y: 0.5 - _sigma(y)),
        ("A minus is lost below the bar: sigma(x) - sigma(y).",
         lambda x, y: (0.5 - _sigma(y)) / (_sigma(x) + _sigma(y))),
        ("That is the share of labels that say *first* when both groups label as much.",
         lambda x, y: (_sigma(x) + _sigma(y)) / 2),
        ("The same share for both groups: the second one has 1 - a.", lambda x, y: 0.5 / (_sigma(x) + _sigma(y))),
        ("The one half is missing above the bar: split evenly is 0.5 - sigma(y).",
         lambda x, y: -_sigma(y) / (_sigma(x) - _sigma(y))),
        ("That is how many labels of the first group come on one of the second, a / (1 - a): make a share of it.",
         lambda x, y: (0.5 - _sigma(y)) / (_sigma(x) - 0.5)),
        ("The share stands outside of sigma: each group has its own gap, and so many labels.",
         lambda x, y: _sigma(-x - y)),
        ("The share stands outside of sigma: each group has its own gap, and so many labels.",
         lambda x, y: _sigma(-(x + y) / 2)),
        ("Here gaps are compared. Labels add shares, sigma of a gap.", lambda x, y: -x / y),
        ("Here gaps are compared. Labels add shares, sigma of a gap.", lambda x, y: x / (x - y)),
        ("You shared out those who say *first*: solve a sigma(x) + (1 - a) sigma(y) = 1/2 for a.",
         lambda x, y: _sigma(y) / (_sigma(y) + _sigma(x))),
    ),
)


def _break_even(one: float, own: float, other: float) -> float:
    return (own - one) / (own - other)


def _served(label: str, one: float, own: float, other: float) -> Case:
    return Case(label, {"one": one, "own": own, "other": other})


break_even = Exercise(
    "break-even", NOTEBOOK, "you must know whom you serve", *(2, 4, 6),
    "A user who gets the policy of their own group has a value of `own`; with the other group's policy it is `other`, "
    "with one policy for everybody `one` (`other` < `one` < `own`). Somebody must decide who gets which. Write "
    "`break_even(one, own, other)`: which share of the users may be sent to the **wrong** policy before two policies "
    "are no better than one?",
    ("What is the mean value if a share e of the users gets the wrong one?",
     "(1 - e) own + e other = one; solve for e.",
     "return (own - one) / (own - other)"),
    "right, also where values are negative: only differences count, as always with rewards.",
    reference=_break_even,
    cases=(_served("one is near the best", 0.8, 1.0, -1.5), _served("one is near the worst", -0.5, 1.0, -0.9),
           _served("all values negative", -3.0, -2.0, -6.0), _served("another scale", 14.0, 20.0, 10.0)),
    mistakes=(
        ("That is how many must be served *right*: 1 minus it.", lambda o, w, x: 1 - _break_even(o, w, x)),
        ("You divided by the value itself, which has no zero: add a constant to all rewards and this changes. "
         "Divide by what a wrong policy costs, own - other.", lambda o, w, x: (w - o) / w),
        ("You divided by what *one* has over the wrong policy; whoever is sent wrong falls from `own`, not from `one`.",
         lambda o, w, x: (w - o) / (o - x)),
        ("That is what serving each their own gains: divide by what a wrong policy costs, own - other.",
         lambda o, w, x: w - o),
        ("One half is where nothing is known of the user: the answer depends on the values.", lambda o, w, x: 0.5),
        ("Upside down: it must be a share, at most 1.", lambda o, w, x: (w - x) / (w - o)),
        ("The sign is flipped.", lambda o, w, x: (o - w) / (w - x)),
        ("You halved it: e is the share of *all* users who are served wrong.",
         lambda o, w, x: (w - o) / (w - x) / 2),
        ("A minus is lost below the bar: own - other.", lambda o, w, x: (w - o) / (w + x)),
        ("Brackets are missing: (own - one) / (own - other).", lambda o, w, x: (w - o) / w - x),
        ("You divided by `one`, a value, which has no zero. Divide by what a wrong policy costs, own - other.",
         lambda o, w, x: (w - o) / o),
        ("A ratio of two values means nothing, as they have no zero: only differences count.", lambda o, w, x: o / w),
        ("That is how many must be served right for each one who is served wrong: make a share of it.",
         lambda o, w, x: (o - x) / (w - o)),
        ("Here two policies are worth 0; they must be worth `one`.", lambda o, w, x: w / (w - x)),
    ),
)

predict_circle = Exercise(
    "predict-circle", NOTEBOOK, "a circle of two", *(3, 5, 4),
    "Three answers. Each of **two** groups gives them rewards, so each has a clear order and sticks to it. Raters have "
    "doubts, as Bradley and Terry say; we count so many labels that chance plays no part. Can most labels prefer A to "
    "B, most B to C, and most C to A?\n\n"
    "a) No: each group has an order, and with two groups the larger one decides\n\n"
    "b) No: it takes three groups, as in Condorcet's paradox\n\n"
    "c) Yes, if one group is larger and the groups differ in how strongly they mean it\n\n"
    "d) Yes, and with groups of equal size as well\n\n"
    "Put the letter into `prediction_circle`.",
    ("Does the larger group win every pair? Think of a large group that is nearly undecided about one of them.",
     "With equal sizes, sigma(x) + sigma(y) > 1 exactly where x + y > 0, and sums of gaps cannot run in a circle.",
     "Unequal sizes, unequal strengths."),
    "right. Equal groups: never. Voters without doubts: the larger group decides, so never with two. Between the two, "
    "it can happen, and it takes no malice and no mistakes.",
    judge=choice(
        "c",
        a="With doubts, the larger group does not win every pair: where it is nearly undecided, a sure minority does.",
        b="Condorcet's voters have no doubts. With doubts, strength counts, and two groups are enough.",
        d="With equal groups the labels follow the sum of the two rewards, and a sum has an order.",
    ),
)


def _odds(p: Tensor) -> Tensor:
    return p.logit()


def _leftover(p: Tensor) -> Tensor:
    s = _odds(p).mean(1)
    return _odds(p) - (s[:, None] - s)


def _by_sum(p: Tensor, n: float) -> Tensor:
    s = _odds(p).sum(1) / n
    return _odds(p) - (s[:, None] - s)


def _table(label: str, *above: float) -> Case:
    n = int((1 + math.sqrt(1 + 8 * len(above))) / 2)
    i, j = torch.triu_indices(n, n, 1)
    p = torch.full((n, n), 0.5).double()
    p[i, j] = torch.tensor(above).double()
    p[j, i] = 1 - p[i, j]
    return Case(label, {"preference": p})


cyclic_residual = Exercise(
    "cyclic-residual", NOTEBOOK, "what no score explains", *(3, 4, 9),
    "Write `leftover(preference)`. `preference` `[n, n]` says how often `i` is preferred to `j` (one half on the "
    "diagonal). Take its log-odds; score each answer by the **mean of its row** of them; return the log-odds less the "
    "difference of the two scores, `[n, n]`. If some scores explain all pairs (Bradley-Terry), that is 0 everywhere.",
    ("If P were Bradley-Terry, its log-odds would be a table of differences of scores.",
     "l = log(P/(1-P)), s_i = mean over j of l_ij, left over: l_ij - (s_i - s_j).",
     "l = preference.logit(); s = l.mean(1); return l - (s[:, None] - s[None, :])"),
    "right: zero for Bradley-Terry; for three answers it is the same on every step of the circle.",
    reference=_leftover,
    cases=(
        _table("a circle of three", 0.6, 0.3, 0.7), _table("four answers", 0.7, 0.55, 0.9, 0.2, 0.6, 0.65),
        _table("an order, nearly", 0.8, 0.9, 0.75), _table("two answers", 0.7),
    ),
    mistakes=(
        ("These are all the log-odds: take off what the scores explain, s_i - s_j.", _odds),
        ("That is the part that scores *do* explain: subtract it from the log-odds.",
         lambda p: _odds(p) - _leftover(p)),
        ("You subtracted the score of the row only: a score explains *differences*, s_i - s_j.",
         lambda p: _odds(p) - _odds(p).mean(1, keepdim=True)),
        ("The difference of the scores has the wrong sign: the row's less the column's.",
         lambda p: 2 * _odds(p) - _leftover(p)),
        ("The score is the mean of the row, not its sum.", lambda p: _by_sum(p, 1)),
        ("Divide by n, the answer itself included (its log-odds is 0): with n - 1 not even Bradley-Terry leaves 0.",
         lambda p: _by_sum(p, len(p) - 1)),
        ("Shares are not differences of anything: take log-odds first.",
         lambda p: p - ((s := p.mean(1))[:, None] - s)),
        ("These are probabilities: leave the remainder in log-odds.",
         lambda p: p - ((s := _odds(p).mean(1))[:, None] - s).sigmoid()),
        ("The sign is flipped: the log-odds less what scores explain.", lambda p: -_leftover(p)),
        ("Shares are not differences of anything: take log-odds first.",
         lambda p: p - 0.5 - ((s := p.mean(1))[:, None] - s)),
        ("You took the log-odds of the mean share: the score is the mean of the row's log-odds.",
         lambda p: _odds(p) - ((s := _odds(p.mean(1)))[:, None] - s)),
        ("You took off the column's score only: a score explains *differences*, s_i - s_j.",
         lambda p: _odds(p) - _odds(p).mean(0)),
        ("You took off both scores: a score explains *differences*, s_i - s_j.",
         lambda p: _odds(p) - ((s := _odds(p).mean(1))[:, None] + s)),
        ("Both scores run along the columns: the row's is s[:, None].", lambda p: _odds(p) - 2 * _odds(p).mean(1)),
        ("The difference of the scores is halved: take off all of it.", lambda p: (_odds(p) + _leftover(p)) / 2),
        ("These are probabilities: leave the remainder in log-odds.", lambda p: _leftover(p).sigmoid()),
        ("These are sizes: leave the sign, it says which way round the circle runs.", lambda p: _leftover(p).abs()),
        ("Log-odds to base 2: sigma takes natural ones.", lambda p: _leftover(p) / math.log(2)),
        ("The pairs below the diagonal are missing.", lambda p: _leftover(p).triu()),
        ("These are the scores: what is asked is what they leave of the table, [n, n].", lambda p: _odds(p).mean(1)),
        ("The logarithm of P alone is not its log-odds: log(P/(1-P)).",
         lambda p: p.log() - ((s := p.log().mean(1))[:, None] - s)),
    ),
)

EXERCISES = (predict_one_gap, mixed_share, deciding_share, break_even, predict_circle, cyclic_residual)
