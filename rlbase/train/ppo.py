"""Proximal policy optimisation, one file for a bandit, CartPole and a language model.

Read `ppo` top to bottom: roll out, estimate advantages, take a few epochs of clipped steps, yield a record. What the
PPO paper leaves open is a named field of `PPOConfig`. Left out on purpose: recurrent minibatches, observation
normalisation, and everything distributed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlbase.losses import k1, k2, k3, ppo_clip, schulman_beta, value_clipped, value_mse, ziegler_beta
from rlbase.losses.diagnostics import clip_fraction
from rlbase.masked import fill_unchosen, masked_mean
from rlbase.rollout import rollout
from rlbase.train import common
from rlbase.train.batch import Batch
from rlbase.train.checkpoint import Checkpoint
from rlbase.train.prepare import prepare
from rlbase.types import Choices, Critic, Env, Policy, Rollout
from rlbase.validate import in_range, instance, one_of, whole

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
    """Unit standard deviation over the choices of a batch, mean kept; `masked_whiten` says what 0 becomes."""
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
    pretrain_coef: float = 0.0
    """Weight of imitating the ``pretrain`` choices (PPO-ptx; 27.8 in InstructGPT's sums, about 1 in our means)."""
    pretrain_rows: int | None = None
    """Rows of ``pretrain`` drawn for each gradient step; None takes all."""
    precision: str = "float32"
    """``bfloat16`` runs the learning forward under autocast, and scores anew in it what was sampled in float32."""
    checkpoint_every: int = 1
    """Updates between checkpoints, when a path is given."""

    def __post_init__(self) -> None:
        for name in ("updates", "epochs", "minibatches", "kl_horizon", "checkpoint_every"):
            whole("PPOConfig", name, getattr(self, name), 1)
        for name in ("steps", "pretrain_rows"):
            value = getattr(self, name)
            whole("PPOConfig", name, 1 if value is None else value, 1)
        for name in ("learning_rate", "value_coef", "entropy_coef", "beta", "pretrain_coef"):
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
    pretrain: Choices | None = None,
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
        pretrain: what ``pretrain_coef`` keeps imitating while the reward pulls elsewhere: PPO-ptx, the objective
            $E[r] - \\beta KL + \\gamma E_{pretrain}[\\log\\pi]$ of Ouyang et al. (2022), eq. 2.
        collect: `rollout`, or `enumerate_actions` for exact expectations on a bandit.

    Raises:
        TypeError: a part, the config or the generator is of the wrong kind.
        ValueError: settings that contradict each other, or a checkpoint of another or a longer run.
        FloatingPointError: the loss is no longer finite; the policy is as it was before that step.

    >>> from rlbase.envs import Bandit
    >>> from rlbase.policies import TabularPolicy
    >>> policy, bandit = TabularPolicy(1, 2), Bandit(torch.tensor([0.0, 1.0]))
    >>> config = PPOConfig(updates=50, advantage="returns", learning_rate=0.1, minibatches=1)
    >>> records = list(ppo(policy, bandit, config))
    >>> bool(policy.probs()[0, 1] > 0.9)
    True
    """
    instance("ppo", "config", config, PPOConfig)
    instance("ppo", "generator", generator, torch.Generator, optional=True)
    common.check_parts("ppo", policy, env, critic, reference)
    _check(config, critic, reference, pretrain)
    parameters = common.parameters_of(policy, critic)
    generator = common.new_generator(parameters) if generator is None else generator
    optimizer = common.adam(parameters, config.learning_rate)
    saved = Checkpoint(checkpoint, (policy, critic, optimizer, env, generator), config=asdict(config))
    counters = saved.restore({"update": 0, "env_steps": 0, "beta": config.beta})
    while counters["update"] < config.updates:
        learning_rate = config.learning_rate * (1 - counters["update"] / config.updates * config.anneal)
        common.set_learning_rate(optimizer, learning_rate)
        rolled = collect(policy, env, steps=config.steps, generator=generator)
        batch, record = prepare(rolled, policy, env, config, counters["beta"], critic, reference)
        for epoch in range(config.epochs):
            watch = epoch == config.epochs - 1 or config.stop_kl is not None
            metrics = []
            for part in batch.minibatches(config.minibatches, generator):
                loss, metric = ppo_loss(policy, critic, part, config, counters["beta"], watch=watch)
                if pretrain is not None:
                    imitated = common.imitation_loss(policy, pretrain, config.pretrain_rows, generator)
                    loss, metric = (
                        loss + config.pretrain_coef * imitated,
                        {**metric, "pretrain_loss": imitated},
                    )
                where = f"ppo, update {counters['update']}"
                norm = common.gradient_step(where, loss, parameters, optimizer, config.max_grad_norm)
                metrics.append({**metric, "grad_norm": norm})
            if watch:
                record = {**record, **common.averages(metrics), "epochs": epoch + 1}
            if config.stop_kl is not None and record["old_kl"] > config.stop_kl:
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


def ppo_loss(
    policy: Policy,
    critic: Critic | None,
    batch: Batch,
    config: PPOConfig,
    beta: float,
    *,
    watch: bool = True,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The scalar loss of one minibatch, policy plus critic minus entropy bonus, and if you ``watch`` its metrics."""
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
    loss, value_loss = policy_loss, None
    if config.entropy_coef:
        loss = loss - config.entropy_coef * mean(entropy)
    if config.kl_placement != "reward" and batch.ref_logp is not None:
        loss = loss + beta * mean(KL_LOSSES[config.kl_placement](logp, batch.ref_logp))
    if values is not None and batch.returns is not None:
        if config.value_clip is None or batch.old_values is None:
            each = value_mse(values, batch.returns)
        else:
            each = value_clipped(values, batch.old_values, batch.returns, clip=config.value_clip)
        value_loss = mean(each)
        loss = loss + config.value_coef * value_loss
    if not watch:
        return loss, {}
    metrics = ratio_metrics(logp.detach(), batch, config)
    metrics |= {"policy_loss": policy_loss, "entropy": mean(entropy.detach()), "loss": loss}
    return loss, metrics if value_loss is None else {**metrics, "value_loss": value_loss}


@torch.no_grad()
def ratio_metrics(logp: Tensor, batch: Batch, config: PPOConfig) -> dict[str, Tensor]:
    """How far one minibatch has moved: KL(old || new) by k3, clip fraction, largest ratio."""
    weight = 1.0 if batch.weight is None else batch.weight
    bounds = {"clip": config.clip, "clip_high": config.clip_high, "weight": batch.weight}
    return {
        "old_kl": masked_mean(k3(batch.old_logp, logp) * weight, batch.mask),
        "clip_fraction": torch.tensor(clip_fraction(logp, batch.old_logp, batch.mask, **bounds)),
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


def _check(
    config: PPOConfig, critic: Critic | None, reference: Policy | None, pretrain: Choices | None
) -> None:
    if (pretrain is None) != (config.pretrain_coef == 0):
        raise ValueError("ppo: pretrain and pretrain_coef go together; give both, or neither.")
    if config.advantage == "gae" and critic is None:
        others = "'returns', 'leave_one_out' or 'group'"
        raise ValueError(f"ppo: advantage='gae' needs a critic; pass critic=..., or choose {others}.")
    if reference is None and (config.beta or config.kl_target is not None):
        raise ValueError("ppo: beta and kl_target price the distance to a reference; pass reference=...")
    if config.kl_target is not None and config.beta == 0:
        raise ValueError("ppo: kl_target multiplies beta up and down, so beta must start above 0.")
