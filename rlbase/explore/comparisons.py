"""Comparisons in hand: a rater with known taste, the scores that fit what they said, and what is left open."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from rlbase.exact import bt_projection
from rlbase.explore.live import Explorable, buttons, explore, slider
from rlbase.explore.scene import Bars, Line, Panel, Points, Scene, number
from rlbase.feedback import Rater
from rlbase.losses import soft_bradley_terry
from rlbase.policies import TabularReward
from rlbase.train.reward_model import RewardModelConfig, reward_model
from rlbase.types import Choices, PreferencePairs

ANSWERS = ["A", "B", "C", "D"]
WORTH = torch.tensor([0.0, 1.0, 0.5, 2.0])
FIRST, SECOND = torch.triu_indices(4, 4, 1)  # the six pairs


def asked(each: int, temperature: float, seed: int = 0) -> Tensor:
    """How often the first of each of the six pairs won when the rater saw every pair ``each`` times, ``[6]``.

    >>> [round(p, 2) for p in asked(1_000_000, temperature=1.0).tolist()]  # A beats B: sigma(-1) = 0.27
    [0.27, 0.38, 0.12, 0.62, 0.27, 0.18]
    """
    prob = Rater(temperature).prob(WORTH[FIRST], WORTH[SECOND])
    draws = torch.Generator().manual_seed(seed)
    wins = torch.binomial(torch.full_like(prob, each), prob, generator=draws)
    return wins / each


def fit(wins: Tensor, updates: int = 200) -> Tensor:
    """Scores that `rlbase.train.reward_model` finds for the four answers, mean 0, ``[4]``.

    >>> [round(r, 2) for r in fit((WORTH[FIRST] - WORTH[SECOND]).sigmoid()).tolist()]  # the worth, less its mean
    [-0.87, 0.13, -0.37, 1.12]
    """
    model: Any = TabularReward(1, 4)
    sides = [
        Choices(torch.zeros(6, 1).long(), side[:, None], torch.ones(6, 1).bool()) for side in (FIRST, SECOND)
    ]
    config = RewardModelConfig(updates=updates, batch_size=6, learning_rate=0.2)
    for _ in reward_model(model, PreferencePairs(sides[0], sides[1], prob=wins), config):
        pass
    scores = model.table[0].detach()
    return scores - scores.mean()


def settled(wins: Tensor) -> bool:
    """Whether finite scores fit ``wins`` best: from each answer to each there is a chain of wins.

    >>> settled(torch.full((6,), 0.5)), settled(torch.ones(6))
    (True, False)
    """
    share = torch.zeros(4, 4)
    share[FIRST, SECOND], share[SECOND, FIRST] = wins, 1 - wins
    try:
        bt_projection(share)
    except ValueError:
        return False
    return True


@lru_cache
def _fitted(each: int, temperature: float) -> tuple[Tensor, Tensor]:
    wins = asked(each, temperature)
    return wins, fit(wins)


def comparison_scene(each: int = 30, temperature: float = 1.0, constant: float = 0.0) -> Scene:
    """True worth and learned scores, and how well the scores tell who wins."""
    wins, centred = _fitted(each, temperature)
    scores = centred + constant
    loss = soft_bradley_terry(scores[FIRST], scores[SECOND], wins).mean().item()
    said = (scores[FIRST] - scores[SECOND]).sigmoid()
    bars = [
        Bars(WORTH - WORTH.mean(), "truth", "true worth, mean 0"),
        Bars(scores, "policy", "learned, plus your constant"),
    ]
    left = Panel(bars, "Scores", "answer", "score", y_range=(-6, 6), categories=ANSWERS)
    marks = [
        Line([0, 1], [0, 1], "reference", "said = seen", dashed=True, width=1.8),
        Points(said, wins, "policy", "the six pairs", size=5),
    ]
    names = ("Does the first one win?", "probability by the scores", "share of the comparisons won")
    caption = (
        f"{6 * each:,} comparisons. Loss {loss:.4f} nats a comparison with {number(constant)} added to every score. "
        f"Score of D less score of A: {number((scores[3] - scores[0]).item())}; true worth: 2."
    )
    caption += "" if settled(wins) else " Wins lead one way only: the longer one trains, the wider the gaps."
    return Scene([left, Panel(marks, *names, (0, 1), (0, 1), weight=0.8)], caption, width=900, height=340)


def comparison_explorer() -> Explorable:
    """The number of comparisons, the rater's temperature and a constant in hand."""
    controls = {
        "each": buttons(30, [1, 3, 30, 300, 10_000], label="comparisons of each pair"),
        "temperature": slider(1.0, 0.25, 4.0, step=0.25, label="temperature of the rater"),
        "constant": slider(0.0, -3.0, 3.0, step=0.5, label="constant added"),
    }
    return explore(comparison_scene, controls)
