"""Is the reward that was paid still the one that was meant? A test on tasks for which both are known."""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rlbase.validate import finite, same_shape


class Gap(NamedTuple):
    """By how much more the proxy has gained than gold, its standard error, and the chance of seeing as much by luck."""

    value: float
    error: float
    p: float


def proxy_gold_gap(
    proxy: Float[Tensor, " n"],
    gold: Float[Tensor, " n"],
    ref_proxy: Float[Tensor, " m"],
    ref_gold: Float[Tensor, " m"],
) -> Gap:
    r"""Compare what a policy's proxy and gold rewards have gained since the reference, on held-out tasks.

    $$\Delta=\overline{(p-g)}_\pi-\overline{(p-g)}_{ref},\qquad
    \mathrm{SE}^2=\frac{s_\pi^2}n+\frac{s_{ref}^2}m,\qquad P=1-\Phi(\Delta/\mathrm{SE})$$

    One-sided, Welch's (1947) statistic against the normal law, which is too eager with fewer than some thirty
    responses on either side. Proxy and gold must be in one unit, such as log-odds; a constant on either changes
    nothing. Who looks $k$ times must compare $P$ with $\alpha/k$, or one of the looks will raise a false alarm. On
    tasks of the kind that the reward model knows, or with judges who share its taste, there is no gap to be seen.

    Args:
        proxy: what is paid for responses of the policy; ``gold`` what the same responses are worth.
        ref_proxy: as much of other responses, by the reference; ``ref_gold`` likewise.

    Raises:
        ValueError: shapes differ, a number is not finite, or fewer than two responses of either.

    >>> import torch
    >>> draws = torch.Generator().manual_seed(0)
    >>> before, after = torch.randn(100, generator=draws), 1 + torch.randn(100, generator=draws)
    >>> found = proxy_gold_gap(2 * after, after, 2 * before, before)  # paid two for each one that is meant
    >>> 0.6 < found.value < 1.4, found.p < 0.01
    (True, True)
    """
    where = "proxy_gold_gap"
    same_shape(where, proxy=proxy, gold=gold)
    same_shape(where, ref_proxy=ref_proxy, ref_gold=ref_gold)
    finite(where, proxy=proxy, gold=gold, ref_proxy=ref_proxy, ref_gold=ref_gold)
    if proxy.ndim != 1 or ref_proxy.ndim != 1 or min(len(proxy), len(ref_proxy)) < 2:
        raise ValueError(
            f"{where}: needs lists of two responses or more, of the policy and of the reference."
        )
    ours, theirs = proxy.double() - gold.double(), ref_proxy.double() - ref_gold.double()
    value = (ours.mean() - theirs.mean()).item()
    error = (ours.var() / len(ours) + theirs.var() / len(theirs)).sqrt().item()
    # Constants differ in their last digit, which is no gap, and would be one without any doubt.
    given = (proxy, gold, ref_proxy, ref_gold)
    digit = max(torch.finfo(each.dtype).eps if each.is_floating_point() else 0.0 for each in given)
    rounding = 4 * digit * max(each.abs().max().item() for each in given)
    if error <= rounding:
        return Gap(value, error, float(value <= rounding))
    return Gap(value, error, NormalDist().cdf(-value / error))
