"""DPO and KTO on a real model and real human comparisons: SmolLM2-135M-Instruct learns from pairs in a file.

    python -m rlbase download smollm2-135m                          # once, 93 MB
    python assets/logs/smollm2_preference.py --comparisons FILE     # writes assets/logs/21_smollm2_preference.json

FILE is anything that `rlbase.data.load_comparisons` reads; the log in the repository comes from the test split of
HH-RLHF's harmless-base (Anthropic, MIT), whose prompts can be offensive: the log repeats responses, never prompts.

Both methods begin at the same model, which stays their reference, and see the same comparisons: DPO as pairs, KTO as
verdicts on single responses. What is held out shares no prompt with what is learned from.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from rlbase.data import encode_comparisons, keep_short, load_comparisons
from rlbase.data.variety import distinct_n
from rlbase.envs import TextEnv
from rlbase.losses import dpo, kto
from rlbase.policies import CausalLMPolicy, frozen_copy, load_policy
from rlbase.rollout import rescore, rollout
from rlbase.train import PreferenceConfig, preference
from rlbase.train.preference import measure

EVERY = 5


def split(records: list[Any], held_out: int) -> tuple[list[Any], list[Any]]:
    """Comparisons to learn from and to be judged by, no prompt in both."""
    prompts = sorted({record.prompt for record in records})
    order = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(0)).tolist()
    kept = {prompts[i] for i in order[:held_out]}
    return [r for r in records if r.prompt not in kept], [r for r in records if r.prompt in kept]


def spoken(
    policy: CausalLMPolicy, reference: CausalLMPolicy, prompts: list[str], o: argparse.Namespace
) -> dict[str, Any]:
    """One response to each prompt: how far from the reference, how varied, how long, and what they say."""
    sizes = {"max_new_tokens": o.response, "batch_size": len(prompts)}
    env = TextEnv(prompts, policy.tokenizer, lambda asked, said: [0.0] * len(said), **sizes)
    rolled = rollout(policy, env, generator=torch.Generator(o.device).manual_seed(7))
    ratio = torch.where(rolled.mask, rolled.logp - rescore(reference, rolled), 0).sum(1)
    texts = [text for _, text in sorted(zip(env.prompts_used, env.responses, strict=True))]
    return {
        "kl": ratio.mean().item(),
        "kl_standard_error": (ratio.std() / len(ratio) ** 0.5).item(),
        "distinct_2": distinct_n(texts, 2),
        "tokens": rolled.mask.sum(1).float().mean().item(),
        "samples": texts[:4],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--comparisons", required=True, help="a file, a folder, or a name on the hub")
    parser.add_argument("--model", default="smollm2-135m", help="any name that load_policy takes")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--prompt", type=int, default=64, help="longest prompt, in tokens")
    parser.add_argument("--response", type=int, default=32, help="longest response, in tokens")
    parser.add_argument("--held-out", type=int, default=44, help="prompts that are held out")
    parser.add_argument("--updates", type=int, default=48)
    parser.add_argument(
        "--batch", type=int, default=8, help="comparisons in an update; KTO sees both sides of as many"
    )
    parser.add_argument("--beta", type=float, default=0.1)
    parser.add_argument("--learning-rate", type=float, default=1e-5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("21_smollm2_preference.json"))
    o = parser.parse_args()
    start = load_policy(o.model, device=o.device)
    records, told = load_comparisons(o.comparisons, split="test", tokenizer=start.tokenizer)
    short = {"max_prompt_tokens": o.prompt, "max_response_tokens": o.response}
    records, dropped = keep_short(start.tokenizer, records, **short)
    learned, judged = split(records, o.held_out)
    print(told, dropped, f"{len(learned)} to learn from, {len(judged)} held out", sep="\n", flush=True)
    reference = frozen_copy(start)
    pairs, held_out = (encode_comparisons(start.tokenizer, part) for part in (learned, judged))
    asked = sorted({record.prompt for record in judged})[:24]
    log: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]),
        "machine": torch.cuda.get_device_name() if o.device == "cuda" else "CPU",
        "model": o.model,
        "comparisons": {
            "read": str(told),
            "short": str(dropped),
            "learn": len(learned),
            "held_out": len(judged),
        },
        "before": spoken(start, reference, asked, o),
        "runs": [],
    }
    verdicts = pairs.unpaired()
    config = PreferenceConfig(
        updates=o.updates, batch_size=o.batch, learning_rate=o.learning_rate, warmup=5, precision=o.precision,
        eval_every=10 * o.updates,
    )  # fmt: skip
    for seed in o.seeds:
        for name, loss, data in (("dpo", dpo, pairs), ("kto", kto, verdicts)):
            policy, bound, clock = (
                frozen_copy(start).requires_grad_(True),
                partial(loss, beta=o.beta),
                time.process_time(),
            )
            size = o.batch * (2 if name == "kto" else 1)
            settings = replace(config, batch_size=size)
            generator, curve = torch.Generator(o.device).manual_seed(seed), []
            for record in preference(policy, data, bound, settings, reference=reference, generator=generator):
                if record["update"] == 1:
                    expected = math.log(2) if name == "dpo" else 0.5
                    assert abs(record["loss"] - expected) < 1e-3, f"{name} began at {record['loss']}"
                if record["update"] % EVERY == 0 or record["update"] == 1:
                    curve.append({k: v for k, v in record.items() if not k.startswith("held_out")})
                    print(name, {k: round(v, 4) for k, v in record.items() if k in SHOWN}, flush=True)
            spent = time.process_time() - clock
            # both judged as comparisons: which response does the implicit reward prefer?
            found = measure(policy, held_out, partial(dpo, beta=o.beta), settings, reference=reference)
            run = {"method": name, "seed": seed, "beta": o.beta, "updates": o.updates, "cpu_seconds": spent}
            run |= {
                "first_loss": curve[0]["loss"],
                "held_out": found,
                "after": spoken(policy, reference, asked, o),
            }
            log["runs"].append(run | {"records": curve})
            print(name, found, {k: v for k, v in run["after"].items() if k != "samples"}, flush=True)
            rough = o.out.with_suffix(".tmp")
            rough.write_text(json.dumps(log, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            os.replace(rough, o.out)


SHOWN = ("update", "loss", "accuracy", "margin", "chosen_reward", "rejected_reward", "reference_point")


if __name__ == "__main__":
    main()
