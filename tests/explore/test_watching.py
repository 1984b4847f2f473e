"""Watched training: no record is lost, an interrupt ends it cleanly, Stop is heard, a fault is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest
import torch

from rlbase.explore import LiveRun, compare, curves, slider, watch
from rlbase.policies import TabularPolicy


def trainer(count: int = 50, pause: float = 0.0, rate: float = 1.0) -> Iterator[dict[str, float]]:
    for i in range(count):
        time.sleep(pause)
        yield {"update": i + 1, "env_steps": 10 * (i + 1), "return_mean": rate * i, "old_kl": 1 / (i + 1)}


def test_watch_returns_every_record() -> None:
    records = watch(trainer(37), ["return_mean"])
    assert [r["update"] for r in records] == list(range(1, 38))


def test_watch_survives_an_interrupt_and_closes_the_trainer(capsys: pytest.CaptureFixture[str]) -> None:
    policy, closed = TabularPolicy(1, 2), []

    def interrupted() -> Iterator[dict[str, float]]:
        try:
            for i in range(10):
                with torch.no_grad():
                    policy.logits += torch.tensor([0.1, 0.0])
                yield {"update": i + 1, "loss": 1.0}
        finally:
            closed.append(True)

    class Impatient:
        """The learner presses the stop button after the third update."""

        def __init__(self) -> None:
            self.inner, self.seen = interrupted(), 0

        def __iter__(self) -> Impatient:
            return self

        def __next__(self) -> dict[str, float]:
            if self.seen == 3:
                raise KeyboardInterrupt
            self.seen += 1
            return next(self.inner)

        def close(self) -> None:
            self.inner.close()

    stream = Impatient()  # a name for it, so that only `watch` can have closed it
    records = watch(stream, ["loss"])
    assert len(records) == 3 and closed == [True]
    assert capsys.readouterr().out == "Interrupted after 3 updates; the policy keeps what it has learned.\n"
    assert policy.probs()[0, 0].item() == pytest.approx(1 / (1 + 2.718281828**-0.3))


def test_curves_draw_what_the_records_say() -> None:
    records = list(trainer(3))
    scene = curves(
        records, ["return_mean", ("old_kl", "return_mean")], x="env_steps", targets={"return_mean": 475}
    )
    first, second = scene.panels
    assert (
        first.marks[0].x == (10, 20, 30)
        and first.marks[0].y == (0, 1, 2)
        and first.x_label == "environment steps"
    )
    assert first.marks[1].y == (475, 475) and "known answer 475" in scene.alt
    named = curves(records, ["return_mean"], targets={"return_mean": (475, "solved at 475")})
    assert "known answer" not in named.alt and named.panels[0].marks[1].label == "solved at 475"
    assert [m.label for m in second.marks[:2]] == ["KL(old‖new) of one update", "episode return"]


def test_curves_that_share_a_panel_bear_words_not_keys() -> None:
    record = {"update": 1.0, "tv_own": 0.2, "tv_rl": 0.4, "loss": 1.0, "held_out_loss": 2.0, "mine": 3.0}
    first, second, third = curves(
        [record], [("tv_own", "tv_rl"), ("loss", "held_out_loss"), ("mine", "loss")]
    ).panels
    assert (first.title, first.y_label) == ("Its own target and PPO's target", "distance, total variation")
    assert [mark.label for mark in first.marks] == ["its own target", "PPO's target"]
    assert second.title == "Loss and held-out loss" and third.title == "mine and loss"


def test_curves_leave_gaps_out_and_name_a_missing_metric() -> None:
    records = [{"update": 1, "loss": float("nan")}, {"update": 2, "loss": 3.0}]
    assert curves(records, ["loss"]).panels[0].marks[0].y == (3.0,)
    with pytest.raises(ValueError, match="no record has 'los'; there are update, loss"):
        curves(records, ["los"])


def test_long_runs_are_thinned_but_keep_both_ends() -> None:
    line = curves(list(trainer(5000)), ["return_mean"]).panels[0].marks[0]
    assert len(line.x) < 900 and line.x[0] == 1 and line.x[-1] == 5000


def test_compare_gives_every_run_its_own_colour() -> None:
    runs = {"a": list(trainer(3)), "b": list(trainer(4)), "broken": list(trainer(2))}
    scene = compare(runs, ["return_mean"], colors={"broken": "wrong"}, targets={"return_mean": 2})
    assert [m.color for m in scene.panels[0].marks[:3]] == ["policy", "reward", "wrong"]
    assert scene.panels[0].x_range == (0, 4)


async def until(happened: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


def test_live_run_starts_stops_goes_on_and_begins_again() -> None:
    def train(rate: float) -> Iterator[dict[str, float]]:
        return trainer(100_000, pause=0.01, rate=rate)

    async def session() -> None:
        rate = slider(1.0, 0.5, 3.0, step=0.5, label="rate")
        run = LiveRun(train, ["return_mean"], controls={"rate": rate})
        run._press_start()
        await until(lambda: len(run.records) > 0, seconds=1)  # the first record is drawn at once
        await until(lambda: len(run.records) > 3)
        run.stop()
        await asyncio.sleep(0.3)
        stopped = len(run.records)
        await asyncio.sleep(0.2)
        assert len(run.records) == stopped
        run._press_start()
        await until(lambda: len(run.records) > stopped)
        assert run.records[stopped]["update"] == stopped + 1  # it went on, it did not begin again
        rate.value = 2.0
        await until(lambda: len(run.records) > 1)
        assert run.running and run.records[0]["update"] == 1 and run.records[1]["return_mean"] == 2.0
        run.reset()
        await asyncio.sleep(0.3)
        assert not run.records and not run.running

    asyncio.run(session())


def test_live_run_ends_by_itself_and_tells_a_fault() -> None:
    def faulty() -> Iterator[dict[str, float]]:
        yield {"update": 1, "loss": 1.0}
        raise ValueError("the reward is <NaN>")

    def refused() -> Iterator[dict[str, float]]:
        raise ValueError("no such world")

    async def session() -> tuple[LiveRun, LiveRun]:
        good, bad = LiveRun(lambda: trainer(5), ["old_kl"]), LiveRun(faulty, ["loss"])
        never = LiveRun(lambda: refused(), ["loss"])
        never._press_start()
        assert "no such world" in never._status.value and not never.running
        good._press_start()
        bad._press_start()
        await until(lambda: not good.running and not bad.running)
        return good, bad

    good, bad = asyncio.run(session())
    assert len(good.records) == 5 and not good.running and good._status.value == "Update 5, finished."
    assert not bad.running and "the reward is &lt;NaN&gt;" in bad._status.value


def test_live_run_in_a_script_says_what_to_use() -> None:
    with pytest.raises(RuntimeError, match=r"use watch\(\)"):
        LiveRun(trainer, ["return_mean"])._press_start()


def test_a_saved_live_run_shows_its_first_updates() -> None:
    run = LiveRun(trainer, ["return_mean"], preview=7)
    data, metadata = run._repr_mimebundle_()
    assert data["text/plain"] == "LiveRun(return_mean)" and data["image/png"].startswith("iVBOR")
    assert "from 0 to 6" in metadata["image/png"]["alt"] and not run.records


def test_a_new_run_begins_while_the_old_one_is_in_the_middle_of_an_update() -> None:
    """JupyterLab hands a slider's messages to another thread of the kernel, so a reset can come at any moment."""
    import threading

    inside, go_on = threading.Event(), threading.Event()

    def start():
        inside.set()
        go_on.wait(5)
        yield {"update": 1.0, "loss": 1.0}

    run = LiveRun(start, ["loss"])
    old = run._stream = start()
    worker = threading.Thread(target=lambda: list(old))
    worker.start()
    assert inside.wait(5)
    run.reset()  # closing a generator that is executing is a ValueError
    go_on.set()
    worker.join(5)
    assert run._stream is None and run.records == [] and not run.running
