"""REINFORCE: the policy gradient as it is written, with a choice of what to subtract.

One gradient step per rollout, nothing reused, nothing clipped but the gradient's norm. The baseline is none, the batch
mean, or the mean of the other rows.

Different from the derivation: the factor gamma^t in front of each step is dropped, as everybody drops it, and the loss
is a mean over choices instead of a sum over each row. In a world that goes on by itself nothing beyond the cut counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from rlbase.losses import reinforce as reinforce_loss
from rlbase.masked import fill_unchosen, masked_mean
from rlbase.rollout import rollout
from rlbase.train import common
from rlbase.train.checkpoint import Checkpoint
from rlbase.types import Env, Policy, Rollout
from rlbase.validate import in_range, instance, one_of, whole

INFINITY = float("inf")


@dataclass(frozen=True)
class ReinforceConfig:
    """Settings of `reinforce`."""

    updates: int = 100
    """Rollouts, with one gradient step each."""
    steps: int | None = None
    """Columns of a rollout in a world that goes on by itself; None lets rows finish."""
    learning_rate: float = 1e-2
    """Adam's step size."""
    gamma: float = 1.0
    """Discount per step."""
    baseline: str = "none"
    """``none``, ``mean`` (of all returns-to-go in the batch) or ``leave_one_out`` (whole rows, RLOO)."""
    entropy_coef: float = 0.0
    """Weight of the entropy bonus."""
    max_grad_norm: float = INFINITY
    """Gradients longer than this are shortened to it."""

    def __post_init__(self) -> None:
        whole("ReinforceConfig", "updates", self.updates, 1)
        whole("ReinforceConfig", "steps", 1 if self.steps is None else self.steps, 1)
        in_range("ReinforceConfig", "gamma", self.gamma, 0, 1)
        for name in ("learning_rate", "entropy_coef"):
            in_range("ReinforceConfig", name, getattr(self, name), 0, INFINITY, open_high=True)
        in_range("ReinforceConfig", "max_grad_norm", self.max_grad_norm, 0, INFINITY, open_low=True)
        one_of("ReinforceConfig", "baseline", self.baseline, ("none", "mean", "leave_one_out"))


def reinforce(
    policy: Policy,
    env: Env,
    config: ReinforceConfig = ReinforceConfig(),
    *,
    generator: torch.Generator | None = None,
    checkpoint: str | Path | None = None,
    collect: Callable[..., Rollout] = rollout,
) -> Iterator[dict[str, float]]:
    r"""Follow the Monte Carlo policy gradient $E[\sum_t \nabla\log\pi(a_t|s_t)\,(G_t-b)]$, one record per update.

    Williams (1992); Sutton & Barto (2018), section 13.3-13.4; the leave-one-out baseline is Kool et al. (2019).

    Raises:
        TypeError: a part, the config or the generator is of the wrong kind.
        ValueError: contradictory settings, or a checkpoint of another or a longer run.
        FloatingPointError: the loss is no longer finite; the policy is as it was before that step.

    >>> from rlbase.envs import Bandit
    >>> from rlbase.policies import TabularPolicy
    >>> policy = TabularPolicy(1, 2)
    >>> _ = list(reinforce(policy, Bandit(torch.tensor([0.0, 1.0])), ReinforceConfig(learning_rate=0.1)))
    >>> bool(policy.probs()[0, 1] > 0.9)
    True
    """
    instance("reinforce", "config", config, ReinforceConfig)
    instance("reinforce", "generator", generator, torch.Generator, optional=True)
    common.check_parts("reinforce", policy, env)
    parameters = common.parameters_of(policy)
    generator = common.new_generator(parameters) if generator is None else generator
    optimizer = common.adam(parameters, config.learning_rate)
    saved = Checkpoint(checkpoint, (policy, optimizer, env, generator), config=asdict(config))
    counters = saved.restore({"update": 0, "env_steps": 0})
    kind = "leave_one_out" if config.baseline == "leave_one_out" else "returns"
    while counters["update"] < config.updates:
        batch = collect(policy, env, steps=config.steps, generator=generator)
        weight = torch.ones_like(batch.logp) if batch.weight is None else batch.weight
        group_size = getattr(env, "group_size", None) or len(batch.mask)
        advantages, _ = common.estimate_advantages(
            batch, batch.rewards, None, kind, gamma=config.gamma, lam=1.0, group_size=group_size
        )
        if config.baseline == "mean":
            advantages = advantages - masked_mean(advantages * weight, batch.mask)
        logp, entropy = policy.evaluate(batch.obs, batch.actions)
        each = reinforce_loss(fill_unchosen(logp, batch.mask), advantages) - config.entropy_coef * entropy
        loss = masked_mean(each * weight, batch.mask)
        where = f"reinforce, update {counters['update']}"
        norm = common.gradient_step(where, loss, parameters, optimizer, config.max_grad_norm)
        counters["update"] += 1
        counters["env_steps"] += int(batch.mask.sum())
        saved.save(counters)
        earned = (torch.where(batch.mask, batch.rewards, 0) * weight).sum(1).mean()
        yield {
            **counters,
            "return_mean": common.recent_return(env),
            "reward_mean": earned.item(),
            "loss": loss.item(),
            "entropy": masked_mean(entropy.detach() * weight, batch.mask).item(),
            "grad_norm": norm.item(),
        }
