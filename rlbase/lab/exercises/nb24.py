"""Exercises of notebook 24: mean log-probabilities, SimPO's loss and its rest, ORPO's log-odds."""

# fmt: off

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from rlbase.lab.exercise import Case, Exercise, choice
from rlbase.losses import simpo

NOTEBOOK = "24_simpo_orpo_reference_free"


def _rows() -> tuple[Case, ...]:
    logp = -torch.rand(3, 5, generator=torch.Generator().manual_seed(0)) * 3 - 0.1
    lengths = torch.arange(5) < torch.tensor([[5], [2], [3]])
    late = torch.tensor([[False, True, True, False], [False, False, True, True], [True, True, True, True]])
    return (
        Case("three responses of 5, 2 and 3 tokens", {"logp": logp, "mask": lengths}),
        Case("one token each", {"logp": logp[:, :2].contiguous(), "mask": torch.tensor([[True, False]] * 3)}),
        Case("padding on both sides", {"logp": logp[:, 1:].contiguous(), "mask": late}),
        Case("padding that scores -inf",
             {"logp": torch.where(lengths, logp, -float("inf")), "mask": lengths}, True),
    )


def _mean(x: Tensor, m: Tensor) -> Tensor:
    return torch.where(m, x, 0).sum(1) / m.sum(1)


avg_logp = Exercise(
    "avg-logp", NOTEBOOK, "the mean log-probability of a response", *(1, 5, 5),
    "Write `average_logp(logp, mask)`: from the log-probabilities of tokens `[B, T]` and the boolean `mask` of those "
    "that belong to the response (its end-of-text token included), the mean log-probability of a response's token, "
    "`[B]`. What stands outside the mask may be anything.",
    ("Each response is divided by its *own* length.",
     "sum over the mask of log π, divided by the number of tokens in the mask, row by row.",
     "torch.where(mask, logp, 0).sum(1) / mask.sum(1)"),
    "right, gradients included, wherever the padding stands and whatever it holds.",
    reference=_mean, cases=_rows(),
    mistakes=(
        ("This is the sum, not the mean: divide by the response's length.", lambda x, m: torch.where(m, x, 0).sum(1)),
        ("You divided by the width of the batch, padding included: divide by the number of tokens in the mask.",
         lambda x, m: torch.where(m, x, 0).mean(1)),
        ("You averaged over padding, too.", lambda x, m: x.mean(1)),
        ("You added padding up, too: only what the mask marks belongs to the response.", lambda x, m: x.sum(1)),
        ("You added padding up, too: only what the mask marks belongs to the response.",
         lambda x, m: x.sum(1) / m.sum(1)),
        ("You took the first tokens of each row: the mask says *where* the response stands, not only how long it is.",
         lambda x, m: torch.stack([row[:n].mean() for row, n in zip(x, m.sum(1), strict=True)])),
        ("You took the exponential: rewards are made of log-probabilities.", lambda x, m: _mean(x, m).exp()),
        ("You divided by the mean length of the batch: each response by its own.",
         lambda x, m: torch.where(m, x, 0).sum(1) / m.sum(1).float().mean()),
        ("You divided by the number of all tokens in the batch: each response by its own.",
         lambda x, m: torch.where(m, x, 0).sum(1) / m.sum()),
        ("The last token was left out of the count: the end-of-text token belongs to the response.",
         lambda x, m: torch.where(m, x, 0).sum(1) / (m.sum(1) - 1)),
        ("This is the log of the mean probability: average the logarithms.",
         lambda x, m: (torch.where(m, x.exp(), 0).sum(1) / m.sum(1)).log()),
        ("The sign is flipped: that is the surprise per token.", lambda x, m: -_mean(x, m)),
        ("-inf times 0 is NaN: select with torch.where before you add.", lambda x, m: (x * m).sum(1) / m.sum(1)),
    ),
    gradient=("logp",),
)


def _pairs() -> tuple[Case, ...]:
    won, lost = torch.tensor([-1.0, -0.5, -2.0, -0.2]), torch.tensor([-1.5, -2.5, -1.0, -0.2])
    pair = {"chosen_avg_logp": won, "rejected_avg_logp": lost}
    far = {"chosen_avg_logp": torch.tensor([-1e4, -1.0]), "rejected_avg_logp": torch.tensor([-1.0, -1e4])}
    return (
        Case("β = 2, γ = 1", {**pair, "beta": 2.0, "gamma": 1.0}),
        Case("β = 10, γ = 3", {**pair, "beta": 10.0, "gamma": 3.0}),
        Case("β = 2.5, no margin", {**pair, "beta": 2.5, "gamma": 0.0}),
        Case("mean log-probs of -10,000", {**far, "beta": 2.0, "gamma": 1.0}, True),
    )


simpo_loss = Exercise(
    "simpo-loss", NOTEBOOK, "SimPO's loss", *(2, 5, 6),
    "Write `simpo_loss(chosen_avg_logp, rejected_avg_logp, beta, gamma)`: the surprise, -log σ(·), that the chosen "
    "response is ahead, where β times the difference of *mean* log-probabilities must exceed the margin γ. One number "
    "for each pair, `[B]`. Mind pairs that are far apart.",
    ("DPO's loss with another reward, β times the mean log-probability, and a head start of γ for the loser.",
     "-log σ(β(chosen - rejected) - γ) = softplus(γ - β(chosen - rejected)).",
     "return softplus(gamma - beta * (chosen_avg_logp - rejected_avg_logp))"),
    "right, gradients included, for three settings and for pairs that are 10,000 nats apart.",
    reference=lambda c, r, b, g: simpo(c, r, beta=b, gamma=g), cases=_pairs(),
    mistakes=(
        ("γ is multiplied by β here: this is code that wants the ratio γ/β; γ stands outside.",
         lambda c, r, b, g: softplus(b * (g - c + r))),
        ("γ is divided by β here: the margin is asked of β times the difference, so γ stands as it is.",
         lambda c, r, b, g: softplus(g / b - b * (c - r))),
        ("β multiplies the whole loss here: it belongs to the difference, inside of σ.",
         lambda c, r, b, g: b * softplus(g - (c - r))),
        ("The sign of γ is flipped: this makes it easier, a margin makes it harder.",
         lambda c, r, b, g: softplus(-g - b * (c - r))),
        ("γ is missing.", lambda c, r, b, g: softplus(-b * (c - r))),
        ("β is missing.", lambda c, r, b, g: softplus(g - (c - r))),
        ("Chosen and rejected are exchanged.", lambda c, r, b, g: softplus(g - b * (r - c))),
        ("This is the probability itself: take minus its logarithm.", lambda c, r, b, g: (b * (c - r) - g).sigmoid()),
        ("This is 1 - σ, KTO's shape: take -log σ.", lambda c, r, b, g: (g - b * (c - r)).sigmoid()),
        ("This is a hinge: -log σ never ends, it only fades.", lambda c, r, b, g: (g - b * (c - r)).relu()),
        ("The sign is flipped: a loss is made small.", lambda c, r, b, g: -softplus(g - b * (c - r))),
        ("log(σ(x)) is -infinity for pairs far apart: use softplus or logsigmoid.",
         lambda c, r, b, g: -(b * (c - r) - g).sigmoid().log()),
    ),
    gradient=("chosen_avg_logp", "rejected_avg_logp"),
)

predict_gap = Exercise(
    "predict-simpo-gap", NOTEBOOK, "a margin between equals", *(3, 4, 3),
    "Two responses; each wins half of the time. SimPO trains on all of these comparisons with β = 2 and γ = 1. How far "
    "apart do their mean log-probabilities come to rest? **a)** γ/β = 0.5: a margin is a margin **b)** 0, whatever γ "
    "**c)** they drift apart for ever **d)** γ = 1. Set `prediction` to a letter.",
    ("Both orders occur equally often. What does each ask for?",
     "Half of the comparisons ask the first to lead by γ, half the second: exchange the two, nothing changes.",
     'prediction = "b"'),
    "b: the margin is asked of whoever wins; between equals the two demands cancel.",
    judge=choice(
        "b",
        a="Who would be the one ahead? Half of the comparisons ask it of the first, half of the second.",
        c="That is what happens when one of them *always* wins. Here each pushes back half of the time.",
        d="γ is in units of β times the gap; and who would be the one ahead?",
    ),
)


def _odds() -> tuple[Case, ...]:
    return (
        Case("P from 0.99 to 0.0001", {"avg_logp": torch.tensor([0.99, 0.9, 0.5, 0.2, 0.01, 1e-4]).log()}),
        Case("a batch", {"avg_logp": -torch.rand(8, generator=torch.Generator().manual_seed(0)) * 4 - 0.05}),
        Case("P within a millionth of 1, and P of e^-300", {"avg_logp": torch.tensor([-3e-6, -4e-7, -300.0])}, True),
    )


def _log_odds(x: Tensor) -> Tensor:
    near = x > -0.6931
    close, far = torch.where(near, x, -0.6931), torch.where(near, -0.6931, x)
    return x - torch.where(near, torch.log(-torch.expm1(close)), torch.log1p(-torch.exp(far)))


orpo_log_odds = Exercise(
    "orpo-log-odds", NOTEBOOK, "log-odds that survive", *(3, 4, 8),
    "Write `log_odds(avg_logp)`: with P = exp(avg_logp), below 1, the log-odds log(P / (1 - P)), `[B]`. In float32, a "
    "well-trained model's P is within a millionth of 1, and a bad one's is e^-300: both must come out right, and their "
    "gradients finite.",
    ("log P is what you were given. Only log(1 - P) needs care.",
     "log(P/(1-P)) = x - log(1 - e^x). Near 0, 1 - e^x loses all its digits: torch.expm1 knows e^x - 1.",
     "return avg_logp - torch.log(-torch.expm1(avg_logp))"),
    "right from e^-300 to a millionth below 1, gradients included.",
    reference=_log_odds, cases=_odds(),
    mistakes=(
        ("This is log P: the odds divide it by 1 - P.", lambda x: x * 1.0),
        ("These are the odds: take the logarithm.", lambda x: x.exp() / (1 - x.exp())),
        ("The sign is flipped: P above, 1 - P below.", lambda x: torch.log(-torch.expm1(x)) - x),
        ("You added log(1 - P): a quotient is a difference of logarithms.", lambda x: x + torch.log(-torch.expm1(x))),
        ("This is -log(1 - P): log P is missing.", lambda x: -torch.log(-torch.expm1(x))),
        ("You took the log-odds of the *logarithm*: P is its exponential.", lambda x: (x / (1 - x)).log()),
        ("e^-x overflows far below: take expm1 of x itself, which is at most 1 in size.",
         lambda x: -torch.log(torch.expm1(-x))),
        ("You held P away from 0 and 1: that is finite, and wrong by several nats. Keep log P as it is.",
         lambda x: torch.logit(x.exp(), eps=1e-6)),
        ("This is log σ of the log-probability: log-odds are log P - log(1 - P).",
         lambda x: torch.nn.functional.logsigmoid(x)),
        ("1 - e^x has lost its digits near P = 1: use torch.expm1.", lambda x: x - torch.log(1 - x.exp())),
        ("P/(1 - P) has no digits left near 1 and is 0 far below: keep log P as it is.",
         lambda x: (x.exp() / (1 - x.exp())).log()),
    ),
    gradient=("avg_logp",),
)

EXERCISES = (avg_logp, simpo_loss, predict_gap, orpo_log_odds)
