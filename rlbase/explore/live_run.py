"""Training with buttons: start, stop and reset a run beside its curves, with the kernel free for other cells."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ipywidgets as W

from rlbase.explore.live import LiveFigure, bind, row, sentence, values, with_picture
from rlbase.explore.scene import Scene
from rlbase.explore.training import Metrics, Record, Targets, curves


class LiveRun(W.VBox):
    """Start, stop and reset a training run beside its curves, with the kernel free for other cells.

    ``start(**values)`` builds a fresh policy and returns its trainer, called with one keyword for each control;
    moving a control begins again with the new value. Training runs in slices of a tenth of a second on
    the kernel's own event loop, so *Stop* is heard between two updates. A saved notebook shows the first
    ``preview`` updates.
    """

    def __init__(
        self,
        start: Callable[..., Iterator[Record]],
        metrics: Metrics,
        *,
        controls: Mapping[str, W.Widget] | None = None,
        x: str = "update",
        preview: int = 20,
        targets: Targets | None = None,
    ) -> None:
        self.start, self.metrics, self.x, self.targets = start, metrics, x, targets
        self.preview, self.controls = preview, dict(controls or {})
        self.records: list[Record] = []
        self.running = False
        self._stream: Iterator[Record] | None = None
        self._task: asyncio.Task[None] | None = None
        self.figure, self._status = LiveFigure(self.scene), W.HTML("Ready.")
        buttons = []
        for name, action in (("Start", self._press_start), ("Stop", self.stop), ("Reset", self.reset)):
            button = W.Button(description=name, button_style="primary" if name == "Start" else "")
            button.add_class(f"rlbase-{name.lower()}")
            button.on_click(lambda _, act=action: act())
            buttons.append(button)
        knobs = bind(self.controls, self.figure, self._again)
        super().__init__([knobs, row([*buttons, self._status]), self.figure])
        self.add_class("rlbase-explorable")

    @property
    def scene(self) -> Scene:
        """The curves so far."""
        return self._curves(self.records)

    def _curves(self, records: list[Record]) -> Scene:
        return curves(records, self.metrics, x=self.x, targets=self.targets)

    def _fresh(self) -> Iterator[Record]:
        return self.start(**values(self.controls))

    def _press_start(self) -> None:
        if self.running:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "LiveRun: Start needs a notebook's event loop; in a script use watch()."
            ) from None
        if self._stream is None:
            try:
                self._stream = self._fresh()
            except Exception as fault:
                return self._failed(fault)
        self.running = True
        self._task = loop.create_task(self._run())

    def stop(self) -> None:
        """Pause after the update in progress; *Start* goes on from there."""
        self.running = False

    def reset(self) -> None:
        """Forget the run, so that *Start* begins with a fresh policy."""
        self.running = False
        stream, task = self._stream, self._task
        self._stream, self._task, self.records = None, None, []
        # ValueError: it is in the middle of an update, in another thread of the kernel, and ends after it.
        with contextlib.suppress(ValueError):
            getattr(stream, "close", lambda: None)()
        if task is not None:
            task.cancel()
        self.figure.show(self.scene)
        self._status.value = "Ready."

    def _again(self) -> None:
        self.reset()
        self._press_start()

    async def _run(self) -> None:
        stream = self._stream
        try:
            while self.running and stream is not None and stream is self._stream:
                deadline = time.monotonic() + (0.1 if self.records else 0)
                ended = True
                for record in stream:
                    if stream is not self._stream:  # a control was moved meanwhile, and another run has begun
                        return
                    self.records.append(record)
                    if time.monotonic() >= deadline:
                        ended = False
                        break
                if stream is not self._stream:
                    return
                if ended:
                    self.running = False
                self.figure.show(self.scene)
                self._status.value = f"Update {len(self.records)}" + ("" if self.running else ", finished.")
                # Not sleep(0): the messages of the page come through sockets, which need a turn of the loop.
                await asyncio.sleep(0.01)
        except Exception as fault:
            self._failed(fault)

    def _failed(self, fault: Exception) -> None:
        self.running = False
        self._status.value = f'<span class="rlbase-error" role="alert">{sentence(fault)}</span>'

    def __repr__(self) -> str:
        return f"LiveRun({', '.join(m if isinstance(m, str) else ' and '.join(m) for m in self.metrics)})"

    def _repr_mimebundle_(self, **arguments: Any) -> Any:
        records = self.records or list(itertools.islice(self._fresh(), self.preview))
        return with_picture(super()._repr_mimebundle_(**arguments), self._curves(records), repr(self))
