"""One annotator in hand: the picture says what was computed, and each fault does what its formula says."""

from __future__ import annotations

import re

import pytest
import torch

from rlbase.data.shelf import shelf
from rlbase.explore.annotating import (
    GOLD,
    WORTH,
    annotator_explorer,
    annotator_scene,
    place_of,
    policy_of,
)
from rlbase.explore.live import to_json
from rlbase.explore.scene import Line, Points


def curve(scene, label: str) -> torch.Tensor:
    return torch.tensor(next(m.y for m in scene.panels[0].marks if isinstance(m, Line) and m.label == label))


def learned(scene) -> list[float]:
    marks = scene.panels[1].marks
    return list(next(m.y for m in marks if isinstance(m, Points) and m.label == "learned"))


def half_widths(scene) -> list[float]:
    bars = [m for m in scene.panels[1].marks if isinstance(m, Line) and m.width == 4]
    return [(m.y[1] - m.y[0]) / 2 for m in bars]


def test_every_corner_of_every_control_draws() -> None:
    widget = annotator_explorer()
    for name, control in widget.controls.items():
        ends = (False, True) if name == "places" else (control.min, control.max)  # type: ignore[attr-defined]
        for end in ends:
            to_json(widget.compute(**{**widget.values, name: end}))


def test_the_curves_are_the_annotators() -> None:
    gold = torch.linspace(-4, 4, 81)
    scene = annotator_scene(position=1.0, length=0.5)
    torch.testing.assert_close(curve(scene, "shown left"), (gold + 1.5).sigmoid())
    torch.testing.assert_close(curve(scene, "shown right"), (gold - 0.5).sigmoid())
    torch.testing.assert_close(curve(annotator_scene(malice=1.0), "shown left"), 1 - gold.sigmoid())


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ({}, [2.0, 2.0, 0.0, 0.0]),
        ({"position": 1.5}, [2.0, 2.0, 0.0, 1.5]),
        ({"length": 1.0}, [2.0, 2.0, 1.0, 0.0]),
        ({"temperature": 2.0, "length": 1.0, "position": 1.0}, [1.0, 1.0, 0.5, 0.5]),
        ({"malice": 1.0, "length": 1.0}, [-2.0, -2.0, -1.0, 0.0]),
        ({"spamming": 1.0}, [0.0, 0.0, 0.0, 0.0]),
    ],
    ids=str,
)
def test_two_thousand_answers_teach_the_faults_too(faults: dict[str, float], expected: list[float]) -> None:
    scene = annotator_scene(**faults)
    off = [abs(w - e) / h for w, e, h in zip(learned(scene), expected, half_widths(scene), strict=True)]
    assert max(off) < 1.6, off  # of a 95 % interval; four of them at once


def test_places_that_the_fit_is_not_told_shrink_the_reward() -> None:
    told, untold = (learned(annotator_scene(position=3.0, places=known)) for known in (True, False))
    assert untold[3] == 0 and all(u < 0.6 * t for u, t in zip(untold[:2], told[:2], strict=True))


def test_a_liking_for_length_lengthens_what_the_policy_writes() -> None:
    words = [
        int(re.findall(r"writes (\d+) words", annotator_scene(length=x).caption)[0]) for x in (-1, 0, 1, 2)
    ]
    assert words == sorted(words) and words[-1] - words[0] >= 8


def test_the_gold_policy_is_the_best_there_is() -> None:
    reviews = shelf()
    gold = place_of(reviews, policy_of(reviews, GOLD))
    flat = place_of(reviews, policy_of(reviews, torch.zeros(3)))
    assert (
        flat.appeal == pytest.approx(reviews.appeal.mean().item(), abs=1e-6)
        and gold.appeal > flat.appeal + 0.2
    )
    torch.testing.assert_close(reviews.features @ GOLD, WORTH * reviews.appeal)
    assert (
        "regret is 0.0" in annotator_scene().caption
    )  # 2,000 answers without faults: hardly anything is lost
