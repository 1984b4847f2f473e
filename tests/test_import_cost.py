"""``import rlbase`` stays light: heavy libraries are imported where they are used."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from tree import ROOT

HEAVY = {"transformers", "gymnasium", "matplotlib", "ipywidgets", "anywidget", "IPython", "vaderSentiment"}


CODE = """
import json, sys, time, torch
begun = time.process_time()
import rlbase
cost, alone = time.process_time() - begun, [*sys.modules]
import rlbase.train, rlbase.envs, rlbase.policies, rlbase.rollout, rlbase.losses
print(json.dumps({"cost": cost, "rlbase": alone, "rooms": [*sys.modules]}))
"""


def fresh() -> dict[str, Any]:
    """What a fresh interpreter says of importing the package: the CPU seconds it adds, and the modules it loads."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def imported() -> dict[str, Any]:
    return fresh()


@pytest.mark.parametrize("modules", ["rlbase", "rooms"])
def test_no_heavy_library_is_pulled_in(modules: str, imported: dict[str, Any]) -> None:
    loaded = {name.partition(".")[0] for name in imported[modules]}
    assert "rlbase" in loaded
    assert not HEAVY & loaded
    assert ("rlbase.train" in imported[modules]) == (modules == "rooms")


def test_costs_little_beside_torch(imported: dict[str, Any]) -> None:
    # CPU time, and the least of a few runs: a neighbour's load can only add to it, so one run below the line will do.
    cost = imported["cost"]
    for _ in range(2):
        cost = cost if cost <= 0.3 else min(cost, fresh()["cost"])
    assert cost <= 0.3, f"import rlbase adds {cost:.2f} s of CPU to import torch; at most 0.3 s is allowed"
