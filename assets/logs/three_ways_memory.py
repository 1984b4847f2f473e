"""Memory and time of one step of PPO, DPO and KTO on the same language model, with as many tokens to learn from.

``python assets/logs/three_ways_memory.py`` writes ``26_three_ways_memory.json`` beside itself. Linux only; about two
minutes on one CPU core. Every number is a process of its own. ``models_mb`` is what loading the models added to the
process, ``step_mb`` how far the peak of the steps lay above that: gradients, Adam's two moments, activations, and
whatever the allocator kept.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlbase.envs import TextEnv
from rlbase.losses import dpo, kto
from rlbase.policies import LMCritic, LMRewardModel, frozen_copy, random_policy
from rlbase.train import LANGUAGE_MODEL, PreferenceConfig, ppo, preference, with_reference
from rlbase.types import Choices, Labelled, PreferencePairs, Prompt

METHODS = ("PPO", "DPO", "KTO", "DPO, reference cached", "KTO, reference cached")
SEEDS, STEPS, WARM_UP = (0, 1, 2), 6, 2
ROWS, PROMPT, RESPONSE, VOCAB = 32, 16, 32, 5000  # 32 responses a step: 16 comparisons, 32 verdicts
STATUS = Path("/proc/self/status")


class Numbers:
    """Texts are lists of numbers; the EOS is out of reach, so that every response has full length."""

    vocab_size = eos_token_id = VOCAB

    def encode(self, text: str) -> list[int]:
        return [int(word) for word in text.split()]

    def decode(self, ids: list[int]) -> str:
        return " ".join(map(str, ids))


def memory(field: str) -> float:
    """Megabytes of this process, now (``VmRSS``) or at most since the peak was forgotten (``VmHWM``)."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def drawn(generator: torch.Generator, columns: int) -> tuple[Tensor, Tensor]:
    """Random tokens for every step, and their mask."""
    ids = torch.randint(VOCAB, (ROWS * STEPS, columns), generator=generator)
    return ids, torch.ones_like(ids, dtype=torch.bool)


def begun(method: str, seed: int) -> tuple[Iterator[Any], float]:
    """A run with its models loaded and its first step still to come; and what they took."""
    generator, before = torch.Generator().manual_seed(seed), memory("VmRSS")
    policy: Any = random_policy("gpt2", vocab_size=VOCAB, hidden_size=256, layers=4)
    reference: Any = frozen_copy(policy)
    given = Prompt(*drawn(generator, PROMPT))
    if method == "PPO":
        critic: Any = LMCritic(policy)
        judge = frozen_copy(LMRewardModel(policy))
        took = memory("VmRSS") - before
        texts = [" ".join(map(str, row)) for row in given.ids.tolist()]
        settings: dict[str, Any] = {"max_new_tokens": RESPONSE, "batch_size": ROWS}
        env: Any = TextEnv(texts, Numbers(), token_scorer=judge.score, **settings)
        config = replace(LANGUAGE_MODEL, updates=STEPS, epochs=1)
        return ppo(policy, env, config, critic=critic, reference=reference, generator=generator), took
    took = memory("VmRSS") - before
    rows = Choices(given, *drawn(generator, RESPONSE))
    if method.startswith("DPO"):
        half = len(rows) // 2
        other = replace(rows[half:], obs=rows[:half].obs)  # two responses to one prompt
        data, loss = PreferencePairs(rows[:half], other), partial(dpo, beta=0.1)
    else:
        data, loss = Labelled(rows, torch.arange(len(rows)) % 2 == 0), partial(kto, beta=0.1)
    settings = {"updates": STEPS, "batch_size": len(data) // STEPS}
    if "cached" in method:
        data, reference = with_reference(reference, data, batch_size=ROWS), None
        took /= 2  # the other of the two is gone
    return preference(
        policy, data, loss, PreferenceConfig(**settings), reference=reference, generator=generator
    ), took


def one(method: str, seed: int) -> dict[str, float]:
    """Run the steps and look at the clock after each, at the memory at the end."""
    torch.set_num_threads(1)
    random_policy("gpt2", vocab_size=8)  # what the libraries themselves need
    run, models = begun(method, seed)
    start = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    clock = [time.process_time()]
    for _ in run:
        clock.append(time.process_time())
    steps = [1e3 * (b - a) for a, b in zip(clock[WARM_UP:], clock[WARM_UP + 1 :], strict=False)]
    return {
        "models_mb": round(models, 1),
        "step_mb": round(memory("VmHWM") - start, 1),
        "step_cpu_ms": round(statistics.median(steps)),
    }


def main() -> None:
    """Every method and seed, in turn, and the file; with ``--method``, one of them, as a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", choices=METHODS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.method:
        print(json.dumps(one(arguments.method, arguments.seed)))
        return
    found: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
    for seed in SEEDS:
        for method in METHODS:
            command = [sys.executable, __file__, "--method", method, "--seed", str(seed)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[method].append(json.loads(done.stdout.splitlines()[-1]))
    model = "GPT-2, 4 layers of 256, 5,000 tokens, random weights"
    log = {
        "command": "python assets/logs/three_ways_memory.py",
        "machine": f"{platform.machine()}, one CPU thread, torch {torch.__version__}",
        "step": f"{ROWS} responses of {RESPONSE} tokens to prompts of {PROMPT}; {model}; one gradient step",
        "runs": found,
    }
    here = Path(__file__).with_name("26_three_ways_memory.json")
    here.write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
