"""PPO at the size of GPT-2 on whatever device there is: seconds an update, memory, and the contracts held there.

    python assets/logs/gpt2_ppo_timing.py --device cuda   # writes assets/logs/07_gpt2_ppo_timing.json

Random weights of GPT-2's shape (124M): what is timed does not depend on what the model says. Policy, critic and
reference are three full models; prompts of 32 tokens, 64 responses of 64 tokens an update, four epochs of two
minibatches. First the contracts are checked on the device for three architectures.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from rlbase.envs import TextEnv
from rlbase.policies import LMCritic, frozen_copy, random_policy
from rlbase.rollout import check_policy
from rlbase.train import LANGUAGE_MODEL, ppo
from rlbase.types import Prompt

VOCAB = 50257
PROMPT, RESPONSE, BATCH = 32, 64, 64


class Numbers:
    """Texts are lists of numbers; the EOS is a rare token, so that nearly every response has full length."""

    vocab_size, eos_token_id = VOCAB, VOCAB - 1

    def encode(self, text: str) -> list[int]:
        return [int(word) for word in text.split()]

    def decode(self, ids: list[int]) -> str:
        return " ".join(map(str, ids))


def variety(prompt: Prompt, actions: Tensor, mask: Tensor) -> Tensor:
    """Share of even tokens: a reward that costs nothing and can be learnt."""
    return ((actions % 2 == 0) & mask).sum(1) / mask.sum(1)


def world(prompts: int = 256) -> TextEnv:
    ids = torch.randint(VOCAB - 1, (prompts, PROMPT), generator=torch.Generator().manual_seed(0))
    texts = [" ".join(map(str, row)) for row in ids.tolist()]
    return TextEnv(texts, Numbers(), token_scorer=variety, max_new_tokens=RESPONSE, batch_size=BATCH)


def contracts(device: str) -> dict[str, float]:
    """Largest gap between sampled and re-scored log-probabilities on the device, for three architectures."""
    gaps = {}
    for name in ("gpt2", "gpt_neox", "llama"):
        policy = random_policy(name, vocab_size=VOCAB, hidden_size=128, context=128).to(device)
        gaps[name] = check_policy(policy, world(), tolerance=1e-3)
    return gaps


def timed(device: str, precision: str, updates: int, skip: int, seed: int) -> dict[str, Any]:
    """Median seconds of an update after ``skip`` that warm up, and what the records say."""
    shape = {"vocab_size": VOCAB, "hidden_size": 768, "layers": 12, "heads": 12, "context": 1024}
    policy = random_policy("gpt2", **shape, seed=seed).to(device)
    critic, reference, env = LMCritic(policy), frozen_copy(policy), world()
    config = replace(LANGUAGE_MODEL, updates=updates, minibatches=2, learning_rate=1e-5, precision=precision)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds, records = [], []
    generator = torch.Generator(device).manual_seed(seed)
    clock = time.perf_counter()
    for record in ppo(policy, env, config, critic=critic, reference=reference, generator=generator):
        now = time.perf_counter()  # every record holds numbers, so the device has finished
        seconds.append(now - clock)
        records.append(record)
        clock = time.perf_counter()
    kept = seconds[skip:]
    middle = statistics.median(kept)
    return {
        "precision": precision,
        "seed": seed,
        "seconds_per_update": {"median": middle, "min": min(kept), "max": max(kept), "counted": len(kept)},
        "response_tokens_per_second": BATCH * RESPONSE / middle,
        "peak_memory_gb": torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else None,
        "reward_mean": [round(r["reward_mean"], 4) for r in records],
        "ref_k1": [round(r["ref_k1"], 4) for r in records],
        "ratio_max": [round(r["ratio_max"], 3) for r in records],
        "config": asdict(config),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--updates", type=int, default=12)
    parser.add_argument("--skip", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("07_gpt2_ppo_timing.json"))
    o = parser.parse_args()
    log: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]),
        "machine": torch.cuda.get_device_name() if o.device == "cuda" else "CPU",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "batch_size": BATCH,
        "prompt_tokens": PROMPT,
        "response_tokens": RESPONSE,
        "largest_gap_of_the_contract": contracts(o.device),
        "runs": [],
    }
    print(log["largest_gap_of_the_contract"], flush=True)
    for seed in range(o.seeds):
        for precision in ("float32", "bfloat16"):
            run = timed(o.device, precision, o.updates, o.skip, seed)
            log["runs"].append(run)
            print(precision, seed, run["seconds_per_update"], run["peak_memory_gb"], flush=True)
            o.out.write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
