"""Llama 2's margins: where they sharpen "significantly better", where they do the opposite, what they always cost."""

from __future__ import annotations

import pytest
import torch

from rlbase.data.encode import LARGE_MARGINS, SMALL_MARGINS
from rlbase.explore.two_goals import accuracy_by_strength

COMMON, RARE = 0.8, 1.3  # the step past which the reward jumps: it parts many pairs, or few


def gain(step_at: float, factor: float) -> tuple[torch.Tensor, float]:
    """Points of accuracy that margins give for each strength, and how much longer the fitted line becomes."""
    plain, length = accuracy_by_strength(step_at, n=6000)
    found, longer = accuracy_by_strength(step_at, factor, n=6000)
    return torch.tensor(found) - torch.tensor(plain), longer / length


def test_the_tables_are_the_papers() -> None:
    """Touvron et al. 2023, table 27."""
    names = ("significantly better", "better", "slightly better", "negligibly better")
    assert [SMALL_MARGINS[name] for name in names] == pytest.approx([1, 2 / 3, 1 / 3, 0])
    assert [LARGE_MARGINS[name] for name in names] == pytest.approx([3, 2, 1, 0])


@pytest.mark.parametrize("factor", [1 / 3, 1.0], ids=["small", "large"])
def test_margins_sharpen_the_significant_where_it_is_common(factor: float) -> None:
    """The step parts many pairs: margins turn the line towards it, two points and more; the negligible pay for it."""
    by_strength, longer = gain(COMMON, factor)
    assert by_strength[3] >= 2.0 and by_strength[0] <= 0
    # asked to be further ahead, all scores grow: a price beta on KL set before now buys less
    assert longer > 1.2


def test_margins_do_the_opposite_where_the_significant_is_rare() -> None:
    """The same rule in a world where few are past the step, but far: no general remedy (Llama 3 dropped margins)."""
    by_strength, _ = gain(RARE, 1.0)
    assert by_strength[3] < -2.0 and by_strength[0] > 1.0


def test_an_added_margin_is_the_reverse() -> None:
    """The sign that is easily got wrong: added instead of subtracted, what should be furthest apart is let go."""
    by_strength, shorter = gain(COMMON, -1.0)
    assert by_strength[3] < -2.0 and shorter < 1
