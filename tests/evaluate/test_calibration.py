"""Calibration: worked numbers, an overconfident judge whose error is known, and the ceiling nobody beats."""

from __future__ import annotations

import pytest
import torch

from rlbase.evaluate import bayes_ceiling, calibration_curve, win_rate


def test_by_hand() -> None:
    # bins [0, .25), [.25, .5), [.5, .75), [.75, 1]: two, none, one, two
    prob = torch.tensor([0.0, 0.2, 0.6, 0.8, 1.0])
    found = calibration_curve(prob, torch.tensor([0.0, 1.0, 1.0, 0.5, 1.0]), bins=4)
    assert found.rows.tolist() == [2, 1, 2]
    assert found.prob.tolist() == pytest.approx([0.1, 0.6, 0.9])
    assert found.outcome.tolist() == pytest.approx([0.5, 1.0, 0.75])
    # (2 * .4 + 1 * .4 + 2 * .15) / 5
    assert found.ece == pytest.approx(0.3)


def test_intervals_are_wilsons() -> None:
    found = calibration_curve(torch.full((10,), 0.7), torch.tensor([1.0] * 8 + [0.0] * 2))
    wilson = win_rate(8, 2)
    assert (found.low.item(), found.high.item()) == pytest.approx((wilson.low, wilson.high))


def test_an_honest_judge_is_calibrated_and_a_shouting_one_off_by_the_known_amount() -> None:
    generator = torch.Generator().manual_seed(0)
    logit = 1.5 * torch.randn(40_000, generator=generator, dtype=torch.float64)
    true = logit.sigmoid()
    happened = (torch.rand(40_000, generator=generator, dtype=torch.float64) < true).double()
    honest = calibration_curve(true, happened, bins=20)
    assert honest.ece < 0.012
    assert (honest.low - 0.01 < honest.prob).all()
    assert (honest.prob < honest.high + 0.01).all()
    shouting = calibration_curve((3 * logit).sigmoid(), happened, bins=20)
    expected = ((3 * logit).sigmoid() - true).abs().mean().item()
    assert shouting.ece == pytest.approx(expected, abs=0.012)
    assert shouting.ece > 10 * honest.ece
    assert shouting.outcome[0] > shouting.prob[0]
    assert shouting.outcome[-1] < shouting.prob[-1]


def test_nobody_beats_the_ceiling_and_the_truth_reaches_it() -> None:
    generator = torch.Generator().manual_seed(1)
    prob = torch.rand(50_000, generator=generator)
    label = torch.rand(50_000, generator=generator) < prob
    ceiling = bayes_ceiling(prob)
    assert ceiling == pytest.approx(0.75, abs=0.003)  # E max(u, 1 - u) for a uniform u
    best = ((prob > 0.5) == label).double().mean().item()
    assert best == pytest.approx(ceiling, abs=0.006)  # three standard errors
    noisy = ((prob + 0.1 * torch.randn(50_000, generator=generator) > 0.5) == label).double().mean().item()
    assert noisy < ceiling


def test_rows_can_come_in_any_order_and_may_be_one() -> None:
    generator = torch.Generator().manual_seed(2)
    prob, outcome = torch.rand(100, generator=generator), torch.ones(100)
    order = torch.randperm(100, generator=generator)
    assert calibration_curve(prob[order], outcome).ece == pytest.approx(calibration_curve(prob, outcome).ece)
    assert calibration_curve(torch.tensor([0.9]), torch.tensor([1.0])).ece == pytest.approx(0.1)
