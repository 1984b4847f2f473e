"""Worlds whose answer is known: closed forms, fixed points and enumerations to measure learning against.

Distributions are 1-D tensors of probabilities (``[n]``); everything is computed in float64.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rlbase.validate import a_tensor, finite, has_shape, in_range, mdp_tables, same_shape, whole


def _distribution(where: str, **named: Tensor) -> None:
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
    _distribution("total_variation", p=p, q=q)
    return 0.5 * (p.double() - q.double()).abs().sum().item()


def kl(p: Float[Tensor, " n"], q: Float[Tensor, " n"]) -> float:
    r"""$KL(p\|q)=\sum_i p_i\log(p_i/q_i)$ in nats; infinite where $p$ puts mass that $q$ lacks.

    Raises:
        ValueError: the shapes differ, or one of them is not a distribution.

    >>> round(kl(torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75])), 4)
    0.1438
    """
    same_shape("kl", p=p, q=q)
    _distribution("kl", p=p, q=q)
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
    _distribution("kl_optimum", ref=ref)
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
    _distribution("k3_loss_optimum", ref=ref)
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


def best_of_n(ref: Float[Tensor, " k"], reward: Float[Tensor, " k"], n: int) -> Float[Tensor, " k"]:
    r"""The exact law of the best of $n$ draws from ``ref``: $F(v)^n-F(v^-)^n$, ties split in proportion to ``ref``.

    Raises:
        ValueError: shapes differ, ``ref`` is no distribution, a reward is not finite, or ``n`` is below 1.

    >>> best_of_n(torch.tensor([0.4, 0.3, 0.2, 0.1]), torch.tensor([0.0, 1.0, 0.5, 2.0]), 4)
    tensor([0.0256, 0.5265, 0.1040, 0.3439], dtype=torch.float64)
    """
    same_shape("best_of_n", ref=ref, reward=reward)
    _distribution("best_of_n", ref=ref)
    finite("best_of_n", reward=reward)
    whole("best_of_n", "n", n, 1)
    ref = ref.double()
    below = torch.stack([ref[reward < r].sum() for r in reward])
    tied = torch.stack([ref[reward == r].sum() for r in reward])
    share = torch.where(tied > 0, ref / tied.clamp(min=1e-300), 0)
    return ((below + tied) ** n - below**n) * share


class Values(NamedTuple):
    """Optimal values: ``values`` is ``[S]``, ``q`` is ``[S, A]``."""

    values: Tensor
    q: Tensor


def value_iteration(
    transitions: Float[Tensor, "S A S"],
    rewards: Float[Tensor, "S A"],
    *,
    gamma: float,
    tolerance: float = 1e-10,
    ref: Float[Tensor, "S A"] | None = None,
    beta: float = 0.0,
) -> Values:
    r"""Optimal values of a finite MDP, $V(s)=\max_a Q(s,a)$ with $Q(s,a)=r(s,a)+\gamma\sum_{s'}P(s'|s,a)V(s')$.

    Bellman (1957); Sutton & Barto (2018), section 4.4. With a reference policy ``ref`` and ``beta`` > 0 the maximum
    becomes $V=\beta\log\sum_a ref(a|s)e^{Q/\beta}$, the KL-regularised optimum, reached by $\pi\propto
    ref\,e^{Q/\beta}$. Terminal states are absorbing with reward 0.

    Raises:
        ValueError: shapes do not fit, rows of ``transitions`` do not sum to 1, ``gamma`` is outside [0, 1],
            ``beta`` is negative or given without ``ref``, or the values never settle (``gamma`` 1 and no way to end).

    >>> stay_or_leave = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
    >>> value_iteration(stay_or_leave, torch.tensor([[1.0, 4.0], [0.0, 0.0]]), gamma=0.5).q[0].tolist()
    [3.0, 4.0]
    """
    transitions, rewards = _mdp("value_iteration", transitions, rewards, gamma)
    in_range("value_iteration", "beta", beta, 0, float("inf"))
    if beta > 0 and ref is None:
        raise ValueError("value_iteration: beta > 0 needs a reference policy `ref` of shape [S, A].")
    if ref is not None:
        _check_policy("value_iteration", "ref", ref, rewards)
    log_ref = None if ref is None else ref.double().log()
    values = torch.zeros(len(rewards), dtype=torch.float64)
    for _ in range(100_000):
        q = rewards + gamma * transitions @ values
        if beta > 0 and log_ref is not None:
            following = beta * (log_ref + q / beta).logsumexp(1)
        else:
            following = q.max(1).values
        if (following - values).abs().max() < tolerance:
            return Values(following, q)
        values = following
    raise ValueError(
        "value_iteration: the values never settle, not in 100,000 sweeps; with gamma = 1 every state must be able to "
        "end, and a gamma very close to 1 needs a larger tolerance."
    )


def policy_value(
    transitions: Float[Tensor, "S A S"],
    rewards: Float[Tensor, "S A"],
    policy: Float[Tensor, "S A"],
    *,
    gamma: float,
) -> Float[Tensor, " S"]:
    r"""The exact value of a policy by one linear solve, $V=(I-\gamma P_\pi)^{-1}r_\pi$.

    Sutton & Barto (2018), eq. 4.4 in matrix form.

    Raises:
        ValueError: shapes do not fit, or ``gamma`` is outside [0, 1).

    >>> stay = torch.ones(1, 1, 1)
    >>> policy_value(stay, torch.ones(1, 1), torch.ones(1, 1), gamma=0.9).item()
    10.000000000000002
    """
    transitions, rewards = _mdp("policy_value", transitions, rewards, gamma)
    _check_policy("policy_value", "policy", policy, rewards)
    in_range("policy_value", "gamma", gamma, 0, 1, open_high=True)
    followed = torch.einsum("sa,sat->st", policy.double(), transitions)
    earned = (policy.double() * rewards).sum(1)
    return torch.linalg.solve(torch.eye(len(rewards), dtype=torch.float64) - gamma * followed, earned)


def _check_policy(where: str, name: str, policy: Tensor, rewards: Tensor) -> None:
    has_shape(where, name, policy, tuple(rewards.shape))
    if not ((policy.double().sum(1) - 1).abs() < 1e-4).all() or (policy < 0).any():
        raise ValueError(f"{where}: every {name}[s] must be a distribution over actions.")


def _mdp(where: str, transitions: Tensor, rewards: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    mdp_tables(where, transitions, rewards)
    in_range(where, "gamma", gamma, 0, 1)
    return transitions.double(), rewards.double()


def enumerate_responses(vocab: int, eos: int, length: int) -> tuple[Int[Tensor, "N T"], Bool[Tensor, "N T"]]:
    """Every response of at most ``length`` tokens: ends at its first EOS, or runs to the full length.

    Returns ids and mask, both ``[N, T]``; after an EOS the ids repeat it and the mask is False. The probabilities
    that a language model gives them sum to 1.

    Raises:
        ValueError: ``eos`` is no token, ``length`` is below 1, or there would be more than a million.

    >>> ids, mask = enumerate_responses(3, eos=0, length=2)
    >>> [row[m].tolist() for row, m in zip(ids, mask)]
    [[0], [1, 0], [1, 1], [1, 2], [2, 0], [2, 1], [2, 2]]
    """
    in_range("enumerate_responses", "eos", eos, 0, vocab - 1)
    whole("enumerate_responses", "length", length, 1)
    if vocab**length > 1_000_000:
        raise ValueError(
            f"enumerate_responses: {vocab} ** {length} responses are too many, at most a million."
        )
    rows = []
    for row in product(range(vocab), repeat=length):
        end = row.index(eos) if eos in row else length - 1
        if all(token == eos for token in row[end + 1 :]):
            rows.append((row, [t <= end for t in range(length)]))
    return torch.tensor([r for r, _ in rows]), torch.tensor([m for _, m in rows])
