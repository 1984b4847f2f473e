"""Worlds whose answer is known: closed forms, fixed points and enumerations to measure learning against.

Distributions are 1-D tensors of probabilities (``[n]``); everything is computed in float64.
"""

from rlbase.exact.feedback import (
    intransitivity,
    majority_accuracy,
    mixed_preference,
    mixing_weight,
    residual_harm,
    swap_averaged,
)
from rlbase.exact.laws import k3_loss_optimum, kl, kl_optimum, pretrain_optimum, total_variation
from rlbase.exact.mdp import Values, policy_value, value_iteration
from rlbase.exact.preferences import bt_projection, ipo_optimum, kto_optimum, simpo_gap
from rlbase.exact.responses import enumerate_responses
from rlbase.exact.sampling import acceptance_rate, best_of_n, best_of_n_kl_bound, rejection_law, win_rate

__all__ = [
    "Values",
    "acceptance_rate",
    "best_of_n",
    "best_of_n_kl_bound",
    "bt_projection",
    "enumerate_responses",
    "intransitivity",
    "ipo_optimum",
    "k3_loss_optimum",
    "kl",
    "kl_optimum",
    "kto_optimum",
    "majority_accuracy",
    "mixed_preference",
    "mixing_weight",
    "policy_value",
    "pretrain_optimum",
    "rejection_law",
    "residual_harm",
    "simpo_gap",
    "swap_averaged",
    "total_variation",
    "value_iteration",
    "win_rate",
]
