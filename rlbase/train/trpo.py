"""TRPO, small: the hard constraint that PPO's clip replaced, for comparison.

Maximise the surrogate subject to a mean KL(old || new) of at most ``max_kl``: a natural-gradient direction by
conjugate gradients on Fisher-vector products, then a backtracking line search that *checks* the constraint.
Left out of the paper: the vine sampling scheme. For policies with a few thousand parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from rlbase.losses import k2, k3, value_mse
from rlbase.masked import fill_unchosen, masked_mean, masked_whiten
from rlbase.rollout import rollout
from rlbase.train import common
from rlbase.train.checkpoint import Checkpoint
from rlbase.types import Critic, Env, Policy, Rollout
from rlbase.validate import in_range, instance, whole

INFINITY = float("inf")


@dataclass(frozen=True)
class TRPOConfig:
    """Settings of `trpo`."""

    updates: int = 50
    """Rollouts, with one natural-gradient step each."""
    steps: int | None = None
    """Columns of a rollout in a world that goes on by itself; None lets rows finish."""
    max_kl: float = 0.01
    """The trust region: mean KL(old || new) per choice, in nats."""
    conjugate_steps: int = 10
    """Conjugate-gradient iterations."""
    damping: float = 0.1
    """Added to the Fisher matrix's diagonal."""
    backtracks: int = 10
    """Halvings tried by the line search before the step is given up."""
    gamma: float = 0.99
    """Discount per step."""
    lam: float = 0.97
    """GAE's trade between bias (0) and variance (1)."""
    value_learning_rate: float = 3e-3
    """Adam's step size for the critic."""
    value_epochs: int = 10
    """Full-batch steps of the critic per rollout."""

    def __post_init__(self) -> None:
        for name in ("updates", "conjugate_steps", "backtracks", "value_epochs"):
            whole("TRPOConfig", name, getattr(self, name), 1)
        whole("TRPOConfig", "steps", 1 if self.steps is None else self.steps, 1)
        in_range("TRPOConfig", "value_learning_rate", self.value_learning_rate, 0, INFINITY, open_high=True)
        for name in ("max_kl", "damping"):
            in_range("TRPOConfig", name, getattr(self, name), 0, INFINITY, open_low=True)
        for name in ("gamma", "lam"):
            in_range("TRPOConfig", name, getattr(self, name), 0, 1)


def trpo(
    policy: Policy,
    env: Env,
    config: TRPOConfig = TRPOConfig(),
    *,
    critic: Critic | None = None,
    generator: torch.Generator | None = None,
    checkpoint: str | Path | None = None,
    collect: Callable[..., Rollout] = rollout,
) -> Iterator[dict[str, float]]:
    r"""Trust-region policy optimisation, one record per update; ``old_kl`` in it never exceeds ``max_kl``.

    Schulman et al. (2015), eq. 14 and appendix C. Without a critic the advantage is the
    reward-to-go; sampled advantages are whitened.

    Raises:
        TypeError: a part, the config or the generator is of the wrong kind.
        ValueError: contradictory settings, or a checkpoint of another or a longer run.

    >>> from rlbase.envs import Bandit
    >>> from rlbase.policies import TabularPolicy
    >>> policy = TabularPolicy(1, 2)
    >>> records = list(trpo(policy, Bandit(torch.tensor([0.0, 1.0])), TRPOConfig(updates=30)))
    >>> all(r["old_kl"] <= 0.01 for r in records), bool(policy.probs()[0, 1] > 0.9)
    (True, True)
    """
    instance("trpo", "config", config, TRPOConfig)
    instance("trpo", "generator", generator, torch.Generator, optional=True)
    common.check_parts("trpo", policy, env, critic)
    parameters = common.parameters_of(policy)
    generator = common.new_generator(parameters) if generator is None else generator
    value_parameters = common.parameters_of(critic)
    optimizer = common.adam(value_parameters, config.value_learning_rate) if critic is not None else None
    saved = Checkpoint(checkpoint, (policy, critic, optimizer, env, generator), config=asdict(config))
    counters = saved.restore({"update": 0, "env_steps": 0})
    kind = "returns" if critic is None else "gae"
    while counters["update"] < config.updates:
        batch = collect(policy, env, steps=config.steps, generator=generator)
        values = common.values_of(critic, batch.obs, batch.actions)
        advantages, returns = common.estimate_advantages(
            batch, batch.rewards, values, kind, gamma=config.gamma, lam=config.lam, group_size=1
        )
        if batch.weight is None:
            advantages = masked_whiten(advantages, batch.mask)
        step = natural_step(policy, parameters, batch, advantages, config)
        for _ in range(config.value_epochs if critic is not None else 0):
            fitted = fill_unchosen(cast(Critic, critic).value(batch.obs, batch.actions)[:, :-1], batch.mask)
            loss = masked_mean(value_mse(fitted, returns), batch.mask)
            common.gradient_step(
                "trpo", loss, value_parameters, cast(torch.optim.Optimizer, optimizer), INFINITY
            )
        counters["update"] += 1
        counters["env_steps"] += int(batch.mask.sum())
        saved.save(counters)
        weight = 1.0 if batch.weight is None else batch.weight
        earned = (torch.where(batch.mask, batch.rewards, 0) * weight).sum(1).mean().item()
        yield {**counters, "return_mean": common.recent_return(env), "reward_mean": earned, **step}


def natural_step(
    policy: Policy, parameters: list[nn.Parameter], batch: Rollout, advantages: Tensor, config: TRPOConfig
) -> dict[str, float]:
    r"""Move the policy along $F^{-1}g$ as far as the trust region allows: $\sqrt{2\delta/x^\top F x}\,x$."""
    weight = torch.ones_like(batch.logp) if batch.weight is None else batch.weight

    def mean(each: Tensor) -> Tensor:
        return masked_mean(each * weight, batch.mask)

    def surrogate_and_logp() -> tuple[Tensor, Tensor]:
        logp = fill_unchosen(policy.evaluate(batch.obs, batch.actions)[0], batch.mask, batch.logp)
        return mean((logp - batch.logp).exp() * advantages), logp

    before, logp = surrogate_and_logp()
    gradient = _flat(torch.autograd.grad(before, parameters, retain_graph=True))
    # At ratio 1 the Hessian of E_old[k2] is E[grad logp grad logp^T]: the Fisher matrix, from samples.
    slope = _flat(torch.autograd.grad(mean(k2(logp, batch.logp.detach())), parameters, create_graph=True))

    def fisher_times(vector: Tensor) -> Tensor:
        product = torch.autograd.grad((slope * vector).sum(), parameters, retain_graph=True)
        return _flat(product) + config.damping * vector

    direction = conjugate_gradient(fisher_times, gradient, config.conjugate_steps)
    curvature = (direction @ fisher_times(direction)).clamp(min=1e-12)
    full = (2 * config.max_kl / curvature).sqrt() * direction
    start = _flat(p.detach() for p in parameters)
    outcome = {"old_kl": 0.0, "improvement": 0.0, "backtracks": float(config.backtracks), "accepted": 0.0}
    accepted = False
    try:
        with torch.no_grad():
            for halvings in range(config.backtracks):
                _assign(parameters, start + full / 2**halvings)
                after, logp = surrogate_and_logp()
                old_kl, gained = mean(k3(batch.logp, logp)).item(), (after - before).item()
                if old_kl <= config.max_kl and gained > 0:
                    accepted = True
                    outcome = {
                        "old_kl": old_kl,
                        "improvement": gained,
                        "backtracks": halvings,
                        "accepted": 1.0,
                    }
                    break
    finally:  # also when interrupted: no step is kept that has not passed
        if not accepted:
            _assign(parameters, start)
    return outcome


def conjugate_gradient(product: Callable[[Tensor], Tensor], target: Tensor, steps: int) -> Tensor:
    """Solve ``A x = target`` for a positive definite ``A`` known only through ``product(v) = A v``.

    Hestenes & Stiefel (1952); exact after as many steps as ``A`` has distinct eigenvalues.

    >>> conjugate_gradient(lambda v: torch.tensor([2.0, 4.0]) * v, torch.tensor([2.0, 8.0]), 2)
    tensor([1., 2.])
    """
    x, residual = torch.zeros_like(target), target.clone()
    direction, size = residual.clone(), residual @ residual
    for _ in range(steps):
        if size < 1e-20:
            break
        image = product(direction)
        length = size / (direction @ image)
        x, residual = x + length * direction, residual - length * image
        following = residual @ residual
        direction, size = residual + following / size * direction, following
    return x


def _flat(tensors: object) -> Tensor:
    return torch.cat([t.reshape(-1) for t in cast(tuple[Tensor, ...], tensors)])


@torch.no_grad()
def _assign(parameters: list[nn.Parameter], flat: Tensor) -> None:
    for p, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        p.copy_(part.view_as(p))
