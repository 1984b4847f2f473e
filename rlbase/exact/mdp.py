"""Finite Markov decision processes: fixed points of Bellman's equations, and a linear solve."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rlbase.validate import has_shape, in_range, mdp_tables


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
