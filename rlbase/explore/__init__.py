"""Pictures that answer: scenes, live widgets, training dashboards and the course's explorers."""

from rlbase.explore.figure import draw, png
from rlbase.explore.live import (
    Explorable,
    LiveFigure,
    buttons,
    choice,
    explore,
    int_slider,
    log_slider,
    play,
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
    "play",
    "png",
    "slider",
    "toggle",
    "watch",
]
