"""From what was rolled out to what PPO learns from: the price of KL, advantages, whitening."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from rlbase.losses import k1, k2, k3
from rlbase.losses.diagnostics import explained_variance
from rlbase.masked import fill_unchosen, masked_whiten
from rlbase.rewards import kl_shaped
from rlbase.rollout import rescore
from rlbase.train import common
from rlbase.train.batch import Batch
from rlbase.types import Critic, Env, Policy, Rollout

if TYPE_CHECKING:  # the config lives beside the loop it configures
    from rlbase.train.ppo import PPOConfig


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
    group_size = getattr(env, "group_size", None) or len(rewards)
    advantages, returns = common.estimate_advantages(
        rolled, rewards, values, config.advantage, gamma=config.gamma, lam=config.lam, group_size=group_size
    )
    old_values = None if values is None else values[:, :-1]
    if old_values is not None:
        explained = explained_variance(old_values, returns, rolled.mask, weight=rolled.weight)
        record["explained_variance"] = explained
    unweighted = config.whiten_advantages or config.whiten_rewards or config.minibatches > 1
    if rolled.weight is not None and (unweighted or config.advantage in ("leave_one_out", "group")):
        raise ValueError("ppo: enumerated actions are weighted; set minibatches=1, no whitening, no groups.")
    if config.whiten_advantages:
        advantages = masked_whiten(advantages, rolled.mask)
    known = (advantages, returns, old_values, ref_logp, rolled.weight)
    batch = Batch(rolled.obs, rolled.actions, rolled.logp, rolled.mask, *known)
    whole_rows = policy.stateful or config.reduce != "token"  # other denominators count the rollout's rows
    return (batch if whole_rows else batch.single_choices()), record
