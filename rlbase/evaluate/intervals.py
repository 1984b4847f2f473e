"""How sure a measured number is: win rates with Wilson's interval, and the bootstrap for everything else."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rlbase.validate import a_tensor, finite, in_range, instance, same_shape, whole

INFINITY = float("inf")


class Estimate(NamedTuple):
    """A number, an interval ``low`` to ``high`` for the true one, and the size of the sample it comes from.

    A number that is known exactly has ``n`` 0 and an interval of no width.
    """

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if self.n == 0 or not math.isfinite(self.high - self.low):
            return f"{self.value:.3g}"
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


def exactly(value: float) -> Estimate:
    """A number that was computed, not sampled.

    >>> exactly(0.5)
    Estimate(value=0.5, low=0.5, high=0.5, n=0)
    """
    return Estimate(float(value), float(value), float(value), 0)


def quantile(where: str, confidence: float) -> float:
    """How many standard errors to both sides hold ``confidence`` of a normal distribution; 1.96 for 95 %.

    >>> round(quantile("example", 0.95), 2)
    1.96
    """
    in_range(where, "confidence", confidence, 0, 1, open_low=True, open_high=True)
    return NormalDist().inv_cdf((1 + confidence) / 2)


def win_rate(wins: int, losses: int, ties: int = 0, *, confidence: float = 0.95) -> Estimate:
    r"""The share of comparisons won, ties counting half, $\hat p=(w+t/2)/n$, with Wilson's interval

    $$\frac{\hat p+\frac{z^2}{2n}\pm z\sqrt{\frac{\hat p(1-\hat p)}n+\frac{z^2}{4n^2}}}{1+\frac{z^2}n}.$$

    Wilson (1927). Unlike $\hat p\pm z\sqrt{\hat p(1-\hat p)/n}$ it stays within 0 and 1, and after ten wins out of ten
    it does not say "certain". With many ties it is wider than need be. Without any comparison the rate is NaN.

    Raises:
        ValueError: a negative count, or a confidence outside (0, 1).
        TypeError: a count that is no whole number.

    >>> print(win_rate(10, 0))
    1 [0.722, 1]
    """
    for name, count in (("wins", wins), ("losses", losses), ("ties", ties)):
        whole("win_rate", name, count, 0)
    z, n = quantile("win_rate", confidence), wins + losses + ties
    if n == 0:
        return Estimate(math.nan, 0.0, 1.0, 0)
    p = (wins + ties / 2) / n
    low, high = wilson(p, n, z)
    return Estimate(p, max(0.0, low), min(1.0, high), n)


def wilson(share: Any, n: Any, z: float) -> tuple[Any, Any]:
    """The ends of Wilson's interval of a share among ``n``, see `win_rate`; numbers or tensors, not cut to [0, 1].

    >>> [round(end, 3) for end in wilson(0.5, 10, 1.96)]
    [0.237, 0.763]
    """
    shrink = 1 + z * z / n
    middle = (share + z * z / (2 * n)) / shrink
    half = z / shrink * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return middle - half, middle + half


def paired_win_rate(
    scores_a: Float[Tensor, " n"], scores_b: Float[Tensor, " n"], *, confidence: float = 0.95
) -> Estimate:
    """How often a's response scores higher than b's to the same prompt, ties counting half; see `win_rate`.

    Raises:
        ValueError: shapes differ, or a score is not finite.

    >>> print(paired_win_rate(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 2.0, 5.0])))
    0.5 [0.125, 0.875]
    """
    same_shape("paired_win_rate", scores_a=scores_a, scores_b=scores_b)
    finite("paired_win_rate", scores_a=scores_a, scores_b=scores_b)
    wins, losses = int((scores_a > scores_b).sum()), int((scores_a < scores_b).sum())
    return win_rate(wins, losses, scores_a.numel() - wins - losses, confidence=confidence)


def mean_interval(values: Float[Tensor, " n"], *, confidence: float = 0.95) -> Estimate:
    r"""The mean and $\pm z\,s/\sqrt n$; of a single value, or none, the interval is everything.

    Raises:
        ValueError: not a list of numbers, or a value that is not finite.

    >>> print(mean_interval(torch.tensor([1.0, 2.0, 3.0, 4.0])))
    2.5 [1.23, 3.77]
    """
    _rows("mean_interval", values)
    z, n = quantile("mean_interval", confidence), len(values)
    if n < 2:
        return Estimate(values[0].item() if n else math.nan, -INFINITY, INFINITY, n)
    mean, error = values.double().mean().item(), (values.double().std() / math.sqrt(n)).item()
    return Estimate(mean, mean - z * error, mean + z * error, n)


def ratio_interval(
    numerator: Float[Tensor, " n"], denominator: Float[Tensor, " n"], *, confidence: float = 0.95
) -> Estimate:
    r"""$\sum a_i/\sum b_i$ over rows, such as nats per token over texts, and $\pm z$ standard errors of it.

    The tokens of one text hang together, so the rows are what is counted: the error is that of the residuals
    $a_i-\hat R b_i$ (Cochran 1977, eq. 6.13, without the finite population).

    Raises:
        ValueError: shapes differ, a value is not finite, or the denominators sum to 0.

    >>> print(ratio_interval(torch.tensor([2.0, 6.0]), torch.tensor([1.0, 3.0])))  # 2 in each row: no error
    2 [2, 2]
    """
    same_shape("ratio_interval", numerator=numerator, denominator=denominator)
    _rows("ratio_interval", numerator)
    finite("ratio_interval", denominator=denominator)
    a, b, n = numerator.double(), denominator.double(), len(numerator)
    if b.sum() == 0:
        raise ValueError("ratio_interval: the denominators sum to 0, there is nothing to divide by.")
    z, ratio = quantile("ratio_interval", confidence), (a.sum() / b.sum()).item()
    if n < 2:
        return Estimate(ratio, -INFINITY, INFINITY, n)
    error = math.sqrt((a - ratio * b).square().sum().item() / (n - 1) / n) / abs(b.mean().item())
    return Estimate(ratio, ratio - z * error, ratio + z * error, n)


def correlation(a: Float[Tensor, " n"], b: Float[Tensor, " n"], *, confidence: float = 0.95) -> Estimate:
    r"""Pearson's correlation of two lists, with Fisher's interval, $\tanh(\mathrm{artanh}\,r\pm z/\sqrt{n-3})$.

    NaN where one of them does not vary: then there is nothing to say.

    Raises:
        ValueError: shapes differ, or a value is not finite.

    >>> print(correlation(torch.arange(10.0), torch.arange(10.0) % 3))
    0.0629 [-0.59, 0.666]
    """
    same_shape("correlation", a=a, b=b)
    for values in (a, b):
        _rows("correlation", values)
    z, n = quantile("correlation", confidence), len(a)
    x, y = (v.double() - v.double().mean() for v in (a, b))
    size = (x.square().sum() * y.square().sum()).sqrt().item() if n else 0.0
    r = max(-1.0, min(1.0, (x @ y).item() / size)) if size > 1e-12 else math.nan
    if not abs(r) < 1 or n < 4:
        return Estimate(r, -1.0, 1.0, n)
    half = z / math.sqrt(n - 3)
    return Estimate(r, math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half), n)


def bootstrap_interval(
    values: Float[Tensor, "n ..."],
    statistic: Callable[[Tensor], Tensor | float] | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    generator: torch.Generator | None = None,
) -> Estimate:
    """A statistic of ``values`` (default: the mean), and the middle ``confidence`` of what resampled rows give it.

    Efron (1979), the percentile interval: ``n`` rows drawn with replacement, again and again. For medians,
    correlations, ratios, whatever has no formula. Too narrow below some twenty rows, and no help for an extreme such as
    the maximum.

    Raises:
        ValueError: no rows, a value or a statistic that is not finite, or fewer than 1 resample.

    >>> heavy_tail = torch.tensor([0.0, 1.0, 2.0, 3.0, 100.0])
    >>> print(bootstrap_interval(heavy_tail, torch.median))
    2 [0, 100]
    """
    where = "bootstrap_interval"
    a_tensor(where, values=values)
    finite(where, values=values)
    whole(where, "resamples", resamples, 1)
    whole(where, "the number of values", len(values), 1)
    instance(where, "generator", generator, torch.Generator, optional=True)
    quantile(where, confidence)
    generator = generator or torch.Generator(values.device).manual_seed(0)
    rows = torch.randint(len(values), (resamples, len(values)), generator=generator, device=generator.device)

    def measured(sample: Tensor) -> float:
        return float(sample.double().mean() if statistic is None else statistic(sample))

    found = torch.tensor([measured(values[row]) for row in rows], dtype=torch.float64)
    finite(where, statistics=found)
    tail = (1 - confidence) / 2
    low, high = found.quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Estimate(measured(values), low, high, len(values))


def _rows(where: str, values: Tensor) -> None:
    a_tensor(where, values=values)
    if values.ndim != 1:
        raise ValueError(f"{where}: values must be one number a row, [n], got shape {list(values.shape)}.")
    finite(where, values=values)
