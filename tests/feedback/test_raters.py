"""Raters: their law by hand, their answers as often as it says, ties and tastes."""

from __future__ import annotations

import math

import pytest
import torch

from rlbase.feedback import Clips, Rater, judge
from rlbase.types import Choices

A, B = torch.tensor([2.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 2.0])


def clips(paid: list[float]) -> Clips:
    n = len(paid)
    obs = torch.arange(n)[:, None].expand(n, 4).clone()
    return Clips(Choices(obs, torch.zeros(n, 3).long(), torch.ones(n, 3).bool()), torch.tensor(paid))


def test_law_by_hand() -> None:
    # temperature 2: sigmoid(1) = 0.731059; with error 0.1: 0.9 * 0.731059 + 0.05 = 0.707953
    found = Rater(temperature=2.0, error=0.1).prob(A, B)
    torch.testing.assert_close(found, torch.tensor([0.707953, 0.5, 0.292047]), rtol=1e-5, atol=0)


def test_temperature_zero_sees_every_difference_and_ties_are_even() -> None:
    assert Rater(temperature=0).prob(A + torch.tensor([0, 0, 1e-6]), B).tolist() == [1.0, 0.5, 0.0]
    assert Rater(temperature=0, error=0.2).prob(A, B).tolist() == pytest.approx([0.9, 0.5, 0.1])


def test_ties_are_called_within_their_width_only() -> None:
    ahead = torch.tensor([0.5, 0.51, -0.5, -0.51])
    found = Rater(temperature=0, tie=0.5).label(ahead, torch.zeros(4), torch.Generator().manual_seed(0))
    assert found.tolist() == [0.5, 1.0, 0.5, 0.0]
    assert Rater(tie=0.5).prob(ahead, torch.zeros(4))[0] == 0.5


@pytest.mark.parametrize("rater", [Rater(), Rater(temperature=0.3, error=0.1), Rater(error=1.0)])
def test_answers_come_as_often_as_the_law_says(rater: Rater) -> None:
    n = 40_000
    a, b = torch.full((n,), 0.7), torch.zeros(n)
    share = rater.prefer(a, b, torch.Generator().manual_seed(1)).float().mean().item()
    p = rater.prob(a[:1], b[:1]).item()
    assert abs(share - p) < 4 * math.sqrt(p * (1 - p) / n)


def test_a_judge_goes_by_what_was_paid_or_by_its_own_taste() -> None:
    first, second = clips([1.0, 0.0, 1.0]), clips([0.0, 1.0, 1.0])
    sure = Rater(temperature=0)
    assert judge(sure)(first, second, torch.Generator()).tolist() == [1.0, 0.0, 0.5]
    likes_low = judge(sure, lambda obs, actions: -obs.float())
    assert likes_low(first, second[[1, 0, 2]], torch.Generator()).tolist() == [1.0, 0.0, 0.5]
    walked = torch.tensor([[0, 1, 2, 90]])  # the last observation belongs to no choice
    walk = Clips(Choices(walked, torch.zeros(1, 3).long(), torch.ones(1, 3).bool()), torch.zeros(1))
    seen = []
    judge(sure, lambda obs, actions: seen.append(obs.tolist()) or obs.float())(walk, walk, torch.Generator())
    assert seen == [[[0, 1, 2]], [[0, 1, 2]]]


def test_nobody_prefers_what_is_not_a_number() -> None:
    broken = torch.tensor([math.nan])
    for ask in (Rater().prob, lambda a, b: Rater(tie=0.5).label(a, b, torch.Generator())):
        for pair in ((broken, A[:1]), (A[:1], broken)):
            with pytest.raises(ValueError, match=r"Rater.prob: reward_[ab] must be finite, got nan at \[0\]"):
                ask(*pair)
