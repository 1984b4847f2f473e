"""What a wrong reward costs: its error, the pairs it ranks wrongly, and the regret of the policy that follows it."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from rlbase import exact
from rlbase.exact.laws import distribution
from rlbase.validate import finite, in_range, same_shape


class Outcome(NamedTuple):
    """``error`` of a reward (root mean square, whatever its zero), ``accuracy`` and ``regret`` of its policy."""

    error: float
    accuracy: float
    regret: float


def outcome(
    reward: Float[Tensor, " n"], gold: Float[Tensor, " n"], ref: Float[Tensor, " n"], *, beta: float
) -> Outcome:
    r"""Judge a ``reward`` on ``n`` responses by the ``gold`` one, down to the policy it would train.

    $$\text{error}=\sqrt{\mathrm{Var}_{ref}[r-g]},\qquad
    \text{regret}=J(\pi^*_g)-J(\pi^*_r)=\beta\,KL(\pi^*_r\|\pi^*_g),\qquad J(\pi)=E_\pi[g]-\beta\,KL(\pi\|ref)$$

    with $\pi^*_r$ the `rlbase.exact.kl_optimum` of $r$. A constant on all rewards changes none of the three.
    ``accuracy`` is over pairs of different responses drawn from ``ref`` whose gold differs; a tie in ``reward``
    counts half.

    Raises:
        ValueError: shapes differ, ``ref`` is no distribution, a reward is not finite, ``beta`` is not positive, or
            all gold rewards are equal.

    >>> import torch
    >>> gold, ref = torch.tensor([0.0, 1.0, 2.0]), torch.full((3,), 1 / 3)
    >>> perfect = outcome(gold + 5, gold, ref, beta=0.5)
    >>> [abs(round(number, 6)) for number in perfect]
    [0.0, 1.0, 0.0]
    >>> [round(number, 3) for number in outcome(-gold, gold, ref, beta=0.5)]
    [1.633, 0.0, 1.702]
    """
    same_shape("outcome", reward=reward, gold=gold, ref=ref)
    distribution("outcome", ref=ref)
    finite("outcome", reward=reward, gold=gold)
    in_range("outcome", "beta", beta, 0, float("inf"), open_low=True)
    p, r, g = ref.double(), reward.double(), gold.double()
    off = r - g
    error = (p @ (off - p @ off).square()).sqrt().item()
    told = (g[:, None] > g) * p[:, None] * p
    if not told.any():
        raise ValueError("outcome: all gold rewards are equal, so that no verdict is right or wrong.")
    ahead = ((r[:, None] - r).sign() + 1) / 2
    accuracy = ((told * ahead).sum() / told.sum()).item()
    ours, best = (exact.kl_optimum(ref, each, beta=beta) for each in (reward, gold))
    value = [(policy @ g).item() - beta * exact.kl(policy, p) for policy in (best, ours)]
    return Outcome(error, accuracy, max(0.0, value[0] - value[1]))
