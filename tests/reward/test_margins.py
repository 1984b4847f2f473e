"""Llama 2's margins: where they sharpen "significantly better", where they do the opposite, what they always cost."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rlbase.data.encode import LARGE_MARGINS, SMALL_MARGINS
from rlbase.train.reward_model import RewardModelConfig, reward_model
from rlbase.types import Choices, PreferencePairs

STRENGTHS = ("negligibly better", "slightly better", "better", "significantly better")


class Line(nn.Module):
    """As little as can be fitted: a straight line through a reward that has a step in it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))

    def score(self, obs: Any, actions: Tensor, mask: Tensor) -> Tensor:
        return obs[:, 0] @ self.weight


def compared(n: int, step_at: float, seed: int) -> tuple[PreferencePairs, Tensor]:
    """Pairs by r(x) = 4 [x_1 > step] - .6 x_1 + .5 x_2 as a rater sees it: past the step x_1 helps, elsewhere it hurts.

    The quarter of all pairs that looks furthest apart is called significantly better, and so on; see the second answer.
    """
    generator = torch.Generator().manual_seed(seed)
    items = torch.randn(2, n, 2, generator=generator)
    worth = 4 * (items[..., 0] > step_at).float() - 0.6 * items[..., 0] + 0.5 * items[..., 1]
    seen = worth[0] - worth[1] + 0.25 * torch.randn(n, generator=generator)
    first, zeros, ones = (seen > 0)[:, None], torch.zeros(n, 1).long(), torch.ones(n, 1).bool()
    sides = (torch.where(first, items[0], items[1]), torch.where(first, items[1], items[0]))
    chosen, rejected = (Choices(side[:, None], zeros, ones) for side in sides)
    strength = torch.bucketize(seen.abs(), seen.abs().quantile(torch.tensor([0.25, 0.5, 0.75])))
    return PreferencePairs(chosen, rejected), strength


def accuracy_by_strength(step_at: float, margins: dict[Any, float] | None) -> tuple[Tensor, float]:
    pairs, strength = compared(6000, step_at, seed=0)
    if margins is not None:
        table = torch.tensor([margins[name] for name in STRENGTHS])
        pairs = PreferencePairs(pairs.chosen, pairs.rejected, margin=table[strength])
    model = Line()
    config = RewardModelConfig(updates=150, batch_size=6000, learning_rate=0.03, schedule="linear")
    list(reward_model(model, pairs, config))
    test, strength = compared(20_000, step_at, seed=1)
    both = [model.score(side.obs, side.actions, side.mask) for side in (test.chosen, test.rejected)]
    right = (both[0] > both[1]).float()
    by_strength = torch.stack([right[strength == level].mean() for level in range(4)])
    return 100 * by_strength, model.weight.detach().norm().item()


@pytest.mark.parametrize("margins", [SMALL_MARGINS, LARGE_MARGINS], ids=["small", "large"])
def test_margins_sharpen_the_significant_where_it_is_common(margins: dict[Any, float]) -> None:
    """The step parts many pairs: margins turn the line towards it, two points and more; the negligible pay for it."""
    plain, length = accuracy_by_strength(0.8, None)
    with_margin, longer = accuracy_by_strength(0.8, margins)
    gain = with_margin - plain
    assert gain[3] >= 2.0 and gain[0] <= 0
    # asked to be further ahead, all scores grow: a price beta on KL set before now buys less
    assert longer > 1.2 * length


def test_margins_do_the_opposite_where_the_significant_is_rare() -> None:
    """The same rule in a world where few are past the step, but far: no general remedy (Llama 3 dropped margins)."""
    gain = accuracy_by_strength(1.3, LARGE_MARGINS)[0] - accuracy_by_strength(1.3, None)[0]
    assert gain[3] < -2.0 and gain[0] > 1.0


def test_an_added_margin_is_the_reverse() -> None:
    """The sign that is easily got wrong: added instead of subtracted, what should be furthest apart is let go."""
    plain, length = accuracy_by_strength(0.8, None)
    wrong, shorter = accuracy_by_strength(0.8, {name: -value for name, value in LARGE_MARGINS.items()})
    assert wrong[3] < plain[3] - 2.0 and shorter < length
