"""Policy-gradient losses: functions of log-probabilities, one number per choice, nothing reduced.

Left out on purpose: the reduction (`rlbase.masked`), the advantage (`rlbase.advantages`), and the
sign convention of maximisation: everything here is minimised.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from rlbase.validate import in_range, same_shape


def reinforce(logp: Float[Tensor, "B T"], advantages: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    r"""The score-function loss $-A_t \log\pi(a_t|s_t)$, whose gradient is the policy gradient.

    Williams (1992); Sutton & Barto (2018), eq. 13.8. Advantages carry no gradient.

    Raises:
        ValueError: the shapes differ.

    >>> reinforce(torch.tensor([[-1.0]]), torch.tensor([[2.0]]))
    tensor([[2.]])
    """
    same_shape("reinforce", logp=logp, advantages=advantages)
    return -logp * advantages.detach()


def ppo_clip(
    logp: Float[Tensor, "B T"],
    old_logp: Float[Tensor, "B T"],
    advantages: Float[Tensor, "B T"],
    *,
    clip: float = 0.2,
    clip_high: float | None = None,
) -> Float[Tensor, "B T"]:
    r"""PPO's clipped surrogate, the pessimistic one of two linear ones.

    $$-\min\big(\rho A,\ \mathrm{clip}(\rho, 1-\epsilon, 1+\epsilon_{high})\,A\big), \qquad \rho =
    e^{\log\pi-\log\pi_{old}}$$

    Schulman et al. (2017), eq. 7; ``clip_high`` (default: ``clip``) is DAPO's asymmetric clip (Yu et al. 2025,
    eq. 10). Clipping removes the *incentive* to leave the interval; it bounds neither the ratio nor the KL.

    Raises:
        ValueError: shapes differ, ``clip`` is outside [0, 1), or ``clip_high`` is negative.

    >>> logp, old_logp = torch.tensor([[1.5]]).log(), torch.zeros(1, 1)
    >>> ppo_clip(logp, old_logp, torch.tensor([[1.0]])).item(), ppo_clip(logp, old_logp, torch.tensor([[-1.0]])).item()
    (-1.2000000476837158, 1.5)
    """
    same_shape("ppo_clip", logp=logp, old_logp=old_logp, advantages=advantages)
    in_range("ppo_clip", "clip", clip, 0, 1, open_high=True)
    high = clip if clip_high is None else clip_high
    in_range("ppo_clip", "clip_high", high, 0, float("inf"))
    advantages = advantages.detach()
    # Beyond e^60 the ratio is held: it would overflow, and the clipped branch would send back 0 * inf = NaN.
    ratio = (logp - old_logp.detach()).clamp(max=60).exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + high) * advantages)


def value_mse(values: Float[Tensor, "B T"], returns: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    r"""Half the squared error of the critic, $\tfrac12 (V_t-R_t)^2$.

    Raises:
        ValueError: the shapes differ.

    >>> value_mse(torch.tensor([[1.0]]), torch.tensor([[3.0]]))
    tensor([[2.]])
    """
    same_shape("value_mse", values=values, returns=returns)
    return 0.5 * (values - returns.detach()).square()


def value_clipped(
    values: Float[Tensor, "B T"],
    old_values: Float[Tensor, "B T"],
    returns: Float[Tensor, "B T"],
    *,
    clip: float = 0.2,
) -> Float[Tensor, "B T"]:
    r"""The clipped value loss of OpenAI's PPO code, $\tfrac12\max\{(V-R)^2, (\mathrm{clip}(V,
    V_{old}\pm\epsilon)-R)^2\}$.

    It is in `baselines` and the RLHF codes but in no equation of the PPO paper, depends on the scale of the
    rewards, and often hurts (Andrychowicz et al. 2021); it is here to be tried.

    Raises:
        ValueError: shapes differ, or ``clip`` is not positive.

    >>> value_clipped(torch.tensor([[1.0]]), torch.tensor([[0.0]]), torch.tensor([[1.0]]))
    tensor([[0.3200]])
    """
    same_shape("value_clipped", values=values, old_values=old_values, returns=returns)
    in_range("value_clipped", "clip", clip, 0, float("inf"), open_low=True)
    old_values, returns = old_values.detach(), returns.detach()
    clipped = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns).square(), (clipped - returns).square())
