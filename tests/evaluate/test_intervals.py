"""Intervals: worked numbers, the test that Wilson's inverts, coverage by enumeration, the bootstrap's own law."""

from __future__ import annotations

import math

import pytest
import torch

from rlbase.evaluate import bootstrap_interval, mean_interval, paired_win_rate, ratio_interval, win_rate
from rlbase.evaluate.intervals import quantile


def test_eight_wins_of_ten_by_hand() -> None:
    # z = 1.959964, z^2 = 3.841459. Centre (.8 + 3.841459 / 20) / 1.3841459 = .716740,
    # half width 1.959964 / 1.3841459 * sqrt(.016 + 3.841459 / 400) = .226577.
    found = win_rate(8, 2)
    assert found.value == 0.8
    assert found.n == 10
    assert found.low == pytest.approx(0.716740 - 0.226577, abs=2e-6)
    assert found.high == pytest.approx(0.716740 + 0.226577, abs=2e-6)


@pytest.mark.parametrize(("wins", "losses", "ties"), [(8, 2, 0), (1, 40, 3), (50, 50, 7)])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_bounds_are_where_the_score_test_just_rejects(
    wins: int, losses: int, ties: int, confidence: float
) -> None:
    r"""Wilson's bounds solve (p_hat - p)^2 = z^2 p (1 - p) / n, with the variance of the *bound*, not of p_hat."""
    found, z = win_rate(wins, losses, ties, confidence=confidence), quantile("test", confidence)
    for bound in (found.low, found.high):
        assert (found.value - bound) ** 2 == pytest.approx(z**2 * bound * (1 - bound) / found.n, rel=1e-9)


def test_ties_are_half_a_win_to_each_side() -> None:
    found = win_rate(3, 1, 4)
    assert found.value == (3 + 2) / 8
    assert win_rate(0, 0, 4).value == 0.5
    turned = win_rate(1, 3, 4)
    assert (turned.low, turned.high) == pytest.approx((1 - found.high, 1 - found.low))


def test_stays_within_zero_and_one_and_is_never_certain() -> None:
    assert win_rate(10, 0).high == 1.0
    assert 0.7 < win_rate(10, 0).low < 0.73
    assert 0 <= win_rate(0, 10).low < 1e-12
    nothing = win_rate(0, 0)
    assert math.isnan(nothing.value)
    assert (nothing.low, nothing.high, nothing.n) == (0.0, 1.0, 0)


def test_covers_the_truth_as_often_as_it_says_enumerated() -> None:
    """All outcomes of 20 games, weighted by their probability, for 99 true rates."""
    games = [win_rate(k, 20 - k) for k in range(21)]
    ways = torch.tensor([math.comb(20, k) for k in range(21)], dtype=torch.float64)
    covered = []
    for percent in range(1, 100):
        p = percent / 100
        law = ways * torch.tensor([p**k * (1 - p) ** (20 - k) for k in range(21)], dtype=torch.float64)
        covered.append((law * torch.tensor([g.low <= p <= g.high for g in games])).sum().item())
    assert sum(covered) / 99 == pytest.approx(0.95, abs=0.01)
    assert min(covered) > 0.83  # the naive interval falls to .18 here


def test_pairs_count_for_the_first() -> None:
    a, b = torch.tensor([3.0, 1.0, 2.0, 5.0]), torch.tensor([1.0, 2.0, 2.0, 4.0])
    assert paired_win_rate(a, b) == win_rate(2, 1, 1)
    assert paired_win_rate(b, a) == win_rate(1, 2, 1)


def test_mean_by_hand() -> None:
    # values 0, 0, 6: mean 2, variance (4 + 4 + 16) / 2 = 12, standard error sqrt(12 / 3) = 2
    found = mean_interval(torch.tensor([0.0, 0.0, 6.0]))
    assert (found.value, found.n) == (2.0, 3)
    assert (found.low, found.high) == pytest.approx((2 - 2 * 1.959964, 2 + 2 * 1.959964))


def test_one_value_says_nothing_about_its_own_error() -> None:
    assert mean_interval(torch.tensor([3.0]))[:3] == (3.0, -math.inf, math.inf)
    assert math.isnan(mean_interval(torch.zeros(0)).value)
    assert str(mean_interval(torch.tensor([3.0]))) == "3"


def test_ratio_by_hand() -> None:
    # a = (1, 3), b = (1, 1): ratio 2, residuals -1 and 1, error sqrt(2 / (2 - 1) / 2) / 1 = 1
    found = ratio_interval(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0]))
    assert found.value == 2.0
    assert found.high - found.value == pytest.approx(1.959964)
    # twice as many of everything in the denominator: half the ratio, half the error
    halved = ratio_interval(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 2.0]))
    assert halved.high - halved.value == pytest.approx(1.959964 / 2)


def test_ratio_is_no_mean_of_ratios_and_its_error_is_the_bootstraps() -> None:
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(1, 30, (400,), generator=generator).double()
    nats = tokens * (2 + 0.5 * torch.randn(400, generator=generator, dtype=torch.float64))
    found = ratio_interval(nats, tokens)
    assert found.value == pytest.approx((nats.sum() / tokens.sum()).item())
    again = bootstrap_interval(
        torch.stack((nats, tokens), 1), lambda rows: rows[:, 0].sum() / rows[:, 1].sum()
    )
    assert (again.high - again.low) / (found.high - found.low) == pytest.approx(1, abs=0.12)


def test_bootstrap_of_a_median_follows_its_enumerated_law() -> None:
    """Of 27 resamples of three values 7 have the smallest as median, 13 the middle one, 7 the largest."""
    values = torch.tensor([1.0, 2.0, 10.0])

    def edges(confidence: float) -> tuple[float, float]:
        found = bootstrap_interval(values, torch.median, confidence=confidence, resamples=4000)
        return found.low, found.high

    assert edges(0.40) == (2.0, 2.0)  # from the 30 % to the 70 % quantile; 7 / 27 is 26 %
    assert edges(0.56) == (1.0, 10.0)  # from 22 % to 78 %


def test_bootstrap_of_a_mean_agrees_with_the_formula() -> None:
    values = torch.randn(300, generator=torch.Generator().manual_seed(0))
    found, formula = bootstrap_interval(values), mean_interval(values)
    assert found.value == pytest.approx(formula.value)
    assert (found.high - found.low) / (formula.high - formula.low) == pytest.approx(1, abs=0.1)
    assert bootstrap_interval(values) == found, "the same seed gives the same interval"
    other = bootstrap_interval(values, generator=torch.Generator().manual_seed(1))
    assert other != found


def test_mean_interval_covers_a_known_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    found = [mean_interval(torch.rand(50, generator=generator)) for _ in range(1000)]
    covered = sum(f.low <= 0.5 <= f.high for f in found) / 1000
    assert covered == pytest.approx(0.95, abs=0.025)  # 3.6 standard errors of a thousand draws
