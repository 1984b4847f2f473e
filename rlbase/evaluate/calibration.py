"""Does 70 % mean 70 %? What a reward model's probabilities are worth, and how good they could be at all."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rlbase.evaluate.intervals import quantile, wilson
from rlbase.validate import finite, same_shape, whole


class Calibration(NamedTuple):
    """Predicted against observed, one entry for each bin that holds anything (``[bins]``), and the mean gap.

    ``rows`` is how many fell into the bin, ``low`` and ``high`` are Wilson's 95 % interval of ``outcome``; ``ece`` is
    the expected calibration error.
    """

    prob: Tensor
    outcome: Tensor
    low: Tensor
    high: Tensor
    rows: Tensor
    ece: float


def calibration_curve(
    prob: Float[Tensor, " n"], outcome: Float[Tensor, " n"], *, bins: int = 10
) -> Calibration:
    r"""How often what was predicted with probability ``prob`` came true, in ``bins`` equal slices of [0, 1].

    The expected calibration error is $\sum_b\frac{n_b}n\,|\bar p_b-\bar o_b|$ (Guo et al. 2017, eq. 3). It is never
    quite 0: even a perfect predictor's bins are off by chance, by about $\sqrt{p(1-p)/n_b}$. Of a reward model's pairs
    take ``prob`` for a side picked without looking; predicting only for the winner makes every outcome 1.

    Args:
        outcome: 1 or 0 for what happened, or a share in between (a tie, several raters).

    Raises:
        ValueError: shapes differ, a number outside 0 to 1, nothing to look at, or fewer than 1 bin.

    >>> prob = torch.tensor([0.1, 0.2, 0.8, 0.8])
    >>> found = calibration_curve(prob, torch.tensor([0.0, 0.0, 1.0, 0.0]), bins=2)
    >>> found.outcome.tolist(), found.rows.tolist(), round(found.ece, 3)
    ([0.0, 0.5], [2, 2], 0.225)
    """
    where = "calibration_curve"
    same_shape(where, prob=prob, outcome=outcome)
    _shares(where, prob=prob, outcome=outcome)
    whole(where, "bins", bins, 1)
    prob, outcome = prob.double(), outcome.double()
    index = (prob * bins).long().clamp(max=bins - 1)  # a probability of 1 belongs to the last slice
    count = torch.bincount(index, minlength=bins)
    held = count > 0
    n = count[held]
    said = torch.zeros(bins, dtype=prob.dtype, device=prob.device).index_add(0, index, prob)[held] / n
    seen = torch.zeros(bins, dtype=prob.dtype, device=prob.device).index_add(0, index, outcome)[held] / n
    low, high = wilson(seen, n, quantile(where, 0.95))
    ece = ((said - seen).abs() * n).sum().item() / len(prob)
    return Calibration(said, seen, low.clamp(min=0), high.clamp(max=1), n, ece)


def bayes_ceiling(prob: Float[Tensor, " n"]) -> float:
    r"""The accuracy that nobody can exceed on labels that are themselves chance: $E[\max(p,1-p)]$.

    ``prob`` is the true probability that the rater prefers the first of each pair. Agreement of two such raters,
    $E[p^2+(1-p)^2]$, is lower still. A reward model above the ceiling has seen the test.

    Raises:
        ValueError: a number outside 0 to 1, or none.

    >>> round(bayes_ceiling(torch.tensor([0.5, 0.9])), 3)
    0.7
    """
    _shares("bayes_ceiling", prob=prob)
    return torch.maximum(prob, 1 - prob).double().mean().item()


def _shares(where: str, **named: Tensor) -> None:
    finite(where, **named)
    for name, values in named.items():
        if values.ndim != 1 or not len(values) or values.min() < 0 or values.max() > 1:
            raise ValueError(f"{where}: {name} must be a list [n] of numbers from 0 to 1, got {values}.")
