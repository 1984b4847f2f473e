"""PPO on a real pretrained model: SmolLM2-135M learns to sound cheerful, a few updates on a CPU.

    python -m rlbase download smollm2-135m          # once, 93 MB
    python assets/logs/smollm2_ppo.py               # writes assets/logs/07_smollm2_ppo.json

Needs about 5 GB of memory and, with --keep, 2 GB of disk. The log is written after each update. With --keep FOLDER
the run is kept there too: stop it whenever you like, and the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from rlbase.data.reviews import sentiment
from rlbase.data.variety import distinct_n
from rlbase.envs import TextEnv
from rlbase.policies import CausalLMPolicy, frozen_copy, load_policy
from rlbase.rollout import rollout
from rlbase.train import LANGUAGE_MODEL, ppo

PROMPTS = ["The film is", "I thought the movie was", "The acting was", "This film made me feel"]
KEPT = ("update", "reward_mean", "ref_k1", "ref_k3", "entropy", "ratio_max", "clip_fraction", "grad_norm")


def world(policy: CausalLMPolicy, tokens: int, batch: int) -> TextEnv:
    """Prompts in, at most ``tokens`` tokens out, paid by their sentiment."""
    return TextEnv(
        PROMPTS,
        policy.tokenizer,
        sentiment,
        max_new_tokens=tokens,
        batch_size=batch,
        group_size=batch // len(PROMPTS),
    )


def examine(policy: CausalLMPolicy, tokens: int, rows: int) -> dict[str, Any]:
    """Mean score of fresh responses with its standard error, their variety, and the first few."""
    env = world(policy, tokens, rows)
    rollout(policy, env, generator=torch.Generator().manual_seed(1234))
    each = rows // len(PROMPTS)
    shown = [each * group + i for group in range(len(PROMPTS)) for i in range(min(2, each))]
    return {
        "responses": rows,
        "reward": env.scores.mean().item(),
        "reward_standard_error": (env.scores.std() / rows**0.5).item(),
        "distinct_2": distinct_n(env.responses, 2),
        "samples": [
            {"prompt": env.prompts_used[i], "response": env.responses[i], "score": env.scores[i].item()}
            for i in shown
        ],
    }


def write(path: Path, log: dict[str, Any]) -> None:
    """The log on disk, whole or not at all."""
    rough = path.with_suffix(".tmp")
    rough.write_text(json.dumps(log, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(rough, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--batch", type=int, default=32, help="responses an update: 8, 12, 16, ...")
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--beta", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--examined", type=int, default=64, help="fresh responses before and after")
    parser.add_argument("--keep", type=Path, help="folder for a checkpoint, outside of the repository")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("07_smollm2_ppo.json"))
    o = parser.parse_args()
    if o.batch < 8 or o.batch % 4 or o.examined < 4 or o.examined % 4:
        parser.error(
            "--batch must be 8, 12, 16, ... and --examined 4, 8, 12, ...: each prompt gets its share."
        )
    torch.set_num_threads(1)
    config = replace(LANGUAGE_MODEL, updates=o.updates, learning_rate=o.learning_rate, beta=o.beta)
    config = replace(config, advantage="leave_one_out", epochs=1)
    policy = load_policy("smollm2-135m")
    reference, env = frozen_copy(policy), world(policy, o.tokens, o.batch)
    log: dict[str, Any] = {}
    if o.keep is not None and o.keep.exists() and o.out.exists():
        log = json.loads(o.out.read_text(encoding="utf-8"))
        print(f"going on after update {len(log['records'])}", flush=True)
    if not log:
        print(f"{o.examined} responses of the model as it is", flush=True)
        log = {
            "command": shlex.join(["python", *sys.argv]),
            "model": "SmolLM2-135M-Instruct (Apache-2.0), from 8-bit weights, float32",
            "machine": "CPU, one thread",
            "seed": o.seed,
            "prompts": PROMPTS,
            "max_new_tokens": o.tokens,
            "batch_size": o.batch,
            "config": asdict(config),
            "before": examine(policy, o.tokens, o.examined),
            "records": [],
        }
    clock, generator = time.process_time(), torch.Generator().manual_seed(o.seed)
    for record in ppo(policy, env, config, reference=reference, generator=generator, checkpoint=o.keep):
        now = time.process_time()
        kept = {name: record[name] for name in KEPT} | {"distinct_2": distinct_n(env.responses, 2)}
        log["records"] = [r for r in log["records"] if r["update"] < record["update"]]
        log["records"].append({**kept, "cpu_seconds": now - clock})
        write(o.out, log)
        print(f"update {record['update']:2}  reward {record['reward_mean']:+.3f}", end="  ")
        print(f"KL {record['ref_k1']:.2f} nats  {now - clock:.0f} CPU s", flush=True)
        clock = now
    log["after"] = examine(policy, o.tokens, o.examined)
    write(o.out, log)


if __name__ == "__main__":
    main()
