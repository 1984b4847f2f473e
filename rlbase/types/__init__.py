"""The words every room shares: observations, spaces, the rollout, choices and what was said of them, the protocols.

One row is one stream of choices. Time runs over *actions* only: a prompt is an observation,
the padding after a finished response and the autoreset step of a vector environment are
columns in which the policy chose nothing, and the boolean ``mask`` says so.
"""

from rlbase.types.choices import Choices, Labelled, PreferencePairs
from rlbase.types.protocols import Critic, Env, Policy, RewardModel, Tokenizer
from rlbase.types.streams import Box, Discrete, Obs, Prompt, Rollout, Step

__all__ = [
    "Box",
    "Choices",
    "Critic",
    "Discrete",
    "Env",
    "Labelled",
    "Obs",
    "Policy",
    "PreferencePairs",
    "Prompt",
    "RewardModel",
    "Rollout",
    "Step",
    "Tokenizer",
]
