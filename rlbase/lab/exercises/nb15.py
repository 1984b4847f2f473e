"""Exercises of notebook 15: the law of the best of n draws, its KL, its win rate, and what rejection keeps."""

# fmt: off

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rlbase.lab.exercise import Case, Exercise, number

NOTEBOOK = "15_best_of_n_and_rejection_sampling"


def _doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


FOUR = {"ref": _doubles(0.4, 0.3, 0.2, 0.1), "reward": _doubles(0.0, 1.0, 0.5, 2.0)}
TIED = {"ref": _doubles(0.3, 0.1, 0.2, 0.25, 0.15), "reward": _doubles(1.0, -2.0, 1.0, 0.0, -2.0)}
LAWS = (
    Case("four answers, n = 4", {**FOUR, "n": 4}),
    Case("five answers with two ties, n = 3", {**TIED, "n": 3}),
    Case("three answers that pay alike, n = 2", {"ref": _doubles(0.5, 0.3, 0.2), "reward": _doubles(7, 7, 7), "n": 2}),
    Case("four answers, n = 1", {**FOUR, "n": 1}),
)
Law = Callable[[Tensor, Tensor, int], Tensor]


def _masses(ref: Tensor, reward: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Probability of a lower reward, of the same, and of the same or a lower one, for each answer."""
    below, same = ((ref * compare(reward, reward[:, None])).sum(1) for compare in (torch.lt, torch.eq))
    return below, same, below + same


def _law(ref: Tensor, reward: Tensor, n: int) -> Tensor:
    below, same, upto = _masses(ref, reward)
    return (upto**n - below**n) * ref / same


def _evenly(ref: Tensor, reward: Tensor, n: int) -> Tensor:
    below, _, upto = _masses(ref, reward)
    return (upto**n - below**n) / (reward[:, None] == reward).sum(1)


def _in_order(ref: Tensor, reward: Tensor, n: int) -> Tensor:
    order = reward.argsort(stable=True)
    steps = ref[order].cumsum(0) ** n
    return torch.diff(steps, prepend=steps.new_zeros(1))[order.argsort()]


best_of_n_law = Exercise(
    "best-of-n-law", NOTEBOOK, "the law of the best of n", *(3, 5, 12),
    "Write `best_of_n_law(ref, reward, n)`: `n` independent draws from `ref` `[K]` are made, and the one with the "
    "highest `reward` `[K]` is kept; of equally good ones, the first that was drawn. With which probability is each "
    "of the K answers kept, `[K]`? Rewards come in any order, and **some may be equal**.",
    ("The best of n pays at most v exactly when all n draws pay at most v: a probability F(v)^n.",
     "P(the best pays v) = F(v)^n - F(v-)^n, where v- leaves v out; answers that pay v share it in proportion to ref.",
     "below = (ref * (reward < reward[:, None])).sum(1); the same with == and with <="),
    "right for four worlds: ties inside, all answers alike, and n = 1, which is the reference.",
    reference=_law, cases=LAWS,
    mistakes=(
        ("You gave to every answer of a tie what all of them have together: share it in proportion to ref.",
         lambda p, r, n: _law(p, r, n) * _masses(p, r)[1] / p),
        ("You split ties evenly: the first of them that was drawn is kept, so split in proportion to ref.", _evenly),
        ("You broke ties by their place in the list: equal rewards share their probability.", _in_order),
        ("You raised ref itself to the power n: it is the cumulative probability that all n draws stay below.",
         lambda p, r, n: p**n / (p**n).sum()),
        ("This is F(v)^n, the probability that the best pays v *or less*: subtract F(v-)^n.",
         lambda p, r, n: _masses(p, r)[2] ** n),
        ("This is the worst of n: count what pays less, not what pays more.", lambda p, r, n: _law(p, -r, n)),
        ("1 - (1 - p)^n is the chance that an answer is *drawn* at all: it must also be the best.",
         lambda p, r, n: 1 - (1 - p) ** n),
        ("One draw too many: n is the number of all draws.", lambda p, r, n: _law(p, r, n + 1)),
        ("This is n F^(n-1) times ref, the law without ties: an answer with probability of its own needs F(v)^n - "
         "F(v-)^n.",
         lambda p, r, n: n * p * _masses(p, r)[2] ** (n - 1)),
        ("You shifted the powers: F(v)^n - F(v-)^n, both to the power n.",
         lambda p, r, n: _law(p, r, 1) * _masses(p, r)[2] ** (n - 1)),
    ),
)


def _nats(p: Tensor, q: Tensor) -> Tensor:
    held = p > 0
    return (p[held] * (p[held] / q[held]).log()).sum()


def _divergence(law: Law = _law, direction: int = 1) -> Callable[..., Any]:
    return lambda ref, reward, n: _nats(*(law(ref, reward, n), ref)[::direction])


def _plain(ref: Tensor, reward: Tensor, n: int) -> Tensor:
    law = _law(ref, reward, n)
    return (law * (law / ref).log()).sum()


def _bound(ref: Tensor, reward: Tensor, n: int) -> float:
    return math.log(n) - (n - 1) / n


best_of_n_kl = Exercise(
    "best-of-n-kl", NOTEBOOK, "how far the best of n has gone", *(2, 5, 8),
    "Write `best_of_n_kl(ref, reward, n)`: the **exact** KL, in nats, of the best of `n` to the reference `ref` `[K]`, "
    "for rewards `[K]` of which some may be equal. Use your law. Not the formula from papers: it "
    "is an upper bound. For a large n some answer's probability is 0 to the last digit, and the KL is still a number.",
    ("KL(law ‖ ref) = sum law · log(law / ref): the law that you have just found does the averaging.",
     "Where law = 0 the term is 0: law · log(law / ref) tends to 0.",
     "torch.xlogy(law, law / ref).sum()"),
    "right for four worlds, and where an answer has died out.",
    reference=_divergence(),
    cases=(*LAWS, Case("n = 5,000", {**FOUR, "n": 5000}, True)),
    mistakes=(
        ("This is log n - (n - 1)/n, the popular formula: an upper bound, exact only if no answer has "
         "probability of its own.",
         _bound),
        ("This is log n: that would be the KL if the best were as rare as one in n for certain.",
         lambda p, r, n: math.log(n)),
        ("This is KL(ref ‖ law): the law does the averaging, not the reference.", _divergence(direction=-1)),
        ("You averaged over the answers: the law's probabilities are the weights already, so add up.",
         lambda p, r, n: _divergence()(p, r, n) / len(p)),
        ("The logarithm is to the base 2: nats take the natural one.",
         lambda p, r, n: _divergence()(p, r, n) / math.log(2)),
        ("The sign is flipped: a KL is never negative.", lambda p, r, n: -_divergence()(p, r, n)),
        ("You averaged log(law / ref) over the reference: weigh by the law.",
         lambda p, r, n: (p * (_law(p, r, n) / p).log()).sum()),
        ("Ties again: each of the tied answers gets its share by ref, not the probability of all.",
         lambda p, r, n: _nats(_law(p, r, n) * _masses(p, r)[1] / p, p)),
        ("0 · log 0 became NaN: a term with probability 0 counts nothing; torch.xlogy knows that.", _plain),
    ),
)


def _kept(reward: Tensor, beta: float, max_reward: float) -> Tensor:
    return ((reward - max_reward) / beta).clamp(max=0).exp()


REJECTIONS = (
    Case("β = 0.5, largest reward 2", {"reward": FOUR["reward"], "beta": 0.5, "max_reward": 2.0}),
    Case("β = 2, a maximum of 3 that no draw reaches",
         {"reward": _doubles(-1.0, 0.5, 2.5), "beta": 2.0, "max_reward": 3.0}),
    Case("β = 1, a maximum of 1 that one draw exceeds",
         {"reward": _doubles(0.0, 3.0, -1.0), "beta": 1.0, "max_reward": 1.0}),
    Case("rewards of ±10,000", {"reward": _doubles(-1e4, 1e4, 9999.5), "beta": 0.5, "max_reward": 1e4}, True),
)

rejection_accept = Exercise(
    "rejection-accept", NOTEBOOK, "the chance to be kept", *(2, 4, 6),
    "Write `keep_probability(reward, beta, max_reward)`: the probability `[N]` with which rejection sampling keeps "
    "draws that are paid `reward` `[N]`, so that what is kept follows the optimum for the price `beta`. `max_reward` "
    "is the largest reward there is, as far as one knows: a draw may exceed it, and no probability exceeds 1.",
    ("An answer is drawn with ref; it must be kept in proportion to exp(r / beta). Which factor makes that a "
     "probability?",
     "keep = min(1, exp((r - max_reward) / beta)).",
     "return ((reward - max_reward) / beta).exp().clamp(max=1)"),
    "right for four sets of draws: a maximum that is not reached, one that is exceeded, and huge rewards.",
    reference=_kept, cases=REJECTIONS,
    mistakes=(
        ("Some of these are above 1: measure the reward from the largest one, exp((r - max) / beta).",
         lambda r, b, m: (r / b).exp()),
        ("A draw above max_reward gets more than 1: cut at 1.", lambda r, b, m: ((r - m) / b).exp()),
        ("You took the largest of these draws: max_reward is given, and it is not always among them.",
         lambda r, b, m: _kept(r, b, r.max())),
        ("You multiplied by beta: a small price must be choosy, so divide.", lambda r, b, m: _kept(r, 1 / b, m)),
        ("The sign is flipped: this keeps the worst.", lambda r, b, m: _kept(-r, b, -r.min())),
        ("The sign is flipped: this keeps the worst.", lambda r, b, m: ((m - r) / b).exp().clamp(max=1)),
        ("This is a softmax: draws are kept one by one, each by its own probability.",
         lambda r, b, m: ((r - m) / b).softmax(0)),
        ("This is a sigmoid: the best draw would be kept half of the time only.",
         lambda r, b, m: ((r - m) / b).sigmoid()),
        ("This keeps only what reaches the maximum: that is the limit of beta = 0.",
         lambda r, b, m: (r >= m).double()),
        ("beta is missing.", lambda r, b, m: _kept(r, 1.0, m)),
        ("Dividing exp(r / beta) by exp(max / beta) overflows: subtract first.",
         lambda r, b, m: ((r / b).exp() / math.exp(min(m / b, 700.0))).clamp(max=1)),
    ),
)

predict_win_rate = Exercise(
    "predict-win-rate", NOTEBOOK, "how often the best of four wins", *(2, 4, 3),
    "A model writes four responses, and you keep the best. A colleague takes **one** response of the same model. Both "
    "are judged by the reward that chose yours; no two responses are paid alike. How often does yours win? Put a "
    "number between 0 and 1 into `prediction`.",
    ("Nothing distinguishes the five responses before they are judged.",
     "Your colleague wins only if theirs is the best of all five.",
     "1 - 1/5"),
    "right: n/(n + 1). It says nothing about the rewards: every reward that chooses wins this often against itself.",
    judge=number(
        0.8,
        (0.75, "That is 1 - 1/4: your colleague's response is a fifth one, not one of your four."),
        (0.9375, "That is 1 - 1/2^4: it takes your four for four independent duels, but they all meet the same "
                 "opponent."),
        (0.2, "That is how often your colleague wins."),
        (0.25, "That is the share of one of four: ask who is the best of all five."),
        (0.5, "That is for one draw against one: you had four."),
        (1.0, "Your colleague is sometimes lucky: theirs may be the best of all five."),
        (4.0, "That is n : 1, the odds; as a probability it is below 1."),
        (80, "In percent that is right: write it as a number between 0 and 1."),
        rtol=0.005,
    ),
)

EXERCISES = (best_of_n_law, best_of_n_kl, rejection_accept, predict_win_rate)
