"""Worlds: bandits, tables, Gymnasium, text. All are batches, all speak `rlbase.types.Env`."""

from rlbase.envs.bandit import Bandit
from rlbase.envs.gridworld import TabularMDP, chain, garden, gridworld
from rlbase.envs.gym import GymEnv
from rlbase.envs.hackable import Hackable, flawed_members, hackable, long_winded
from rlbase.envs.learned_reward import LearnedReward
from rlbase.envs.text import CharTokenizer, TextEnv, pad_left

__all__ = [
    "Bandit",
    "CharTokenizer",
    "GymEnv",
    "Hackable",
    "LearnedReward",
    "TabularMDP",
    "TextEnv",
    "chain",
    "flawed_members",
    "garden",
    "gridworld",
    "hackable",
    "long_winded",
    "pad_left",
]
