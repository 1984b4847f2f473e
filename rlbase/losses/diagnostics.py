"""Numbers to watch, never to train on: kept apart from the losses, computed without gradient."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlbase.masked import masked_mean
from rlbase.validate import boolean, same_shape


@torch.no_grad()
def clip_fraction(
    logp: Float[Tensor, "B T"],
    old_logp: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    clip: float = 0.2,
    clip_high: float | None = None,
    weight: Float[Tensor, "B T"] | None = None,
) -> float:
    r"""The share of choices whose ratio lies outside $[1-\epsilon, 1+\epsilon_{high}]$, clipped or not.

    ``weight`` (None: 1 each; mean 1) is how much each choice stands for, when actions were enumerated.

    Raises:
        ValueError: shapes differ, or the mask is empty.

    >>> logp = torch.tensor([[1.5, 1.0]]).log()
    >>> clip_fraction(logp, torch.zeros(1, 2), torch.tensor([[True, True]]))
    0.5
    """
    same_shape("clip_fraction", logp=logp, old_logp=old_logp, mask=mask)
    ratio = (logp - old_logp).exp()
    outside = (ratio < 1 - clip) | (ratio > 1 + (clip if clip_high is None else clip_high))
    return masked_mean(outside.to(logp.dtype) if weight is None else outside * weight, mask).item()


@torch.no_grad()
def explained_variance(
    values: Float[Tensor, "B T"],
    returns: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    weight: Float[Tensor, "B T"] | None = None,
) -> float:
    r"""How much of the returns the critic explains, $1-\mathrm{Var}[R-V]/\mathrm{Var}[R]$.

    1 is perfect, 0 no better than a constant, negative worse than one; NaN when all returns are equal.
    ``weight`` (None: 1 each) is how much each choice stands for.

    Raises:
        ValueError: the shapes differ.
        TypeError: the mask is not boolean.

    >>> values, mask = torch.tensor([[1.0, 2.0]]), torch.tensor([[True, True]])
    >>> explained_variance(values, values, mask)
    1.0
    """
    same_shape("explained_variance", values=values, returns=returns, mask=mask)
    boolean("explained_variance", mask)
    share = torch.ones_like(returns)[mask] if weight is None else weight[mask]
    spread, left = (_variance(x[mask], share) for x in (returns, returns - values))
    return (1 - left / spread).item() if spread > 0 else float("nan")


def _variance(x: Tensor, share: Tensor) -> Tensor:
    mean = (share * x).sum() / share.sum()
    return (share * (x - mean).square()).sum() / share.sum()
