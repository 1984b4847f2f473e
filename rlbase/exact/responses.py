"""Every response that a small vocabulary allows."""

from __future__ import annotations

from itertools import product

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from rlbase.validate import in_range, whole


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
    whole("enumerate_responses", "eos", eos, 0)
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
