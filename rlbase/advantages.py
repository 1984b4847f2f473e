"""How much better than expected was each choice: returns, GAE, and baselines from a group.

Discounts are per step, $\\gamma(1-\\text{terminated})$, so that "the episode is over" is just a zero
and no function needs to know why. Truncation is not a zero: the next column holds the final
observation and its value is read from there; the mask (False on that column) cuts the trace.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlbase.validate import a_tensor, boolean, has_shape, in_range, same_shape, whole


def discounted_returns(
    rewards: Float[Tensor, "B T"], discounts: Float[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    r"""Reward-to-go of each step, $G_t = r_t + \gamma_t G_{t+1}$ with $G_T = 0$.

    Sutton & Barto (2018), eq. 3.9, with a discount per step.

    Raises:
        ValueError: the shapes differ, or are not ``[B, T]`` with at least one step.

    >>> discounted_returns(torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[0.5, 0.5, 0.0]]))
    tensor([[3., 4., 4.]])
    """
    same_shape("discounted_returns", rewards=rewards, discounts=discounts)
    _check_steps("discounted_returns", rewards)
    # the dtype of the products: whole-numbered rewards would otherwise round their returns
    rewards = rewards.to(torch.result_type(rewards, discounts))
    returns, following = torch.empty_like(rewards), torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        following = rewards[:, t] + discounts[:, t] * following
        returns[:, t] = following
    return returns


def gae(
    rewards: Float[Tensor, "B T"],
    values: Float[Tensor, "B T+1"],
    discounts: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    lam: float,
) -> Float[Tensor, "B T"]:
    r"""Generalised advantage estimates, an exponential average of k-step advantages.

    $$\delta_t = r_t + \gamma_t V_{t+1} - V_t, \qquad A_t = \delta_t + \gamma_t\lambda\, m_{t+1} A_{t+1}$$

    Schulman et al. (2016), eqs. 11 and 16. $\gamma_t=\gamma(1-\text{terminated}_t)$; ``values``
    has one column more than ``rewards``, the value of what was seen after the last action.
    A step outside the mask gets 0 and nothing flows through it, which is all that truncation needs.

    Raises:
        ValueError: shapes do not fit, or ``lam`` is outside [0, 1].

    >>> rewards, mask = torch.tensor([[1.0, 1.0]]), torch.tensor([[True, True]])
    >>> gae(rewards, torch.tensor([[0.5, 0.5, 0.0]]), torch.tensor([[1.0, 0.0]]), mask, lam=1.0)
    tensor([[1.5000, 0.5000]])
    """
    same_shape("gae", rewards=rewards, discounts=discounts, mask=mask)
    _check_steps("gae", rewards)
    boolean("gae", mask)
    has_shape("gae", "values", values, (rewards.shape[0], rewards.shape[1] + 1))
    in_range("gae", "lam", lam, 0, 1)
    # selected, not multiplied away: what a critic says about the far side of an end must not matter, NaN or not
    following_value = torch.where(discounts == 0, 0, discounts * values[:, 1:])
    delta = torch.where(mask, rewards + following_value - values[:, :-1], 0)
    decay = torch.where(mask, lam * discounts, 0)
    advantages, following = torch.empty_like(delta), torch.zeros_like(delta[:, 0])
    for t in reversed(range(delta.shape[1])):
        following = delta[:, t] + decay[:, t] * following
        advantages[:, t] = following
    return advantages


def group_normalised(
    rewards: Float[Tensor, "groups G"], *, ddof: int = 1, eps: float = 1e-4
) -> Float[Tensor, "groups G"]:
    r"""GRPO's advantage: standardise each group of responses to one prompt, $(r-\bar r)/(s+\epsilon)$.

    Shao et al. (2024), section 4.1.2. Codes disagree on the detail: TRL uses the sample standard deviation
    (``ddof=1``) and $10^{-4}$, HALOs the population one (``ddof=0``) and $10^{-2}$.

    Raises:
        ValueError: not two axes, no more responses in a group than ``ddof``, or ``ddof`` or ``eps`` is negative.

    >>> group_normalised(torch.tensor([[0.0, 1.0]]), eps=0.0)
    tensor([[-0.7071,  0.7071]])
    """
    whole("group_normalised", "ddof", ddof, 0)
    in_range("group_normalised", "eps", eps, 0, float("inf"), open_high=True)
    _check_groups("group_normalised", rewards, at_least=ddof + 1)
    centred = rewards - rewards.mean(1, keepdim=True)
    return centred / (rewards.std(1, correction=ddof, keepdim=True) + eps)


def leave_one_out(rewards: Float[Tensor, "groups G"]) -> Float[Tensor, "groups G"]:
    r"""RLOO's advantage: each reward minus the mean of the *other* ones in its group.

    $$A_i = r_i - \tfrac{1}{G-1}\sum_{j\ne i} r_j = \tfrac{G}{G-1}(r_i-\bar r)$$

    Kool et al. (2019); Ahmadian et al. (2024). The baseline does not depend on the response it is
    subtracted from, so the gradient stays unbiased; including it would shrink it by $1-1/G$.

    Raises:
        ValueError: not two axes, or fewer than two responses in a group.

    >>> leave_one_out(torch.tensor([[0.0, 1.0, 5.0]]))
    tensor([[-3.0000, -1.5000,  4.5000]])
    """
    _check_groups("leave_one_out", rewards, at_least=2)
    size = rewards.shape[1]
    return (rewards - rewards.mean(1, keepdim=True)) * (size / (size - 1))


def _check_steps(where: str, rewards: Tensor) -> None:
    if rewards.ndim != 2 or rewards.shape[1] == 0:
        raise ValueError(f"{where}: rewards must be [B, T] with T >= 1, got shape {list(rewards.shape)}.")


def _check_groups(where: str, rewards: Tensor, *, at_least: int) -> None:
    a_tensor(where, rewards=rewards)
    if rewards.ndim != 2 or not rewards.is_floating_point():
        got = f"shape {list(rewards.shape)} of {rewards.dtype}"
        raise ValueError(f"{where}: rewards must be [groups, G] of real numbers, got {got}.")
    if rewards.shape[1] < at_least:
        raise ValueError(
            f"{where}: a group needs at least {at_least} responses to have a baseline, got {rewards.shape[1]}."
        )
