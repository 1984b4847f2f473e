"""Scenes hold finite numbers, say what they show, and lie in pixels where arithmetic puts them."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from rlbase.explore import COLOURS, Band, Bars, Cells, Line, Note, Panel, Points, Scene, draw, png
from rlbase.explore.figure import INK
from rlbase.explore.geometry import (
    Axes,
    Box,
    Words,
    clip_runs,
    linear_ticks,
    log_ticks,
    luminance,
    ramp,
    text_on,
)
from rlbase.explore.layout import layout
from rlbase.explore.live import to_json
from rlbase.explore.scene import number

EVERYTHING = Scene(
    [
        Panel(
            [
                Line([0, 1, 2], [0, 4, 1], label="up"),
                Points([1], [2], "wrong", "here"),
                Band([0, 2], [0, 0], [1, 1], "other", "spread"),
                Note(1, 1, "a note"),
            ],
            title="First",
            x_label="time, s",
            y_label="height, m",
        ),
        Panel([Bars([0.25, -0.75], "truth", "share")], "Second", categories=["a", "b"]),
        Panel([Cells([[1, None], [-2, 3]], arrows=[[(1, 0), None], [None, (0, -1)]])], "Third"),
        Panel([Line([0.1, 10], [0, 1])], "Fourth", x_log=True),
    ],
    caption="Four of them.",
)


def test_alt_text_is_computed_from_the_numbers() -> None:
    assert EVERYTHING.alt == (
        "Four of them. First: up goes from 0 to 1 with a peak of 4 at 1; here at (1, 2); spread ends between 0 and 1; "
        "a note. Second: share a 0.25, b -0.75. Third: value in 2 by 2 cells from -2 to 3. Fourth: nothing drawn."
    )
    moved = Scene([Panel([Line([0, 1], [0, 7], label="up")], "First")])
    assert moved.alt == "First: up goes from 0 to 7."


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Line([0, 1], [0, float("nan")]), "finite"),
        (lambda: Line([0, float("inf")], [0, 1]), "finite"),
        (lambda: Line([0, 1], [0]), "equally long, got 2 and 1"),
        (lambda: Line([0], [0], "mauve"), "color must be one of reference"),
        (lambda: Panel([Bars([1, 2])], categories=["a"]), "2 bars need as many categories, got 1"),
        (lambda: Panel([Line([0, 1], [0, 1])], x_log=True), "only x > 0"),
        (lambda: Panel([], y_range=(1, 1)), "must rise"),
        (lambda: Cells([[1, 2], [3]]), "same number of columns"),
        (lambda: Cells([[1, 2]], rows=["a", "b"]), "1 rows need as many names, got 2"),
        (lambda: Panel([Cells([[1, 2]])], categories=["a"]), "2 columns need as many categories, got 1"),
        (lambda: Panel([Cells([[1, 2]]), Note(0, 0, "x")]), "to themselves"),
        (lambda: Scene([]), "at least one panel"),
    ],
)
def test_bad_numbers_are_refused(build, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build()


def test_tensors_and_arrays_are_taken() -> None:
    assert Line(torch.tensor([1, 2]), np.array([3.0, 4.0])).y == (3.0, 4.0)


def test_json_is_strict_and_has_no_nan() -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    page = json.loads(to_json(EVERYTHING, 3), parse_constant=refuse)
    assert page["alt"] == EVERYTHING.alt and page["frame"] == 3
    assert {tag for tag, _, _ in (s if len(s) == 3 else [*s, ""] for s in page["shapes"])} == {
        "path", "rect", "circle", "text",
    }  # fmt: skip
    assert page["height"] == 2 * EVERYTHING.height  # four panels stand in two rows


def test_axes_put_values_where_arithmetic_does() -> None:
    axes = Axes(100, 20, 200, 80, (0, 10), (-1, 1))
    assert (axes.x(2.5), axes.y(1), axes.y(-1), axes.y(0.5)) == (150, 20, 100, 40)
    assert Axes(0, 0, 90, 1, (0.1, 100), (0, 1), x_log=True).x(1) == pytest.approx(30)  # one decade of three


def test_lines_are_cut_at_the_border() -> None:
    axes = Axes(0, 0, 10, 10, (0, 1), (0, 1))
    # From inside straight out through the right side, and back in again at the same height.
    assert clip_runs([(5, 5), (15, 5)], axes) == [[(5, 5), (10, 5)]]
    assert clip_runs([(0, -10), (10, 10)], axes) == [[(5, 0), (10, 10)]]
    assert clip_runs([(20, 0), (20, 10)], axes) == []
    assert clip_runs([(5, 5), (15, 5), (15, 8), (5, 8)], axes) == [[(5, 5), (10, 5)], [(10, 8), (5, 8)]]


def test_every_shape_of_a_panel_stays_on_the_picture() -> None:
    for shape in layout(EVERYTHING):
        if isinstance(shape, Words):
            width = 0.59 * shape.size * len(shape.text)
            left = shape.x - {"start": 0, "middle": width / 2, "end": width}[shape.anchor]
            assert (
                left >= -1 and left + width <= EVERYTHING.width + 8 and 0 < shape.y <= EVERYTHING.full_height
            ), shape
        if isinstance(shape, Box):
            assert shape.width >= 0 and shape.height >= 0


def test_the_last_number_of_an_axis_is_not_cut_off() -> None:
    scene = Scene([Panel([Line([1, 100_000], [0, 1])], x_log=True)])
    last = next(s for s in layout(scene) if isinstance(s, Words) and s.text == "100,000")
    assert last.x + 0.59 * last.size * len(last.text) / 2 <= scene.width - 1


def test_a_long_text_is_written_smaller_and_stays_in_its_cell() -> None:
    texts = [[" a", " delightful", " recommended"]]
    words = [
        s
        for s in layout(Scene([Panel([Cells([[0, 1, 2]], texts=texts)])], width=220))
        if isinstance(s, Words) and s.anchor == "middle"
    ]
    assert [w.text for w in words] == [
        "a",
        "delightful",
        "recommended",
    ]  # a blank would push it off the middle
    assert words[0].size == 12 > words[1].size > words[2].size >= 7
    font = FontProperties(family="DejaVu Sans")
    assert all(TextPath((0, 0), w.text, w.size, prop=font).get_extents().width <= 64 - 6 for w in words)


def test_rows_and_columns_of_a_table_have_names() -> None:
    cells = Cells([[0, 1, 2], [3, 4, 5]], rows=["up", "a long name"], label="wins")
    shapes = layout(Scene([Panel([cells], "Table", categories=["one", "two", "three"])], width=400))
    boxes = [s for s in shapes if isinstance(s, Box) and s.width == s.height]
    words = {s.text: s for s in shapes if isinstance(s, Words)}
    assert len(boxes) == 6
    for name, box in (("one", boxes[0]), ("three", boxes[2])):
        assert words[name].x == pytest.approx(box.x + box.width / 2) and words[name].anchor == "middle"
        assert words[name].y > boxes[3].y + boxes[3].height
    for name, box in (("up", boxes[0]), ("a long name", boxes[3])):
        assert box.y < words[name].y < box.y + box.height and words[name].x < box.x
    assert (
        words["a long name"].x - 0.59 * 12 * len("a long name") >= 0
        and words["wins  0"].y > words["one"].y + 12
    )


def test_bars_start_at_zero_and_are_as_tall_as_their_numbers() -> None:
    boxes = [s for s in layout(Scene([Panel([Bars([1, 2, -1])], categories="abc")])) if isinstance(s, Box)]
    one, two, minus = boxes
    assert two.height == pytest.approx(2 * one.height) and minus.height == pytest.approx(one.height)
    assert one.y + one.height == pytest.approx(minus.y)


def test_the_number_under_a_negative_bar_stands_above_the_axis() -> None:
    shapes = layout(Scene([Panel([Bars([-0.11, 1.07])], categories=["start", "PPO"])], height=300))
    words = {s.text: s.y for s in shapes if isinstance(s, Words)}
    assert words["-0.11"] < words["start"] - 18


def test_groups_of_bars_stand_side_by_side_around_their_category() -> None:
    scene = Scene([Panel([Bars([1, 2]), Bars([3, 4], "truth")], categories="ab")])
    boxes = [s for s in layout(scene) if isinstance(s, Box)]
    names = {s.text: s.x for s in layout(scene) if isinstance(s, Words)}
    for first, second, name in ((boxes[0], boxes[2], "a"), (boxes[1], boxes[3], "b")):
        assert first.x + first.width <= second.x
        assert (first.x + second.x + second.width) / 2 == pytest.approx(names[name])


@pytest.mark.parametrize(("width", "told"), [(250, 0), (700, 8)])
def test_numbers_stand_over_all_bars_of_a_panel_or_over_none(width: int, told: int) -> None:
    bars = [Bars([0.102, 0.2, 0.3, 0.456], "policy"), Bars([0.25, 0.25, 0.25, 0.25], "truth")]
    shapes = layout(Scene([Panel(bars, categories="abcd", y_range=(0, 1))], width=width))
    assert len([s for s in shapes if isinstance(s, Words) and s.size == 11]) == told


@pytest.mark.parametrize("values", [[0.0, 0.0], [3.0, 3.0], [-2.0, -2.0], [1.0, 1.0 + 1e-15], [1e-12, 2e-12]])
def test_flat_and_tiny_curves_have_an_axis(values: list[float]) -> None:
    words = [s.text for s in layout(Scene([Panel([Line([0, 1], values)])])) if isinstance(s, Words)]
    assert 4 < len(words) < 20 and len(set(words[1:6])) == 5


def test_ticks() -> None:
    assert [text for _, text in linear_ticks(-1, 1, 4)] == ["−1.0", "−0.5", "0.0", "0.5", "1.0"]
    assert [text for _, text in linear_ticks(0, 1000, 4)] == ["0", "250", "500", "750", "1,000"]
    assert [text for _, text in linear_ticks(0.05, 0.85, 3)] == ["0.2", "0.4", "0.6", "0.8"]  # not 0.5 alone
    assert [text for _, text in log_ticks(0.02, 0.3)] == ["0.02", "0.05", "0.1", "0.2"]
    assert [number(v) for v in (0.000123, 99.96, 12345, -0.5, 1e-12)] == [
        "0.000123", "100", "12,300", "-0.5", "1e-12",
    ]  # fmt: skip


# Colour ---------------------------------------------------------------------------------------------------

WHITE, DARK = "#ffffff", "#111111"  # pages of JupyterLab's two themes

# Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB.
BLINDNESS = {
    "none": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def contrast(one: str, two: str) -> float:
    """Contrast ratio of two colours as WCAG 2 defines it, 1 to 21."""
    light, dark = sorted((luminance(one), luminance(two)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def oklab(color: str, seen_by: np.ndarray) -> np.ndarray:
    """Ottosson's OKLab (2020) of a colour as simulated for an eye."""
    parts = np.array([int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    linear = np.clip(seen_by @ linear, 0, 1)
    cones = np.array(
        [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
         [0.0883024619, 0.2817188376, 0.6299787005]]
    )  # fmt: skip
    mix = np.array(
        [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
         [0.0259040371, 0.7827717662, -0.8086757660]]
    )  # fmt: skip
    return mix @ np.cbrt(cones @ linear)


def test_contrast_formula() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)  # the published borderline grey


@pytest.mark.parametrize("name", COLOURS)
def test_every_colour_is_seen_on_a_light_and_on_a_dark_page(name: str) -> None:
    assert contrast(COLOURS[name], WHITE) >= 3 and contrast(COLOURS[name], DARK) >= 3


@pytest.mark.parametrize("eye", BLINDNESS)
def test_colours_stay_apart_for_every_eye(eye: str) -> None:
    # A difference of 0.02 is just seen side by side; 0.07 is told apart in a thin line.
    for one, two in itertools.combinations(COLOURS, 2):
        distance = np.linalg.norm(oklab(COLOURS[one], BLINDNESS[eye]) - oklab(COLOURS[two], BLINDNESS[eye]))
        assert distance >= 0.07, (one, two, distance)


def test_text_is_readable_on_the_card_and_on_every_shade() -> None:
    assert contrast(INK["ink"], INK["card"]) >= 7 and contrast(INK["soft"], INK["card"]) >= 4.5
    for i in range(101):
        assert contrast(text_on(ramp(i / 100)), ramp(i / 100)) >= 4.5


def test_shades_rise_in_lightness_for_every_eye() -> None:
    for eye in BLINDNESS.values():
        lightness = [oklab(ramp(i / 20), eye)[0] for i in range(21)]
        assert all(a < b for a, b in itertools.pairwise(lightness))


# Still pictures -------------------------------------------------------------------------------------------


def test_png_is_a_picture_with_its_description_inside() -> None:
    data = png(EVERYTHING, dpi=50)
    assert data.startswith(b"\x89PNG") and b"Description" in data and len(data) > 5000
    assert draw(EVERYTHING).axes[0].texts[0].get_text() == "First"


def test_a_scene_shows_itself_as_png_with_alt_text() -> None:
    data, metadata = EVERYTHING._repr_mimebundle_()
    assert data["text/plain"] == "Scene('First', 'Second', 'Third', 'Fourth')"
    assert data["image/png"].startswith("iVBOR") and metadata["image/png"]["alt"] == EVERYTHING.alt
