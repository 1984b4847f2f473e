"""``import rlbase`` stays light: heavy libraries are imported where they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tree import ROOT

HEAVY = {"transformers", "gymnasium", "matplotlib", "ipywidgets", "anywidget", "IPython", "vaderSentiment"}


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "modules", ["rlbase", "rlbase.train, rlbase.envs, rlbase.policies, rlbase.rollout, rlbase.losses"]
)
def test_no_heavy_library_is_pulled_in(modules: str) -> None:
    loaded = run(f"import sys, {modules}; print(*{{name.partition('.')[0] for name in sys.modules}})").split()
    assert "rlbase" in loaded
    assert not HEAVY & set(loaded)


def test_costs_little_beside_torch() -> None:
    code = "import time, torch; t = time.process_time(); import rlbase; print(time.process_time() - t)"
    # CPU time, and the least of a few runs: a neighbour's load can only add to it.
    cost = min(float(run(code)) for _ in range(3))
    assert cost <= 0.3, f"import rlbase adds {cost:.2f} s of CPU to import torch; at most 0.3 s is allowed"
