"""The live picture: Python computes a scene, the page draws it as SVG and keeps its nodes.

One widget shows any scene. An `Explorable` binds it to controls: a key press sends the new value, Python
computes the next scene, and only the shapes that changed are touched in the page.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping, Sequence
from math import ceil, log10
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as W
import traitlets

from rlbase.explore.geometry import Box, Dot, Shape, Words
from rlbase.explore.layout import layout
from rlbase.explore.scene import Scene

HERE = Path(__file__).parent
THEME = {name: f"var(--rl-{name})" for name in ("ink", "soft", "grid")}


def to_json(scene: Scene, frame: int = 0) -> str:
    """The scene as the page reads it: shapes ``[tag, attributes, text]``, alt text and caption."""
    page = {
        "width": scene.width,
        "height": scene.full_height,
        "alt": scene.alt,
        "caption": scene.caption,
        "frame": frame,
        "shapes": [_svg(shape) for shape in layout(scene)],
    }
    return json.dumps(page, allow_nan=False, separators=(",", ":"), ensure_ascii=False)


def _svg(shape: Shape) -> list[Any]:
    color = THEME.get(shape.color, shape.color)
    if isinstance(shape, Words):
        words = {"fill": color, "font-size": f"{shape.size:g}", "text-anchor": shape.anchor}
        words |= {"font-weight": "600"} if shape.bold else {}
        return ["text", {"x": f"{shape.x:.1f}", "y": f"{shape.y:.1f}", **words}, shape.text]
    if isinstance(shape, Dot):
        paint = {"fill": "none", "stroke": color, "stroke-width": "1.8"} if shape.hollow else {"fill": color}
        return ["circle", {"cx": f"{shape.x:.1f}", "cy": f"{shape.y:.1f}", "r": f"{shape.radius:g}", **paint}]
    if isinstance(shape, Box):
        sides = {"x": shape.x, "y": shape.y, "width": max(shape.width, 0), "height": max(shape.height, 0)}
        paint = {"rx": f"{shape.radius:g}", "fill": color, "opacity": f"{shape.opacity:g}"}
        return ["rect", {name: f"{value:.1f}" for name, value in sides.items()} | paint]
    path = "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
    if shape.filled:
        return ["path", {"d": path + "Z", "fill": color, "opacity": f"{shape.opacity:g}"}]
    line = {"d": path, "fill": "none", "stroke": color, "stroke-width": f"{shape.width:g}"}
    line |= {"stroke-linejoin": "round", "stroke-linecap": "butt" if shape.dash else "round"}
    return ["path", line | ({"stroke-dasharray": " ".join(map(str, shape.dash))} if shape.dash else {})]


class LiveFigure(anywidget.AnyWidget):
    """A scene in the page; `show` puts another one in its place."""

    _esm = HERE / "live.js"
    _css = HERE / "live.css"
    scene = traitlets.Unicode().tag(sync=True)
    labels = traitlets.Dict().tag(sync=True)

    def __init__(self, scene: Scene) -> None:
        self.current = scene
        self.frames = 0
        super().__init__(scene=to_json(scene))

    def show(self, scene: Scene) -> None:
        """Draw ``scene`` in place of the one that is shown."""
        self.current = scene
        self.frames += 1
        self.scene = to_json(scene, self.frames)

    def __repr__(self) -> str:
        return f"LiveFigure({self.current!r})"

    def _repr_mimebundle_(self, **arguments: Any) -> Any:
        return with_picture(super()._repr_mimebundle_(**arguments), self.current, repr(self))


def with_picture(bundle: Any, scene: Scene, text: str) -> tuple[dict, dict]:
    """A widget's display data, with a still picture for pages that cannot run it."""
    from rlbase.explore.figure import still

    data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
    picture, alt = still(scene, text)
    return {**data, **picture}, {**metadata, **alt}


def slider(
    value: float, low: float, high: float, *, step: float, label: str, form: str = ".2f"
) -> W.FloatSlider:
    """A slider over ``low..high``; arrow keys move it by ``step``.

    >>> slider(0.2, 0.0, 1.0, step=0.1, label="clip").value
    0.2
    """
    return W.FloatSlider(value, min=low, max=high, step=step, description=label, readout_format=form)


def int_slider(value: int, low: int, high: int, *, label: str, step: int = 1) -> W.IntSlider:
    """A slider over whole numbers.

    >>> int_slider(3, 1, 9, label="epochs").value
    3
    """
    return W.IntSlider(value, min=low, max=high, step=step, description=label)


def log_slider(value: float, low: float, high: float, *, label: str, steps: int = 20) -> W.FloatLogSlider:
    """A slider that moves by equal factors, ``steps`` of them to a factor of ten.

    ``value`` is one of its places: a browser moves a handle to the nearest place, counted from the lower end. So that
    end goes down by a part of a step where it must.

    >>> log_slider(0.5, 0.01, 10.0, label="beta").value
    0.5
    """
    below = ceil((log10(value) - log10(low)) * steps - 1e-6)
    ends = {"min": log10(value) - below / steps, "max": log10(high), "step": 1 / steps}
    return W.FloatLogSlider(value, base=10, **ends, description=label, readout_format=".3r")


def choice(value: Any, options: Any, *, label: str) -> W.Dropdown:
    """A drop-down list; ``options`` are values or (label, value) pairs.

    >>> choice("k1", ["k1", "k2", "k3"], label="estimator").value
    'k1'
    """
    return W.Dropdown(options=options, value=value, description=label)


def buttons(value: Any, options: Any, *, label: str) -> W.ToggleButtons:
    """A few alternatives side by side.

    >>> buttons(1, [("good", 1), ("bad", -1)], label="advantage").value
    1
    """
    return W.ToggleButtons(options=options, value=value, description=label)


def toggle(value: bool, *, label: str) -> W.Checkbox:
    """On or off.

    >>> toggle(True, label="whiten").value
    True
    """
    return W.Checkbox(value, description=label, indent=False)


class Presses(W.HBox):
    """Buttons that remember: ``value`` holds the words pressed so far, one after another (see `presses`).

    The keys 1, 2, ... press them too, once one of them has the focus; left and right arrow are 1 and 2.
    """

    value = traitlets.Tuple()

    def __init__(self, options: Sequence[str], label: str) -> None:
        made = [W.Button(description=option) for option in options]
        for button in made:
            button.on_click(lambda pressed: self.set_trait("value", (*self.value, pressed.description)))
        super().__init__([W.Label(label), *made])
        self.add_class("rlbase-presses")
        self.description = label


def presses(options: Sequence[str], *, label: str) -> Presses:
    """Buttons to answer one question after another: ``value`` is the tuple of all answers given so far.

    >>> ask = presses(["left", "right"], label="Which is better?")
    >>> ask.children[2].click(); ask.children[1].click()
    >>> ask.value
    ('right', 'left')
    """
    return Presses(options, label)


class Explorable(W.VBox):
    """Controls bound to a computation, and the picture of its result.

    ``compute(**values)`` is called with one keyword for each control and returns a `Scene`. A fault in
    it stands as one sentence under the picture, which keeps its last good state.
    """

    def __init__(self, compute: Callable[..., Scene], controls: Mapping[str, W.Widget]) -> None:
        self.compute, self.controls = compute, dict(controls)
        self.figure = LiveFigure(compute(**self.values))
        self._error = W.HTML(layout=W.Layout(display="none"))
        self._error.add_class("rlbase-error")
        super().__init__([bind(self.controls, self.figure, self._changed), self.figure, self._error])
        self.add_class("rlbase-explorable")

    @property
    def values(self) -> dict[str, Any]:
        """What each control stands at."""
        return values(self.controls)

    @property
    def scene(self) -> Scene:
        """The scene that is shown."""
        return self.figure.current

    def _changed(self) -> None:
        try:
            self.figure.show(self.compute(**self.values))
        except Exception as fault:  # shown to the learner: a traceback would end up in a log nobody opens
            self._error.value = f'<div role="alert">{sentence(fault)}</div>'
            self._error.layout.display = ""
        else:
            self._error.layout.display = "none"

    def __repr__(self) -> str:
        return f"Explorable({', '.join(self.controls)})"

    def _repr_mimebundle_(self, **arguments: Any) -> Any:
        return with_picture(super()._repr_mimebundle_(**arguments), self.scene, repr(self))


def explore(compute: Callable[..., Scene], controls: Mapping[str, W.Widget]) -> Explorable:
    """Bind controls to ``compute``: every move of a control computes and draws a new scene.

    >>> from rlbase.explore import Line, Panel, Scene, explore, slider
    >>> def halves(top): return Scene([Panel([Line([0, 1], [0, top / 2], label="half")])])
    >>> explore(halves, {"top": slider(1.0, 0.0, 2.0, step=0.1, label="top")})
    Explorable(top)
    """
    return Explorable(compute, controls)


def values(controls: Mapping[str, W.Widget]) -> dict[str, Any]:
    """What each control stands at."""
    return {name: getattr(control, "value") for name, control in controls.items()}  # noqa: B009


def sentence(fault: Exception) -> str:
    """The first line of an error, safe to stand in a page."""
    return html.escape(str(fault).split("\n")[0] or type(fault).__name__)


def bind(controls: Mapping[str, W.Widget], figure: LiveFigure, changed: Callable[[], None]) -> W.Box:
    """A row of controls with names to be spoken and to be found by; each calls ``changed`` when it moves."""
    spoken = {}
    for name, control in controls.items():
        assert isinstance(control, W.DOMWidget)
        css = f"rlbase-{name.replace('_', '-')}"
        control.add_class(css)
        spoken[css] = getattr(control, "description", name)
        if isinstance(control, W.FloatSlider | W.IntSlider | W.FloatLogSlider):
            control.layout.width = "360px"
        elif isinstance(control, W.Dropdown):
            control.layout.width = "max-content"  # label and choice both whole
        if not isinstance(control, W.Box):
            getattr(control, "style").description_width = "initial"  # noqa: B009
        control.observe(lambda _: changed(), names="value")
    figure.labels = spoken
    return row([*controls.values()])


def row(widgets: Sequence[W.Widget]) -> W.Box:
    """Widgets side by side, in further rows where the page is narrow."""
    return W.Box(widgets, layout=W.Layout(flex_flow="row wrap", align_items="center"))
