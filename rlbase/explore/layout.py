"""From a scene to shapes in pixels: the one place that knows axes, ticks and legends.

Both renderers draw the four shapes of `rlbase.explore.geometry` and nothing else, so the live picture
and the saved one agree. Colours besides those of `scene.COLOURS`, "ink", "soft" and "grid", follow the
page's theme.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rlbase.explore.geometry import (
    Axes,
    Box,
    Dot,
    Poly,
    Shape,
    Words,
    clip_runs,
    linear_ticks,
    log_ticks,
    ramp,
    text_on,
)
from rlbase.explore.scene import COLOURS, Band, Bars, Cells, Line, Note, Panel, Points, Scene, number

CHAR = 0.59  # mean width of a character, in font sizes
WIDE, NARROW = "mwMW<>■✂", "fijlrtI.,;:!' "  # those of a single word may be far from the mean
Labelled = Line | Points | Band | Bars
TICKS = 60.0  # pixels that the longest tick labels may take


def layout(scene: Scene) -> list[Shape]:
    """All shapes of a scene, in drawing order."""
    gap, pad = 36.0, 14.0
    shapes: list[Shape] = []
    for row, panels in enumerate(scene.rows):
        room = scene.width - 2 * pad - gap * (len(panels) - 1)
        widths = [room * panel.weight / sum(p.weight for p in panels) for panel in panels]
        # A legend starts right of the tick labels: without room for them its last row falls on the axis' name.
        legends = max(len(_legend_rows(p, w - TICKS)) for p, w in zip(panels, widths, strict=True))
        left = pad
        for panel, width in zip(panels, widths, strict=True):
            top = row * scene.height
            shapes += _panel(panel, left, width, top, top + scene.height, legends)
            left += width + gap
    return shapes


def _panel(panel: Panel, left: float, width: float, head: float, foot: float, legends: int) -> list[Shape]:
    cells = next((m for m in panel.marks if isinstance(m, Cells)), None)
    if cells is not None:
        title = Words(left, head + 17, panel.title, size=14, bold=True)
        return [title, *_cells(cells, panel.categories, left, head + 34, width, foot - head - 68)]
    top = head + 30.0 + 20.0 * legends + (20.0 if panel.y_label else 4.0)
    bottom = foot - (46.0 if panel.x_label else 28.0)
    y_range = _y_range(panel)
    y_ticks = linear_ticks(*y_range, max(2, int((bottom - top) / 40)))
    margin = max((_wide(text) for _, text in y_ticks), default=0) + 8
    axes = Axes(left + margin, top, width - margin, bottom - top, _x_range(panel), y_range, panel.x_log)
    shapes: list[Shape] = [Words(axes.left, head + 17, panel.title, size=14, bold=True)]
    for i, entries in enumerate(_legend_rows(panel, axes.width)):
        shapes += _legend(entries, axes.left, head + 38 + 20 * i)
    shapes += _frame(panel, axes, y_ticks)
    bars = [m for m in panel.marks if isinstance(m, Bars)]
    for mark in panel.marks:
        if isinstance(mark, Bars):
            shapes += _bars(mark, bars, axes)
        else:
            shapes += _mark(mark, axes)
    return shapes


def _frame(panel: Panel, axes: Axes, y_ticks: list[tuple[float, str]]) -> list[Shape]:
    shapes: list[Shape] = []
    right, bottom = axes.left + axes.width, axes.top + axes.height
    if panel.y_label:
        shapes.append(Words(axes.left, axes.top - 11, panel.y_label, color="soft"))
    for value, text in y_ticks:
        y = axes.y(value)
        shapes.append(Poly(((axes.left, y), (right, y)), "grid"))
        shapes.append(Words(axes.left - 7, y + 4, text, color="soft", anchor="end"))
    step = axes.width / max(len(panel.categories), 1)
    below = [(axes.left + (i + 0.5) * step, name) for i, name in enumerate(panel.categories)]
    if not below:
        linear = linear_ticks(*axes.x_range, max(2, int(axes.width / 62))) if not panel.x_log else []
        for value, text in linear or log_ticks(*axes.x_range):
            x = axes.x(value)
            shapes.append(Poly(((x, bottom), (x, bottom + 4)), "soft"))
            # A picture ends 14 pixels right of its last axis.
            below.append((min(x, right + 12 - _wide(text) / 2), text))
    shapes += [Words(x, bottom + 18, text, color="soft", anchor="middle") for x, text in below]
    shapes.append(Poly(((axes.left, bottom), (right, bottom)), "soft"))
    if panel.x_label:
        shapes.append(Words(right, bottom + 38, panel.x_label, color="soft", anchor="end"))
    return shapes


def _mark(mark: Line | Points | Band | Cells | Note, axes: Axes) -> list[Shape]:
    def place(xs: Sequence[float], ys: Sequence[float]) -> list[tuple[float, float]]:
        return [(axes.x(x), axes.y(y)) for x, y in zip(xs, ys, strict=True)]

    if isinstance(mark, Line):
        runs = clip_runs(place(mark.x, mark.y), axes)
        return [Poly(tuple(run), COLOURS[mark.color], mark.width, _dash(mark)) for run in runs]
    if isinstance(mark, Points):
        dots = [(x, y) for x, y in place(mark.x, mark.y) if axes.holds(x, y)]
        return [Dot(x, y, mark.size, COLOURS[mark.color], mark.hollow) for x, y in dots]
    if isinstance(mark, Band):
        lower, upper = (place(mark.x, [_within(v, axes.y_range) for v in y]) for y in (mark.low, mark.high))
        return [Poly((*lower, *reversed(upper)), COLOURS[mark.color], filled=True, opacity=0.16)]
    if isinstance(mark, Note):
        x = _within(axes.x(mark.x), (axes.left, axes.left + axes.width))
        y = _within(axes.y(mark.y), (axes.top + 10, axes.top + axes.height - 4))
        color = "soft" if mark.color == "reference" else COLOURS[mark.color]
        return [Words(x, y, mark.text, color=color, anchor=mark.anchor, bold=color != "soft")]
    return []


def _within(value: float, limits: tuple[float, float]) -> float:
    return min(max(value, limits[0]), limits[1])


def _wide(text: str, size: float = 12.0) -> float:
    return len(text) * size * CHAR


def _dash(line: Line) -> tuple[float, ...]:
    return (6.0, 4.0) if line.dashed else ()


def _bars(mark: Bars, group: Sequence[Bars], axes: Axes) -> list[Shape]:
    """One mark of a ``group`` of bars. Numbers stand over all bars of a panel or over none of them."""
    step, index, count = axes.width / len(mark.heights), group.index(mark), len(group)
    width = min(step * 0.78 / count, 46.0)
    zero = axes.y(_within(0.0, axes.y_range))
    told = all(_wide(_height(value), 11) <= width + 4 for bars in group for value in bars.heights)
    shapes: list[Shape] = []
    for i, value in enumerate(mark.heights):
        x = axes.left + (i + 0.5) * step + (index - count / 2) * width
        tip = axes.y(_within(value, axes.y_range))
        shapes.append(Box(x + 1, min(tip, zero), width - 2, abs(zero - tip), COLOURS[mark.color]))
        if told:
            y = tip - 5 if value >= 0 else tip + 13
            shapes.append(Words(x + width / 2, y, _height(value), size=11, color="soft", anchor="middle"))
    return shapes


def _height(value: float) -> str:
    return number(round(value, 2))


def _cells(
    cells: Cells, names: Sequence[str], left: float, top: float, width: float, height: float
) -> list[Shape]:
    rows, columns = len(cells.values), len(cells.values[0])
    margin, below = max((_wide(name) for name in cells.rows), default=-8.0) + 8, 20.0 if names else 0.0
    left, width = left + margin, width - margin
    side = min(width / columns, (height - below) / rows, 64.0)
    flat = [v for row in cells.values for v in row if v is not None]
    low = min(flat) if cells.low is None else cells.low
    high = max(flat) if cells.high is None else cells.high
    shapes: list[Shape] = []
    for r, name in enumerate(cells.rows):
        shapes.append(Words(left - 8, top + (r + 0.6) * side, name, color="soft", anchor="end"))
    for c, name in enumerate(names):
        shapes.append(
            Words(left + (c + 0.5) * side, top + rows * side + 16, name, color="soft", anchor="middle")
        )
    for r, row in enumerate(cells.values):
        for c, value in enumerate(row):
            x, y = left + c * side, top + r * side
            if value is None:
                shapes.append(Box(x + 1, y + 1, side - 2, side - 2, "grid"))
                continue
            fill = ramp((value - low) / (high - low) if high > low else 0.5)
            shapes.append(Box(x + 1, y + 1, side - 2, side - 2, fill))
            ink, middle = text_on(fill), x + side / 2
            arrow = cells.arrows[r][c] if cells.arrows else None
            if arrow:
                shapes += _arrow(middle, y + side * (0.36 if side >= 26 else 0.5), side * 0.2, arrow, ink)
            text = cells.texts[r][c].strip() if cells.texts else number(round(value, 2))
            size = min(12.0, side * 0.27)
            if size >= 7:  # below that nobody reads it
                letters = sum(1.0 if c in WIDE else 0.4 if c in NARROW else 0.63 for c in text)
                size = max(7.0, min(size, (side - 8) / max(letters, 1)))
                shapes.append(Words(middle, y + side * (0.84 if arrow else 0.6), text, size, ink, "middle"))
    foot = top + rows * side + below + 14
    return shapes + _scale(cells.label, low, high, left, foot, min(width, columns * side))


def _scale(label: str, low: float, high: float, left: float, top: float, width: float) -> list[Shape]:
    first, last = f"{label}  {number(round(low, 2))}", number(round(high, 2))
    x = left + _wide(first) + 8
    span = max(40.0, left + width - x - _wide(last) - 10)
    shades = [Box(x + span * i / 24, top + 1, span / 24 + 0.4, 10, ramp(i / 23), radius=0) for i in range(24)]
    ends = (Words(left, top + 10, first, color="soft"), Words(x + span + 8, top + 10, last, color="soft"))
    return [ends[0], *shades, ends[1]]


def _arrow(x: float, y: float, reach: float, way: tuple[float, float], color: str) -> list[Shape]:
    norm = math.hypot(*way)
    dx, dy = way[0] / norm * reach, way[1] / norm * reach
    tip, tail = (x + dx, y + dy), (x - dx, y - dy)
    wing = [(tip[0] - 0.8 * dx + s * 0.7 * dy, tip[1] - 0.8 * dy - s * 0.7 * dx) for s in (1, -1)]
    return [Poly((tail, tip), color, 1.8), Poly((wing[0], tip, wing[1]), color, 1.8)]


def _legend_rows(panel: Panel, width: float) -> list[list[Labelled]]:
    """The labelled marks, broken into rows that fit ``width``."""
    rows: list[list[Labelled]] = []
    used = width
    for mark in panel.marks:
        if isinstance(mark, Note | Cells) or not mark.label:
            continue
        if not rows or used + _entry(mark) > width:
            rows.append([])
            used = 0
        rows[-1].append(mark)
        used += _entry(mark)
    return rows


def _entry(mark: Labelled) -> float:
    return 26 + _wide(mark.label) + 12


def _legend(entries: list[Labelled], left: float, y: float) -> list[Shape]:
    shapes: list[Shape] = []
    for mark in entries:
        color = COLOURS[mark.color]
        if isinstance(mark, Line):
            shapes.append(Poly(((left, y - 4), (left + 20, y - 4)), color, mark.width, _dash(mark)))
        elif isinstance(mark, Points):
            shapes.append(Dot(left + 10, y - 4, min(mark.size, 5), color, mark.hollow))
        else:
            shapes.append(Box(left + 4, y - 10, 12, 12, color, opacity=0.3 if isinstance(mark, Band) else 1))
        shapes.append(Words(left + 26, y, mark.label))
        left += _entry(mark)
    return shapes


def _x_range(panel: Panel) -> tuple[float, float]:
    values = [v for m in panel.marks if isinstance(m, Line | Points | Band) for v in m.x]
    if panel.x_range or not values:
        return panel.x_range or ((0.1, 10.0) if panel.x_log else (0.0, 1.0))
    low, high = min(values), max(values)
    if high > low:
        return low, high
    return (low / 2, high * 2) if panel.x_log else (low - 0.5, high + 0.5)


def roomy(low: float, high: float, values: Iterable[float]) -> tuple[float, float]:
    """Limits of an axis under a control: doubled until all ``values`` have room: it seldom jumps, and hides none.

    >>> roomy(-4.0, 6.0, [5.0, -7.0]), roomy(0.0, 1.5, [0.2])
    ((-8.0, 12.0), (0.0, 1.5))
    """
    seen = [value for value in values if math.isfinite(value)]
    while any(value > high or (low < 0 and value < low) for value in seen):
        low, high = 2 * low, 2 * high
    return low, high


def _y_range(panel: Panel) -> tuple[float, float]:
    values = [v for m in panel.marks if isinstance(m, Line | Points) for v in m.y]
    values += [v for m in panel.marks if isinstance(m, Band) for v in (*m.low, *m.high)]
    bars = [v for m in panel.marks if isinstance(m, Bars) for v in (0.0, *m.heights)]
    low, high = min(values + bars, default=0.0), max(values + bars, default=0.0)
    if panel.y_range or low == high == 0:
        return panel.y_range or (0.0, 1.0)
    flat = high - low <= 1e-9 * max(abs(low), abs(high))
    pad = 0.1 * abs(high) if flat else 0.06 * (high - low)
    if not bars:
        return low - pad, high + pad
    return low if low == 0 else low - 2 * pad, high if high == 0 else high + 2 * pad
