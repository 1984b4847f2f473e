"""A picture as plain numbers: what is drawn, never how.

A `Scene` is a row of panels, a `Panel` a list of marks on one pair of axes. The same scene becomes an
SVG in a live page (`rlbase.explore.live`) and a PNG in a saved notebook (`rlbase.explore.figure`), and
tells its content in words (`Scene.alt`), computed from the very numbers it draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

# One colour per quantity, the same in every picture of the course. All six are mid-tones, at least 3:1
# against white and against a dark page, and apart from one another in simulated colour blindness.
COLOURS = {
    "reference": "#6f7680",  # where the policy started, or what it is held to
    "truth": "#17a07a",  # the known answer
    "policy": "#3a6fe0",  # what was learned
    "reward": "#c98500",  # what was paid
    "wrong": "#d4402a",  # the variant that must fail
    "other": "#b565b0",  # clip range, estimator, second thought
}


Numbers: TypeAlias = Any  # a tensor, an array or a sequence; the mark keeps a tuple of floats


def numbers(where: str, values: Any) -> tuple[float, ...]:
    """A tuple of finite floats from a tensor, an array or a sequence.

    Raises ``ValueError`` when a value is NaN or infinite: a picture must not hide it.

    >>> numbers("example", [1, 2])
    (1.0, 2.0)
    """
    listed = values.tolist() if hasattr(values, "tolist") else list(values)
    out = tuple(float(v) for v in listed)
    for i, v in enumerate(out):
        if not math.isfinite(v):
            raise ValueError(f"{where}: every number must be finite to be drawn, got {v} at position {i}.")
    return out


def _settle(mark: Any, *names: str) -> None:
    """Make the named fields of a mark equally long tuples of finite floats, and check its colour."""
    kind = type(mark).__name__
    for name in names:
        object.__setattr__(mark, name, numbers(f"{kind}.{name}", getattr(mark, name)))
    if mark.color not in COLOURS:
        raise ValueError(f"{kind}: color must be one of {', '.join(COLOURS)}, got {mark.color!r}.")
    lengths = [len(getattr(mark, name)) for name in names]
    if len(set(lengths)) > 1:
        raise ValueError(
            f"{kind}: {' and '.join(names)} must be equally long, got {' and '.join(map(str, lengths))}."
        )


@dataclass(frozen=True)
class Line:
    """A curve through the points ``(x[i], y[i])``; an empty ``label`` keeps it out of the legend."""

    x: Numbers
    y: Numbers
    color: str = "policy"
    label: str = ""
    dashed: bool = False
    width: float = 2.5

    def __post_init__(self) -> None:
        _settle(self, "x", "y")


@dataclass(frozen=True)
class Points:
    """Dots at ``(x[i], y[i])``; ``hollow`` ones are rings."""

    x: Numbers
    y: Numbers
    color: str = "policy"
    label: str = ""
    size: float = 4.0
    hollow: bool = False

    def __post_init__(self) -> None:
        _settle(self, "x", "y")


@dataclass(frozen=True)
class Band:
    """The area between ``low`` and ``high`` along ``x``: a spread, an allowed range."""

    x: Numbers
    low: Numbers
    high: Numbers
    color: str = "policy"
    label: str = ""

    def __post_init__(self) -> None:
        _settle(self, "x", "low", "high")


@dataclass(frozen=True)
class Bars:
    """One bar per category of the panel; several `Bars` in a panel stand side by side."""

    heights: Numbers
    color: str = "policy"
    label: str = ""

    def __post_init__(self) -> None:
        _settle(self, "heights")


@dataclass(frozen=True)
class Cells:
    """A table of numbers as shades, ``values[row][column]`` with row 0 on top.

    ``None`` is a wall. ``arrows`` holds for each cell a direction ``(dx, dy)`` (dy down) or None,
    ``texts`` what is written instead of the number. ``rows`` names the rows, the panel's ``categories``
    the columns; a table has its panel to itself.
    """

    values: Sequence[Sequence[float | None]]
    arrows: Sequence[Sequence[tuple[float, float] | None]] | None = None
    texts: Sequence[Sequence[str]] | None = None
    low: float | None = None
    high: float | None = None
    label: str = "value"
    rows: Sequence[str] = ()

    def __post_init__(self) -> None:
        rows = [[None if v is None else float(v) for v in row] for row in self.values]
        if len({len(row) for row in rows}) != 1:
            raise ValueError("Cells: every row must have the same number of columns.")
        if self.rows and len(self.rows) != len(rows):
            raise ValueError(f"Cells: {len(rows)} rows need as many names, got {len(self.rows)}.")
        numbers("Cells.values", [v for row in rows for v in row if v is not None])
        object.__setattr__(self, "values", tuple(tuple(row) for row in rows))


@dataclass(frozen=True)
class Note:
    """A few words at ``(x, y)`` in the panel's units; ``anchor`` is start, middle or end."""

    x: float
    y: float
    text: str
    color: str = "reference"
    anchor: str = "start"

    def __post_init__(self) -> None:
        numbers("Note", (self.x, self.y))
        _settle(self)


Mark = Line | Points | Band | Bars | Cells | Note


@dataclass(frozen=True)
class Panel:
    """Marks on one pair of axes. Name the axes with their units: ``x_label="KL(π‖ref), nats"``.

    ``x_range`` and ``y_range`` fix the limits (give them where a control moves the data, so that the
    axes stand still); without them the limits follow the data. ``weight`` is the share of the width.
    """

    marks: Sequence[Mark]
    title: str = ""
    x_label: str = ""
    y_label: str = ""
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    x_log: bool = False
    categories: Sequence[str] = ()
    weight: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "marks", tuple(self.marks))
        object.__setattr__(self, "categories", tuple(self.categories))
        for bars in (m for m in self.marks if isinstance(m, Bars)):
            if len(bars.heights) != len(self.categories):
                raise ValueError(
                    f"Panel {self.title!r}: {len(bars.heights)} bars need as many categories, "
                    f"got {len(self.categories)}."
                )
        cells = [m for m in self.marks if isinstance(m, Cells)]
        if cells and len(self.marks) > 1:
            raise ValueError(f"Panel {self.title!r}: cells must have their panel to themselves.")
        if cells and self.categories and len(cells[0].values[0]) != len(self.categories):
            columns = len(cells[0].values[0])
            raise ValueError(
                f"Panel {self.title!r}: {columns} columns need as many categories, got {len(self.categories)}."
            )
        if self.x_log and any(v <= 0 for m in self.marks if isinstance(m, Line | Points | Band) for v in m.x):
            raise ValueError(f"Panel {self.title!r}: a logarithmic axis takes only x > 0.")
        for name, limits in (("x_range", self.x_range), ("y_range", self.y_range)):
            if limits is not None and not limits[0] < limits[1]:
                raise ValueError(f"Panel {self.title!r}: {name} must rise, got {limits}.")


@dataclass(frozen=True)
class Scene:
    """Panels side by side, with one sentence about them (``caption``) computed by whoever built them.

    Panels beyond ``columns`` go to a further row; ``height`` is that of one row.

    As the last value of a notebook cell a scene shows itself as a picture.

    >>> Scene([Panel([Line([0, 1], [2, 5], label="return")], title="Learning")]).alt
    'Learning: return goes from 2 to 5.'
    """

    panels: Sequence[Panel]
    caption: str = ""
    width: int = 760
    height: int = 330
    columns: int = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "panels", tuple(self.panels))
        if not self.panels:
            raise ValueError("Scene: needs at least one panel.")

    @property
    def rows(self) -> list[tuple[Panel, ...]]:
        """The panels row by row."""
        starts = range(0, len(self.panels), self.columns)
        return [tuple(self.panels[i : i + self.columns]) for i in starts]

    @property
    def full_height(self) -> int:
        """Pixels from the top of the first row to the foot of the last."""
        return self.height * len(self.rows)

    @property
    def alt(self) -> str:
        """The picture in words, for readers who do not see it."""
        return " ".join([self.caption, *map(_tell_panel, self.panels)]).strip()

    def __repr__(self) -> str:
        return f"Scene({', '.join(repr(p.title) for p in self.panels)})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        from rlbase.explore.figure import still

        return still(self, repr(self))


def number(value: float) -> str:
    """Three significant digits, as a reader would write them.

    >>> number(0.12345), number(1234.5), number(-0.0)
    ('0.123', '1,230', '0')
    """
    if abs(value) < 1e-6:
        return f"{value:.2g}" if value else "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    text = f"{round(value, digits):,.{max(0, digits)}f}"
    return text.rstrip("0").rstrip(".") if digits > 0 else text


def _tell_panel(panel: Panel) -> str:
    told = [words for mark in panel.marks if (words := _tell_mark(mark, panel))]
    return f"{panel.title or panel.y_label}: {'; '.join(told) or 'nothing drawn'}."


def _tell_mark(mark: Mark, panel: Panel) -> str:
    if isinstance(mark, Note):
        return mark.text
    if isinstance(mark, Bars):
        pairs = zip(panel.categories, mark.heights, strict=True)
        return f"{mark.label} " + ", ".join(f"{name} {number(h)}" for name, h in pairs)
    if isinstance(mark, Cells):
        flat = [v for row in mark.values for v in row if v is not None]
        size = f"{len(mark.values)} by {len(mark.values[0])}"
        return f"{mark.label} in {size} cells from {number(min(flat))} to {number(max(flat))}"
    if not mark.label or not mark.x:
        return ""
    if isinstance(mark, Band):
        return f"{mark.label} ends between {number(mark.low[-1])} and {number(mark.high[-1])}"
    if isinstance(mark, Points):
        many = f", {len(mark.y)} points, last" if len(mark.y) > 1 else " at"
        return f"{mark.label}{many} ({number(mark.x[-1])}, {number(mark.y[-1])})"
    if min(mark.y) == max(mark.y):
        return f"{mark.label} stays at {number(mark.y[0])}"
    told, top = f"{mark.label} goes from {number(mark.y[0])} to {number(mark.y[-1])}", max(mark.y)
    if top > max(mark.y[0], mark.y[-1]):
        told += f" with a peak of {number(top)} at {number(mark.x[mark.y.index(top)])}"
    return told
