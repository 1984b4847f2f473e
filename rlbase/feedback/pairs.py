"""Which pairs to ask about, so that what raters like can be told from what misleads them."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rlbase.validate import finite, instance, same_shape, whole


def balanced_pairs(
    quality: Float[Tensor, " R"],
    length: Float[Tensor, " R"],
    n: int,
    generator: torch.Generator,
    *,
    apart: tuple[float, float] = (0.0, float("inf")),
) -> Int[Tensor, "n 2"]:
    r"""``n`` pairs of responses in which the better one is as often longer as shorter, and as often shown first.

    A factorial design of two by two: each four rows, in random order, hold one pair of every kind. A rater's liking
    for length, or for the first place, then changes nothing about how often they seem to prefer what is better, and
    the three can be told apart. Each response is used about equally often.

    Args:
        apart: quality differs at least and at most by so much: neither ties nor questions that everybody answers alike.

    Raises:
        ValueError: ``n`` is no multiple of 4, or there are no such pairs of some kind.

    >>> quality, length = torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([1.0, 4.0, 2.0, 3.0])
    >>> pairs = balanced_pairs(quality, length, 4, torch.Generator().manual_seed(0))
    >>> first_better, longer_first = (f[pairs[:, 0]] > f[pairs[:, 1]] for f in (quality, length))
    >>> sorted(zip(first_better.tolist(), longer_first.tolist()))
    [(False, False), (False, True), (True, False), (True, True)]
    """
    same_shape("balanced_pairs", quality=quality, length=length)
    finite("balanced_pairs", quality=quality, length=length)
    instance("balanced_pairs", "generator", generator, torch.Generator)
    whole("balanced_pairs", "n", n, 4)
    if n % 4:
        raise ValueError(f"balanced_pairs: n must be a multiple of 4, one pair of every kind, got {n}.")
    gap = quality[:, None] - quality
    fit = (gap > 0) & (gap >= apart[0]) & (gap <= apart[1])
    ahead = length[:, None] - length
    kinds = [(fit & (sign * ahead > 0)).nonzero() for sign in (1, -1)]
    if not all(map(len, kinds)):
        kind = "longer" if len(kinds[1]) else "shorter"
        raise ValueError(f"balanced_pairs: there is no such pair in which the better one is the {kind}.")
    at, rows = {"generator": generator, "device": generator.device}, []
    kinds, used = (
        [kind.to(generator.device) for kind in kinds],
        torch.zeros(len(quality), device=generator.device),
    )
    for _ in range(n // 4):
        for kind in torch.randperm(4, **at).tolist():
            offered = kinds[kind // 2]
            crowded = used[offered].sum(1) + torch.rand(len(offered), **at)
            pair = offered[crowded.argmin()]
            used[pair] += 1
            rows.append(pair if kind % 2 else pair.flip(0))
    return torch.stack(rows).to(quality.device)
