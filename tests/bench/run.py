"""Time training against its peers in one run, one process at a time, in turn, and print the table.

    make bench                                          # this project alone
    make bench ARGS="--peers DIR --peer-python PYTHON"  # side by side

``DIR`` holds peer scripts that print one JSON line each (``ppo_sb3.py``, ``ppo_cleanrl.py``, ``lm_floor.py``,
``lm_trl.py``) and ``PYTHON`` is an interpreter that has their libraries. CPU seconds on one thread; compare ratios
within a run only, since machines are shared. Raw lines go to build/bench.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
OUT = HERE.parent.parent / "build" / "bench"
CARTPOLE = ["--task", "CartPole-v1", "--steps", "500000", "--solve", "475"]
TITLES = {
    "cartpole": "CartPole-v1 to a mean of 475",
    "lm": "One PPO update of a small GPT-2",
    "sft": "One step of supervised fine-tuning of a small GPT-2",
    "reward": "One step of a reward model from comparisons, a small GPT-2",
    "dpo": "One step of DPO of a small GPT-2",
    "kto": "One step of KTO of a small GPT-2",
}


def entries(arguments: argparse.Namespace) -> dict[str, dict[str, list[str]]]:
    """Suite -> name -> command, the seed still to come."""
    mine, peer = [sys.executable], [str(arguments.peer_python)]
    suites: dict[str, dict[str, list[str]]] = {
        "cartpole": {"rlbase": [*mine, str(HERE / "cartpole.py")]},
        "lm": {"rlbase": [*mine, str(HERE / "lm_ppo.py")]},
        "sft": {"rlbase": [*mine, str(HERE / "lm_sft.py")]},
        "reward": {"rlbase": [*mine, str(HERE / "lm_reward.py")]},
    }
    for task in ("dpo", "kto"):
        learn = [*mine, str(HERE / "lm_preference.py"), "--task", task]
        suites[task] = {"rlbase": learn, "rlbase, cached reference": [*learn, "--cached"]}
    if arguments.peers is not None:
        folder = arguments.peers
        suites["cartpole"] |= {
            "Stable-Baselines3, tuned": [*peer, str(folder / "ppo_sb3.py"), *CARTPOLE, "--preset", "zoo"]
        }
        if {"CLEANRL_DIR", "GYM029"} <= os.environ.keys():
            suites["cartpole"] |= {"CleanRL": [*peer, str(folder / "ppo_cleanrl.py"), *CARTPOLE]}
        suites["lm"] |= {"bare loop": [*peer, str(folder / "lm_floor.py"), "--task", "ppo", "--beta", "0.05"]}
        if arguments.trl_path is not None:
            trl = [str(folder / "lm_trl.py"), "--task", "ppo", "--trl-path", str(arguments.trl_path)]
            suites["lm"] |= {"TRL 1.12": [*peer, *trl]}
        for task in ("sft", "reward", "dpo", "kto"):
            rivals = {"bare loop": "lm_floor.py", "TRL": "lm_trl.py"}
            suites[task] |= {
                name: [*peer, str(folder / script), "--task", task] for name, script in rivals.items()
            }
    return {name: suite for name, suite in suites.items() if arguments.only in (None, name)}


def measure(command: list[str], seed: int) -> dict[str, Any] | None:
    """Run one command; its last line of output is its result."""
    done = subprocess.run(
        [*command, "--seed", str(seed)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        print(f"  failed: {' '.join(command)}\n{done.stderr[-800:]}", file=sys.stderr)
        return None
    return json.loads(lines[-1])


def table(suite: str, results: dict[str, list[dict[str, Any]]]) -> None:
    """Print medians, spreads and the ratio to this project's median."""
    key, unit = ("cpu_s", "CPU s") if suite == "cartpole" else ("step_cpu_ms", "CPU ms")
    own = statistics.median(r[key] for r in results["rlbase"])
    print(f"\n{TITLES[suite]}\n{'':26}{unit:>9} {'min - max':>16} {'/ rlbase':>9}  ", end="")
    print("env steps (min - max)     solved" if suite == "cartpole" else "peak MB")
    for name, rows in results.items():
        values = [r[key] for r in rows]
        spread = f"{min(values):.1f} - {max(values):.1f}"
        middle = statistics.median(values)
        print(f"{name:26}{middle:9.2f} {spread:>16} {middle / own:9.2f}  ", end="")
        if suite == "cartpole":
            steps = [r["env_steps"] for r in rows]
            solved = sum(r["solved_at_steps"] is not None for r in rows)
            print(f"{statistics.median(steps):9.0f} ({min(steps)} - {max(steps)})  {solved}/{len(rows)}")
        else:
            print(f"{statistics.median(r['peak_rss_mb'] for r in rows):7.0f}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=Path, help="folder of the peers' scripts")
    parser.add_argument("--peer-python", type=Path, default=Path(sys.executable))
    parser.add_argument("--trl-path", type=Path, help="a folder with TRL 1.12, the last one that had PPO")
    parser.add_argument("--only", choices=list(TITLES))
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.peers is not None and not arguments.peers.is_dir():
        print(f"bench: --peers {arguments.peers} is no folder.", file=sys.stderr)
        return 2
    OUT.mkdir(parents=True, exist_ok=True)
    for suite, commands in entries(arguments).items():
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
        for seed in range(1, arguments.seeds + 1):
            for name, command in commands.items():
                found = measure(command, seed)
                if found is not None:
                    results[name].append(found)
        with open(OUT / f"{suite}.jsonl", "w") as file:
            file.writelines(json.dumps({"name": n, **r}) + "\n" for n, rows in results.items() for r in rows)
        table(suite, {name: rows for name, rows in results.items() if rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
