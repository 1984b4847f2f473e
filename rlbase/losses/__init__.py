"""Losses as sentences about log-probabilities: no model, no config, no reduction inside."""

from rlbase.losses.diagnostics import clip_fraction, explained_variance
from rlbase.losses.kl import exact_kl, k1, k2, k3, schulman_beta, ziegler_beta
from rlbase.losses.policy_gradient import ppo_clip, reinforce, value_clipped, value_mse
from rlbase.losses.preference import cdpo, dpo, hinge, ipo, kto, mismatched_kl, orpo, rdpo, simpo, slic
from rlbase.losses.reward import bradley_terry, centring, k_wise, plackett_luce, pointwise, soft_bradley_terry
from rlbase.losses.segments import segment_preference

__all__ = [
    "bradley_terry",
    "cdpo",
    "centring",
    "clip_fraction",
    "dpo",
    "exact_kl",
    "explained_variance",
    "hinge",
    "ipo",
    "k1",
    "k2",
    "k3",
    "k_wise",
    "kto",
    "mismatched_kl",
    "orpo",
    "plackett_luce",
    "pointwise",
    "ppo_clip",
    "rdpo",
    "reinforce",
    "schulman_beta",
    "segment_preference",
    "simpo",
    "slic",
    "soft_bradley_terry",
    "value_clipped",
    "value_mse",
    "ziegler_beta",
]
