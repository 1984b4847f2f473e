"""Divergence between a policy and its reference: three estimators, the exact sum, two controllers.

Everywhere the direction is KL(policy || reference), estimated on the policy's own samples. As *numbers* k1 and
k3 are unbiased and k2 is not. As *losses* they are different objectives altogether: on-policy, the gradient of
k1 has mean zero, that of k2 is the gradient of KL(policy || ref), that of k3 is the gradient of KL(ref || policy).
That is said of one choice. In a sequence each choice also decides where the later ones are made; a sum of token-wise
k2 or k3 does not see that, the charge in the reward (`rlbase.rewards.kl_shaped`) does.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from rlbase.validate import in_range, same_shape


def k1(logp: Float[Tensor, "B T"], ref_logp: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    r"""$\log\pi - \log\pi_{ref}$: unbiased, noisy, often negative.

    Schulman, "Approximating KL divergence" (2020). Belongs in the (detached) reward, never in the loss.

    Raises:
        ValueError: the shapes differ.

    >>> k1(torch.tensor([[-1.0]]), torch.tensor([[-3.0]]))
    tensor([[2.]])
    """
    same_shape("k1", logp=logp, ref_logp=ref_logp)
    return logp - ref_logp


def k2(logp: Float[Tensor, "B T"], ref_logp: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    r"""$\tfrac12(\log\pi-\log\pi_{ref})^2$: biased as a number, and the right *loss* for KL(policy || ref).

    Schulman (2020). On-policy its expected gradient equals that of the exact KL of one choice.

    Raises:
        ValueError: the shapes differ.

    >>> k2(torch.tensor([[-1.0]]), torch.tensor([[-3.0]]))
    tensor([[2.]])
    """
    same_shape("k2", logp=logp, ref_logp=ref_logp)
    return 0.5 * (logp - ref_logp).square()


def k3(logp: Float[Tensor, "B T"], ref_logp: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    r"""$\rho - 1 - \log\rho$ with $\rho=\pi_{ref}/\pi$: unbiased, never negative, quiet while policies are close.

    Schulman (2020); GRPO's penalty (Shao et al. 2024, eq. 4), where as a loss it pulls along KL(ref || policy).

    Raises:
        ValueError: the shapes differ.

    >>> k3(torch.tensor([[-1.0]]), torch.tensor([[-1.0]]))
    tensor([[0.]])
    """
    same_shape("k3", logp=logp, ref_logp=ref_logp)
    log_rho = ref_logp - logp
    return torch.expm1(log_rho) - log_rho


def exact_kl(logp: Float[Tensor, "*batch n"], ref_logp: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    r"""$\sum_a \pi(a)\,(\log\pi(a)-\log\pi_{ref}(a))$ over whole log-distributions on the last axis.

    Actions of probability zero under the policy contribute 0, also where the reference has none either.

    Raises:
        ValueError: the shapes differ.

    >>> exact_kl(torch.tensor([0.5, 0.5]).log(), torch.tensor([0.25, 0.75]).log())
    tensor(0.1438)
    """
    same_shape("exact_kl", logp=logp, ref_logp=ref_logp)
    impossible = logp == float("-inf")
    gap = torch.where(impossible, 0, logp) - torch.where(impossible, 0, ref_logp)
    return (logp.exp() * gap).sum(-1)


def ziegler_beta(beta: float, kl: float, *, target: float, episodes: int, horizon: int) -> float:
    r"""Next KL coefficient by proportional control, $\beta(1+e\,n/h)$ with $e=\mathrm{clip}(KL/target-1,-.2,.2)$.

    Ziegler et al. (2019), section 2.2; $n$ is the number of episodes in the batch and $h$ the horizon (10,000 in
    their code).

    Raises:
        ValueError: ``beta`` is negative, ``target`` or ``episodes`` is not positive, ``kl`` is NaN, or ``horizon`` is
            so short (a fifth of ``episodes``) that one batch could turn beta negative.

    >>> ziegler_beta(0.2, 12.0, target=6.0, episodes=512, horizon=10_000)
    0.202048
    """
    _check_control("ziegler_beta", beta, kl, target)
    in_range("ziegler_beta", "episodes", episodes, 1, float("inf"))
    in_range("ziegler_beta", "horizon", horizon, episodes / 5, float("inf"), open_low=True)
    error = max(-0.2, min(0.2, kl / target - 1))
    return beta * (1 + error * episodes / horizon)


def schulman_beta(beta: float, kl: float, *, target: float) -> float:
    r"""Next KL coefficient by the PPO paper's rule: halve below $target/1.5$, double above $1.5\,target$.

    Schulman et al. (2017), section 4.

    Raises:
        ValueError: ``beta`` is negative, ``target`` is not positive, or ``kl`` is NaN.

    >>> schulman_beta(0.1, 1.0, target=0.5), schulman_beta(0.1, 0.1, target=0.5), schulman_beta(0.1, 0.5, target=0.5)
    (0.2, 0.05, 0.1)
    """
    _check_control("schulman_beta", beta, kl, target)
    return beta * 2 if kl > 1.5 * target else beta / 2 if kl < target / 1.5 else beta


def _check_control(where: str, beta: float, kl: float, target: float) -> None:
    infinity = float("inf")
    in_range(where, "beta", beta, 0, infinity)
    in_range(where, "kl", kl, -infinity, infinity)
    in_range(where, "target", target, 0, infinity, open_low=True)
