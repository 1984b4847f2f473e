"""Training, watched: curves of metric records, drawn while they come.

`watch` is for a cell that trains and waits; a `LiveRun` (next door) has buttons and leaves the kernel free. Both take
a generator of records (`dict[str, float]`, one per update), which is what every trainer here is.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
    "correlation": ("Correlation with the truth", "1 is perfect", "truth"),
    "regret": ("Regret", "0 best, 1 as bad as chance", "wrong"),
    "accuracy": ("Accuracy", "share of comparisons", "other"),
    "margin": ("Margin", "chosen - rejected", "policy"),
    "chosen_reward": ("Implicit reward, chosen", "beta · nats", "reward"),
    "rejected_reward": ("Implicit reward, rejected", "beta · nats", "wrong"),
    "chosen_nll": ("Surprise at the chosen", "nats per token", "other"),
    "reference_point": ("KTO's reference point", "nats", "reference"),
    "kl": ("KL to the reference", "nats", "reference"),
    "gold": ("Gold reward", "mean", "truth"),
    "tv_own": ("Its own target", "distance, total variation", "policy"),
    "tv_rl": ("PPO's target", "distance, total variation", "reward"),
    "distance": ("Distance from the known answer", "total variation", "policy"),
    "h": ("Log-ratio gap h", "nats", "policy"),
    "held_out_loss": ("Held-out loss", "", "other"),
    "held_out_accuracy": ("Held-out accuracy", "share of comparisons", "other"),
    "grad_norm": ("Gradient norm", "before clipping", "other"),
    "learning_rate": ("Learning rate", "", "reference"),
}
RUN_COLOURS = ("policy", "reward", "other", "truth", "reference", "wrong")
AXES = {"update": "update", "env_steps": "environment steps"}


def curves(
    records: Sequence[Record], metrics: Metrics, *, x: str = "update", targets: Targets | None = None
) -> Scene:
    """One panel per entry of ``metrics``; a tuple of names puts several curves into one panel.

    ``targets`` draws a dashed line at a known answer, ``{"reward_mean": 1.6}``, or at a value with a name of
    its own, ``{"return_mean": (475, "solved at 475")}``.

    >>> curves([{"update": 1, "loss": 2.0}, {"update": 2, "loss": 1.0}], ["loss"]).alt
    'Loss: loss goes from 2 to 1.'
    """
    panels = []
    for entry in metrics:
        names = [entry] if isinstance(entry, str) else [*entry]
        colors = RUN_COLOURS if len(names) > 1 else [_meaning(names[0])[2]]
        labels = names if len(names) == 1 else [_in_a_sentence(n) for n in names]
        looks = zip(names, itertools.cycle(colors), labels, strict=False)
        lines = [_curve(records, name, x, color, label) for name, color, label in looks]
        panels.append(_training_panel(lines, names, x, targets))
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
    panels = []
    for metric in metrics:
        lines = [_curve(records, metric, x, chosen[name], name) for name, records in runs.items()]
        panels.append(_training_panel(lines, [metric], x, targets))
    return Scene(panels, height=300, width=min(1000, 380 * min(len(panels), 3) + 40))


def watch(
    records: Iterator[Record] | Iterable[Record],
    metrics: Metrics,
    *,
    x: str = "update",
    throttle: float = 0.1,
    targets: Targets | None = None,
) -> list[Record]:
    """Consume a trainer, draw its curves while it runs, and return every record.

    The picture is redrawn at most once in ``throttle`` seconds. Interrupting
    the kernel ends the run and returns what there is; the policy stays as the last update left it.

    >>> watch(iter([{"update": 1, "loss": 2.0}, {"update": 2, "loss": 1.0}]), ["loss"])[-1]["loss"]
    1.0
    """
    seen: list[Record] = []
    live = LiveFigure(curves(seen, metrics, x=x, targets=targets))
    show = _display()
    if show:
        # Nothing to read in a saved notebook, where the curves stand in the output that follows.
        view = {"version_major": 2, "version_minor": 0, "model_id": live.model_id}
        show({"application/vnd.jupyter.widget-view+json": view, "text/html": ""}, raw=True)
    stream, drawn = iter(records), float("-inf")
    try:
        for record in stream:
            seen.append(record)
            if show and time.monotonic() - drawn >= throttle:
                live.show(curves(seen, metrics, x=x, targets=targets))
                drawn = time.monotonic()
    except KeyboardInterrupt:
        print(f"Interrupted after {len(seen)} updates; the policy keeps what it has learned.")
    finally:
        if hasattr(stream, "close"):
            stream.close()  # type: ignore[union-attr]
        if show:
            # A second output holds the final curves: the first one was saved before there were any.
            live.layout.display = "none"
            show(LiveFigure(curves(seen, metrics, x=x, targets=targets)))
    return seen


def _curve(records: Sequence[Record], name: str, x: str, color: str, label: str) -> Line:
    if records and not any(name in r for r in records):
        raise ValueError(f"curves: no record has {name!r}; there are {', '.join(records[-1])}.")
    points = [(r.get(x, float(i + 1)), r[name]) for i, r in enumerate(records) if isfinite(r.get(name, nan))]
    thin = max(1, len(points) // 400)
    points = points[:-1:thin] + points[-1:]
    return Line([p[0] for p in points], [p[1] for p in points], color, label, width=2)


def _meaning(name: str) -> tuple[str, str, str]:
    return MEANING.get(name, (name, "", "policy"))


def _in_a_sentence(name: str) -> str:
    """A metric's words as they stand in a legend: "held-out loss", but "KL to ..." and "PPO's ..."."""
    title = _meaning(name)[0]
    return title if title[:2].isupper() else title[:1].lower() + title[1:]


def _training_panel(lines: list[Line], names: list[str], x: str, targets: Targets | None) -> Panel:
    """The curves, and a dashed line at each target of one of them."""
    last = max((line.x[-1] for line in lines if line.x), default=1.0)
    for target in (value for name, value in (targets or {}).items() if name in names):
        value, label = target if isinstance(target, tuple) else (target, f"known answer {number(target)}")
        lines = [*lines, Line([0, last], [value, value], "truth", label, dashed=True, width=1.8)]
    title, unit, _ = _meaning(names[0])
    title = " and ".join([title, *map(_in_a_sentence, names[1:])])
    return Panel(lines, title, AXES.get(x, x), unit, x_range=(0, max(last, 1)))


def _display() -> Callable[..., Any] | None:
    """What shows something in a notebook; None elsewhere."""
    from IPython.core.getipython import get_ipython
    from IPython.display import display

    return display if getattr(get_ipython(), "kernel", None) is not None else None
