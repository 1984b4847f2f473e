"""Proximal policy optimisation, one file for a bandit, CartPole and a language model.

Read `ppo` top to bottom: roll out, estimate advantages, take a few epochs of clipped steps, yield a record. What the
PPO paper leaves open is a named field of `PPOConfig`. Left out on purpose: recurrent minibatches, observation
normalisation, and everything distributed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlbase.losses import k1, k2, k3, ppo_clip, schulman_beta, value_clipped, value_mse, ziegler_beta
from rlbase.losses.diagnostics import clip_fraction, explained_variance
from rlbase.masked import fill_unchosen, masked_mean, masked_whiten
from rlbase.rewards import kl_shaped
from rlbase.rollout import rescore, rollout
from rlbase.train import common
from rlbase.train.batch import Batch
from rlbase.train.checkpoint import Checkpoint
from rlbase.types import Critic, Env, Policy, Rollout
from rlbase.validate import in_range, one_of, whole

INFINITY = float("inf")
KL_LOSSES = {"k1_loss": k1, "k2_loss": k2, "k3_loss": k3}


@dataclass(frozen=True)
class PPOConfig:
    """Every choice that PPO leaves open. The defaults suit control tasks, `LANGUAGE_MODEL` is for text."""

    updates: int = 100
    """Rollout-and-learn cycles."""
    steps: int | None = None
    """Columns of a rollout in a world that goes on by itself (64, say); None lets rows finish."""
    epochs: int = 4
    """Passes over each rollout."""
    minibatches: int = 4
    """Parts of each pass; one gradient step each."""
    learning_rate: float = 3e-4
    """Adam's step size at the start."""
    anneal: bool = True
    """Let the learning rate fall linearly to 0 over the updates."""
    gamma: float = 0.99
    """Discount per step; 1 for text."""
    lam: float = 0.95
    """GAE's trade between bias (0) and variance (1)."""
    advantage: str = "gae"
    """``gae``, ``returns``, ``leave_one_out`` (RLOO) or ``group`` (GRPO)."""
    whiten_advantages: bool = True
    """Mean 0 and standard deviation 1 over a batch; RLOO and GRPO as published go without."""
    whiten_rewards: bool = False
    """Unit standard deviation over the choices of a batch, mean kept."""
    clip: float = 0.2
    """Ratios below 1 - clip or above 1 + clip earn nothing more; in [0, 1)."""
    clip_high: float | None = None
    """Another upper bound, 1 + clip_high."""
    value_coef: float = 0.5
    """Weight of the critic's loss."""
    value_clip: float | None = None
    """Range of the clipped value loss; None for the plain squared error."""
    entropy_coef: float = 0.0
    """Weight of the entropy bonus."""
    max_grad_norm: float = 0.5
    """Gradients longer than this are shortened to it."""
    reduce: str | float = "token"
    """The denominator of the mean over choices, see `rlbase.masked.masked_mean`; its rows are those of the rollout."""
    beta: float = 0.0
    """Price of a nat of KL(policy || reference)."""
    kl_placement: str = "reward"
    """``reward`` (detached, right also for sequences) or ``k1_loss``, ``k2_loss``, ``k3_loss`` (per choice)."""
    kl_target: float | None = None
    """Nats per row that an adaptive ``beta`` steers to; None keeps it fixed."""
    kl_rule: str = "ziegler"
    """``ziegler`` (proportional) or ``schulman`` (halve and double)."""
    kl_horizon: int = 10_000
    """Episodes over which Ziegler's rule corrects fully."""
    stop_kl: float | None = None
    """End the epochs of an update once KL(old || new) per choice exceeds this."""
    precision: str = "float32"
    """``bfloat16`` runs the learning forward under autocast, and scores anew in it what was sampled in float32."""
    checkpoint_every: int = 1
    """Updates between checkpoints, when a path is given."""

    def __post_init__(self) -> None:
        for name in ("updates", "epochs", "minibatches", "kl_horizon", "checkpoint_every"):
            whole("PPOConfig", name, getattr(self, name), 1)
        whole("PPOConfig", "steps", 1 if self.steps is None else self.steps, 1)
        for name in ("learning_rate", "value_coef", "entropy_coef", "beta"):
            in_range("PPOConfig", name, getattr(self, name), 0, INFINITY, open_high=True)
        for name in ("gamma", "lam"):
            in_range("PPOConfig", name, getattr(self, name), 0, 1)
        in_range("PPOConfig", "clip", self.clip, 0, 1, open_high=True)
        in_range("PPOConfig", "max_grad_norm", self.max_grad_norm, 0, INFINITY, open_low=True)
        for name in ("clip_high", "value_clip", "kl_target", "stop_kl"):
            value = getattr(self, name)
            in_range("PPOConfig", name, 1 if value is None else value, 0, INFINITY, open_low=True)
        denominator: Any = 1 if self.reduce in ("token", "sequence") else self.reduce
        in_range(
            "PPOConfig", "reduce, if not 'token' or 'sequence',", denominator, 0, INFINITY, open_low=True
        )
        one_of("PPOConfig", "advantage", self.advantage, common.ADVANTAGES)
        one_of("PPOConfig", "kl_placement", self.kl_placement, ("reward", *KL_LOSSES))
        one_of("PPOConfig", "kl_rule", self.kl_rule, ("ziegler", "schulman"))
        one_of("PPOConfig", "precision", self.precision, ("float32", "bfloat16"))


LANGUAGE_MODEL = PPOConfig(
    minibatches=1, learning_rate=1e-5, gamma=1.0, value_coef=0.1, value_clip=0.2, max_grad_norm=1.0, beta=0.05
)
"""A start for text, after the values of OpenAI's RLHF code (Ziegler et al. 2019), for `dataclasses.replace`."""


def ppo(
    policy: Policy,
    env: Env,
    config: PPOConfig = PPOConfig(),
    *,
    critic: Critic | None = None,
    reference: Policy | None = None,
    generator: torch.Generator | None = None,
    checkpoint: str | Path | None = None,
    collect: Callable[..., Rollout] = rollout,
) -> Iterator[dict[str, float]]:
    """Improve ``policy`` in place, yielding one record of metrics per update.

    Schulman et al. (2017), algorithm 1; with ``reference`` and ``beta`` the KL-penalised form of Ziegler et al.
    (2019). Stop whenever you like: the policy is usable between any two records. With ``checkpoint`` the run is
    written after each update and, called again with the same arguments, goes on from there bit for bit.

    Args:
        critic: needed by ``advantage="gae"``.
        reference: the frozen policy that ``beta`` charges for leaving.
        collect: `rollout`, or `enumerate_actions` for exact expectations on a bandit.

    Raises:
        ValueError: settings that contradict each other, or a checkpoint of another run.
        FloatingPointError: the loss is no longer finite; the policy is as it was before that step.

    >>> from rlbase.envs import Bandit
    >>> from rlbase.policies import TabularPolicy
    >>> policy, bandit = TabularPolicy(1, 2), Bandit(torch.tensor([0.0, 1.0]))
    >>> config = PPOConfig(updates=50, advantage="returns", learning_rate=0.1, minibatches=1)
    >>> records = list(ppo(policy, bandit, config))
    >>> bool(policy.probs()[0, 1] > 0.9)
    True
    """
    common.check_parts("ppo", policy, env, critic, reference)
    _check(config, critic, reference)
    parameters = common.parameters_of(policy, critic)
    generator = generator or common.new_generator(parameters)
    optimizer = common.adam(parameters, config.learning_rate)
    saved = Checkpoint(checkpoint, (policy, critic, optimizer, env, generator), config=asdict(config))
    counters = saved.restore({"update": 0, "env_steps": 0, "beta": config.beta})
    while counters["update"] < config.updates:
        learning_rate = config.learning_rate * (1 - counters["update"] / config.updates * config.anneal)
        common.set_learning_rate(optimizer, learning_rate)
        rolled = collect(policy, env, steps=config.steps, generator=generator)
        batch, record = prepare(rolled, policy, env, config, counters["beta"], critic, reference)
        for epoch in range(config.epochs):
            metrics = []
            for part in batch.minibatches(config.minibatches, generator):
                loss, metric = ppo_loss(policy, critic, part, config, counters["beta"])
                where = f"ppo, update {counters['update']}"
                norm = common.gradient_step(where, loss, parameters, optimizer, config.max_grad_norm)
                metrics.append({**metric, "grad_norm": norm})
            means = common.averages(metrics)
            record = {**record, **means, "epochs": epoch + 1}
            if config.stop_kl is not None and means["old_kl"] > config.stop_kl:
                break
        counters["update"] += 1
        counters["env_steps"] += int(rolled.mask.sum())
        record = {
            **counters,
            "return_mean": common.recent_return(env),
            **record,
            "learning_rate": learning_rate,
        }
        counters["beta"] = next_beta(config, counters["beta"], record, episodes=len(rolled.mask))
        if counters["update"] % config.checkpoint_every == 0 or counters["update"] == config.updates:
            saved.save(counters)
        yield record


@torch.no_grad()
def prepare(
    rolled: Rollout,
    policy: Policy,
    env: Env,
    config: PPOConfig,
    beta: float,
    critic: Critic | None,
    reference: Policy | None,
) -> tuple[Batch, dict[str, float]]:
    """From a rollout to a batch: KL in the reward, advantages, whitening; and the metrics of the rollout itself."""
    if config.precision == "bfloat16":  # else the first ratio would be the rounding, not 1
        with common.autocast(policy, config.precision):
            rolled = replace(rolled, logp=fill_unchosen(rescore(policy, rolled), rolled.mask, rolled.logp))
    weight = 1.0 if rolled.weight is None else rolled.weight
    record = {"reward_mean": (torch.where(rolled.mask, rolled.rewards, 0) * weight).sum(1).mean().item()}
    rewards, ref_logp = rolled.rewards, None
    if reference is not None:
        with common.autocast(policy, config.precision):
            ref_logp = fill_unchosen(rescore(reference, rolled), rolled.mask, rolled.logp)
        for name, estimator in (("ref_k1", k1), ("ref_k2", k2), ("ref_k3", k3)):
            each = torch.where(rolled.mask, estimator(rolled.logp, ref_logp), 0) * weight
            record[name] = each.sum(1).mean().item()
        if config.kl_placement == "reward":
            rewards = kl_shaped(rewards, rolled.logp, ref_logp, rolled.mask, beta=beta)
    if config.whiten_rewards:
        rewards = masked_whiten(rewards, rolled.mask, shift_mean=False)
    values = common.values_of(critic, rolled.obs, rolled.actions)
    group_size = getattr(env, "group_size", len(rewards))
    advantages, returns = common.estimate_advantages(
        rolled, rewards, values, config.advantage, gamma=config.gamma, lam=config.lam, group_size=group_size
    )
    old_values = None if values is None else values[:, :-1]
    if old_values is not None:
        record["explained_variance"] = explained_variance(old_values, returns, rolled.mask)
    unweighted = config.whiten_advantages or config.whiten_rewards or config.minibatches > 1
    if rolled.weight is not None and (unweighted or config.advantage in ("leave_one_out", "group")):
        raise ValueError("ppo: enumerated actions are weighted; set minibatches=1, no whitening, no groups.")
    if config.whiten_advantages:
        advantages = masked_whiten(advantages, rolled.mask)
    known = (advantages, returns, old_values, ref_logp, rolled.weight)
    batch = Batch(rolled.obs, rolled.actions, rolled.logp, rolled.mask, *known)
    whole_rows = policy.stateful or config.reduce != "token"  # other denominators count the rollout's rows
    return (batch if whole_rows else batch.single_choices()), record


def ppo_loss(
    policy: Policy, critic: Critic | None, batch: Batch, config: PPOConfig, beta: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """The scalar loss of one minibatch, policy plus critic minus entropy bonus, and its metrics."""
    mask = batch.mask

    def mean(each: Tensor) -> Tensor:
        return masked_mean(each if batch.weight is None else each * batch.weight, mask, reduce=config.reduce)

    with common.autocast(policy, config.precision):
        logp, entropy = policy.evaluate(batch.obs, batch.actions)
        values = None if critic is None else critic.value(batch.obs, batch.actions)[:, : mask.shape[1]]
    values = None if values is None else fill_unchosen(values, mask)
    logp = fill_unchosen(logp, mask, batch.old_logp)
    policy_loss = mean(
        ppo_clip(logp, batch.old_logp, batch.advantages, clip=config.clip, clip_high=config.clip_high)
    )
    metrics = ratio_metrics(logp.detach(), batch, config)
    metrics |= {"policy_loss": policy_loss, "entropy": mean(entropy.detach())}
    loss = policy_loss
    if config.entropy_coef:
        loss = loss - config.entropy_coef * mean(entropy)
    if config.kl_placement != "reward" and batch.ref_logp is not None:
        loss = loss + beta * mean(KL_LOSSES[config.kl_placement](logp, batch.ref_logp))
    if values is not None and batch.returns is not None:
        if config.value_clip is None or batch.old_values is None:
            each = value_mse(values, batch.returns)
        else:
            each = value_clipped(values, batch.old_values, batch.returns, clip=config.value_clip)
        metrics["value_loss"] = mean(each)
        loss = loss + config.value_coef * metrics["value_loss"]
    return loss, metrics | {"loss": loss}


@torch.no_grad()
def ratio_metrics(logp: Tensor, batch: Batch, config: PPOConfig) -> dict[str, Tensor]:
    """How far one minibatch has moved: KL(old || new) by k3, clip fraction, largest ratio."""
    weight = 1.0 if batch.weight is None else batch.weight
    clipped = clip_fraction(logp, batch.old_logp, batch.mask, clip=config.clip, clip_high=config.clip_high)
    return {
        "old_kl": masked_mean(k3(batch.old_logp, logp) * weight, batch.mask),
        "clip_fraction": torch.tensor(clipped),
        "ratio_max": (logp - batch.old_logp).exp()[batch.mask].max(),
    }


def next_beta(config: PPOConfig, beta: float, record: dict[str, Any], *, episodes: int) -> float:
    """The KL coefficient of the next update, by the configured controller, from the k1 of this one."""
    if config.kl_target is None:
        return beta
    if config.kl_rule == "schulman":
        return schulman_beta(beta, record["ref_k1"], target=config.kl_target)
    return ziegler_beta(
        beta, record["ref_k1"], target=config.kl_target, episodes=episodes, horizon=config.kl_horizon
    )


def _check(config: PPOConfig, critic: Critic | None, reference: Policy | None) -> None:
    if config.advantage == "gae" and critic is None:
        others = "'returns', 'leave_one_out' or 'group'"
        raise ValueError(f"ppo: advantage='gae' needs a critic; pass critic=..., or choose {others}.")
    if reference is None and (config.beta or config.kl_target is not None):
        raise ValueError("ppo: beta and kl_target price the distance to a reference; pass reference=...")
    if config.kl_target is not None and config.beta == 0:
        raise ValueError("ppo: kl_target multiplies beta up and down, so beta must start above 0.")
