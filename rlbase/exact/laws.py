"""Distributions: how far apart two are, and where a price on leaving the reference makes a policy rest."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from rlbase.validate import a_tensor, finite, in_range, same_shape


def distribution(where: str, **named: Tensor) -> None:
    """Raise ``ValueError`` naming the first argument that is not one distribution, ``[n]``.

    >>> distribution("kl", p=torch.tensor([0.5, 0.6]))
    Traceback (most recent call last):
    ValueError: kl: p must be one distribution (non-negative, summing to 1), got tensor([0.5000, 0.6000]).
    """
    a_tensor(where, **named)
    for name, p in named.items():
        if p.ndim != 1 or not torch.isfinite(p).all() or (p < 0).any() or abs(p.sum().item() - 1) > 1e-4:
            raise ValueError(
                f"{where}: {name} must be one distribution (non-negative, summing to 1), got {p}."
            )


def total_variation(p: Float[Tensor, " n"], q: Float[Tensor, " n"]) -> float:
    r"""Half the L1 distance, $\tfrac12\sum_i|p_i-q_i|$: the largest difference in probability of any event.

    Raises:
        ValueError: the shapes differ, or one of them is not a distribution.

    >>> total_variation(torch.tensor([0.5, 0.5]), torch.tensor([0.75, 0.25]))
    0.25
    """
    same_shape("total_variation", p=p, q=q)
    distribution("total_variation", p=p, q=q)
    return 0.5 * (p.double() - q.double()).abs().sum().item()


def kl(p: Float[Tensor, " n"], q: Float[Tensor, " n"]) -> float:
    r"""$KL(p\|q)=\sum_i p_i\log(p_i/q_i)$ in nats; infinite where $p$ puts mass that $q$ lacks.

    Raises:
        ValueError: the shapes differ, or one of them is not a distribution.

    >>> round(kl(torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75])), 4)
    0.1438
    """
    same_shape("kl", p=p, q=q)
    distribution("kl", p=p, q=q)
    p, q = p.double(), q.double()
    held = p > 0
    return (p[held] * (p[held] / q[held]).log()).sum().item()


def kl_optimum(ref: Float[Tensor, " n"], reward: Float[Tensor, " n"], *, beta: float) -> Float[Tensor, " n"]:
    r"""The policy that maximises $E_\pi[r]-\beta\,KL(\pi\|ref)$: $\pi^*\propto ref\,e^{r/\beta}$.

    Ziegler et al. (2019); Rafailov et al. (2023), eq. 4. Any other policy falls short by $\beta\,KL(\pi\|\pi^*)$.

    Raises:
        ValueError: shapes differ, ``ref`` is no distribution, a reward is not finite, or ``beta`` is not positive.

    >>> kl_optimum(torch.tensor([0.4, 0.3, 0.2, 0.1]), torch.tensor([0.0, 1.0, 0.5, 2.0]), beta=0.5)
    tensor([0.0464, 0.2572, 0.0631, 0.6334], dtype=torch.float64)
    """
    same_shape("kl_optimum", ref=ref, reward=reward)
    distribution("kl_optimum", ref=ref)
    finite("kl_optimum", reward=reward)
    in_range("kl_optimum", "beta", beta, 0, float("inf"), open_low=True)
    return (ref.double().log() + reward.double() / beta).softmax(0)


def k3_loss_optimum(
    ref: Float[Tensor, " n"], reward: Float[Tensor, " n"], *, beta: float
) -> Float[Tensor, " n"]:
    r"""Where a policy rests when k3 is used as a *loss*: the optimum of $E_\pi[r]-\beta\,KL(ref\|\pi)$.

    $$\pi_i = \frac{\beta\,ref_i}{\nu - r_i}, \qquad \nu > \max r \text{ such that } \sum_i\pi_i=1$$

    Setting the derivative $r_i+\beta\,ref_i/\pi_i$ equal for all $i$. Not `kl_optimum`: the tail is polynomial
    in $r$.

    Raises:
        ValueError: as `kl_optimum`.

    >>> k3_loss_optimum(torch.tensor([0.4, 0.3, 0.2, 0.1]), torch.tensor([0.0, 1.0, 0.5, 2.0]), beta=0.5)
    tensor([0.0966, 0.1400, 0.0636, 0.6998], dtype=torch.float64)
    """
    same_shape("k3_loss_optimum", ref=ref, reward=reward)
    distribution("k3_loss_optimum", ref=ref)
    finite("k3_loss_optimum", reward=reward)
    in_range("k3_loss_optimum", "beta", beta, 0, float("inf"), open_low=True)
    ref, reward = ref.double(), reward.double()
    gap = (
        reward[ref > 0].max() - reward
    )  # nu = max + slack; the sum falls from infinity to below 1 on (0, beta]
    low, high = 0.0, beta
    for _ in range(200):
        slack = (low + high) / 2
        too_much = (beta * ref / (gap + slack))[ref > 0].sum() > 1
        low, high = (slack, high) if too_much else (low, slack)
    policy = torch.where(ref > 0, beta * ref / (gap + high), 0)
    return policy / policy.sum()


def pretrain_optimum(
    ref: Float[Tensor, " n"],
    reward: Float[Tensor, " n"],
    pretrain: Float[Tensor, " n"],
    *,
    beta: float,
    gamma: float,
) -> Float[Tensor, " n"]:
    r"""The optimum of PPO-ptx on one softmax: $\max_\pi E_\pi[r]-\beta\,KL(\pi\|ref)+\gamma\,E_{y\sim p}[\log\pi(y)]$.

    Ouyang et al. (2022), eq. 2, with one prompt. Setting every derivative to the same multiplier,
    $$r_i-\beta\Big(\log\frac{\pi_i}{ref_i}+1\Big)+\gamma\frac{p_i}{\pi_i}=\nu,$$
    whose left side falls in $\pi_i$: one bisection finds $\pi_i$ for a $\nu$, another a $\nu$ with which they sum to 1.

    Raises:
        ValueError: shapes differ, ``ref`` or ``pretrain`` is no distribution, ``ref`` gives no mass where ``pretrain``
            has some, a reward is not finite, ``beta`` is not positive or ``gamma`` negative.

    >>> ref, reward = torch.tensor([0.4, 0.3, 0.2, 0.1]), torch.tensor([0.0, 1.0, 0.5, 2.0])
    >>> pretrain_optimum(ref, reward, torch.tensor([0.5, 0.05, 0.4, 0.05]), beta=0.5, gamma=0.5)
    tensor([0.2253, 0.1793, 0.2146, 0.3809], dtype=torch.float64)
    """
    same_shape("pretrain_optimum", ref=ref, reward=reward, pretrain=pretrain)
    distribution("pretrain_optimum", ref=ref, pretrain=pretrain)
    finite("pretrain_optimum", reward=reward)
    in_range("pretrain_optimum", "beta", beta, 0, float("inf"), open_low=True)
    in_range("pretrain_optimum", "gamma", gamma, 0, float("inf"), open_high=True)
    held = ref > 0
    if (pretrain[~held] > 0).any():
        raise ValueError(
            "pretrain_optimum: ref must be positive wherever pretrain is; no policy is good at both."
        )
    log_ref, r, p = ref[held].double().log(), reward[held].double(), pretrain[held].double()

    def slope(logp: Tensor) -> Tensor:
        return r - beta * (logp - log_ref + 1) + gamma * p * (-logp).exp()

    def policy(nu: Tensor) -> Tensor:
        low, high = torch.full_like(r, -700.0), torch.zeros_like(r)
        for _ in range(60):
            middle = (low + high) / 2
            too_small = slope(middle) > nu
            low, high = torch.where(too_small, middle, low), torch.where(too_small, high, middle)
        return high.exp()

    # at the low end some response has probability 1, at the high end none has more than 1 / n
    low, high = slope(torch.zeros_like(r)).max(), slope(torch.full_like(r, -math.log(len(r)))).max()
    for _ in range(60):
        nu = (low + high) / 2
        low, high = (nu, high) if policy(nu).sum() > 1 else (low, nu)
    optimum = torch.zeros_like(ref, dtype=torch.float64)
    optimum[held] = policy(high)
    return optimum / optimum.sum()
