"""What a policy does in a world, measured: reward paid and reward meant, distance, variety, length, what was forgotten.

A bandit is enumerated and its numbers are exact. Everything else is played: one row of numbers for each response, or
for each episode that ends. Measuring leaves the world, the policy and the generators of a training run as they were.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from rlbase.data.variety import distinct_n
from rlbase.evaluate.intervals import Estimate, correlation, exactly, mean_interval, ratio_interval
from rlbase.evaluate.intervals import win_rate as share
from rlbase.exact import win_rate
from rlbase.masked import masked_sum
from rlbase.rollout import rescore, rollout
from rlbase.types import Choices, Env, Policy, Prompt, Rollout
from rlbase.validate import finite, has_shape, instance, whole

# The reward that is meant: a table for a bandit, a scorer of (prompts, responses) for text, a step reward
# (`each(obs, actions)`) for episodes. Which one it must be, the world decides.
Gold: TypeAlias = Any


@torch.no_grad()
def perplexity(
    policy: Policy, choices: Choices, *, batch_size: int = 64, confidence: float = 0.95
) -> Estimate:
    r"""How many equally likely alternatives each held-out choice left open on average, $e^{\text{nats per choice}}$.

    $\exp(-\sum_{bt} m\log\pi(a_{bt})/\sum_{bt} m)$ over the chosen steps of all rows: what a policy has forgotten shows
    here first. The interval counts rows, see `ratio_interval`. Comparable only between models with one vocabulary.

    Raises:
        ValueError: no rows, or a log-probability that is not finite.

    >>> from rlbase.policies import TabularPolicy
    >>> arms = Choices(torch.zeros(4, 1).long(), torch.tensor([[0], [1], [0], [1]]), torch.ones(4, 1).bool())
    >>> print(perplexity(TabularPolicy(1, 2), arms))
    2 [2, 2]
    """
    instance("perplexity", "choices", choices, Choices)
    whole("perplexity", "the number of rows", len(choices), 1)
    whole("perplexity", "batch_size", batch_size, 1)
    nats, length = [], []
    for start in range(0, len(choices), batch_size):
        part = choices[start : start + batch_size].trimmed()
        logp = policy.evaluate(part.obs, part.actions)[0].double()
        finite("perplexity", **{"log-probabilities": logp[part.mask]})
        weight = part.mask.double() if part.weight is None else part.mask * part.weight.double()
        nats.append(torch.where(part.mask, -logp * weight, 0).sum(1).cpu())
        length.append(weight.sum(1).cpu())
    found = ratio_interval(torch.cat(nats), torch.cat(length), confidence=confidence)
    value, low, high = (math.exp(min(x, 700.0)) for x in found[:3])  # beyond e^700 a float has no number
    return Estimate(value, low, high, found.n)


@dataclass(frozen=True)
class Played:
    """What a policy did, ``[n]`` throughout: one entry for each response or episode; no texts where there are none."""

    proxy: Tensor
    length: Tensor
    unfinished: Tensor
    entropy: Tensor
    kl: Tensor | None = None
    gold: Tensor | None = None
    prompts: Sequence[str] = ()
    responses: Sequence[str] = ()


def play(
    policy: Policy,
    env: Env,
    n: int,
    *,
    reference: Policy | None = None,
    gold: Gold | None = None,
    steps: int | None = None,
    generator: torch.Generator,
    start: int = 0,
) -> Played:
    """At least ``n`` responses, or all episodes that end within ``steps`` columns of a world that goes on.

    ``start`` seeds the prompts (or first states): with the same one, two policies meet the same. The KL of a row is
    its summed log-ratio, k1. Afterwards the world is as before.

    Raises:
        ValueError: a world that goes on and is no longer fresh (its first episodes would be only ends), or in which
            no episode ended; a ``gold`` that does not fit the world.

    >>> from rlbase.envs import chain
    >>> from rlbase.policies import TabularPolicy
    >>> walked = play(TabularPolicy(5, 2), chain(5), 1, steps=50, generator=torch.Generator().manual_seed(0))
    >>> bool((walked.length >= 1).all()), len(walked.proxy) == len(walked.length)
    (True, True)
    """
    whole("play", "n", n, 1)
    instance("play", "generator", generator, torch.Generator)
    if env.horizon is None and len(env.returns):
        raise ValueError("play: this world is in the middle of its episodes; pass a fresh one.")
    saved = env.state()
    parts: list[Played] = []
    try:
        rounds = 1 if env.horizon is None else -(-n // env.batch_size)
        for i in range(rounds):
            world: Any = _SameStart(env, start + i)
            rolled = rollout(policy, world, steps=steps, generator=generator)
            parts.append(_rows(policy, env, rolled, reference, gold))
    finally:
        env.load_state(saved)
    return parts[0] if len(parts) == 1 else _joined(parts)


def meters(
    played: Played, policy: Policy, *, held_out: Choices | None = None, skill: Any = None
) -> dict[str, Estimate]:
    """The numbers of a report, from what was played and from ``held_out`` choices; ``skill(policy)`` is added as given.

    >>> rows = Played(torch.tensor([1.0, 3.0]), torch.ones(2), torch.zeros(2), torch.ones(2))
    >>> meters(rows, policy=None)["proxy"].value
    2.0
    """
    found = {"proxy": mean_interval(played.proxy)}
    if played.gold is not None:
        found["gold"] = mean_interval(played.gold)
        found["agreement"] = correlation(played.proxy, played.gold)
    if played.kl is not None:
        found["kl"] = mean_interval(played.kl)
    found["entropy"] = ratio_interval(played.entropy, played.length)
    found["length"] = mean_interval(played.length)
    found["length_bias"] = correlation(played.proxy, played.length)
    cut = int(played.unfinished.sum())
    found["unfinished"] = share(cut, len(played.unfinished) - cut)
    if played.responses:
        found |= {f"distinct_{k}": exactly(distinct_n(played.responses, k)) for k in (1, 2)}
    return found | kept(policy, held_out, skill)


def enumerated(
    policy: Policy, env: Any, *, reference: Policy | None = None, gold: Tensor | None = None
) -> dict[str, Estimate]:
    """The numbers of a report for a bandit, every choice weighted by its probability: exact.

    >>> from rlbase.envs import Bandit
    >>> from rlbase.policies import TabularPolicy
    >>> found = enumerated(TabularPolicy(1, 2), Bandit(torch.tensor([0.0, 1.0])), gold=torch.tensor([3.0, 0.0]))
    >>> found["proxy"].value, found["gold"].value
    (0.5, 1.5)
    """
    logp, rewards = _table(policy, env), env.every_choice()[2].view(-1, env.action_space.n).double()
    p = logp.exp()
    found = {"proxy": exactly((p * rewards).sum(1).mean().item())}
    if gold is not None:
        gold = _gold_table(env, gold)
        found["gold"] = exactly((p * gold).sum(1).mean().item())
    found["entropy"] = exactly(-(p * logp).sum(1).mean().item())
    if reference is not None:
        ref_logp = _table(reference, env)
        found["kl"] = exactly((p * (logp - ref_logp)).sum(1).mean().item())
        if gold is not None:
            rows = zip(p.cpu(), ref_logp.exp().cpu(), gold.cpu(), strict=True)
            wins = [win_rate(mine, theirs, meant) for mine, theirs, meant in rows]
            found["wins"] = exactly(sum(wins) / len(wins))
    return found


def kept(policy: Policy, held_out: Choices | None, skill: Any) -> dict[str, Estimate]:
    """What is left of what the policy could do before: perplexity on held-out choices, and a skill's score.

    >>> kept(None, None, lambda policy: 0.75)["skill"].value
    0.75
    """
    found = {} if held_out is None else {"perplexity": perplexity(policy, held_out)}
    if skill is not None:
        score = skill(policy)
        found["skill"] = score if isinstance(score, Estimate) else exactly(score)
    return found


class _SameStart:
    """The world as it is, but beginning from a seed of its own: so two policies meet the same prompts."""

    def __init__(self, env: Env, seed: int) -> None:
        self.env, self.seed = env, seed

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)

    def begin(self, generator: torch.Generator) -> Any:
        return self.env.begin(torch.Generator(generator.device).manual_seed(self.seed))


@torch.no_grad()
def _rows(policy: Policy, env: Any, rolled: Rollout, reference: Policy | None, gold: Gold | None) -> Played:
    """One entry for each row of a rollout, or for each episode that ended in it."""
    mask, entropy = rolled.mask, policy.evaluate(rolled.obs, rolled.actions)[1]
    columns = {"proxy": rolled.rewards, "length": mask.double(), "entropy": entropy}
    if reference is not None:
        columns["kl"] = rolled.logp - rescore(reference, rolled)
    if isinstance(rolled.obs, Prompt):
        found = {name: masked_sum(x.to(mask.device), mask) for name, x in columns.items()}
        last = mask.shape[1] - 1 - mask.flip(1).int().argmax(1)
        ends = rolled.actions.gather(1, last[:, None])[:, 0]
        unfinished = (ends != env.tokenizer.eos_token_id).double()
        texts = (list(env.prompts_used), list(env.responses))
        meant = None if gold is None else _scored(gold, *texts)
        return Played(
            **_settled(found), unfinished=unfinished.cpu(), gold=meant, prompts=texts[0], responses=texts[1]
        )
    if gold is not None:
        if not hasattr(gold, "each"):
            raise TypeError(
                f"play: gold must be a step reward with each(obs, actions), got {type(gold).__name__}."
            )
        columns["gold"] = gold.each(rolled.obs, rolled.actions)
    return _episodes(rolled, columns)


def _episodes(rolled: Rollout, columns: dict[str, Tensor]) -> Played:
    """Sums over each episode that ended within the rollout; what the rollout cuts off is left out."""
    ends = rolled.terminated | rolled.truncated
    before = ends.long().cumsum(1) - ends.long()  # how many episodes of its row ended before this column
    number = torch.arange(len(ends), device=ends.device)[:, None] * (ends.shape[1] + 1) + before
    over = number[ends]
    if not len(over):
        raise ValueError(f"play: no episode ended within {ends.shape[1]} steps; allow more.")
    found = {}
    for name, x in columns.items():
        sums = torch.zeros(int(number.max()) + 1, dtype=torch.float64, device=ends.device)
        chosen = torch.where(rolled.mask, x, 0).double()
        found[name] = sums.index_add(0, number.flatten(), chosen.flatten())[over]
    return Played(**_settled(found), unfinished=rolled.truncated[ends].double().cpu())


def _settled(found: dict[str, Tensor]) -> dict[str, Any]:
    return {name: x.double().cpu() for name, x in found.items()}


def _joined(parts: list[Played]) -> Played:
    def every(name: str) -> Any:
        columns = [getattr(part, name) for part in parts]
        if isinstance(columns[0], Tensor):
            return torch.cat(columns)
        return None if columns[0] is None else [text for column in columns for text in column]

    return Played(**{name: every(name) for name in Played.__dataclass_fields__})


def _scored(gold: Any, prompts: list[str], responses: list[str]) -> Tensor:
    if not callable(gold):
        raise TypeError(f"play: gold must be a function of prompts and responses, got {type(gold).__name__}.")
    scores = torch.as_tensor(gold(prompts, responses)).double().cpu()
    has_shape("play", "the gold scores", scores, (len(prompts),))
    finite("play", **{"the gold scores": scores})
    return scores


@torch.no_grad()
def _table(policy: Policy, env: Any) -> Tensor:
    """Log-probabilities of all choices, ``[contexts, arms]``."""
    contexts, arms, _ = env.every_choice()
    logp = policy.evaluate(contexts[:, None].expand(-1, 2), arms[:, None])[0].view(-1, env.action_space.n)
    return logp.double().log_softmax(1)  # to sum to 1 in float64, too


def _gold_table(env: Any, gold: Tensor) -> Tensor:
    rewards = env.every_choice()[2].view(-1, env.action_space.n)
    instance("enumerated", "gold", gold, Tensor)
    table = gold.to(rewards.device).double().reshape(-1, gold.shape[-1])
    has_shape("enumerated", "gold", table, tuple(rewards.shape))
    finite("enumerated", gold=table)
    return table
