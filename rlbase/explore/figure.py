"""The saved picture: a scene drawn by matplotlib on its own light card.

The card keeps the picture readable on a dark page; the live picture needs none, since its text takes
the page's colours. Matplotlib is imported when the first picture is drawn.
"""

from __future__ import annotations

import base64
import io
import textwrap
from typing import TYPE_CHECKING, Any

from rlbase.explore.geometry import Box, Dot, Poly, Words
from rlbase.explore.layout import layout
from rlbase.explore.scene import Scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = {"ink": "#1f2328", "soft": "#57606a", "grid": "#e4e7eb", "card": "#ffffff"}


def draw(scene: Scene) -> Figure:
    """A matplotlib figure of the scene, 100 pixels to the inch.

    >>> from rlbase.explore import Line, Panel, Scene
    >>> draw(Scene([Panel([Line([0, 1], [2, 5])])])).get_size_inches().tolist()
    [7.6, 3.3]
    """
    from matplotlib.figure import Figure

    caption = textwrap.wrap(scene.caption, int(scene.width / 6.6))
    height = scene.full_height + 18 * len(caption) + (8 if caption else 0)
    figure = Figure(figsize=(scene.width / 100, height / 100), dpi=100, facecolor=INK["card"])
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, scene.width), ylim=(height, 0))
    axes.set_axis_off()
    for i, shape in enumerate(layout(scene)):
        _add(axes, shape, i)
    for row, line in enumerate(caption):
        _add(axes, Words(10, scene.full_height + 14 + 18 * row, line, color="soft"), 10_000)
    return figure


def png(scene: Scene, *, dpi: int = 170) -> bytes:
    """The scene as the bytes of a PNG file, with its description inside (``Description``).

    A palette of 128 colours is plenty for flat shapes and makes a third of the bytes: notebooks stay small.

    >>> from rlbase.explore import Line, Panel, Scene
    >>> png(Scene([Panel([Line([0, 1], [2, 5])])]))[1:4]
    b'PNG'
    """
    import matplotlib
    from PIL import Image, PngImagePlugin

    drawn, packed = io.BytesIO(), io.BytesIO()
    # The font that matplotlib brings along: the same picture on every machine, and every sign a label may use.
    with matplotlib.rc_context({"font.family": "DejaVu Sans"}):
        draw(scene).savefig(drawn, format="png", dpi=dpi)
    words = PngImagePlugin.PngInfo()
    words.add_itxt("Description", scene.alt)
    few = Image.open(drawn).convert("RGB").quantize(128, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(packed, format="PNG", pnginfo=words)
    return packed.getvalue()


def still(scene: Scene, text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a saved notebook keeps of a cell: ``text``, the picture, and its alt text."""
    picture = base64.b64encode(png(scene)).decode("ascii")
    return {"text/plain": text, "image/png": picture}, {"image/png": {"alt": scene.alt}}


def _add(axes: Axes, shape: Poly | Box | Dot | Words, order: int) -> None:
    from matplotlib.patches import Circle, FancyBboxPatch, Polygon

    color = INK.get(shape.color, shape.color)
    if isinstance(shape, Words):
        side = {"start": "left", "middle": "center", "end": "right"}[shape.anchor]
        text = axes.text(shape.x, shape.y, shape.text, color=color, ha=side, va="baseline", zorder=order)
        text.set(fontsize=0.72 * shape.size, fontweight="bold" if shape.bold else "normal", parse_math=False)
    elif isinstance(shape, Dot):
        face = "none" if shape.hollow else color
        axes.add_patch(Circle((shape.x, shape.y), shape.radius, fc=face, ec=color, lw=1.3, zorder=order))
    elif isinstance(shape, Box):
        style = f"round,pad=0,rounding_size={min(shape.radius, shape.width / 2, shape.height / 2)}"
        box = FancyBboxPatch((shape.x, shape.y), shape.width, shape.height, boxstyle=style)
        box.set(facecolor=color, edgecolor="none", alpha=shape.opacity, zorder=order)
        axes.add_patch(box)
    elif shape.filled:
        axes.add_patch(Polygon(shape.points, fc=color, ec="none", alpha=shape.opacity, zorder=order))
    else:
        xs, ys = zip(*shape.points, strict=True)
        dash = (0, tuple(v / shape.width for v in shape.dash)) if shape.dash else "-"
        axes.plot(xs, ys, color=color, lw=shape.width * 0.72, ls=dash, zorder=order, solid_capstyle="round")
