"""Training loops: one readable file per method, each a generator of metric records."""

from rlbase.train.ppo import PPOConfig, ppo

__all__ = ["PPOConfig", "ppo"]
