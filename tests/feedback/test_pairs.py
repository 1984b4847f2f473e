"""Balanced pairs: every kind as often, nobody asked about too often, and what that buys."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from rlbase.feedback.pairs import balanced_pairs


def world(seed: int, n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Quality and length that go together, as they do in nature."""
    draws = torch.Generator().manual_seed(seed)
    quality = torch.rand(n, generator=draws)
    return quality, quality + 0.5 * torch.rand(n, generator=draws)


@pytest.mark.parametrize("seed", range(5))
def test_every_four_hold_each_kind_once(seed: int) -> None:
    quality, length = world(seed)
    pairs = balanced_pairs(quality, length, 16, torch.Generator().manual_seed(seed))
    kinds = [(quality[a] > quality[b]).item() * 2 + (length[a] > length[b]).item() for a, b in pairs]
    for start in range(0, 16, 4):
        assert sorted(kinds[start : start + 4]) == [0, 1, 2, 3]
    assert kinds[:4] != kinds[4:8] or kinds[4:8] != kinds[8:12]  # not always in the same order


@pytest.mark.parametrize("seed", range(5))
def test_gaps_are_kept_and_responses_are_spread(seed: int) -> None:
    quality, length = world(seed)
    pairs = balanced_pairs(quality, length, 16, torch.Generator().manual_seed(seed), apart=(0.05, 0.4))
    gaps = (quality[pairs[:, 0]] - quality[pairs[:, 1]]).abs()
    assert gaps.min() >= 0.05 and gaps.max() <= 0.4
    assert max(Counter(pairs.flatten().tolist()).values()) <= 3


def test_a_liking_for_length_leaves_the_share_of_the_better_at_half_for_who_knows_nothing_else() -> None:
    """By hand: somebody who always takes the longer one names the better one in exactly half of the pairs."""
    quality, length = world(0)
    a, b = balanced_pairs(quality, length, 40, torch.Generator().manual_seed(0)).T
    better_is_longer = ((quality[a] > quality[b]) == (length[a] > length[b])).float().mean()
    better_is_first = (quality[a] > quality[b]).float().mean()
    longer_is_first = (length[a] > length[b]).float().mean()
    assert better_is_longer == better_is_first == longer_is_first == 0.5


def test_what_cannot_be_is_said() -> None:
    quality, draws = torch.arange(6.0), torch.Generator()
    with pytest.raises(ValueError, match="multiple of 4"):
        balanced_pairs(quality, quality.flip(0), 6, draws)
    with pytest.raises(ValueError, match="better one is the shorter"):
        balanced_pairs(quality, quality, 8, draws)
    with pytest.raises(ValueError, match="better one is the longer"):
        balanced_pairs(quality, -quality, 8, draws)
    with pytest.raises(ValueError, match="length"):
        balanced_pairs(quality, quality[:3], 8, draws)
