"""Training loops: one readable file per method, each a generator of metric records."""

from rlbase.train.a2c import A2CConfig, a2c
from rlbase.train.ppo import LANGUAGE_MODEL, PPOConfig, ppo
from rlbase.train.reinforce import ReinforceConfig, reinforce
from rlbase.train.trpo import TRPOConfig, trpo

__all__ = [
    "LANGUAGE_MODEL",
    "A2CConfig",
    "PPOConfig",
    "ReinforceConfig",
    "TRPOConfig",
    "a2c",
    "ppo",
    "reinforce",
    "trpo",
]
