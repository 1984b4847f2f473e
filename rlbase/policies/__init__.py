"""Policies and critics: tables, small networks, language models (transformers is imported only when used)."""

from __future__ import annotations

from rlbase.policies.adapters import AdaptersOff, adapters_off, merged, with_lora
from rlbase.policies.causal_lm import CausalLMPolicy, LMCritic, frozen_copy
from rlbase.policies.judge import GenerativeJudge
from rlbase.policies.load import load_policy, random_policy
from rlbase.policies.mlp import MLPCritic, MLPPolicy
from rlbase.policies.reward_model import Ensemble, LMRewardModel, load_reward_model, normalise
from rlbase.policies.step_reward import MLPReward, StepEnsemble, TabularReward
from rlbase.policies.tabular import TabularCritic, TabularPolicy
from rlbase.types import Box, Discrete, Env

__all__ = [
    "AdaptersOff",
    "CausalLMPolicy",
    "Ensemble",
    "GenerativeJudge",
    "LMCritic",
    "LMRewardModel",
    "MLPCritic",
    "MLPPolicy",
    "MLPReward",
    "StepEnsemble",
    "TabularCritic",
    "TabularPolicy",
    "TabularReward",
    "adapters_off",
    "for_env",
    "frozen_copy",
    "load_policy",
    "load_reward_model",
    "merged",
    "normalise",
    "random_policy",
    "with_lora",
]


def for_env(
    env: Env, *, hidden: tuple[int, ...] = (64, 64)
) -> tuple[TabularPolicy | MLPPolicy, TabularCritic | MLPCritic]:
    """A fresh policy and critic that fit a world: tables for numbered states, networks for vectors.

    Raises:
        ValueError: a text world (its policy is a language model, see `load_policy`), or numbered states with
            continuous actions.

    >>> from rlbase.envs import chain
    >>> policy, critic = for_env(chain(5))
    >>> policy.probs().shape
    torch.Size([5, 2])
    """
    seen, done = env.observation_space, env.action_space
    if isinstance(seen, Discrete) and isinstance(done, Discrete):
        return TabularPolicy(seen.n, done.n), TabularCritic(seen.n)
    if isinstance(seen, Box):
        return MLPPolicy(seen.size, done, hidden=hidden), MLPCritic(seen.size, hidden=hidden)
    raise ValueError(
        f"for_env: no ready-made policy for observations {seen} and actions {done}; "
        "a text world takes a language model from load_policy(...)."
    )
