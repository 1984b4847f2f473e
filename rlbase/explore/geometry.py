"""Shapes in pixels, axes, ticks, clipping and shades: the geometry under `rlbase.explore.layout`.

Pixels run right and down from the upper left corner.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from rlbase.explore.scene import number

RAMP = ("#22305f", "#2f5c99", "#3f93a8", "#82c49c", "#f3e9a6")  # low to high, dark to light


@dataclass(frozen=True)
class Poly:
    """An open or filled run of straight lines."""

    points: tuple[tuple[float, float], ...]
    color: str
    width: float = 1.0
    dash: tuple[float, ...] = ()
    filled: bool = False
    opacity: float = 1.0


@dataclass(frozen=True)
class Box:
    """A rectangle with rounded corners, from its upper left one."""

    x: float
    y: float
    width: float
    height: float
    color: str
    radius: float = 2.0
    opacity: float = 1.0


@dataclass(frozen=True)
class Dot:
    """A circle around ``(x, y)``, filled or hollow."""

    x: float
    y: float
    radius: float
    color: str
    hollow: bool = False


@dataclass(frozen=True)
class Words:
    """Text whose baseline starts (or is centred, or ends) at ``(x, y)``."""

    x: float
    y: float
    text: str
    size: float = 12.0
    color: str = "ink"
    anchor: str = "start"
    bold: bool = False


Shape = Poly | Box | Dot | Words
Point = tuple[float, float]


@dataclass(frozen=True)
class Axes:
    """The plotting area of a panel, and where its numbers fall in it."""

    left: float
    top: float
    width: float
    height: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    x_log: bool = False

    def x(self, value: float) -> float:
        low, high = self.x_range
        if self.x_log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.left + self.width * (value - low) / (high - low)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return self.top + self.height * (high - value) / (high - low)

    def holds(self, x: float, y: float) -> bool:
        across, down = x - self.left, y - self.top
        return -1e-6 <= across <= self.width + 1e-6 and -1e-6 <= down <= self.height + 1e-6


def linear_ticks(low: float, high: float, count: int) -> list[tuple[float, str]]:
    """Round values in ``[low, high]``, at most about ``count`` of them, with their labels.

    >>> linear_ticks(0, 1, 2)
    [(0.0, '0.0'), (0.5, '0.5'), (1.0, '1.0')]
    """
    raw = (high - low) / max(count, 1)
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * (1 - 1e-9))
    digits = max(0, -math.floor(math.log10(step)) + (1 if step / power == 2.5 else 0))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    if first >= last:  # one number is no scale
        return linear_ticks(low, high, count + 1)
    return [(i * step, f"{i * step + 0.0:,.{digits}f}".replace("-", "−")) for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """The powers of ten in ``[low, high]``; 1, 2 and 5 of each decade when there are fewer than three.

    >>> [text for _, text in log_ticks(0.01, 10)]
    ['0.01', '0.1', '1', '10']
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for digits in ((1,), (1, 2, 5)):
        ticks = [d * 10.0**k for k in range(first, last + 1) for d in digits]
        ticks = [t for t in ticks if low * (1 - 1e-9) <= t <= high * (1 + 1e-9)]
        if len(ticks) >= 3:
            break
    return [(t, number(t)) for t in ticks[:: max(1, len(ticks) // 7)]]


def clip_runs(points: Sequence[Point], axes: Axes) -> list[list[Point]]:
    """The parts of a polyline that lie inside the axes, cut exactly at the border."""
    if all(axes.holds(x, y) for x, y in points):
        return [list(points)] if points else []
    runs: list[list[Point]] = []
    for a, b in itertools.pairwise(points):
        kept = _clip_segment(a, b, axes)
        if kept and runs and runs[-1][-1] == kept[0]:
            runs[-1].append(kept[1])
        elif kept:
            runs.append([*kept])
    return runs


def _clip_segment(a: Point, b: Point, axes: Axes) -> tuple[Point, Point] | None:
    """Liang and Barsky's cut of the segment ab by the axes' rectangle."""
    start, end, (dx, dy) = 0.0, 1.0, (b[0] - a[0], b[1] - a[1])
    for at, delta, low, size in ((a[0], dx, axes.left, axes.width), (a[1], dy, axes.top, axes.height)):
        if delta:
            enter, leave = sorted(((low - at) / delta, (low + size - at) / delta))
            start, end = max(start, enter), min(end, leave)
        elif not low <= at <= low + size:
            return None
    if start > end:
        return None
    first = a if start == 0 else (a[0] + start * dx, a[1] + start * dy)
    return first, b if end == 1 else (a[0] + end * dx, a[1] + end * dy)


def ramp(share: float) -> str:
    """The shade for a value ``share`` of the way from low to high."""
    place = min(max(share, 0.0), 1.0) * (len(RAMP) - 1)
    i = min(int(place), len(RAMP) - 2)
    a, b = (tuple(int(h[k : k + 2], 16) for k in (1, 3, 5)) for h in RAMP[i : i + 2])
    mixed = [round(u + (v - u) * (place - i)) for u, v in zip(a, b, strict=True)]
    return "#" + "".join(f"{v:02x}" for v in mixed)


def luminance(color: str) -> float:
    """Relative luminance of ``#rrggbb`` as WCAG 2 defines it, 0 (black) to 1 (white).

    >>> luminance("#ffffff")
    1.0
    """
    parts = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def text_on(fill: str) -> str:
    """Black or white, whichever has the larger contrast on ``fill`` (they are equal at a luminance of 0.179)."""
    return "#000000" if luminance(fill) > 0.179 else "#ffffff"
