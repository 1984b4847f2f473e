"""Exercises of notebook 34: a judge asked in both orders, its marks, and whether it is worth its price."""

# fmt: off

from __future__ import annotations

import torch
from torch import Tensor

from rlbase.lab.exercise import Case, Exercise, choice

NOTEBOOK = "34_ai_feedback"

predict_swap = Exercise(
    "predict-swap", NOTEBOOK, "the mean of both orders", *(2, 5, 3),
    "Asked without any fault, a judge would say of a pair that the first answer is better with 62 % (log-odds 0.5). "
    "But it likes what stands first: the answer in the first place gets 3 log-odds more. You ask in both orders, turn "
    "the second verdict round, and take the mean of the two probabilities. This label is\n\n"
    "a) 62 %: swapping cancels the liking\n\n"
    "b) above 50 %, but closer to it than 62 %\n\n"
    "c) exactly 50 %: a liking of 3 drowns an opinion of 0.5\n\n"
    "d) above 62 %: two verdicts are surer than one\n\n"
    "Put the letter into `prediction`.",
    ("What does the judge say in the first order, and what in the second?",
     "sigma(3.5) = 97 % where the answer stands first, and sigma(-2.5) = 8 % where it stands second.",
     "The mean of 97.1 % and 7.6 %: compare it with 62 % and with 50 %."),
    "right: (97.1 + 7.6)/2 = 52.3 %. The side is right, the strength is not: swapping moved the fault, from who wins "
    "to how sure the label is.",
    judge=choice(
        "b",
        a="That would need the curve to be straight. Compute sigma(3.5) and sigma(-2.5), and their mean.",
        c="Nearly, but the opinion shows: 97.1 % and 7.6 % are not as far above as below one half.",
        d="They are two verdicts of the same judge, and they contradict each other: 97 % and 8 %.",
    ),
)


def _swapped(there: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
    return (there.sigmoid() + (-back).sigmoid()) / 2, ((there - back) / 2).sigmoid()


def _judge(label: str, place: float, seed: int, rows: int = 6) -> Case:
    opinion = torch.randn(rows, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Case(label, {"there": opinion + place, "back": place - opinion})


swap_labels = Exercise(
    "swap-labels", NOTEBOOK, "two ways to average", *(2, 5, 8),
    "A judge tells in log-odds how likely the answer *shown first* is the better one: `there` `[N]` where answer A "
    "stands first, `back` `[N]` where B stands first. Write `swap_labels(there, back)`: return two labels for A, each "
    "`[N]`: the mean of both orders' probabilities, and the probability that belongs to the mean of both log-odds.",
    ("`back` speaks of B. What does it say of A?",
     "Of A the second order says the log-odds -back; average sigma(there) and sigma(-back), or there and -back.",
     "return (there.sigmoid() + (-back).sigmoid()) / 2, ((there - back) / 2).sigmoid()"),
    "right: the first is what most people compute, the second gives the opinion back.",
    reference=_swapped, parts=("the mean of probabilities", "the mean of log-odds"),
    cases=(_judge("a liking of 2", 2.0, 0), _judge("a liking of 0.5", 0.5, 1),
           _judge("the last place is liked", -1.0, 2)),
    mistakes=(
        ("In the mean of probabilities, `back` speaks of B: turn it round, sigma(-back).",
         lambda a, b: ((a.sigmoid() + b.sigmoid()) / 2, _swapped(a, b)[1])),
        ("In the mean of log-odds, `back` speaks of B: turn it round, -back.",
         lambda a, b: (_swapped(a, b)[0], ((a + b) / 2).sigmoid())),
        ("The log-odds are added, not averaged: divide by 2.", lambda a, b: (_swapped(a, b)[0], (a - b).sigmoid())),
        ("The second is still in log-odds: a label is a probability, put it through sigma.",
         lambda a, b: (_swapped(a, b)[0], (a - b) / 2)),
        ("Mean and sigma are the wrong way round: for the first label sigma comes first, for the second the mean.",
         lambda a, b: _swapped(a, b)[::-1]),
        ("These are labels for B.", lambda a, b: _swapped(b, a)),
        ("You asked in one order only.", lambda a, b: (a.sigmoid(), a.sigmoid())),
        ("You asked in one order only.", lambda a, b: ((-b).sigmoid(), (-b).sigmoid())),
        ("The probabilities are added, not averaged: divide by 2.",
         lambda a, b: (2 * _swapped(a, b)[0], (a - b).sigmoid())),
        ("Turned round, a probability p becomes 1 - p, not -p.",
         lambda a, b: ((a.sigmoid() - b.sigmoid()) / 2, _swapped(a, b)[1].sigmoid())),
        ("1 minus turns a *probability* round; log-odds are turned round by a minus sign.",
         lambda a, b: ((a.sigmoid() + (1 - b).sigmoid()) / 2, ((a + 1 - b) / 2).sigmoid())),
        ("These are verdicts, yes or no: a label is a probability, leave the threshold away.",
         lambda a, b: tuple((x > 0.5).double() for x in _swapped(a, b))),
        ("You averaged log p: log-odds are log(p/(1 - p)), which `there` and `-back` are already.",
         lambda a, b: (_swapped(a, b)[0].log(), (a.sigmoid() * (-b).sigmoid()).sqrt())),
        ("These are still log-odds: a label is a probability, put them through sigma.",
         lambda a, b: ((a - b) / 2, _swapped(a, b)[0].logit())),
        ("You halved the probability: halve the log-odds, inside sigma.",
         lambda a, b: (_swapped(a, b)[0] / 2, (a - b).sigmoid() / 2)),
        ("sigma runs twice: the mean of probabilities is a probability already.",
         lambda a, b: (_swapped(a, b)[0].sigmoid(), _swapped(a, b)[0].sigmoid())),
    ),
)


def _mark(logp: Tensor) -> Tensor:
    return logp.softmax(1) @ torch.linspace(-1, 1, logp.shape[1], dtype=logp.dtype)


def _sheet(label: str, rows: int, marks: int, seed: int) -> Case:
    made = torch.Generator().manual_seed(seed)
    return Case(label, {"logp": (2 * torch.randn(rows, marks, generator=made, dtype=torch.float64)).log_softmax(1) - 1})


def _places(logp: Tensor, first: int = 1) -> Tensor:
    return torch.arange(first, logp.shape[1] + first, dtype=logp.dtype)


expected_mark = Exercise(
    "expected-mark", NOTEBOOK, "a reward without a reward model", *(2, 4, 8),
    "`logp` `[N, n]` holds, for each of N answers, the log-probability with which a judge writes each of the marks 1 "
    "to n. Among all words, marks are not the only ones: a row's probabilities need not add up to 1. Write "
    "`expected_mark(logp)`: the expected mark *among the marks*, `[N]`, moved to the scale from -1 (all on mark 1) "
    "to 1 (all on mark n).",
    ("First make each row a distribution over the marks alone.",
     "softmax over the marks, then the sum of i times its share s, then 2 (s - 1)/(n - 1) - 1.",
     "return logp.softmax(1) @ torch.linspace(-1, 1, logp.shape[1], dtype=logp.dtype)"),
    "right: every shade of doubt counts, and no reward model was trained.",
    reference=_mark,
    cases=(_sheet("nine marks", 5, 9, 4), _sheet("five marks", 4, 5, 1), _sheet("two marks", 3, 2, 2)),
    mistakes=(
        ("This is the likeliest mark, one of only n numbers: take the mean over all marks.",
         lambda x: torch.linspace(-1, 1, x.shape[1], dtype=x.dtype)[x.argmax(1)]),
        ("This is the number of the likeliest mark: a mean over all marks is asked for, from -1 to 1.",
         lambda x: x.argmax(1).to(x)),
        ("This is the number of the likeliest mark: a mean over all marks is asked for, from -1 to 1.",
         lambda x: 1 + x.argmax(1).to(x)),
        ("The rows do not add up to 1: divide by their sum.",
         lambda x: x.exp() @ torch.linspace(-1, 1, x.shape[1], dtype=x.dtype)),
        ("This is the mean mark; move it to the scale from -1 to 1.", lambda x: x.softmax(1) @ _places(x)),
        ("This is on the scale from 0 to 1: stretch it to -1 to 1.", lambda x: (_mark(x) + 1) / 2),
        ("You divided by n - 1 but began at mark 1: mark 1 must become -1.",
         lambda x: 2 * (x.softmax(1) @ _places(x)) / (x.shape[1] - 1) - 1),
        ("You divided by n: from mark 1 to mark n there are n - 1 steps.",
         lambda x: 2 * (x.softmax(1) @ _places(x, 0)) / x.shape[1] - 1),
        ("The scale is upside down: mark n is the best.", lambda x: -_mark(x)),
        ("You weigh the marks by log-probabilities: a mean needs probabilities.",
         lambda x: x @ torch.linspace(-1, 1, x.shape[1], dtype=x.dtype)),
        ("This is the median mark: a mean over all marks is asked for.",
         lambda x: torch.linspace(-1, 1, x.shape[1], dtype=x.dtype)[(x.softmax(1).cumsum(1) < 0.5).sum(1)]),
        ("This is the mean mark counted from 0; move it to the scale from -1 to 1.",
         lambda x: x.softmax(1) @ _places(x, 0)),
        ("This is how far the mean mark is from the middle: divide by (n - 1) / 2, so that the ends are -1 and 1.",
         lambda x: _mark(x) * (x.shape[1] - 1) / 2),
        ("You divided by n: from mark 1 to mark n there are n - 1 steps.",
         lambda x: x.softmax(1) @ _places(x) / x.shape[1]),
        ("You divided by n: from mark 1 to mark n there are n - 1 steps.",
         lambda x: 2 * (x.softmax(1) @ _places(x)) / x.shape[1] - 1),
        ("You divided by n: from mark 1 to mark n there are n - 1 steps.",
         lambda x: _mark(x) * (x.shape[1] - 1) / 2 / x.shape[1]),
        ("This scale runs from 0 to 2: subtract 1.", lambda x: _mark(x) + 1),
        ("Nine marks are written into it: take n from `logp`, logp.shape[1].",
         lambda x: 2 * (x.softmax(1) @ _places(x) - 1) / 8 - 1),
        ("Ten marks are written into it: take n from `logp`, logp.shape[1].",
         lambda x: 2 * (x.softmax(1) @ _places(x) - 1) / 9 - 1),
        ("The rows do not add up to 1: divide by their sum.",
         lambda x: 2 * (x.exp() @ _places(x) - 1) / (x.shape[1] - 1) - 1),
        ("You divided by the sum of all rows: each answer has its own distribution.",
         lambda x: x.exp() @ torch.linspace(-1, 1, x.shape[1], dtype=x.dtype) / x.exp().sum()),
        ("The expected mark is a *sum* over marks of probability times mark; you took its mean and divided by n.",
         lambda x: _mark(x) / x.shape[1]),
        ("The softmax takes logarithms: give it `logp`, not probabilities.", lambda x: _mark(x.exp())),
        ("The softmax runs over the answers: it belongs over the marks, the last dimension.",
         lambda x: x.softmax(0) @ torch.linspace(-1, 1, x.shape[1], dtype=x.dtype)),
    ),
)


def _crossing(human_cost: float, human_variance: float, ai_cost: float, ai_variance: float, bias: float) -> float:
    return (human_cost * human_variance - ai_cost * ai_variance) / bias**2


def _prices(label: str, *values: float) -> Case:
    names = ("human_cost", "human_variance", "ai_cost", "ai_variance", "bias")
    return Case(label, dict(zip(names, values, strict=True)))


crossing_budget = Exercise(
    "crossing-budget", NOTEBOOK, "when is the dear label worth it?", *(3, 4, 8),
    "You estimate one number, and spend the whole budget B on one kind of label. One human label costs `human_cost`, "
    "is right on average and has `human_variance`; one AI label costs `ai_cost`, has `ai_variance`, and all of them "
    "are off by `bias` on average. Write `crossing_budget(human_cost, human_variance, ai_cost, ai_variance, bias)`: "
    "the B at which the mean of all labels has the same mean squared error either way.",
    ("How many labels does B buy of each kind? The mean of n labels has variance v/n.",
     "B buys B/c labels: c_h v_h / B on one side, c_a v_a / B + bias² on the other.",
     "return (human_cost * human_variance - ai_cost * ai_variance) / bias**2"),
    "right: below it the machine wins, above it people, since more labels cure variance and never a bias.",
    reference=_crossing,
    cases=(_prices("ten times dearer", 10.0, 0.24, 1.0, 0.2275, 0.05), _prices("a large bias", 5.0, 1.0, 0.5, 0.3, 0.4),
           _prices("the AI wavers more", 3.0, 0.2, 0.1, 0.5, -0.1)),
    mistakes=(
        ("The bias enters squared: it is a mean *squared* error.",
         lambda ch, vh, ca, va, b: (ch * vh - ca * va) / abs(b)),
        ("The bias enters squared: it is a mean *squared* error.", lambda ch, vh, ca, va, b: (ch * vh - ca * va) / b),
        ("The AI labels waver, too: take c v of the AI off.", lambda ch, vh, ca, va, b: ch * vh / b**2),
        ("The AI's variance is on the other side of the equation: subtract it.",
         lambda ch, vh, ca, va, b: (ch * vh + ca * va) / b**2),
        ("The costs are missing: B buys B/c labels.", lambda ch, vh, ca, va, b: (vh - va) / b**2),
        ("You divided by the cost: B/c labels make the variance v c / B.",
         lambda ch, vh, ca, va, b: (vh / ch - va / ca) / b**2),
        ("This is the number of human labels: the budget is that times their cost.",
         lambda ch, vh, ca, va, b: _crossing(ch, vh, ca, va, b) / ch),
        ("Variance falls with 1/n, not with 1/n²: one root too many.",
         lambda ch, vh, ca, va, b: _crossing(ch, vh, ca, va, b) ** 0.5),
        ("The sign is flipped.", lambda ch, vh, ca, va, b: -_crossing(ch, vh, ca, va, b)),
        ("The variance was squared: it is the square of the standard deviation already.",
         lambda ch, vh, ca, va, b: (ch * vh**2 - ca * va**2) / b**2),
        ("You took the root of the variances: squared errors add up, standard deviations do not.",
         lambda ch, vh, ca, va, b: (ch * vh**0.5 - ca * va**0.5) / b**2),
        ("You took the root of the variances: squared errors add up, standard deviations do not.",
         lambda ch, vh, ca, va, b: (ch * vh**0.5 - ca * va**0.5) / b),
        ("Upside down: it is a budget.", lambda ch, vh, ca, va, b: 1 / _crossing(ch, vh, ca, va, b)),
        ("You multiplied by the squared bias: from c_h v_h / B - c_a v_a / B = bias², B stands below.",
         lambda ch, vh, ca, va, b: (ch * vh - ca * va) * b**2),
        ("Each kind has its own cost, and B buys B/c of it: c_h v_h - c_a v_a.",
         lambda ch, vh, ca, va, b: ch * (vh - va) / b**2),
        ("Each kind has its own cost, and B buys B/c of it: c_h v_h - c_a v_a.",
         lambda ch, vh, ca, va, b: (ch - ca) * (vh - va) / b**2),
        ("Each kind has its own cost, and B buys B/c of it: c_h v_h - c_a v_a.",
         lambda ch, vh, ca, va, b: (ca * vh - ch * va) / b**2),
        ("This is the number of AI labels: the budget is that times their cost.",
         lambda ch, vh, ca, va, b: _crossing(ch, vh, ca, va, b) / ca),
        ("You let the bias shrink with the number of labels: all AI labels share it, so it stays whole.",
         lambda ch, vh, ca, va, b: ch * vh - ca * (va + b**2)),
        ("The squared bias is counted twice: it is no part of `ai_variance`, and stands once, below the bar.",
         lambda ch, vh, ca, va, b: (ch * vh - ca * (va + b**2)) / b**2),
        ("The human labels' variance is there, but not as c v: B buys B/c labels.",
         lambda ch, vh, ca, va, b: (vh - ca * va) / b**2),
        ("Right, and then rounded: leave the budget as it is.",
         lambda ch, vh, ca, va, b: float(round(_crossing(ch, vh, ca, va, b)))),
    ),
)

EXERCISES = (predict_swap, swap_labels, expected_mark, crossing_budget)
