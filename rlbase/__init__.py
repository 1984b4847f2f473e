"""rlbase: reinforcement learning from human feedback, from a two-armed bandit to a language model."""

__version__ = "0.1.0"
