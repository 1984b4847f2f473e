"""Nothing that a control can bring about lies outside of its picture."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rlbase.explore import Explorable, bias_scenes, remedies, sources
from rlbase.explore.annotating import annotator_explorer
from rlbase.explore.layout import roomy
from rlbase.explore.scene import Bars, Line, Points, Scene

PICTURES: list[Callable[[], Explorable]] = [
    annotator_explorer,
    bias_scenes.confirmation_explorer,
    bias_scenes.selection_explorer,
    bias_scenes.disagreement_explorer,
    bias_scenes.limited_explorer,
    remedies.vote_explorer,
    remedies.check_explorer,
    remedies.calibration_explorer,
    sources.group_explorer,
    sources.mix_explorer,
    sources.watch_explorer,
]


def outside(scene: Scene) -> list[tuple[str, float]]:
    """Every value of a mark beyond the limits of its panel."""
    found = []
    for panel in scene.panels:
        for mark in panel.marks:
            drawn = (
                mark.heights if isinstance(mark, Bars) else mark.y if isinstance(mark, Line | Points) else ()
            )
            low, high = panel.y_range or (float("-inf"), float("inf"))
            found += [(panel.title, y) for y in drawn if not low - 1e-9 <= y <= high + 1e-9]
    return found


@pytest.mark.parametrize("made", PICTURES, ids=lambda made: made.__name__)
def test_the_ends_of_every_control_stay_in_the_picture(made: Callable[[], Explorable]) -> None:
    picture = made()
    start = picture.values
    assert outside(picture.scene) == []
    for control, box in picture.controls.items():
        ends = getattr(box, "options", None) or (getattr(box, "min", False), getattr(box, "max", True))
        for end in ends:
            value = end[1] if isinstance(end, tuple) else end
            assert outside(picture.compute(**{**start, control: value})) == [], (control, value)


def test_an_axis_doubles_until_there_is_room_and_minds_no_gaps() -> None:
    assert roomy(-4, 6, [7.0, 13.0]) == (-16, 24)
    assert roomy(0, 0.4, [float("nan"), -1.0]) == (0, 0.4)  # from 0 it only grows upwards
