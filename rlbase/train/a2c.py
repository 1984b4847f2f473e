"""A2C: REINFORCE whose baseline a critic learns, and which bootstraps from it instead of waiting for the end.

One gradient step per short rollout. Different from the paper: no asynchronous workers, which were
there for speed, and Adam instead of RMSProp.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from rlbase.losses import reinforce as reinforce_loss
from rlbase.losses import value_mse
from rlbase.losses.diagnostics import explained_variance
from rlbase.masked import fill_unchosen, masked_mean, masked_whiten
from rlbase.rollout import rollout
from rlbase.train import common
from rlbase.train.checkpoint import Checkpoint
from rlbase.types import Critic, Env, Policy
from rlbase.validate import in_range, instance, whole

INFINITY = float("inf")


@dataclass(frozen=True)
class A2CConfig:
    """Settings of `a2c`."""

    updates: int = 1000
    """Rollouts, with one gradient step each."""
    steps: int | None = 8
    """Columns of a rollout in a world that goes on by itself; None lets rows finish."""
    learning_rate: float = 7e-4
    """Adam's step size at the start; it falls linearly to 0."""
    gamma: float = 0.99
    """Discount per step."""
    lam: float = 1.0
    """GAE's trade between bias (0) and variance (1); A2C as published takes 1."""
    whiten_advantages: bool = False
    """Mean 0 and standard deviation 1 over the choices of a batch."""
    value_coef: float = 0.5
    """Weight of the critic's loss."""
    entropy_coef: float = 0.01
    """Weight of the entropy bonus."""
    max_grad_norm: float = 0.5
    """Gradients longer than this are shortened to it."""

    def __post_init__(self) -> None:
        whole("A2CConfig", "updates", self.updates, 1)
        whole("A2CConfig", "steps", 1 if self.steps is None else self.steps, 1)
        for name in ("gamma", "lam"):
            in_range("A2CConfig", name, getattr(self, name), 0, 1)
        for name in ("learning_rate", "value_coef", "entropy_coef"):
            in_range("A2CConfig", name, getattr(self, name), 0, INFINITY, open_high=True)
        in_range("A2CConfig", "max_grad_norm", self.max_grad_norm, 0, INFINITY, open_low=True)


def a2c(
    policy: Policy,
    env: Env,
    config: A2CConfig = A2CConfig(),
    *,
    critic: Critic,
    generator: torch.Generator | None = None,
    checkpoint: str | Path | None = None,
) -> Iterator[dict[str, float]]:
    r"""Advantage actor-critic, synchronous: REINFORCE with GAE advantages, one step per short rollout.

    Mnih et al. (2016), algorithm S3 without the asynchrony. It is PPO with one epoch, one minibatch and no clip:
    at ratio 1 the clipped surrogate has the gradient of this loss (Huang et al. 2022 prove and test it).

    Raises:
        TypeError: a part, the config or the generator is of the wrong kind.
        ValueError: contradictory settings, or a checkpoint of another or a longer run.
        FloatingPointError: the loss is no longer finite; the policy is as it was before that step.

    >>> from rlbase.envs import chain
    >>> from rlbase.policies import for_env
    >>> world = chain(4, time_limit=20)
    >>> policy, critic = for_env(world)
    >>> _ = list(a2c(policy, world, A2CConfig(updates=300, learning_rate=0.05), critic=critic))
    >>> policy.probs()[1:3].argmax(1).tolist()
    [1, 1]
    """
    instance("a2c", "config", config, A2CConfig)
    instance("a2c", "generator", generator, torch.Generator, optional=True)
    common.check_parts("a2c", policy, env, critic)
    parameters = common.parameters_of(policy, critic)
    generator = common.new_generator(parameters) if generator is None else generator
    optimizer = common.adam(parameters, config.learning_rate)
    saved = Checkpoint(checkpoint, (policy, critic, optimizer, env, generator), config=asdict(config))
    counters = saved.restore({"update": 0, "env_steps": 0})
    while counters["update"] < config.updates:
        learning_rate = config.learning_rate * (1 - counters["update"] / config.updates)
        common.set_learning_rate(optimizer, learning_rate)
        batch = rollout(policy, env, steps=config.steps, generator=generator)
        old_values = common.values_of(critic, batch.obs, batch.actions)
        advantages, returns = common.estimate_advantages(
            batch, batch.rewards, old_values, "gae", gamma=config.gamma, lam=config.lam, group_size=1
        )
        if config.whiten_advantages:
            advantages = masked_whiten(advantages, batch.mask)
        logp, entropy = policy.evaluate(batch.obs, batch.actions)
        values = fill_unchosen(critic.value(batch.obs, batch.actions)[:, :-1], batch.mask)
        each = reinforce_loss(fill_unchosen(logp, batch.mask), advantages) - config.entropy_coef * entropy
        value_loss = masked_mean(value_mse(values, returns), batch.mask)
        loss = masked_mean(each, batch.mask) + config.value_coef * value_loss
        where = f"a2c, update {counters['update']}"
        norm = common.gradient_step(where, loss, parameters, optimizer, config.max_grad_norm)
        counters["update"] += 1
        counters["env_steps"] += int(batch.mask.sum())
        saved.save(counters)
        yield {
            **counters,
            "return_mean": common.recent_return(env),
            "reward_mean": torch.where(batch.mask, batch.rewards, 0).sum(1).mean().item(),
            "loss": loss.item(),
            "value_loss": value_loss.item(),
            "entropy": masked_mean(entropy.detach(), batch.mask).item(),
            "explained_variance": explained_variance(values.detach(), returns, batch.mask),
            "grad_norm": norm.item(),
            "learning_rate": learning_rate,
        }
