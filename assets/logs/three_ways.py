"""PPO, DPO, IPO and KTO with the same comparisons, over seeds: a sweep of beta, and how many comparisons each needs.

``python assets/logs/three_ways.py`` writes ``26_three_ways.json`` beside itself. About eight minutes on one CPU core.
"""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path

import torch

from rlbase.explore.three_ways import BETAS, METHODS, comparisons, judge, learn

SEEDS = (0, 1, 2)
SWEPT = 1000  # comparisons in the sweep
BUDGETS = (30, 100, 300, 1000, 3000, 10000)
AT = {
    "DPO": 0.6,
    "IPO": 0.1,
    "IPO averaged": 0.3,
    "KTO": 0.6,
    "PPO": 0.6,
}  # beta (tau) in the runs over budgets


def end(method: str, beta: float, n: int, seed: int) -> dict[str, float]:
    """Where one run ends; PPO is paid by a reward model that was fitted to the same comparisons."""
    began, wins = time.process_time(), comparisons(n, seed)
    scorer = judge(wins, seed=seed) if method == "PPO" else None
    last = list(learn(method, beta, wins, scorer=scorer, seed=seed))[-1]
    return {k: round(v, 4) for k, v in last.items()} | {"cpu_seconds": round(time.process_time() - began, 2)}


def main() -> None:
    """Every run, and the file."""
    torch.set_num_threads(1)
    log = {
        "command": "python assets/logs/three_ways.py",
        "machine": f"{platform.machine()}, one CPU thread, torch {torch.__version__}",
        "betas": BETAS,
        "swept": SWEPT,
        "sweep": {m: [[end(m, b, SWEPT, s) for s in SEEDS] for b in BETAS] for m in METHODS},
        "at": AT,
        "budgets": {m: {n: [end(m, b, n, s) for s in SEEDS] for n in BUDGETS} for m, b in AT.items()},
    }
    here = Path(__file__).with_name("26_three_ways.json")
    here.write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
