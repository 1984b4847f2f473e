"""Training loops: one readable file per method, each a generator of metric records."""

from rlbase.train.a2c import A2CConfig, a2c
from rlbase.train.best_of_n import (
    Draws,
    RejectionConfig,
    accept,
    best_of_n,
    rejection_finetune,
    rejection_sampling,
)
from rlbase.train.crowd_reward import CrowdReward, crowd_reward
from rlbase.train.linear_reward import LinearReward, linear_reward
from rlbase.train.online_preference import OnlineConfig, compared, online_preference
from rlbase.train.ppo import LANGUAGE_MODEL, PPOConfig, ppo
from rlbase.train.preference import PreferenceConfig, preference
from rlbase.train.preference_rl import (
    PreferenceRLConfig,
    choose_pairs,
    fit_reward,
    plan,
    preference_rl,
    reward_table,
)
from rlbase.train.preference_terms import with_reference
from rlbase.train.reinforce import ReinforceConfig, reinforce
from rlbase.train.reward_model import RewardModelConfig, reward_model, win_probability
from rlbase.train.reward_ranking import Rankings, Ratings, reward_ranking, reward_regression
from rlbase.train.sft import SFTConfig, sft
from rlbase.train.trpo import TRPOConfig, trpo

__all__ = [
    "A2CConfig",
    "CrowdReward",
    "Draws",
    "LANGUAGE_MODEL",
    "LinearReward",
    "OnlineConfig",
    "PPOConfig",
    "PreferenceConfig",
    "PreferenceRLConfig",
    "Rankings",
    "Ratings",
    "ReinforceConfig",
    "RejectionConfig",
    "RewardModelConfig",
    "SFTConfig",
    "TRPOConfig",
    "a2c",
    "accept",
    "best_of_n",
    "choose_pairs",
    "compared",
    "crowd_reward",
    "fit_reward",
    "linear_reward",
    "online_preference",
    "plan",
    "ppo",
    "preference",
    "preference_rl",
    "reinforce",
    "rejection_finetune",
    "rejection_sampling",
    "reward_model",
    "reward_ranking",
    "reward_regression",
    "reward_table",
    "sft",
    "trpo",
    "win_probability",
    "with_reference",
]
