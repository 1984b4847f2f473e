"""Training, watched: curves of metric records, drawn while they come.

`watch` is for a cell that trains and waits; a `LiveRun` (next door) has buttons and leaves the kernel free. Both take
a generator of records (`dict[str, float]`, one per update), which is what every trainer here is.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite, nan
from typing import Any

from rlbase.explore.live import LiveFigure
from rlbase.explore.scene import Line, Panel, Scene, number

Record = dict[str, float]
Metrics = Sequence[str | tuple[str, ...]]
Targets = Mapping[str, float | tuple[float, str]]

# What a record's keys mean to a reader: (title, unit, colour).
MEANING = {
    "reward_mean": ("Reward", "mean per row", "reward"),
    "return_mean": ("Episode return", "mean of the last 100 episodes", "reward"),
    "entropy": ("Entropy of the policy", "nats per choice", "policy"),
    "clip_fraction": ("Clipped choices", "share of all", "other"),
    "ratio_max": ("Largest probability ratio", "π / π_old", "other"),
    "old_kl": ("KL(old‖new) of one update", "nats per choice", "policy"),
    "ref_k1": ("KL to the reference, k1", "nats per row", "reference"),
    "ref_k2": ("KL to the reference, k2", "nats per row", "other"),
    "ref_k3": ("KL to the reference, k3", "nats per row", "policy"),
    "beta": ("KL coefficient β", "reward per nat", "other"),
    "explained_variance": ("Explained variance of the critic", "1 is perfect", "truth"),
    "loss": ("Loss", "", "policy"),
    "policy_loss": ("Policy loss", "", "policy"),
    "value_loss": ("Value loss", "½ squared error", "truth"),
    "grad_norm": ("Gradient norm", "before clipping", "other"),
    "learning_rate": ("Learning rate", "", "reference"),
}
RUN_COLOURS = ("policy", "reward", "other", "truth", "reference", "wrong")
AXES = {"update": "update", "env_steps": "environment steps"}


def curves(
    records: Sequence[Record],
    metrics: Metrics,
    *,
    x: str = "update",
    targets: Targets | None = None,
) -> Scene:
    """One panel per entry of ``metrics``; a tuple of names puts several curves into one panel.

    ``targets`` draws a dashed line at a known answer, ``{"return_mean": 475}``, or at a value with a name of
    its own, ``{"return_mean": (500, "at most 500")}``.

    >>> curves([{"update": 1, "loss": 2.0}, {"update": 2, "loss": 1.0}], ["loss"]).alt
    'Loss: loss goes from 2 to 1.'
    """
    panels = []
    for entry in metrics:
        names = (entry,) if isinstance(entry, str) else tuple(entry)
        lines = [_curve(records, name, x, _color(name, i, len(names)), name) for i, name in enumerate(names)]
        lines += [_target(records, x, value) for name, value in (targets or {}).items() if name in names]
        title, unit, _ = MEANING.get(names[0], (names[0], "", "policy"))
        panels.append(_training_panel(lines, title if len(names) == 1 else " and ".join(names), unit, x))
    return Scene(panels, height=270, width=min(1000, 340 * min(len(panels), 3) + 40))


def compare(
    runs: Mapping[str, Sequence[Record]],
    metrics: Sequence[str],
    *,
    x: str = "update",
    colors: Mapping[str, str] | None = None,
    targets: Targets | None = None,
) -> Scene:
    """Several runs in the same axes, one panel per metric.

    ``colors`` names a colour for a run, e.g. ``{"without clip": "wrong"}``; the others get the next free one.

    >>> runs = {"clip": [{"update": 1, "loss": 2.0}], "no clip": [{"update": 1, "loss": 3.0}]}
    >>> compare(runs, ["loss"], colors={"no clip": "wrong"})
    Scene('Loss')
    """
    free = iter([c for c in RUN_COLOURS if c not in (colors or {}).values()])
    chosen = {name: (colors or {}).get(name) or next(free) for name in runs}
    longest = max(runs.values(), key=len)
    panels = []
    for metric in metrics:
        lines = [_curve(records, metric, x, chosen[name], name) for name, records in runs.items()]
        if targets and metric in targets:
            lines.append(_target(longest, x, targets[metric]))
        title, unit, _ = MEANING.get(metric, (metric, "", "policy"))
        panels.append(_training_panel(lines, title, unit, x))
    return Scene(panels, height=300, width=min(1000, 380 * min(len(panels), 3) + 40))


def watch(
    records: Iterator[Record] | Iterable[Record],
    metrics: Metrics,
    *,
    x: str = "update",
    every: int = 1,
    throttle: float = 0.1,
    targets: Targets | None = None,
) -> list[Record]:
    """Consume a trainer, draw its curves while it runs, and return every record.

    The picture is redrawn after ``every`` records and at most once in ``throttle`` seconds. Interrupting
    the kernel ends the run and returns what there is; the policy stays as the last update left it.

    >>> watch(iter([{"update": 1, "loss": 2.0}, {"update": 2, "loss": 1.0}]), ["loss"])[-1]["loss"]
    1.0
    """
    shell = _notebook()
    seen: list[Record] = []
    live = LiveFigure(curves(seen, metrics, x=x, targets=targets))
    if shell:
        # Nothing to read in a saved notebook, where the curves stand in the output that follows.
        _display({k: v for k, v in live.view().items() if "widget" in k} | {"text/html": ""})
    stream, drawn = iter(records), float("-inf")
    try:
        for record in stream:
            seen.append(record)
            if shell and len(seen) % every == 0 and time.monotonic() - drawn >= throttle:
                live.show(curves(seen, metrics, x=x, targets=targets))
                drawn = time.monotonic()
    except KeyboardInterrupt:
        print(f"Interrupted after {len(seen)} updates; the policy keeps what it has learned.")
    finally:
        if hasattr(stream, "close"):
            stream.close()  # type: ignore[union-attr]
        if shell:
            # A second output holds the final curves: the first one was saved before there were any.
            live.layout.display = "none"
            final = LiveFigure(curves(seen, metrics, x=x, targets=targets))
            _display(*final._repr_mimebundle_())
    return seen


def _curve(records: Sequence[Record], name: str, x: str, color: str, label: str) -> Line:
    if records and not any(name in r for r in records):
        raise ValueError(f"curves: no record has {name!r}; there are {', '.join(records[-1])}.")
    points = [(r.get(x, float(i + 1)), r[name]) for i, r in enumerate(records) if isfinite(r.get(name, nan))]
    thin = max(1, len(points) // 400)
    points = points[:-1:thin] + points[-1:]
    return Line([p[0] for p in points], [p[1] for p in points], color, label, width=2)


def _target(records: Sequence[Record], x: str, target: float | tuple[float, str]) -> Line:
    value, label = target if isinstance(target, tuple) else (target, f"known answer {number(target)}")
    last = max((r.get(x, float(i + 1)) for i, r in enumerate(records)), default=1.0)
    return Line([0, last], [value, value], "truth", label, dashed=True, width=1.8)


def _color(name: str, index: int, count: int) -> str:
    return MEANING.get(name, ("", "", "policy"))[2] if count == 1 else RUN_COLOURS[index % 6]


def _training_panel(lines: list[Line], title: str, unit: str, x: str) -> Panel:
    last = max((line.x[-1] for line in lines if line.x), default=1.0)
    return Panel(lines, title, AXES.get(x, x), unit, x_range=(0, max(last, 1)))


def _notebook() -> bool:
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None


def _display(data: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
    from IPython.display import display

    display(data, raw=True, metadata=metadata or {})
