"""The three stages of RLHF on a real model and real human comparisons: SmolLM2-135M, supervised, judged, improved.

    python -m rlbase download smollm2-135m                                # once, 93 MB
    python assets/logs/smollm2_rlhf.py --comparisons FILE --device cuda   # writes assets/logs/13_smollm2_rlhf.json

FILE is anything that `rlbase.data.load_comparisons` reads; the log in the repository comes from the test split of
HH-RLHF's harmless-base (Anthropic, MIT), whose prompts can be offensive: the log repeats responses, never prompts.

The comparisons are cut in three by prompt: one part trains the reward model that pays (the proxy), one trains a second
reward model that never pays (the judge, the best stand-in for gold that human data allows), one is held out for both.
A CPU can do it too, in hours: --rows, --updates and --seeds make it smaller.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlbase.data import (
    Comparison,
    Demonstration,
    encode_comparisons,
    encode_demonstrations,
    encode_responses,
    keep_short,
    load_comparisons,
)
from rlbase.envs import TextEnv
from rlbase.evaluate import report
from rlbase.policies import CausalLMPolicy, LMCritic, LMRewardModel, frozen_copy, load_policy, normalise
from rlbase.train import (
    LANGUAGE_MODEL,
    PPOConfig,
    RewardModelConfig,
    SFTConfig,
    best_of_n,
    ppo,
    reward_model,
    sft,
)
from rlbase.types import Prompt

PROMPT, RESPONSE = 256, 96  # tokens
Scored = Any


def cut(records: list[Comparison], seed: int) -> dict[str, list[Comparison]]:
    """Proxy, judge and held-out comparisons, 40 : 40 : 20, no prompt in two of them."""
    prompts = sorted({record.prompt for record in records})
    order = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(seed)).tolist()
    place = {prompts[i]: rank / len(prompts) for rank, i in enumerate(order)}
    parts: dict[str, list[Comparison]] = {"proxy": [], "judge": [], "held_out": []}
    for record in records:
        where = place[record.prompt]
        parts["proxy" if where < 0.4 else "judge" if where < 0.8 else "held_out"].append(record)
    return parts


def last(records: Any, every: int = 10) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Run a trainer to its end: the last record, and every tenth on the way."""
    kept: list[dict[str, float]] = []
    record: dict[str, float] = {}
    for record in records:
        if int(record["update"]) % every == 0:
            kept.append(record)
            print("  ", {k: round(v, 4) for k, v in record.items() if k in SHOWN}, flush=True)
    return record, kept


SHOWN = (
    "update",
    "loss",
    "accuracy",
    "held_out_loss",
    "held_out_accuracy",
    "reward_mean",
    "ref_k1",
    "entropy",
)


def in_batches(model: LMRewardModel, policy: CausalLMPolicy, batch: int = 64) -> Any:
    """A reward model as a scorer of texts, ``(prompts, responses) -> scores``."""

    @torch.no_grad()
    def score(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        found: list[float] = []
        for i in range(0, len(prompts), batch):
            rows = encode_responses(policy.tokenizer, prompts[i : i + batch], responses[i : i + batch])
            rows = rows.to(policy.model.device)
            found += model.score(rows.obs, rows.actions, rows.mask).tolist()
        return found

    return score


def world(policy: CausalLMPolicy, prompts: list[str], model: LMRewardModel, batch: int) -> TextEnv:
    """Prompts in, responses of at most RESPONSE tokens out, paid by ``model``; 1 less for having no end."""

    @torch.no_grad()
    def paid(prompt: Prompt, actions: Tensor, mask: Tensor) -> Tensor:
        return model.score(prompt, actions, mask)

    sizes = {"max_new_tokens": RESPONSE, "batch_size": batch, "missing_eos_penalty": 1.0}
    return TextEnv(prompts, policy.tokenizer, token_scorer=paid, **sizes)


def judged(model: LMRewardModel, pairs: Any) -> dict[str, float]:
    """Accuracy on comparisons, with its standard error."""
    with torch.no_grad():
        gaps = []
        for i in range(0, len(pairs), 64):
            part = pairs[i : i + 64].to(model.head.weight.device)
            rows = part.joined()
            scores = model.score(rows.obs, rows.actions, rows.mask)
            gaps.append(scores[: len(part)] - scores[len(part) :])
    right = (torch.cat(gaps) > 0).float()
    return {"accuracy": right.mean().item(), "standard_error": (right.std() / len(right) ** 0.5).item()}


def page(policy: CausalLMPolicy, reference: CausalLMPolicy, env: TextEnv, **options: Any) -> dict[str, Any]:
    """The one-page report as plain data, without its samples."""
    generator = torch.Generator(policy.model.device).manual_seed(1234)
    with torch.no_grad():
        found = report(policy, env, reference=reference, n=256, samples=0, generator=generator, **options)
    print(found, flush=True)
    return json.loads(found.to_json())


def samples(policy: CausalLMPolicy, prompts: list[str], model: LMRewardModel) -> list[dict[str, Any]]:
    """One response to each prompt, and what it was paid; the prompts are not repeated."""
    from rlbase.rollout import rollout

    env = world(policy, prompts, model, len(prompts))
    rollout(policy, env, generator=torch.Generator(policy.model.device).manual_seed(7))
    rows = zip(env.prompts_used, env.responses, env.scores.tolist(), strict=True)
    return [{"response": r, "paid": round(s, 3)} for _, r, s in sorted(rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--comparisons", required=True, help="a file, a folder, or a name on the hub")
    parser.add_argument("--model", default="smollm2-135m", help="any name that load_policy takes")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--rows", type=int, help="use no more comparisons than this")
    parser.add_argument("--updates", type=int, default=60, help="of PPO")
    parser.add_argument("--batch", type=int, default=64, help="responses an update of PPO")
    parser.add_argument("--betas", type=float, nargs="+", default=[0.05, 0.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--learning-rate", type=float, default=1e-5)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("13_smollm2_rlhf.json"))
    o = parser.parse_args()
    policy = load_policy(o.model, device=o.device)
    tokenizer, log = policy.tokenizer, dict[str, Any]()

    def write() -> None:
        rough = o.out.with_suffix(".tmp")
        rough.write_text(json.dumps(log, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(rough, o.out)

    records, told = load_comparisons(o.comparisons, split="test", tokenizer=tokenizer, limit=o.rows)
    records, short = keep_short(tokenizer, records, max_prompt_tokens=PROMPT, max_response_tokens=RESPONSE)
    parts = cut(records, seed=0)
    print(told, short, {name: len(part) for name, part in parts.items()}, sep="\n", flush=True)
    log |= {
        "command": shlex.join(["python", *sys.argv]),
        "machine": torch.cuda.get_device_name() if o.device == "cuda" else "CPU",
        "model": o.model,
        "comparisons": {"read": str(told), "short": str(short), **{n: len(p) for n, p in parts.items()}},
        "tokens": {"prompt": PROMPT, "response": RESPONSE},
    }
    pairs = {name: encode_comparisons(tokenizer, part) for name, part in parts.items()}
    clock = time.perf_counter()

    print("stage 1: supervised fine-tuning on the preferred responses", flush=True)
    shown = [Demonstration(r.prompt, r.chosen) for r in parts["proxy"] + parts["judge"]]
    held_out = encode_demonstrations(
        tokenizer, [Demonstration(r.prompt, r.chosen) for r in parts["held_out"]]
    )
    settings = SFTConfig(
        epochs=1, batch_size=16, learning_rate=5e-5, warmup=5, group_by_length=True, precision=o.precision
    )
    before = nats(policy, held_out, settings)
    found, curve = last(sft(policy, encode_demonstrations(tokenizer, shown), settings, held_out=held_out))
    log["sft"] = {"config": asdict(settings), "held_out_loss_before": before, "last": found, "records": curve}
    log["sft"]["seconds"] = time.perf_counter() - clock
    write()

    print("stage 2: two reward models, the proxy and the judge", flush=True)
    models: dict[str, LMRewardModel] = {}
    for name in ("proxy", "judge"):
        clock = time.perf_counter()
        model = LMRewardModel(policy, torch.Generator(o.device).manual_seed(0))
        fit = RewardModelConfig(
            epochs=2, batch_size=16, learning_rate=3e-5, warmup=5, precision=o.precision, centring=0.01
        )
        found, curve = last(reward_model(model, pairs[name], fit, held_out=pairs["held_out"]))
        normalise(model, held_out.to(o.device), std=1.0)
        models[name] = model
        log[name] = {"config": asdict(fit), "last": found, "records": curve}
        log[name] |= {"held_out": judged(model, pairs["held_out"]), "on_its_own": judged(model, pairs[name])}
        log[name]["seconds"] = time.perf_counter() - clock
        print(name, log[name]["held_out"], flush=True)
        write()

    print("stage 3: PPO paid by the proxy", flush=True)
    prompts = sorted({r.prompt for r in parts["proxy"]})
    fresh = sorted({r.prompt for r in parts["held_out"]})
    shown_to = fresh[:6]
    gold = in_batches(models["judge"], policy)
    examined = world(policy, fresh, models["proxy"], o.batch)
    log["best_of_16"] = chosen(policy, world(policy, fresh[:64], models["proxy"], 32), gold)
    log["samples_before"] = samples(policy, shown_to, models["proxy"])
    log["ppo"] = []
    write()
    for seed in o.seeds:
        for beta in o.betas:
            clock = time.perf_counter()
            config = replace(LANGUAGE_MODEL, updates=o.updates, minibatches=4, epochs=2, beta=beta)
            config = replace(config, learning_rate=o.learning_rate, precision=o.precision)
            run = {"seed": seed, "beta": beta, "config": asdict(config)}
            log["ppo"].append(run | improved(policy, prompts, models["proxy"], config, o, seed, examined, gold,
                                             held_out, shown_to))  # fmt: skip
            log["ppo"][-1]["seconds"] = time.perf_counter() - clock
            write()


def nats(policy: CausalLMPolicy, choices: Any, config: SFTConfig) -> float:
    """Held-out surprise per token before training."""
    from rlbase.train.sft import held_out_loss

    return held_out_loss(policy, choices, config)


@torch.no_grad()
def chosen(policy: CausalLMPolicy, env: TextEnv, gold: Any, n: int = 16) -> dict[str, float]:
    """What the proxy and the judge say of the best of 16 draws by the proxy, and of a mean draw."""
    found = best_of_n(policy, env, n, generator=torch.Generator(policy.model.device).manual_seed(5))
    judge = torch.tensor(gold(found.prompts, found.responses))
    error = (judge.std() / len(judge) ** 0.5).item()
    best = found.scores.max(1).values
    print("best of 16", best.mean().item(), judge.mean().item(), flush=True)
    return {
        "proxy_mean": found.scores.mean().item(),
        "proxy": best.mean().item(),
        "judge": judge.mean().item(),
        "judge_standard_error": error,
    }


def improved(
    start: CausalLMPolicy,
    prompts: list[str],
    proxy: LMRewardModel,
    config: PPOConfig,
    o: argparse.Namespace,
    seed: int,
    examined: TextEnv,
    gold: Any,
    held_out: Any,
    shown_to: list[str],
) -> dict[str, Any]:
    """One run of PPO from a copy of ``start``: its records, its report, its samples."""
    policy = frozen_copy(start).requires_grad_(True)
    reference, critic = frozen_copy(start), LMCritic(proxy)
    env = world(policy, prompts, proxy, o.batch)
    generator = torch.Generator(o.device).manual_seed(seed)
    print(f"beta {config.beta}, seed {seed}", flush=True)
    records = ppo(policy, env, config, critic=critic, reference=reference, generator=generator)
    _, curve = last(records, every=5)
    found = page(policy, reference, examined, gold=gold, held_out=held_out.to(o.device))
    return {"records": curve, "report": found, "samples": samples(policy, shown_to, proxy)}


if __name__ == "__main__":
    main()
