"""What the timings of single training steps share: arguments, a clock around a trainer's records, one JSON line."""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Iterable

import torch

Times = list[tuple[float, float]]  # CPU and wall milliseconds of each step


def parse(doc: str | None, *, tasks: tuple[str, ...] = ()) -> argparse.Namespace:
    """The arguments of such a script, and one thread; with several ``tasks``, which one, and ``cached``."""
    parser = argparse.ArgumentParser(description=doc)
    if tasks:
        parser.add_argument("--task", choices=tasks, default=tasks[0])
        parser.add_argument(
            "--cached", action="store_true", help="the reference's part computed before the clock"
        )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--updates", type=int, default=24)
    parser.add_argument("--skip", type=int, default=4, help="updates that warm up and do not count")
    torch.set_num_threads(1)
    return parser.parse_args()


def timed(run: Iterable[object]) -> Times:
    """From each record of a trainer to the next."""
    times, cpu, wall = [], time.process_time(), time.perf_counter()
    for _ in run:
        times.append((1e3 * (time.process_time() - cpu), 1e3 * (time.perf_counter() - wall)))
        cpu, wall = time.process_time(), time.perf_counter()
    return times


def report(task: str, arguments: argparse.Namespace, times: Times) -> None:
    """Print the medians and the peak of memory."""
    cpu, wall = zip(*times[arguments.skip :], strict=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    medians = {"step_cpu_ms": statistics.median(cpu), "step_ms": statistics.median(wall)}
    print(
        json.dumps({"peer": "rlbase", "task": task, "seed": arguments.seed, **medians, "peak_rss_mb": peak})
    )
