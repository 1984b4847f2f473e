"""Remedies for the raters: consensus, gold questions, calibration; from labels to a reward, a policy and its regret.

Sixty answers differ in quality, wit and length, three independent standard normals. Gold is the quality alone. Labels
are made by `rlbase.feedback.ask`, the reward is linear in all three and solved exactly
(`rlbase.train.linear_reward`), the policy is its optimum at a price of KL of 1/2.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from rlbase.evaluate import Calibration, Outcome, calibration_curve, outcome
from rlbase.exact import majority_accuracy
from rlbase.explore.layout import roomy
from rlbase.explore.live import Explorable, choice, explore, int_slider, slider
from rlbase.explore.scene import Bars, Line, Panel, Points, Scene, number
from rlbase.feedback import (
    Annotator,
    Chart,
    Questions,
    ask,
    control_chart,
    dawid_skene,
    detection_power,
    fit_temperature,
    majority,
)
from rlbase.train import crowd_reward, linear_reward

FEATURES = torch.randn(60, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
GOLD = FEATURES[:, 0]
REF = torch.full((60,), 1 / 60, dtype=torch.float64)
BETA = 0.5
BAD = {"spammers": Annotator(spamming=1.0), "lovers of length": Annotator(length=2.0)}
KEYS = ("clear", "contested", "keyed by length")


def compared(n: int, luck: torch.Generator) -> Tensor:
    """Features of the first of two answers less those of the second, ``[n, 3]``, for ``n`` random pairs.

    >>> compared(5, torch.Generator().manual_seed(0)).shape
    torch.Size([5, 3])
    """
    first = torch.randint(60, (n,), generator=luck)
    second = (first + torch.randint(1, 60, (n,), generator=luck)) % 60
    return FEATURES[first] - FEATURES[second]


def cost(weight: Tensor, gold: Tensor = GOLD) -> Outcome:
    """What it costs to believe in these weights of quality, wit and length.

    >>> cost(torch.tensor([1.0, 0.0, 0.0])).regret
    0.0
    """
    return outcome(FEATURES @ weight.double(), gold, REF, beta=BETA)


def learned(difference: Tensor, prob: Tensor) -> Outcome:
    """From labels to what the policy costs that they train."""
    return cost(linear_reward(difference, prob, prior=1.0).weight)


def regrets(found: dict[str, float], top: float = 1.5, weight: float = 1.0) -> Panel:
    """A panel of what the policy loses, way by way; the axis doubles where ``top`` is not enough."""
    bars = Bars(list(found.values()), "wrong")
    names = list(found)
    return Panel(
        [bars], "What the policy loses", "", "regret", None, roomy(0, top, bars.heights), False, names, weight
    )


class Voted(NamedTuple):
    """For each way to count votes the share of ``right`` labels and the `Outcome`; the accuracies ``found``."""

    right: dict[str, float]
    outcome: dict[str, Outcome]
    found: Tensor


@lru_cache(maxsize=128)
def voted(accuracies: tuple[float, ...], length: float = 0.0, n: int = 1000, seed: int = 0) -> Voted:
    """Raters of these ``accuracies`` report the right answer of each pair, which gold draws by Bradley-Terry.

    The ``"joint fit"`` is `rlbase.train.crowd_reward`: Dawid and Skene's estimate with the reward model inside.

    Args:
        length: at 1 a length that differs by a standard deviation weighs as much as the right answer: for all raters.

    >>> six = voted((0.92, 0.85, 0.6, 0.55, 0.55, 0.25))
    >>> six.right["Dawid-Skene"] > six.right["majority"] + 0.03
    True
    """
    luck = torch.Generator().manual_seed(seed)
    apart = compared(n, luck)
    truth = (torch.rand(n, generator=luck) < apart[:, 0].sigmoid()).double()
    crowd = [Annotator(temperature=0, confusion=(1 - p, 1 - p), length=length) for p in accuracies]
    said = ask(crowd, Questions(2 * truth - 1, longer=apart[:, 2]), luck)
    found = dawid_skene(said)
    labels = {"one rater": said.label[:, 0], "majority": majority(said), "Dawid-Skene": found.prob}
    # A tie is right half the time.
    right = {k: 1 - ((2 * q - 1).sign() / 2 + 0.5 - truth).abs().mean().item() for k, q in labels.items()}
    outcomes = {name: learned(apart, label) for name, label in labels.items()}
    outcomes["joint fit"] = cost(crowd_reward(apart, said, prior=1.0).fit.weight)
    return Voted(right, outcomes, found.accuracy)


def vote_scene(accuracy: float = 0.7, raters: int = 5, liars: int = 0, length: float = 0.0) -> Scene:
    """How often each way to count is right, who is believed, and what the policy loses."""
    raters, liars = int(raters), min(int(liars), int(raters))
    true = (accuracy,) * (raters - liars) + (1 - accuracy,) * liars
    got = voted(true, length)
    names, law = list(got.right), majority_accuracy(accuracy, raters)
    told = [Bars(list(got.right.values()), "policy"), Line([0, 3], [law] * 2, "truth", "Condorcet", True)]
    who = [
        Points(range(1, raters + 1), true, "truth", "true", 6, hollow=True),
        Points(range(1, raters + 1), got.found, "policy", "found"),
    ]
    panels = [
        Panel(told, "Labels that are right", "", "share", (0, 3), (0, 1.08), categories=names),
        Panel(who, "Who is right how often", "rater", "accuracy", (0.5, 15.5), (0, 1.05)),
        regrets({name: found.regret for name, found in got.outcome.items()}, 2.5, 1.3),
    ]
    shares = ", ".join(f"{name} {share:.3f}" for name, share in got.right.items())
    return Scene(panels, f"Right: {shares}. Condorcet, if nobody lies: {law:.3f}.", width=1180, height=330)


def vote_explorer() -> Explorable:
    """How many raters, how good, how many liars, and a mistake that all share, in hand."""
    controls = {
        "accuracy": slider(0.7, 0.3, 0.95, step=0.05, label="accuracy of the honest"),
        "raters": int_slider(5, 1, 15, label="raters"),
        "liars": int_slider(0, 0, 15, label="of them liars"),
        "length": slider(0.0, 0.0, 2.0, step=0.25, label="liking for length, shared"),
    }
    return explore(vote_scene, controls)


class Checked(NamedTuple):
    """The control ``chart`` over twenty raters, and the `Outcome` of ``all`` labels and of those who ``passed``."""

    chart: Chart
    all: Outcome
    passed: Outcome


@lru_cache(maxsize=128)
def checked(
    gold: int = 20, bad: int = 8, kind: str = "spammers", key: str = "clear", n: int = 4000, seed: int = 0
) -> Checked:
    """Twenty raters, the last ``bad`` of one ``kind``, answer ``gold`` questions; who fails has all labels removed.

    Every rater labels a twentieth of ``n`` pairs. Honest ones answer by Bradley-Terry. A clear question has a gap of
    2.2, so that they are right in nine of ten; a contested one has 0.4, which makes it six; and a key made by
    somebody who goes by length has nothing to do with quality.

    >>> found = checked()
    >>> found.passed.regret < found.all.regret / 2, found.chart.flagged[12:].sum().item() >= 6
    (True, True)
    """
    luck = torch.Generator().manual_seed(seed)
    crowd = [Annotator()] * (20 - bad) + [BAD[kind]] * bad
    apart, mine = compared(n, luck), torch.arange(n)
    said = ask(crowd, Questions(apart[:, 0], longer=apart[:, 2]), luck).label[mine, mine % 20]
    side = 2.0 * torch.randint(2, (gold,), generator=luck) - 1
    longer = 1.4 * torch.randn(gold, generator=luck)
    asked = Questions(side * (0.4 if key == "contested" else 2.2), longer=longer)
    keyed = (longer if key == "keyed by length" else side) > 0
    chart = control_chart(ask(crowd, asked, luck), keyed.double(), accuracy=0.9)
    kept = ~chart.flagged[mine % 20]
    passed = learned(apart[kept], said[kept]) if kept.any() else cost(torch.zeros(3))
    return Checked(chart, learned(apart, said), passed)


def check_scene(gold: int = 20, bad: int = 8, kind: str = "spammers", key: str = "clear") -> Scene:
    """Who passes the gold questions, how often they catch a coin, and what the policy loses."""
    gold, bad = int(gold), int(bad)
    found, sizes = checked(gold, bad, kind, key), range(1, 61)
    right, rows = found.chart.right, torch.arange(1, 21)
    marks = [
        Points(rows[: 20 - bad], right[: 20 - bad], "policy", "honest"),
        Points(rows[20 - bad :], right[20 - bad :], "wrong", kind),
        Line([0.5, 20.5], [found.chart.least[0].item()] * 2, "truth", "needed to pass", dashed=True),
    ]
    power = [detection_power(k, 0.9, 0.5) for k in sizes]
    caught = [Line(sizes, power, "truth", "a coin is caught"), Points([gold], [power[gold - 1]], "policy")]
    panels = [
        Panel(marks, "Right answers to gold questions", "rater", "right", (0.5, 20.5), (-1, 62)),
        Panel(caught, "What the questions buy", "gold questions", "probability", (0, 60), (0, 1.05)),
        regrets({"all labels": found.all.regret, "of who passed": found.passed.regret}),
    ]
    honest, others = (int(part.sum()) for part in found.chart.flagged.split([20 - bad, bad]))
    told = f"Out: {honest} of {20 - bad} honest raters, {others} of {bad} {kind}."
    return Scene(panels, told, width=1120, height=330)


def check_explorer() -> Explorable:
    """The number and the kind of gold questions, and whom they are to find, in hand."""
    controls = {
        "gold": int_slider(20, 1, 60, label="gold questions"),
        "bad": int_slider(8, 0, 20, label="bad raters of 20"),
        "kind": choice("spammers", list(BAD), label="who are"),
        "key": choice("clear", list(KEYS), label="the questions are"),
    }
    return explore(check_scene, controls)


class Calibrated(NamedTuple):
    """The fitted ``temperature``; `Calibration` and `Outcome` of the judge ``before`` and ``after``."""

    temperature: float
    curve: dict[str, Calibration]
    outcome: dict[str, Outcome]


@lru_cache(maxsize=128)
def calibrated(
    stretch: float = 3.0, length: float = 0.0, gold: int = 400, votes: int = 1, n: int = 4000, seed: int = 0
) -> Calibrated:
    """A judge whose log-odds are ``stretch`` times too large, and liking for ``length``, is calibrated on gold items.

    Args:
        gold: comparisons with a human answer that the temperature is fitted to; an odd number of ``votes`` on each.

    >>> found = calibrated()
    >>> abs(found.temperature - 3) < 0.6, found.outcome["after"].regret < found.outcome["before"].regret / 5
    (True, True)
    """
    luck = torch.Generator().manual_seed(seed)
    apart, items = compared(n, luck), compared(gold, luck)
    logit, known = (stretch * (x[:, 0] + length * x[:, 2]) for x in (apart, items))
    people = majority(ask([Annotator()] * votes, Questions(items[:, 0]), luck))
    fresh = ask([Annotator()], Questions(apart[:, 0]), luck).label[:, 0]
    temperature = fit_temperature(known, people)
    told = {"before": logit.sigmoid(), "after": (logit / temperature).sigmoid()}
    curves = {name: calibration_curve(prob, fresh) for name, prob in told.items()}
    return Calibrated(temperature, curves, {name: learned(apart, prob) for name, prob in told.items()})


def calibration_scene(stretch: float = 3.0, length: float = 0.0, gold: int = 400, votes: int = 1) -> Scene:
    """What the judge says against what people say, before and after, and what the policy loses."""
    found = calibrated(stretch, length, int(gold), int(votes))
    marks = [Line([0, 1], [0, 1], "truth", "as sure as it is right", dashed=True, width=1.5)]
    for (name, curve), color in zip(found.curve.items(), ("wrong", "policy"), strict=True):
        marks.append(Line(curve.prob, curve.outcome, color, name))
    axes = ("Is 70 % worth 70 %?", "the judge says first", "people say first", (0, 1), (0, 1))
    ece = " to ".join(f"{curve.ece:.3f}" for curve in found.curve.values())
    right = " and ".join(f"{each.accuracy:.3f}" for each in found.outcome.values())
    caption = f"Temperature {number(found.temperature)}. ECE from {ece}. The reward ranks {right} of all pairs rightly."
    lost = regrets({name: each.regret for name, each in found.outcome.items()})
    return Scene([Panel(marks, *axes), lost], caption, width=900, height=340)


def calibration_explorer() -> Explorable:
    """How much too sure the judge is, what it likes, and the gold items, in hand."""
    controls = {
        "stretch": slider(3.0, 0.25, 5.0, step=0.25, label="log-odds stretched by"),
        "length": slider(0.0, 0.0, 2.0, step=0.25, label="the judge's liking for length"),
        "gold": int_slider(400, 50, 2000, step=50, label="gold items"),
        "votes": int_slider(1, 1, 9, step=2, label="votes on each"),
    }
    return explore(calibration_scene, controls)
