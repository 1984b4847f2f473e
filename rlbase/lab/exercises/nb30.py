"""Exercises of notebook 30: who gives the feedback, and how little twenty answers say about them."""

# fmt: off

from __future__ import annotations

import torch
from torch import Tensor

from rlbase.lab.exercise import Case, Exercise, choice, number

NOTEBOOK = "30_who_gives_the_feedback"


def _double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _side(position: Tensor | float, shown_first: Tensor) -> Tensor:
    return torch.where(shown_first, 1.0, -1.0) * position


def _prob_first(gap: Tensor, position: float, shown_first: Tensor) -> Tensor:
    return (gap + _side(position, shown_first)).sigmoid()


def _asked(label: str, position: float, *gaps: float, extreme: bool = False) -> Case:
    shown = torch.tensor([True, False, False, True, False, True][: len(gaps)])
    return Case(label, {"gap": _double(*gaps), "position": position, "shown_first": shown}, extreme)


position_odds = Exercise(
    "position-odds", NOTEBOOK, "a liking for the first place", *(2, 5, 5),
    "Write `prob_first(gap, position, shown_first)` `[N]`: how often a rater prefers the **first response** of each of "
    "N pairs. `gap` `[N]` is how much better it is, in log-odds; `position` is a number, the log-odds that the rater "
    "gives to whichever response stands in the first *place*; `shown_first` `[N]`, True or False, says whether that is "
    "the first response. Only one of two responses can stand there.",
    ("If the second response stands in the first place, what it gains the first one loses.",
     "sigma(gap + position) where shown_first, sigma(gap - position) elsewhere.",
     "return torch.sigmoid(gap + torch.where(shown_first, position, -position))"),
    "right, for likings of both signs and gaps of thousands.",
    reference=_prob_first,
    cases=(
        _asked("likes the first place", 0.8, 0.5, -1.0, 2.0, 0.0, 0.0),
        _asked("likes the second place", -1.5, 0.3, 1.2, -0.4, -2.0, 0.7),
        _asked("no liking", 0.0, 1.0, -2.0, 0.5),
        _asked("gaps of thousands", 2.0, 4e3, -4e3, 0.1, -0.1, extreme=True),
    ),
    mistakes=(
        ("The place is ignored: where the second response stands first, the liking works against the first.",
         lambda g, b, s: (g + b).sigmoid()),
        ("Where the second response stands first, you add nothing: there the liking must be *subtracted*.",
         lambda g, b, s: (g + b * s).sigmoid()),
        ("The sign is flipped: a response that stands first gains.", lambda g, b, s: _prob_first(g, -b, s)),
        ("This is how often the rater names whatever stands in the first place; the first *response* was asked for.",
         lambda g, b, s: (_side(g, s) + b).sigmoid()),
        ("You added the liking to the probability: it is in log-odds, add it inside the sigmoid.",
         lambda g, b, s: g.sigmoid() + _side(b, s)),
        ("You added the liking to the probability: it is in log-odds, add it inside the sigmoid.",
         lambda g, b, s: (g.sigmoid() + _side(b, s)).clamp(0, 1)),
        ("These are log-odds: the sigmoid is missing.", lambda g, b, s: g + _side(b, s)),
        ("This is the probability of the second response.", lambda g, b, s: 1 - _prob_first(g, b, s)),
        ("`position` is ignored.", lambda g, b, s: g.sigmoid()),
        ("You counted the liking twice: one place gains it, which is the same as the other one losing it.",
         lambda g, b, s: _prob_first(g, 2 * b, s)),
        ("You counted half of the liking: it is added to the log-odds as it is.",
         lambda g, b, s: _prob_first(g, b / 2, s)),
        ("Where the first response stands first, you add nothing: there the liking must be *added*.",
         lambda g, b, s: (g - b * ~s).sigmoid()),
        ("Where the second response stands first you turned the whole probability round: only the liking changes its "
         "sign there, `gap` is about the responses.", lambda g, b, s: torch.where(s, g + b, -g - b).sigmoid()),
        ("`gap` is ignored: quality pulls, too.", lambda g, b, s: (_side(b, s) + 0 * g).sigmoid()),
        ("You averaged over both places: `shown_first` says which one it was.",
         lambda g, b, s: ((g + b).sigmoid() + (g - b).sigmoid()) / 2),
        ("You multiplied two probabilities: what pulls at a rater is *added*, in log-odds, before the sigmoid.",
         lambda g, b, s: g.sigmoid() * _side(b, s).sigmoid()),
        ("You multiplied gap and liking: pulls are added.", lambda g, b, s: (g * _side(b, s)).sigmoid()),
        ("This is who is preferred more often; asked is *how often*: leave the threshold away.",
         lambda g, b, s: (g + _side(b, s) > 0).double()),
    ),
)


def _logit(p: Tensor) -> Tensor:
    return p.log() - (1 - p).log()


def _both(shown_first: Tensor, shown_second: Tensor) -> tuple[Tensor, Tensor]:
    one, two = _logit(shown_first), _logit(shown_second)
    return (one + two) / 2, (one - two) / 2


def _shares(label: str, first: tuple[float, ...], second: tuple[float, ...]) -> Case:
    return Case(label, {"shown_first": _double(*first), "shown_second": _double(*second)})


two_orders = Exercise(
    "two-orders", NOTEBOOK, "quality and place, told apart", *(3, 5, 7),
    "Each of N pairs was judged many times, in both orders. `shown_first` `[N]` is the share who preferred response A "
    "when A stood in the first place, `shown_second` `[N]` the share who preferred **A** when B stood there. Write "
    "`gap_and_liking(shown_first, shown_second)`: two tensors `[N]`, the log-odds by which A is better, and the "
    "log-odds that the first place is worth.",
    ("Turn both shares into log-odds. One is gap + liking. And the other?",
     "logit(shown_first) = gap + liking, logit(shown_second) = gap - liking: half their sum, half their difference.",
     "one, two = torch.logit(shown_first), torch.logit(shown_second); return (one + two) / 2, (one - two) / 2"),
    "right: the gap without the place, and the place without the gap.",
    reference=_both, parts=("the gap", "the liking"),
    cases=(
        _shares("likes the first place", (0.8, 0.6, 0.95), (0.5, 0.3, 0.4)),
        _shares("likes the second place", (0.3, 0.5, 0.1), (0.6, 0.9, 0.2)),
        _shares("no liking", (0.7, 0.2), (0.7, 0.2)),
    ),
    mistakes=(
        ("The gap is right, but the difference of the two is *twice* the liking.",
         lambda p, q: (_both(p, q)[0], _logit(p) - _logit(q))),
        ("The gap is right; the sign of the liking is flipped: `shown_first` is the larger one if it is positive.",
         lambda p, q: (_both(p, q)[0], -_both(p, q)[1])),
        ("The gap is right, but the liking was taken from the shares: it is half the difference of the *log-odds*.",
         lambda p, q: (_both(p, q)[0], (p - q) / 2)),
        ("The gap is right, but the liking was taken from the shares: it is half the difference of the *log-odds*.",
         lambda p, q: (_both(p, q)[0], p - q)),
        ("You averaged the shares: log-odds add up, shares do not. Take the logit of each first.",
         lambda p, q: (_logit((p + q) / 2), (_logit(p) - _logit(q)) / 2)),
        ("These are shares: take the logit of each first, then the sum and the difference.",
         lambda p, q: ((p + q) / 2, (p - q) / 2)),
        ("You did not halve: logit(shown_first) + logit(shown_second) is twice the gap.",
         lambda p, q: (_logit(p) + _logit(q), _logit(p) - _logit(q))),
        ("The two are in the wrong order, the gap comes first; or you took `shown_second` for the share of B: it is "
         "that of A.", lambda p, q: _both(p, q)[::-1]),
        ("That is the gap with the liking still in it: only the mean of both orders is free of it.",
         lambda p, q: (_logit(p), _both(p, q)[1])),
        ("These are probabilities: leave the log-odds as they are.",
         lambda p, q: tuple(x.sigmoid() for x in _both(p, q))),
        ("That is the gap less the liking: only the mean of both orders is free of it.",
         lambda p, q: (_logit(q), _both(p, q)[1])),
        ("You took log p: log-odds are log(p/(1 - p)).",
         lambda p, q: ((p.log() + q.log()) / 2, (p.log() - q.log()) / 2)),
        ("You averaged the odds: take their logarithms first, log-odds add up.",
         lambda p, q: ((_logit(p).exp() + _logit(q).exp()) / 2, (_logit(p).exp() - _logit(q).exp()) / 2)),
        ("The gap is right; logit(shown_first) is gap *and* liking: take the gap off.",
         lambda p, q: (_both(p, q)[0], _logit(p))),
        ("The gap is right; a liking may be negative: somebody prefers the second place. Leave the sign.",
         lambda p, q: (_both(p, q)[0], _both(p, q)[1].abs())),
        ("The gap is right, but the liking was taken from the shares: it is half the difference of the *log-odds*.",
         lambda p, q: (_both(p, q)[0], (p - q).logit())),
    ),
)


def _same(gap: Tensor, position: float) -> Tensor:
    one, two = (gap + position).sigmoid(), (gap - position).sigmoid()
    return one * two + (1 - one) * (1 - two)


def _again(label: str, position: float, *gaps: float) -> Case:
    return Case(label, {"gap": _double(*gaps), "position": position})


rater_consistency = Exercise(
    "rater-consistency", NOTEBOOK, "the same question twice", *(3, 4, 7),
    "A pair comes back with its places **swapped**. Write `same_answer(gap, position)` `[N]`: the probability that the "
    "rater names the same *response* both times. The first response is better by `gap` `[N]` log-odds and stands first "
    "the first time; `position` is the rater's liking for the first place. The two answers are drawn independently.",
    ("Two ways to be consistent: the first response both times, or the second both times.",
     "p = sigma(gap + position), q = sigma(gap - position): p q + (1 - p)(1 - q).",
     "return p * q + (1 - p) * (1 - q)"),
    "right, with a liking for the place and without.",
    reference=_same,
    cases=(
        _again("no liking", 0.0, 0.0, 0.5, -1.0, 3.0),
        _again("likes the first place", 1.0, 0.0, 0.5, -1.0, 3.0),
        _again("likes the second place", -2.5, 0.2, 1.5, -0.7),
    ),
    mistakes=(
        ("One half is missing: naming the *second* response both times is consistent, too.",
         lambda g, b: (g + b).sigmoid() * (g - b).sigmoid()),
        ("The second time the places are swapped: there the liking works against the first response.",
         lambda g, b: (p := (g + b).sigmoid()) * p + (1 - p) * (1 - p)),
        ("`position` is ignored.", lambda g, b: _same(g, 0.0)),
        ("This is how often the same *place* is named, which is another response once they are swapped.",
         lambda g, b: 1 - _same(g, b)),
        ("This is how often the better one is named; somebody can be consistently wrong.",
         lambda g, b: g.abs().sigmoid()),
        ("You averaged the two probabilities first: multiply the probabilities of the two answers.",
         lambda g, b: (p := ((g + b).sigmoid() + (g - b).sigmoid()) / 2) * p + (1 - p) * (1 - p)),
        ("You added the two probabilities: those of two answers in a row *multiply*.",
         lambda g, b: (g + b).sigmoid() + (g - b).sigmoid()),
        ("One half is missing: this is the second response both times.",
         lambda g, b: (-g - b).sigmoid() * (b - g).sigmoid()),
        ("This is only how often the first answer names the first response.", lambda g, b: (g + b).sigmoid()),
        ("1 less the difference of the two probabilities would be right if a rater always did the likelier thing: two "
         "answers that are *drawn* differ even where the probabilities are the same.",
         lambda g, b: 1 - ((g + b).sigmoid() - (g - b).sigmoid()).abs()),
        ("You counted the first response twice: the second one is named both times with (1 - p)(1 - q).",
         lambda g, b: 2 * (g + b).sigmoid() * (g - b).sigmoid()),
        ("This is the first *place* both times: the second time the other response stands there.",
         lambda g, b: (g + b).sigmoid() * (b - g).sigmoid()),
        ("This is how often the first response is named, on average; asked is how often two answers agree.",
         lambda g, b: ((g + b).sigmoid() + (g - b).sigmoid()) / 2),
    ),
)

twenty_labels = Exercise(
    "twenty-labels", NOTEBOOK, "how little twenty answers say", *(3, 5, 6),
    "Twenty pairs of equally good reviews. A rater without any liking for a place says left in half of them. An answer "
    "carries $p(1-p)=\\tfrac14$ of information about the log-odds $b$ of the left place, twenty answers carry 20 times "
    "as much, and the variance of the estimate is 1 over that. What is half the width of the 95 % interval of $b$, the "
    "number behind the ±? Put it into `prediction_half`.",
    ("Information adds up: 20/4 = 5.",
     "The standard error is 1/sqrt(5) = 0.447; the interval goes 1.96 of them to each side.",
     "1.96 / 5 ** 0.5"),
    "right: ±0.88. Somebody who says left in 70 % of such pairs (0.85 in log-odds) is not told from a rater without "
    "any liking.",
    judge=number(
        0.8765,
        (0.4472, "That is the standard error: the interval goes 1.96 of them to each side."),
        (0.2191, "That is the interval of the *share*, 1.96 sqrt(1/4/20): log-odds move 4 times as fast around 1/2."),
        (0.1118, "That is the standard error of the share; the log-odds were asked for."),
        (0.4383, "You took 1 for the information of an answer: it is 1/4, so that the error is twice as large."),
        (1.7530, "That is the whole width: half of it."),
        (0.392, "You forgot the square root: variance is 1/5, the standard error its root."),
        (5.0, "That is the information: one over it is the variance."),
        (0.2, "That is the variance: take the root, then 1.96 times."),
        (9.8, "You multiplied by the information: the variance is one over it."),
        (0.8944, "Nearly: those are two standard errors. 95 % take 1.96 of them; give two decimals."),
        (0.7357, "That is the 90 % interval: 95 % take 1.96 standard errors, not 1.645."),
        (2.2361, "That is the root of the information: the standard error is one over it."),
        (4.3827, "The variance is 1 over the information, not the information."),
    ),
)

predict_confounded = Exercise(
    "predict-confounded", NOTEBOOK, "a careless choice of pairs", *(2, 5, 3),
    "Somebody picks pairs in which the better review is always the longer one, and quality grows in step with words: "
    "$d$ log-odds better, $d$ units longer. One rater goes by quality alone, another one by length alone, equally "
    "strongly. What tells them apart?\n\n"
    "a) a thousand such answers of each\n\n"
    "b) the fit of both weights, quality and length, to twenty answers\n\n"
    "c) a prior on the weights\n\n"
    "d) nothing that is done with answers to such pairs\n\n"
    "Put the letter into `prediction`.",
    ("Write down the probability of an answer for both raters.",
     "sigma(1 d + 0 d) and sigma(0 d + 1 d): which answers are likelier under one than under the other?",
     "Only the sum of the two weights is in the answers."),
    "right: both raters give every answer with the same probability. What cannot be told is decided when the pairs are "
    "chosen.",
    judge=choice(
        "d",
        a="Both raters give each answer with the same probability; a thousand equal numbers are still equal.",
        b="Only the sum of the two weights changes the probability of an answer: one can go up and the other down.",
        c="A prior picks one of all the splits that fit alike: it says what you believed before, not who the rater is.",
    ),
)

EXERCISES = (position_odds, two_orders, rater_consistency, predict_confounded, twenty_labels)
