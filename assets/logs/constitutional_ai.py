"""Constitutional AI from end to end on the embedded model, over seeds: what each stage does to help and to harm.

    python assets/logs/constitutional_ai.py     # writes assets/logs/35_constitutional_ai.json

About ten CPU minutes a seed. The file is written after each of them; started again, it does those
that are missing. `rlbase.train.reviews_cai` says what is what.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlbase.data import encode_demonstrations
from rlbase.data.requests import helpfulness, is_unsafe, safety
from rlbase.evaluate.ratings import bradley_terry_strengths, elo_from_strengths
from rlbase.feedback import drafts, prefer_by_principle
from rlbase.policies import LMCritic, LMRewardModel, frozen_copy, load_policy, normalise
from rlbase.train import ppo, reward_model, sft
from rlbase.train.reviews_cai import (
    CONSTITUTION,
    PEOPLE,
    Label,
    by_constitution,
    by_people,
    compared_by,
    conduct,
    red_team,
    revised,
    weighed,
)
from rlbase.train.reviews_chain import REWARD, RLHF, SFT
from rlbase.train.reviews_world import Drawn, drawn, request_world

REVISIONS = 4
Models = dict[str, Any]


def drawn_once(prompts: Sequence[str], a: Sequence[str], b: Sequence[str], g: torch.Generator) -> Tensor:
    """Soft labels by one principle drawn for each pair, as Bai et al. ask."""
    return prefer_by_principle(a, b, CONSTITUTION, g, temperature=0.25)


def learned(label: Label, start: Any, policy: Any, args: argparse.Namespace, g: torch.Generator) -> Any:
    """A reward model of pairs of ``policy``, begun from ``start``, with a spread of 1."""
    asked = None if label is by_people else red_team()
    pairs, found = compared_by(label, policy, args.pairs, generator=g, prompts=asked)
    model: Any = LMRewardModel(start)
    for _ in reward_model(model, pairs, REWARD, generator=g):
        pass
    normalise(model, found.choices, std=1.0)
    return model


def improved(start: Any, score: Any, critic: Any, args: argparse.Namespace, g: torch.Generator) -> Any:
    """``start`` after PPO against ``score``, held close to where it began."""
    policy = copy.deepcopy(start)
    world: Any = request_world(policy.tokenizer, token_scorer=score)
    held = {"critic": LMCritic(critic), "reference": frozen_copy(start), "generator": g}
    for _ in ppo(policy, world, replace(RLHF, updates=args.updates), **held):
        pass
    return policy


@torch.no_grad()
def quality(model: Any, policy: Any) -> dict[str, float]:
    """What a harm model makes of answers to red-team requests."""
    found = drawn(policy, 720, generator=torch.Generator().manual_seed(77), prompts=red_team())
    score = model.score(found.choices.obs, found.choices.actions, found.choices.mask)
    gold = torch.tensor(safety(found.prompts, found.texts))
    return {"correlation_with_gold": torch.corrcoef(torch.stack((score, gold)))[0, 1].item()}


def residue(found: Drawn, recall: float, g: torch.Generator) -> list[list[float]]:
    """For each principle, the share of red-team answers that break it after 0, 1, ... revisions."""
    texts = [text for p, text in zip(found.prompts, found.texts, strict=True) if is_unsafe(p)]
    runs = [drafts(text, CONSTITUTION, g, revisions=REVISIONS, recall=recall) for text in texts]
    return [
        [
            sum(bool(rule.broken_by(run[k].reply)) for run in runs) / len(runs)
            for rule in CONSTITUTION
        ]
        for k in range(REVISIONS + 1)
    ]  # fmt: skip


def answered(policy: Any, n: int, batch: int = 720) -> Drawn:
    """``n`` answers to the same requests, whoever answers: every batch begins with a generator of its own."""
    parts = [
        drawn(policy, batch, generator=torch.Generator().manual_seed(1000 + i)) for i in range(n // batch)
    ]
    prompts, texts = (sum((getattr(part, name) for part in parts), []) for name in ("prompts", "texts"))
    return Drawn(parts[0].choices, prompts, texts, torch.cat([part.scores for part in parts]))


def one_seed(seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """The whole chain; every model's answers to the same requests are judged at the end."""
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(seed)
    started = time.process_time()

    def told(what: str) -> None:
        print(f"seed {seed}: {what}, {time.process_time() - started:.0f} CPU s", flush=True)

    helpful, pretrained = load_policy("reviews-sft"), load_policy("reviews")
    found = drawn(helpful, args.answers, generator=g)
    residual = {str(q): residue(found, q, g) for q in (1.0, 0.5)}
    shown = encode_demonstrations(helpful.tokenizer, revised(found, generator=g, revisions=REVISIONS))
    sl: Any = pretrained
    for _ in sft(sl, shown, SFT, generator=g):
        pass
    told("supervised")
    help_model = learned(by_people, helpful, sl, args, g)
    harm_model = learned(by_constitution, helpful, sl, args, g)
    once = learned(drawn_once, helpful, sl, args, g)
    told("three reward models")
    models: Models = {"pretrained": load_policy("reviews"), "helpful-only": helpful, "SL-CAI": sl}
    people = learned(by_people, helpful, helpful, args, g)
    models["helpful-only RL"] = improved(helpful, weighed(people, None), people, args, g)
    told("helpful-only RL")
    for weight in args.weights:
        score = weighed(help_model, harm_model, weight)
        models[f"RL-CAI, w = {weight:g}"] = improved(sl, score, help_model, args, g)
        told(f"RL-CAI {weight:g}")
    models["harm only"] = improved(sl, weighed(None, harm_model), harm_model, args, g)
    models["harm only, one draw"] = improved(sl, weighed(None, once), once, args, g)
    told("harm only, twice")
    answers = {name: answered(model, args.measured) for name, model in models.items()}
    return {
        "seed": seed,
        "cpu_seconds": time.process_time() - started,
        "red_team_answers": sum(map(is_unsafe, found.prompts)),
        "residual": residual,
        "harm_model": {"every principle": quality(harm_model, sl), "one draw": quality(once, sl)},
        "conduct": {name: conduct(a)._asdict() for name, a in answers.items()},
        "elo": planes(answers),
        "samples": {name: sample(a) for name, a in answers.items()},
    }


def planes(answers: dict[str, Drawn]) -> dict[str, dict[str, float]]:
    """Elo of help (all requests) and of harmlessness (red-team requests): each model's answers against each other's."""

    def elo(score: Any, keep: Any) -> dict[str, float]:
        matches = []
        for a, b in combinations(answers, 2):
            one, two = answers[a], answers[b]
            assert one.prompts == two.prompts
            kept = [i for i, p in enumerate(one.prompts) if keep(p)]
            values = [torch.tensor(score(x.prompts, x.texts))[kept] for x in (one, two)]
            share = PEOPLE.prob(*values).mean().item()
            matches.append((a, b, share))
        return elo_from_strengths(bradley_terry_strengths(matches))

    return {"help": elo(helpfulness, lambda p: True), "harmlessness": elo(safety, is_unsafe)}


def sample(found: Drawn, count: int = 3) -> list[list[str]]:
    rows = [[p, t] for p, t in zip(found.prompts, found.texts, strict=True) if is_unsafe(p)]
    return rows[:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--answers", type=int, default=8640, help="of the helpful-only model, a third red-team"
    )
    parser.add_argument("--jobs", type=int, default=1, help="seeds at a time")
    parser.add_argument("--pairs", type=int, default=2160, help="for each reward model")
    parser.add_argument("--updates", type=int, default=30, help="of PPO")
    parser.add_argument("--weights", type=float, nargs="+", default=[0.0, 1.0, 3.0])
    parser.add_argument("--measured", type=int, default=1440, help="answers of each model, a multiple of 720")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("35_constitutional_ai.json"))
    args = parser.parse_args()
    settings = {k: v for k, v in vars(args).items() if k not in ("seeds", "jobs", "out")}
    command = shlex.join(["python", "assets/logs/constitutional_ai.py", *sys.argv[1:]])
    runs = finished(args.out, settings)
    left = [seed for seed in args.seeds if seed not in runs]
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        for waiting in as_completed([pool.submit(one_seed, seed, args) for seed in left]):
            run = waiting.result()
            runs[run["seed"]] = run
            log = {"command": command, "settings": settings, "runs": [runs[seed] for seed in sorted(runs)]}
            half = args.out.with_suffix(".half")
            half.write_text(json.dumps(log, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            os.replace(half, args.out)


def finished(out: Path, settings: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """The seeds that an interrupted run with these settings has left behind."""
    log = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    return {run["seed"]: run for run in log["runs"]} if log.get("settings") == settings else {}


if __name__ == "__main__":
    main()
