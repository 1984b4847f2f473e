"""The explorers of two goals, against closed forms."""

from __future__ import annotations

import pytest

from rlbase.exact import bt_projection
from rlbase.explore.live import Explorable, to_json
from rlbase.explore.two_goals import (
    accuracy_by_strength,
    inflated_gap,
    margin_explorer,
    threshold_explorer,
    threshold_scene,
    worlds_explorer,
)


@pytest.mark.parametrize(
    "make", [threshold_explorer, margin_explorer, worlds_explorer], ids=lambda f: f.__name__
)
def test_every_corner_of_every_control_draws(make) -> None:
    widget: Explorable = make()
    start = widget.values
    for name, control in widget.controls.items():
        kind = type(control).__name__
        options = getattr(control, "options", ())
        ends = [value for _, value in options] if kind == "Dropdown" else [control.min, control.max]
        for end in ends:
            to_json(widget.compute(**{**start, name: 10**end if kind == "FloatLogSlider" else end}))


@pytest.mark.parametrize("prob", [0.5, 0.75, 0.98])
@pytest.mark.parametrize("margin", [-1.0, 0.0, 1.0, 3.0])
def test_the_inflated_gap_is_what_bradley_terry_fits(prob: float, margin: float) -> None:
    import torch

    preference = torch.tensor([[0.5, prob], [1 - prob, 0.5]], dtype=torch.float64)
    first, second = bt_projection(preference, margin=margin).tolist()
    assert inflated_gap(prob, margin) == pytest.approx(first - second, abs=1e-9)


def test_the_threshold_moves_the_policy_along() -> None:
    """D, the most helpful that passes at .15; C at .3; everybody is silenced at 1, and both requests are alike."""
    likeliest = {}
    for threshold in (0.15, 0.3, 1.0):
        laws = threshold_scene(threshold).panels[2].marks
        likeliest[threshold] = "ABCDEF"[max(range(6), key=lambda i: laws[1].heights[i])]
    assert likeliest == {0.15: "D", 0.3: "C", 1.0: "A"}
    assert laws[1].heights == pytest.approx(laws[2].heights)


def test_margins_help_the_clear_verdicts_where_these_are_common_and_harm_them_where_rare() -> None:
    for step_at, low, high in ((0.8, 2, 8), (1.3, -8, -2)):
        plain, length = accuracy_by_strength(step_at)
        found, longer = accuracy_by_strength(step_at, 1.0)
        assert low < found[3] - plain[3] < high and longer > 1.2 * length
    assert accuracy_by_strength(0.8, -1.0)[0][3] < accuracy_by_strength(0.8)[0][3] - 10
