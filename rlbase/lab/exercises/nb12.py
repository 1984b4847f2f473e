"""Exercises of notebook 12: what comparisons say about scores, how a score is read, and how far it is to be trusted."""

# fmt: off

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from rlbase.lab.exercise import Case, Exercise, choice
from rlbase.losses import bradley_terry, k_wise, plackett_luce

NOTEBOOK = "12_reward_models"


def _noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _pairs() -> tuple[Case, ...]:
    return (
        Case("scores 2 and 1", {"chosen_reward": torch.tensor([2.0]), "rejected_reward": torch.tensor([1.0])}),
        Case("five pairs", {"chosen_reward": 2 * _noise(1, 5), "rejected_reward": 2 * _noise(2, 5)}),
        Case("equal scores", {"chosen_reward": _noise(3, 3), "rejected_reward": _noise(3, 3)}),
        Case("scores ±10,000", {"chosen_reward": torch.tensor([-1e4, 1e4]), "rejected_reward": torch.zeros(2)}, True),
    )


bradley_terry_loss = Exercise(
    "bradley-terry-loss", NOTEBOOK, "the loss of a comparison", *(2, 5, 6),
    "Write `bradley_terry_loss(chosen_reward, rejected_reward)`: for each pair `[B]` how surprising it is that the "
    "chosen response won, if a response wins with probability $\\sigma$(its score minus the other's). Not reduced.",
    ("Surprise is minus the logarithm of a probability, here that of what was observed.",
     "loss = -log sigma(r_chosen - r_rejected), one number for each pair.",
     "return -torch.nn.functional.logsigmoid(chosen_reward - rejected_reward)"),
    "right, gradients included, however far apart the scores are.",
    reference=bradley_terry, cases=_pairs(),
    mistakes=(
        ("The two are swapped: the chosen one should score higher, and this rewards the opposite.",
         lambda c, r: bradley_terry(r, c)),
        ("This is the probability of the comparison: take minus its logarithm.", lambda c, r: (c - r).sigmoid()),
        ("The sign is flipped: this is the log-likelihood, which one maximises.", lambda c, r: -bradley_terry(c, r)),
        ("This is the probability of the wrong answer, not its surprise: minus the logarithm of the right one's.",
         lambda c, r: (r - c).sigmoid()),
        ("You took the sigmoid of each score: a comparison is about their difference.",
         lambda c, r: -(c.sigmoid() - r.sigmoid()).sigmoid().log()),
        ("Each side has its own sigmoid here, as if they had been rated: take the sigmoid of the difference.",
         lambda c, r: -logsigmoid(c) - logsigmoid(-r)),
        ("This is the difference of the scores: it has no lower end. Take -log sigma of it.", lambda c, r: r - c),
        ("This is a hinge: it stops caring at a gap of 1, -log sigma never quite does.",
         lambda c, r: (1 - c + r).clamp(min=0)),
        ("sigma(...) underflows to 0 and its logarithm is infinite: use logsigmoid.",
         lambda c, r: -(c - r).sigmoid().log()),
    ),
    gradient=("chosen_reward", "rejected_reward"),
)


def _margined(chosen: Tensor, rejected: Tensor, margin: Tensor) -> Tensor:
    return bradley_terry(chosen, rejected, margin=margin)

def _margins(label: str, chosen: Tensor, rejected: Tensor, margin: Tensor, extreme: bool = False) -> Case:
    return Case(label, {"chosen_reward": chosen, "rejected_reward": rejected, "margin": margin}, extreme)


margin = Exercise(
    "margin", NOTEBOOK, "Llama 2's margin", *(2, 3, 6),
    "Write `margin_loss(chosen_reward, rejected_reward, margin)`: the same loss, not reduced `[B]`, but a comparison "
    "counts as even where the chosen response is ahead by exactly `margin` `[B]`, so that a clear win must be clear in "
    "the scores, too.",
    ("Where the gap is exactly the margin, the loss must be log 2, as for equal scores without one.",
     "loss = -log sigma(r_chosen - r_rejected - margin): inside the sigmoid, with a minus.",
     "return -torch.nn.functional.logsigmoid(chosen_reward - rejected_reward - margin)"),
    "right, sign and gradient included; with margin 0 it is the loss you know.",
    reference=_margined,
    cases=(
        _margins("a gap of 1 and a margin of 3", torch.tensor([2.0]), torch.tensor([1.0]), torch.tensor([3.0])),
        _margins("four pairs", _noise(4, 4), _noise(5, 4), torch.tensor([0.0, 1.0, 2.0, 3.0])),
        _margins("no margin", _noise(6, 3), _noise(7, 3), torch.zeros(3)),
        _margins("scores of ±10,000", torch.tensor([-1e4, 1e4]), torch.zeros(2), torch.ones(2), extreme=True),
    ),
    mistakes=(
        ("The sign of the margin is flipped: added to the gap it makes the task easier, and shrinks the scores.",
         lambda c, r, m: _margined(c, r, -m)),
        ("The margin stands outside the sigmoid: added to the loss it has no gradient, and changes nothing.",
         lambda c, r, m: bradley_terry(c, r) + m),
        ("The margin stands outside the sigmoid: taken off the loss it has no gradient, and changes nothing.",
         lambda c, r, m: bradley_terry(c, r) - m),
        ("The margin multiplies the loss: that is a weight. Take it off the gap.",
         lambda c, r, m: bradley_terry(c, r) * m),
        ("The margin multiplies the gap: take it off.", lambda c, r, m: bradley_terry(m * c, m * r)),
        ("The margin is ignored.", lambda c, r, m: bradley_terry(c, r)),
        ("The two are swapped: the chosen one is to be ahead.", lambda c, r, m: _margined(r, c, m)),
        ("This is a hinge: it stops caring once the margin is met, -log sigma never quite does.",
         lambda c, r, m: (m - c + r).clamp(min=0)),
        ("The sign is flipped: this is the log-likelihood, which one maximises.",
         lambda c, r, m: -_margined(c, r, m)),
        ("sigma(...) underflows to 0 and its logarithm is infinite: use logsigmoid.",
         lambda c, r, m: -(c - r - m).sigmoid().log()),
    ),
    gradient=("chosen_reward", "rejected_reward"),
)


def _ranked(rewards: Tensor) -> Tensor:
    return k_wise(rewards, torch.arange(rewards.shape[1]).expand(rewards.shape))


def _gaps(rewards: Tensor, keep: str) -> Tensor:
    """Loss of every ordered pair, ``[N, K, K]``, and 0 where the pair is not kept."""
    size = rewards.shape[1]
    i, j = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    pairs = {"upper": i < j, "diagonal too": i <= j, "lower": i > j, "neighbours": j == i + 1,
             "best": (i == 0) & (j > 0), "both": i != j}[keep]
    return torch.where(pairs, -logsigmoid(rewards[:, :, None] - rewards[:, None, :]), 0)


def _mean_of(rewards: Tensor, keep: str) -> Tensor:
    return _gaps(rewards, keep).sum((1, 2)) / (_gaps(rewards.detach(), keep) != 0).sum((1, 2))


k_wise_loss = Exercise(
    "k-wise-loss", NOTEBOOK, "all the pairs of a ranking", *(3, 4, 10),
    "Write `k_wise_loss(rewards)`: `rewards` `[N, K]` are the scores of K responses to each of N prompts, in the "
    "rater's order, the best first. For each prompt `[N]`, the mean Bradley-Terry loss over all its K(K-1)/2 pairs.",
    ("Of every two responses, the one that stands further to the left was preferred.",
     "loss = 2 / (K (K-1)) times the sum over i < j of -log sigma(r_i - r_j).",
     "i, j = torch.triu_indices(K, K, 1); return -logsigmoid(rewards[:, i] - rewards[:, j]).mean(1)"),
    "right for K = 2, 3 and 5, gradients included.",
    reference=_ranked,
    cases=(
        Case("three responses", {"rewards": torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.5, -0.5]])}),
        Case("two responses", {"rewards": _noise(8, 3, 2)}),
        Case("five responses", {"rewards": 2 * _noise(9, 2, 5)}),
        Case("scores of ±10,000", {"rewards": torch.tensor([[1e4, -1e4, 0.0]])}, extreme=True),
    ),
    mistakes=(
        ("The order is reversed: the best response stands first.", lambda r: _mean_of(r, "lower")),
        ("You added up the pairs: take their mean, or a prompt with more responses counts more.",
         lambda r: _gaps(r, "upper").sum((1, 2))),
        ("Only neighbours in the ranking are compared: take every two responses.",
         lambda r: _mean_of(r, "neighbours")),
        ("Only the best response is compared with the others: take every two responses.",
         lambda r: _mean_of(r, "best")),
        ("Every pair is counted both ways: it was won one way only.", lambda r: _mean_of(r, "both")),
        ("The diagonal is in it: a response is not compared with itself.",
         lambda r: _gaps(r, "diagonal too").sum((1, 2)) / (r.shape[1] * (r.shape[1] + 1) / 2)),
        ("You divided by K (K-1): there are half as many pairs.",
         lambda r: _gaps(r, "upper").sum((1, 2)) / (r.shape[1] * (r.shape[1] - 1))),
        ("You averaged over all K x K entries: the pairs that do not count are zeros, leave them out.",
         lambda r: _gaps(r, "upper").mean((1, 2))),
        ("You divided by K: there are K (K-1) / 2 pairs.", lambda r: _gaps(r, "upper").sum((1, 2)) / r.shape[1]),
        ("This is Plackett-Luce, the likelihood of the whole ranking: here it is the mean over pairs.", plackett_luce),
        ("The sign is flipped: this is the log-likelihood, which one maximises.", lambda r: -_ranked(r)),
    ),
    gradient=("rewards",),
)


def _last(mask: Tensor) -> Tensor:
    return (mask * torch.arange(mask.shape[1])).amax(1)


def _mask(*rows: str) -> Tensor:
    return torch.tensor([[letter == "x" for letter in row] for row in rows])


last_token_index = Exercise(
    "last-token-index", NOTEBOOK, "where the score is read", *(2, 5, 8),
    "Write `last_token(mask)`: the column `[B]` of the last real token of each row. `mask` `[B, S]` is True on real "
    "tokens; the padding, and you do not know where it is, may stand on the left, on the right, or on both sides.",
    ("Do not count tokens: look for the last True.",
     "The largest column t with mask[b, t] True; from the right, the first True of the flipped mask.",
     "return mask.shape[1] - 1 - mask.flip(1).int().argmax(1)"),
    "right wherever the padding stands.",
    reference=_last,
    cases=(
        Case("padding on the right", {"mask": _mask("xxxx..", "xx....", "xxxxxx")}),
        Case("padding on the left", {"mask": _mask("..xxxx", ".xxxxx", "xxxxxx")}),
        Case("padding on both sides", {"mask": _mask(".xxx..", "...x..", "..xxxx", "x.....")}),
    ),
    mistakes=(
        ("You counted the real tokens: that is their last column only where all padding is on the right.",
         lambda m: m.sum(1) - 1),
        ("You read the last column: that is a real token only where all padding is on the left.",
         lambda m: 0 * m.sum(1) + m.shape[1] - 1),
        ("This is the first real token: look from the right.", lambda m: m.int().argmax(1)),
        ("This is counted from the right: turn it around, width - 1 - place.",
         lambda m: m.flip(1).int().argmax(1)),
        ("One column too far: columns are counted from 0.", lambda m: _last(m) + 1),
        ("You took the place before the first padding: with padding on the left, or with none, there is nothing.",
         lambda m: m.int().argmin(1) - 1),
        ("You counted the padding: that is where the text begins, if all of it is on the left.",
         lambda m: (~m).sum(1)),
        ("One column too early: this is the token before the last.", lambda m: _last(m) - 1),
    ),
)


def _rules(scores: Tensor, penalty: float) -> tuple[Tensor, Tensor, Tensor]:
    mean = scores.mean(0)
    return mean, scores.amin(0), mean - penalty * scores.var(0, correction=0)


def _verdicts() -> tuple[Case, ...]:
    agree = torch.tensor([[1.0, 2.0], [1.0, -2.0], [1.0, 6.0]])
    return (
        Case("three members, two responses", {"scores": agree, "penalty": 0.5}),
        Case("five members, four responses", {"scores": 2 * _noise(10, 5, 4), "penalty": 1.0}),
        Case("two members, three responses", {"scores": _noise(11, 2, 3), "penalty": 0.25}),
    )


def _part(place: int, other: Callable[[Tensor, float], Tensor]) -> Callable[..., tuple[Tensor, ...]]:
    """The right rules but for one."""
    return lambda s, p: tuple(other(s, p) if i == place else rule for i, rule in enumerate(_rules(s, p)))


ensemble_rule = Exercise(
    "ensemble-rule", NOTEBOOK, "several judges, one number", *(2, 3, 6),
    "Write `ensemble_scores(scores, penalty)` that returns three scores for each of B responses, each `[B]`: the mean "
    "of the members' `scores` `[M, B]`, their minimum, and their mean less `penalty` times their variance (the mean "
    "squared distance from the mean, divided by M).",
    ("Every rule works down the members, for each response by itself.",
     "mean; min over members; mean - penalty * mean over members of (score - mean)^2.",
     "m = scores.mean(0); return m, scores.amin(0), m - penalty * scores.var(0, correction=0)"),
    "mean, minimum and penalised mean right for 2, 3 and 5 members.",
    reference=_rules, cases=_verdicts(), parts=("the mean", "the minimum", "the penalised mean"),
    mistakes=(
        ("You averaged over responses: members are the first axis.", _part(0, lambda s, p: s.mean(1))),
        ("This is the sum of the members: divide by their number.", _part(0, lambda s, p: s.sum(0))),
        ("This is the lowest score of each member: go over members, not responses.",
         _part(1, lambda s, p: s.amin(1))),
        ("This is the maximum: it trusts whoever is most enthusiastic.", _part(1, lambda s, p: s.amax(0))),
        ("This is the number of the strictest member, not its score.", _part(1, lambda s, p: s.argmin(0).float())),
        ("This is the standard deviation: the variance is its square.",
         _part(2, lambda s, p: s.mean(0) - p * s.std(0, correction=0))),
        ("You divided by M - 1: here the squares are averaged over all M members (correction=0).",
         _part(2, lambda s, p: s.mean(0) - p * s.var(0))),
        ("The sign is flipped: disagreement is to cost something.",
         _part(2, lambda s, p: s.mean(0) + p * s.var(0, correction=0))),
        ("The penalty was taken off the minimum: take it off the mean.",
         _part(2, lambda s, p: s.amin(0) - p * s.var(0, correction=0))),
        ("This is the penalty alone: take it off the mean.", _part(2, lambda s, p: p * s.var(0, correction=0))),
    ),
)

bayes_ceiling = Exercise(
    "bayes-ceiling", NOTEBOOK, "the best accuracy there is", *(2, 4, 6),
    "Write `ceiling(prob)`: the highest accuracy, on labels that are themselves drawn by chance, of anybody who sees "
    "the two responses of each pair. `prob` `[n]` is the probability with which the rater prefers the first one.",
    ("Even who knows `prob` can only name the likelier side, and will be wrong whenever the rater was.",
     "For one pair the best guess is right with probability max(p, 1 - p); average over pairs.",
     "return torch.maximum(prob, 1 - prob).mean()"),
    "right for sure raters, for coin tossers and for those between.",
    reference=lambda prob: torch.maximum(prob, 1 - prob).mean(),
    cases=(
        Case("probabilities 0.5 and 0.9", {"prob": torch.tensor([0.5, 0.9])}),
        Case("five pairs", {"prob": _noise(12, 5).sigmoid()}),
        Case("pairs of which the second is better", {"prob": torch.tensor([0.1, 0.3, 0.25])}),
        Case("a rater who is always sure", {"prob": torch.tensor([1.0, 0.0, 1.0])}),
    ),
    mistakes=(
        ("This is how often the first one wins: one may answer `the second`, too.", lambda p: p.mean()),
        ("This is how often two such raters agree: whoever knows p names the likelier side each time.",
         lambda p: (p * p + (1 - p) ** 2).mean()),
        ("The average came first: take the maximum of each pair, then average.",
         lambda p: torch.maximum(p.mean(), 1 - p.mean())),
        ("This is the share of pairs whose first is the better: the labels are chance, so even that knowledge errs.",
         lambda p: (p > 0.5).double().mean()),
        ("This is the best guess's error: take it from 1.", lambda p: torch.minimum(p, 1 - p).mean()),
        ("This is the surest single pair: average over all of them.", lambda p: torch.maximum(p, 1 - p).max()),
        ("Nobody is always right about labels that are drawn by chance.", lambda p: torch.ones(())),
        ("One number is asked for: average over pairs.", lambda p: torch.maximum(p, 1 - p)),
    ),
)

predict_constant = Exercise(
    "predict-constant", NOTEBOOK, "three points against one", *(2, 5, 3),
    "A reward model was trained on comparisons; both responses of a comparison always answered the same prompt. It "
    "gives 3 to a response to prompt A, and 1 to a response to prompt B. What follows? **a)** the first response is "
    "better **b)** the first one would be preferred with probability $\\sigma(2)$ = 0.88 **c)** the first one is good, "
    "since its score is positive **d)** nothing about which is better. Set `prediction` to a letter.",
    ("Add 5 to every score of prompt A. Which comparison notices?",
     "The loss holds only differences between responses to one prompt.",
     "Each prompt has a constant of its own that no comparison fixes: nothing can be said across prompts."),
    "each prompt has a constant of its own, which the training never saw.",
    judge=choice(
        "d",
        a="Add 5 to all the scores of prompt B: no comparison in training notices, and now the second leads 6 to 3.",
        b="That holds for two responses to the *same* prompt. Between prompts no comparison was ever made.",
        c="Zero means nothing, either: take 10 from all scores of prompt A, and no prediction changes.",
    ),
)

EXERCISES = (bradley_terry_loss, margin, k_wise_loss, last_token_index, ensemble_rule, bayes_ceiling, predict_constant)
