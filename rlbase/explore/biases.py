r"""Four biases as experiments: from labels to a reward model, to a policy, to what it is worth on gold.

The world has 42 answers to one request: 21 lengths x from -1 (short) to 1 (long), each by two writers m (0: a
stranger, 1: the house). Gold knows a best length, and likes the house a little less:

    gold = x - 2.5 x^2 - 0.4 m

Every experiment is a function of the ``strength`` of its bias and of a seed. Its arms are rewards learned from as many
labels each: ``"no bias"``, ``"biased"``, ``"remedied"``, and what else is worth seeing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from rlbase.evaluate import Outcome, outcome
from rlbase.feedback import (
    Annotator,
    Questions,
    ask,
    effective_sample_size,
    importance_weights,
    krippendorff_alpha,
    majority,
    most_informative,
)
from rlbase.train import LinearReward, crowd_reward, linear_reward

LENGTHS = torch.linspace(-1, 1, 21, dtype=torch.float64)
HOUSE = torch.arange(2, dtype=torch.float64).repeat_interleave(21)
CURVE = torch.stack(
    [LENGTHS.repeat(2), LENGTHS.repeat(2) ** 2, HOUSE], 1
)  # x, x^2, m: gold is linear in these
LINE = CURVE[:, [0, 2]]  # a reward model that knows no best length
WEIGHT = torch.tensor([1.0, -2.5, -0.4], dtype=torch.float64)
GOLD = (CURVE @ WEIGHT).round(decimals=9)  # answers that are worth the same are so to the last digit
REF = torch.full((42,), 1 / 42, dtype=torch.float64)
BETA = 0.5
PAIRS = torch.triu_indices(42, 42, 1)
ERRORS = (
    0.05,
    0.15,
    0.3,
    0.4,
)  # of the four raters who try, at full strength; a spammer and an adversary join them


class Arm(NamedTuple):
    """A learned ``reward [42]``, its mean under the reference 0, and what it costs."""

    reward: Tensor
    outcome: Outcome


class Trial(NamedTuple):
    """The ``arms`` of one experiment by name, and other ``facts`` that it found."""

    arms: dict[str, Arm]
    facts: dict[str, float]


Experiment = Callable[..., Trial]


def judged(reward: Tensor) -> Arm:
    """A reward of the 42 answers, judged by gold.

    >>> [abs(round(x, 6)) for x in judged(GOLD + 3).outcome]
    [0.0, 1.0, 0.0]
    """
    return Arm(reward - REF @ reward, outcome(reward, GOLD, REF, beta=BETA))


def drawn(law: Tensor, n: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """``n`` pairs of answers, each of them drawn from ``law`` by itself.

    >>> [len(part) for part in drawn(REF, 5, torch.Generator().manual_seed(0))]
    [5, 5]
    """
    return tuple(torch.multinomial(law, 2 * n, True, generator=draws).view(2, n))  # type: ignore[return-value]


def answered(one: Tensor, other: Tensor, draws: torch.Generator) -> Tensor:
    """What a rater without faults says of each pair: 1 where the first answer is preferred.

    >>> answered(torch.tensor([0]), torch.tensor([12]), torch.Generator().manual_seed(0)).tolist()
    [0.0]
    """
    return ask([Annotator()], Questions(GOLD[one] - GOLD[other]), draws).share()


def selected(strength: float, longest: float = 1.0) -> Tensor:
    r"""The law $s(x)\propto e^{-\text{strength}\,x}$ of answers that are shown, up to the ``longest``, ``[42]``.

    >>> bool(torch.equal(selected(0.0), REF)), round((selected(2.0) @ LENGTHS.repeat(2)).item(), 2)
    (True, -0.58)
    """
    law = REF * (-strength * CURVE[:, 0]).exp() * (CURVE[:, 0] <= longest + 1e-9)
    return law / law.sum()


def selection(strength: float = 2.0, seed: int = 0, n: int = 4000, longest: float = 1.0) -> Trial:
    """Short answers are shown more often than long ones, to a reward model that is too simple for gold.

    Facts: ``effective``, the share of the labels that the weights leave, and the exact one in ``expected``.

    >>> trial = selection()
    >>> trial.arms["biased"].outcome.regret > 2 * trial.arms["remedied"].outcome.regret
    True
    """
    draws, law = torch.Generator().manual_seed(seed), selected(strength, longest)
    even, shown = drawn(REF, n, draws), drawn(law, n, draws)
    fair, said = answered(*even, draws), answered(*shown, draws)
    each = importance_weights(torch.where(law > 0, REF, 0), law)
    weight = each[shown[0]] * each[shown[1]]

    def learned(features: Tensor, pairs: tuple[Tensor, Tensor], labels: Tensor, w: Tensor | None) -> Arm:
        fit = linear_reward(features[pairs[0]] - features[pairs[1]], labels, weight=w)
        return judged(fit.score(features))

    arms = {
        "no bias": learned(LINE, even, fair, None),
        "biased": learned(LINE, shown, said, None),
        "remedied": learned(LINE, shown, said, weight),
        "upside down": learned(LINE, shown, said, 1 / weight),
        "better model": learned(CURVE, shown, said, None),
    }
    exact = (REF[law > 0].sum() ** 2 / (REF * each).sum()) ** 2
    return Trial(arms, {"effective": effective_sample_size(weight) / n, "expected": exact.item()})


def confirmation(strength: float = 1.5, seed: int = 0, n: int = 4000, crowd: int = 10) -> Trial:
    """Raters see who wrote an answer, and expect the house to be better.

    ``"crowd"`` asks that many raters of one belief, ``"remedied"`` draws the names at random and fits the belief.
    Facts: the ``belief`` found there, and its standard ``error``.

    >>> trial = confirmation(1.5)
    >>> abs(trial.facts["belief"] - 1.5) < 3 * trial.facts["error"]
    True
    """
    draws = torch.Generator().manual_seed(seed)
    one, other = drawn(REF, n, draws)
    gap, apart = GOLD[one] - GOLD[other], CURVE[one] - CURVE[other]
    lots = 2 * torch.randint(2, (n,), generator=draws).to(gap) - 1  # a name on each, whoever wrote it

    def labels(believed: Tensor, raters: int = 1) -> Tensor:
        return ask([Annotator(belief=strength)] * raters, Questions(gap, believed=believed), draws).share()

    def learned(said: Tensor, covariate: Tensor | None = None) -> LinearReward:
        return linear_reward(apart, said, covariates=covariate)

    blind, told = learned(labels(0 * gap)), learned(labels(apart[:, 2]))
    many, fitted = learned(labels(apart[:, 2], crowd)), learned(labels(lots), lots[:, None])
    fits = {"no bias": blind, "biased": told, "remedied": fitted, "crowd": many}
    facts = {"belief": fitted.shift.item(), "error": fitted.error[-1].item(), "house": told.weight[2].item()}
    return Trial({name: judged(fit.score(CURVE)) for name, fit in fits.items()}, facts)


def raters(strength: float = 1.0) -> list[Annotator]:
    """Four who try, one who does not look and one who answers the wrong way on purpose.

    >>> [round(1 - max(a.confusion[0], a.spamming / 2, a.malice), 2) for a in raters(1.0)]
    [0.95, 0.85, 0.7, 0.6, 0.5, 0.2]
    """
    trying = [Annotator(confusion=(strength * e, strength * e)) for e in ERRORS]
    return [*trying, Annotator(spamming=strength), Annotator(malice=0.8 * strength)]


def disagreement(strength: float = 1.0, seed: int = 0, n: int = 1500) -> Trial:
    """Six raters of different care answer the same questions, each of which has one right answer.

    The right answer of a question is the first with Bradley-Terry's probability; raters report it, or do not. Facts:
    Krippendorff's ``alpha``, and how often the ``vote`` and the ``consensus`` are right.

    >>> trial = disagreement(1.0)
    >>> trial.facts["consensus"] > trial.facts["vote"] + 0.05
    True
    """
    draws = torch.Generator().manual_seed(seed)
    one, other = drawn(REF, n, draws)
    apart, right = CURVE[one] - CURVE[other], answered(one, other, draws)
    said = ask(raters(strength), Questions(100 * (2 * right - 1)), draws)  # a right answer leaves no doubt
    votes, found = majority(said), crowd_reward(apart, said)
    arms = {"no bias": right, "biased": said.share(), "vote": votes}
    learned = {name: judged(linear_reward(apart, labels).score(CURVE)) for name, labels in arms.items()}
    learned["remedied"] = judged(found.fit.score(CURVE))
    facts = {
        "alpha": krippendorff_alpha(said.label),
        "vote": 1 - (votes - right).abs().mean().item(),
        "consensus": ((found.prob > 0.5) == (right > 0.5)).double().mean().item(),
    }
    return Trial(learned, facts)


def unrated(strength: float, seed: int) -> Tensor:
    """Which answers nobody is ever asked about, a ``strength`` of all, ``[42]``.

    >>> int(unrated(0.5, 0).sum())
    21
    """
    return torch.randperm(42, generator=torch.Generator().manual_seed(seed)) < round(42 * strength)


def limited(strength: float = 0.5, seed: int = 0, n: int = 4000) -> Trial:
    """A part of the answers is never rated, by a reward model with one number for each and a prior.

    Facts: root mean square of what is wrong on the ``unrated`` answers, and what the ``prior`` alone gets wrong there.

    >>> trial = limited(0.5)
    >>> abs(trial.facts["unrated"] - trial.facts["prior"]) < 0.1
    True
    """
    draws, never = torch.Generator().manual_seed(seed), unrated(strength, seed)
    law = torch.where(never, 0, REF) / REF[~never].sum()
    table = torch.eye(42, dtype=torch.float64)

    def learned(features: Tensor, pairs: tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
        return linear_reward(features[pairs[0]] - features[pairs[1]], labels, prior=1.0).score(features)

    even, some = drawn(REF, n, draws), drawn(law, n, draws)
    fair, said = answered(*even, draws), answered(*some, draws)
    part = learned(table, some, said)
    arms = {"no bias": learned(table, even, fair), "biased": part, "remedied": learned(CURVE, some, said)}
    gold = GOLD - GOLD[~never].mean()  # the prior knows no more than the mean of what was rated
    off = {"unrated": part - gold, "prior": -gold}
    facts = {name: x[never].square().mean().nan_to_num().sqrt().item() for name, x in off.items()}
    return Trial({name: judged(reward) for name, reward in arms.items()}, facts)


def queried(n: int, seed: int, *, actively: bool, features: Tensor = CURVE, rounds: int = 4) -> Trial:
    """``n`` labels: a first round drawn evenly, and each further one too, or those that the fit so far says tell most.

    Facts: root mean squared error ``predicted`` by the information of the last fit.

    >>> [round(queried(400, 0, actively=a).facts["predicted"], 2) for a in (False, True)]
    [0.17, 0.12]
    """
    draws, size = torch.Generator().manual_seed(seed), n // rounds
    aim, apart = torch.cov(features.T, correction=0), features[PAIRS[0]] - features[PAIRS[1]]
    pairs = torch.stack(drawn(REF, size, draws))
    said = answered(pairs[0], pairs[1], draws)
    while True:
        fit = linear_reward(features[pairs[0]] - features[pairs[1]], said, prior=0.1)
        if len(said) >= size * rounds:
            break
        if actively:
            more = PAIRS[:, most_informative(apart, fit.score(apart), size, known=fit.information, aim=aim)]
        else:
            more = torch.stack(drawn(REF, size, draws))
        pairs, said = torch.cat([pairs, more], 1), torch.cat([said, answered(more[0], more[1], draws)])
    predicted = (aim * fit.information.inverse()).sum().sqrt().item()
    return Trial({"learned": judged(fit.score(features))}, {"predicted": predicted})


EXPERIMENTS: dict[str, Experiment] = {
    "selection": selection,
    "confirmation": confirmation,
    "disagreement": disagreement,
    "limited": limited,
}


def repeated(
    experiment: Experiment, strength: float, seeds: Iterable[int] = range(5), n: int | None = None
) -> dict[str, Tensor]:
    """Error, accuracy and regret of each arm over ``seeds``, ``[seeds, 3]``; from ``n`` labels, if that is given.

    >>> {name: tuple(found.shape) for name, found in repeated(limited, 0.5, range(2)).items()}
    {'no bias': (2, 3), 'biased': (2, 3), 'remedied': (2, 3)}
    """
    settings = {} if n is None else {"n": n}
    trials = [experiment(strength, seed, **settings) for seed in seeds]
    return {name: torch.tensor([trial.arms[name].outcome for trial in trials]) for name in trials[0].arms}
