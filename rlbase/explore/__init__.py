"""Pictures that answer: scenes, live widgets, training dashboards and the course's explorers.

**A picture** is a `Scene`: a row of `Panel`s, each a list of marks (`Line`, `Points`, `Bars`, `Band`, `Note`, or one
`Cells`, a heatmap that has its panel to itself; ``rows`` and the panel's ``categories`` name its sides). As the last
value of a cell it shows itself, with alt text computed from its numbers. Tensors and arrays are taken as they are.
``color`` names a quantity, not a hue: "reference", "truth" (a known answer), "policy" (what was learned), "reward",
"wrong" (what must fail), "other".

>>> from rlbase.explore import Bars, Line, Panel, Scene, explore, slider
>>> bars = [Bars([0.5, 0.5], "truth", "exact"), Bars([0.4, 0.6], "policy", "learned")]
>>> Scene([Panel(bars, "Two arms", "", "probability", y_range=(0, 1), categories=["left", "right"])], "Not there yet.")
Scene('Two arms')

**A picture with controls**: a function of the controls' values that returns a scene, and one control for each of its
arguments (`slider`, `log_slider`, `int_slider`, `choice`, `buttons`, `toggle`). Fix ``x_range`` and ``y_range``, so
that the axes stand still; compute in at most 50 ms (``functools.lru_cache`` around what does not change); let the
caption say the number that the reader is to look at.

>>> def power(k):
...     xs = [x / 20 for x in range(21)]
...     curve = Line(xs, [x**k for x in xs], "policy", f"x to the {k:.1f}")
...     return Scene([Panel([curve], "A power", "x", "y", (0, 1), (0, 1))], f"Half way up at {0.5 ** (1 / k):.2f}.")
>>> explore(power, {"k": slider(2.0, 0.1, 5.0, step=0.1, label="exponent k", form=".1f")})
Explorable(k)

To **ask again and again**, as a labeller does, use `presses`: its value is the tuple of all answers so far.

>>> def next_pair(answers):
...     return Scene([Panel([Bars([answers.count(x) for x in "AB"])], f"Pair {len(answers) + 1}", categories="AB")])
>>> from rlbase.explore import presses
>>> explore(next_pair, {"answers": presses(["A", "B"], label="Which one is better?")})
Explorable(answers)

**A training run** is any generator of records, one dict of numbers per update. `watch` trains in the cell and returns
the records, `compare` lays finished runs over one another, and `LiveRun` has buttons: its function builds a *fresh*
policy from the controls' values and returns the generator. ``targets`` are known answers, or (value, words) pairs; keep
``preview`` small where the reader is to predict what comes, for a saved page shows that many updates.

>>> from rlbase.explore import LiveRun, watch
>>> def train(rate):
...     for i in range(100):
...         yield {"update": i + 1, "loss": (1 - rate) ** i}
>>> LiveRun(train, ["loss"], controls={"rate": slider(0.1, 0.0, 1.0, step=0.1, label="rate")}, targets={"loss": 0})
LiveRun(loss)
>>> len(watch(train(0.5), ["loss"], targets={"loss": (0.01, "good enough")}))
100
"""

from rlbase.explore.figure import draw, png
from rlbase.explore.live import (
    Explorable,
    LiveFigure,
    buttons,
    choice,
    explore,
    int_slider,
    log_slider,
    presses,
    slider,
    toggle,
)
from rlbase.explore.live_run import LiveRun
from rlbase.explore.scene import COLOURS, Band, Bars, Cells, Line, Note, Panel, Points, Scene
from rlbase.explore.training import compare, curves, watch

__all__ = [
    "COLOURS",
    "Band",
    "Bars",
    "Cells",
    "Explorable",
    "Line",
    "LiveFigure",
    "LiveRun",
    "Note",
    "Panel",
    "Points",
    "Scene",
    "buttons",
    "choice",
    "compare",
    "curves",
    "draw",
    "explore",
    "int_slider",
    "log_slider",
    "presses",
    "png",
    "slider",
    "toggle",
    "watch",
]
