"""Meters inside a running training, and stopping it by them."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from rlbase.evaluate.meters import Gold, enumerated, kept, meters, play
from rlbase.types import Choices, Env, Policy
from rlbase.validate import in_range, instance, whole

Record = dict[str, float]


def metered(
    run: Iterable[Record],
    policy: Policy,
    env: Env,
    *,
    reference: Policy | None = None,
    gold: Gold | None = None,
    held_out: Choices | None = None,
    skill: Any = None,
    every: int = 10,
    n: int = 64,
    steps: int | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[Record]:
    """The records of a training run; the first and every ``every``-th also hold the meters of `rlbase.evaluate.report`.

    Put around any trainer: ``metered(ppo(policy, env, ...), policy, env, gold=...)``. The added names are those of
    `rlbase.evaluate.LABELS`; where the run has a number of that name, its own stays. It goes on bit for bit as it
    would without. A world that goes on by itself needs a
    fresh one beside the one that is trained in. The prompts are the same at every look.

    Raises:
        ValueError: ``every`` below 1; else as `rlbase.evaluate.report`.

    >>> from rlbase.envs.hackable import hackable
    >>> from rlbase.policies import TabularPolicy
    >>> from rlbase.train import ReinforceConfig, reinforce
    >>> world, policy = hackable(20), TabularPolicy(1, 20)
    >>> run = reinforce(policy, world.bandit(), ReinforceConfig(updates=21))
    >>> records = list(metered(run, policy, world.bandit(), gold=world.gold))
    >>> [record["update"] for record in records if "gold" in record]
    [1, 10, 20]
    """
    whole("metered", "every", every, 1)
    instance("metered", "generator", generator, torch.Generator, optional=True)
    device = next((p.device for p in getattr(policy, "parameters", tuple)()), torch.device("cpu"))
    generator = generator or torch.Generator(device).manual_seed(0)
    for i, record in enumerate(run, 1):
        if i > 1 and i % every:
            yield record
            continue
        if hasattr(env, "every_choice"):
            found = enumerated(policy, env, reference=reference, gold=gold) | kept(policy, held_out, skill)
        else:
            played = play(policy, env, n, reference=reference, gold=gold, steps=steps, generator=generator)
            found = meters(played, policy, held_out=held_out, skill=skill)
        yield {**{name: estimate.value for name, estimate in found.items()}, **record}


def stopped_early(
    run: Iterable[Record],
    *,
    watch: str = "gold",
    patience: int = 3,
    limit: tuple[str, float] | None = None,
    policy: Any = None,
) -> Iterator[Record]:
    """The records of a run until it should stop; records that lack the number watched are passed on unjudged.

    It stops after ``patience`` looks in a row without a new best of ``watch``, and as soon as ``limit`` (a name and a
    bound, such as ``("kl", 2.0)``) is exceeded. The best of many noisy looks is too high by chance: judge the policy
    that you keep on other prompts.

    Args:
        policy: whose weights go back to those of the best look when the run ends, however it ends; None leaves them.

    Raises:
        ValueError: ``patience`` below 1, or a run that never says what is watched.

    >>> run = ({"update": i, "gold": g} for i, g in enumerate([0.0, 1.0, 3.0, 2.0, 1.0, 0.0]))
    >>> [record["gold"] for record in stopped_early(run, patience=2)]
    [0.0, 1.0, 3.0, 2.0, 1.0]
    """
    whole("stopped_early", "patience", patience, 1)
    if limit is not None:
        in_range("stopped_early", f"the limit of {limit[0]}", limit[1], -math.inf, math.inf)
    best, since, weights, looks = -math.inf, 0, None, 0
    try:
        for record in run:
            beyond = limit is not None and record.get(limit[0], -math.inf) > limit[1]
            if watch in record:
                looks, since = looks + 1, since + 1
                if record[watch] > best and not beyond:
                    best, since = record[watch], 0
                    weights = None if policy is None else copy.deepcopy(policy.state_dict())
            yield record
            if beyond or since >= patience:
                break
        if not looks and limit is None:
            raise ValueError(f"stopped_early: no record has {watch!r}; put metered(...) around the run.")
    finally:
        if policy is not None and weights is not None:
            policy.load_state_dict(weights)
