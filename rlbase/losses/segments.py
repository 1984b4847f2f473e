"""The loss behind learning from clips: a rater who chooses by the sums of rewards, and sometimes at random."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from rlbase.validate import finite, in_range, same_shape


def segment_preference(
    reward_a: Float[Tensor, " B"],
    reward_b: Float[Tensor, " B"],
    prob_a: Float[Tensor, " B"],
    *,
    error: float = 0.1,
) -> Float[Tensor, " B"]:
    r"""Cross-entropy between labels and a Bradley-Terry rater who answers at random with probability ``error``.

    $$-\mu\log\hat P-(1-\mu)\log(1-\hat P),\qquad \hat P=(1-\epsilon)\,\sigma\big(\textstyle\sum_t r^a_t-\sum_t
    r^b_t\big)+\tfrac\epsilon2$$

    Christiano et al. (2017), eq. 1 and section 2.2.3. ``reward_a`` and ``reward_b`` are *sums* over clips of one
    length; a constant paid on every step cancels. ``prob_a`` is the label: 1 for a, 0 for b, 1/2 for a tie. Because
    a random answer is always possible, no single label can cost more than $-\log(\epsilon/2)$ nats; without
    ``error`` this is `soft_bradley_terry`.

    Raises:
        ValueError: shapes differ, a label lies outside [0, 1] or is not a number, or ``error`` outside [0, 1).

    >>> a, b, label = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 0.0]), torch.tensor([1.0, 0.5])
    >>> segment_preference(a, b, label)
    tensor([0.1711, 0.6931])
    """
    same_shape("segment_preference", reward_a=reward_a, reward_b=reward_b, prob_a=prob_a)
    in_range("segment_preference", "error", error, 0, 1, open_high=True)
    finite("segment_preference", prob_a=prob_a)
    if ((prob_a < 0) | (prob_a > 1)).any():
        raise ValueError(f"segment_preference: labels must lie in [0, 1], got {prob_a.tolist()}.")
    ahead = reward_a - reward_b
    return -prob_a * _log_chance(ahead, error) - (1 - prob_a) * _log_chance(-ahead, error)


def _log_chance(ahead: Tensor, error: float) -> Tensor:
    """log((1 - error) sigmoid(ahead) + error / 2), right for any size of ``ahead``."""
    if error == 0:
        return logsigmoid(ahead)
    by_chance = torch.full_like(ahead, math.log(error / 2))
    return torch.logaddexp(math.log1p(-error) + logsigmoid(ahead), by_chance)
