"""What choosing among draws does to a distribution, without any training."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from rlbase.exact.laws import distribution
from rlbase.validate import finite, in_range, same_shape, whole


def best_of_n(ref: Float[Tensor, " k"], reward: Float[Tensor, " k"], n: int) -> Float[Tensor, " k"]:
    r"""The exact law of the best of $n$ draws from ``ref``: $F(v)^n-F(v^-)^n$, ties split in proportion to ``ref``.

    Raises:
        ValueError: shapes differ, ``ref`` is no distribution, a reward is not finite, or ``n`` is below 1.

    >>> best_of_n(torch.tensor([0.4, 0.3, 0.2, 0.1]), torch.tensor([0.0, 1.0, 0.5, 2.0]), 4)
    tensor([0.0256, 0.5265, 0.1040, 0.3439], dtype=torch.float64)
    """
    same_shape("best_of_n", ref=ref, reward=reward)
    distribution("best_of_n", ref=ref)
    finite("best_of_n", reward=reward)
    whole("best_of_n", "n", n, 1)
    ref = ref.double()
    values, level = reward.unique(return_inverse=True)  # sorted: each level is a set of ties
    mass = torch.zeros(len(values), dtype=torch.float64).index_add(0, level, ref)
    below = torch.cat((mass.new_zeros(1), mass.cumsum(0)[:-1]))[level]
    tied = mass[level]
    share = torch.where(tied > 0, ref / tied.clamp(min=1e-300), 0)
    return ((below + tied) ** n - below**n) * share


def best_of_n_kl_bound(n: int) -> float:
    r"""$\log n-\frac{n-1}{n}$: what $KL(\text{best of }n\|ref)$ is without ties, and at most with them.

    Beirami et al. (2024), theorem 1. Without ties means that no response has positive probability of its own: any
    finite set of responses stays below, see `kl` of `best_of_n`.

    Raises:
        ValueError: ``n`` is below 1.

    >>> round(best_of_n_kl_bound(4), 4)
    0.6363
    """
    whole("best_of_n_kl_bound", "n", n, 1)
    return math.log(n) - (n - 1) / n


def win_rate(p: Float[Tensor, " k"], q: Float[Tensor, " k"], reward: Float[Tensor, " k"]) -> float:
    r"""How often a draw from ``p`` beats one from ``q``: $P(r(Y_p)>r(Y_q))+\tfrac12P(r(Y_p)=r(Y_q))$.

    The best of $n$ against a single draw wins $n/(n+1)$ of the time where there are no ties.

    Raises:
        ValueError: shapes differ, ``p`` or ``q`` is no distribution, or a reward is not finite.

    >>> even, better = torch.tensor([0.5, 0.5]), torch.tensor([0.0, 1.0])
    >>> win_rate(even, even, reward=better), win_rate(better, even, reward=better)
    (0.5, 0.75)
    """
    same_shape("win_rate", p=p, q=q, reward=reward)
    distribution("win_rate", p=p, q=q)
    finite("win_rate", reward=reward)
    beats = (reward[:, None] > reward).double() + 0.5 * (reward[:, None] == reward).double()
    return (p.double() @ beats @ q.double()).item()


def rejection_law(
    ref: Float[Tensor, " k"], reward: Float[Tensor, " k"], *, beta: float, draws: int | None = None
) -> Float[Tensor, " k"]:
    r"""The law of what rejection sampling keeps: draws from ``ref``, accepted with probability $e^{(r-M)/\beta}$.

    With $M=\max r$ it is `kl_optimum` exactly, $ref\,e^{r/\beta}/Z$. With ``draws`` given, $M$ is the
    largest reward among that many draws only, as one has it without knowing the maximum (Liu et al. 2024, algorithm
    1): nothing is ever rejected when ``draws`` is 1, and the law moves from ``ref`` to the optimum as ``draws`` grows.

    Raises:
        ValueError: shapes differ, ``ref`` is no distribution, a reward is not finite, ``beta`` is not positive, or
            ``draws`` is below 1.

    >>> ref, reward = torch.tensor([0.4, 0.3, 0.2, 0.1]), torch.tensor([0.0, 1.0, 0.5, 2.0])
    >>> rejection_law(ref, reward, beta=0.5)
    tensor([0.0464, 0.2572, 0.0631, 0.6334], dtype=torch.float64)
    >>> rejection_law(ref, reward, beta=0.5, draws=8)
    tensor([0.0959, 0.4824, 0.1287, 0.2930], dtype=torch.float64)
    """
    kept = _kept("rejection_law", ref, reward, beta, draws)
    return kept / kept.sum()


def acceptance_rate(
    ref: Float[Tensor, " k"], reward: Float[Tensor, " k"], *, beta: float, draws: int | None = None
) -> float:
    r"""The share of draws that rejection sampling keeps, $E_{ref}[e^{(r-M)/\beta}]$; see `rejection_law`.

    Raises:
        ValueError: as `rejection_law`.

    >>> ref, reward = torch.tensor([0.4, 0.3, 0.2, 0.1]), torch.tensor([0.0, 1.0, 0.5, 2.0])
    >>> round(acceptance_rate(ref, reward, beta=0.5), 3)
    0.158
    """
    return _kept("acceptance_rate", ref, reward, beta, draws).sum().item()


def _kept(where: str, ref: Tensor, reward: Tensor, beta: float, draws: int | None) -> Tensor:
    """Probability that a draw is response i and is accepted, ``[k]``."""
    same_shape(where, ref=ref, reward=reward)
    distribution(where, ref=ref)
    finite(where, reward=reward)
    in_range(where, "beta", beta, 0, float("inf"), open_low=True)
    ref, reward = ref.double(), reward.double()
    if draws is None:
        return ref * ((reward - reward[ref > 0].max()) / beta).exp().clamp(max=1)
    whole(where, "draws", draws, 1)
    if draws == 1:
        return ref
    others = best_of_n(ref, reward, draws - 1)  # of the other draws, the largest
    return ref * (((reward[:, None] - torch.maximum(reward[:, None], reward)) / beta).exp() @ others)
