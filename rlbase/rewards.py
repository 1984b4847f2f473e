"""From scores to rewards: where a response's score is paid, and the price of leaving the reference."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlbase.losses import k1
from rlbase.masked import last_choice
from rlbase.validate import has_shape, in_range, same_shape


def place_on_last_action(scores: Float[Tensor, " B"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Pay each response's score on its last chosen action, and nothing anywhere else.

    Raises:
        ValueError: not one score per row, or a row without any choice to pay.

    >>> place_on_last_action(torch.tensor([5.0]), torch.tensor([[True, True, False]]))
    tensor([[0., 5., 0.]])
    """
    has_shape("place_on_last_action", "scores", scores, (len(mask),))
    if not mask.any(-1).all():
        raise ValueError("place_on_last_action: every row needs at least one chosen action to be paid on.")
    return torch.where(last_choice(mask), scores[:, None], torch.zeros_like(scores)[:, None])


def kl_shaped(
    rewards: Float[Tensor, "B T"],
    logp: Float[Tensor, "B T"],
    ref_logp: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    beta: float,
) -> Float[Tensor, "B T"]:
    r"""Charge every choice for leaving the reference: $r_t - \beta(\log\pi-\log\pi_{ref})_t$, without gradient.

    Ziegler et al. (2019), eq. 2. Summed over a row the charge estimates the KL of the whole sequence, and each
    choice answers for what follows it: the return of a step contains the charges of all later steps.

    Raises:
        ValueError: shapes differ, or ``beta`` is negative.

    >>> one = torch.ones(1, 1)
    >>> kl_shaped(one, -1 * one, -3 * one, one.bool(), beta=0.1)
    tensor([[0.8000]])
    """
    same_shape("kl_shaped", rewards=rewards, logp=logp, ref_logp=ref_logp, mask=mask)
    in_range("kl_shaped", "beta", beta, 0, float("inf"))
    return rewards - beta * torch.where(mask, k1(logp, ref_logp), 0).detach()
