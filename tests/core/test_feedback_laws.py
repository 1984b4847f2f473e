"""The laws of faulty feedback, each against enumeration, simulation or the numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from rlbase.exact import (
    bt_projection,
    intransitivity,
    majority_accuracy,
    mixed_preference,
    mixing_weight,
    residual_harm,
    swap_averaged,
)


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_majorities_by_hand() -> None:
    # three voters at .7: .343 + 3 * .49 * .3 = .784
    assert majority_accuracy(0.7, 3) == pytest.approx(0.343 + 3 * 0.49 * 0.3)
    assert [round(majority_accuracy(0.7, n), 3) for n in (3, 5, 9)] == [0.784, 0.837, 0.901]
    assert majority_accuracy(0.7, 4) == pytest.approx(majority_accuracy(0.7, 3))  # the fourth only makes ties
    assert majority_accuracy(0.4, 5) < majority_accuracy(0.4, 3) < 0.4
    assert majority_accuracy(0.3, 7) == pytest.approx(1 - majority_accuracy(0.7, 7))


def test_swapping_by_hand() -> None:
    d = torch.tensor([0.5, -1.0], dtype=torch.float64)
    expected = [(sigma(x + 2) + sigma(x - 2)) / 2 for x in (0.5, -1.0)]
    assert swap_averaged(d, 2.0).tolist() == pytest.approx(expected)
    assert swap_averaged(d, -2.0).tolist() == pytest.approx(expected)
    assert swap_averaged(d, 2.0, logits=True).tolist() == pytest.approx([sigma(0.5), sigma(-1)])
    for b in (0.0, 1.0, 5.0, 20.0):  # on the right side of a half, ever nearer to it
        assert ((swap_averaged(d, b) - 0.5).sign() == d.sign()).all()


@pytest.mark.parametrize(
    ("v1", "v2", "b"), [(1.0, 0.5, 0.5), (0.3, 0.1, 1.0), (1.0, 1.0, 0.0), (0.0, 0.2, 0.1)]
)
def test_mixing_weight_is_the_minimum(v1: float, v2: float, b: float) -> None:
    found = mixing_weight(v1, v2, b)
    grid = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    error = grid**2 * v1 + (1 - grid) ** 2 * (v2 + b * b)
    assert found == pytest.approx(grid[error.argmin()].item(), abs=1e-4)


def test_mixing_weight_of_a_bias_whose_square_is_infinite() -> None:
    assert mixing_weight(1.0, 1.0, 1e200) == mixing_weight(1.0, 1.0, -(10**200)) == 1.0


def test_mixing_weight_meets_a_simulation() -> None:
    draws = torch.Generator().manual_seed(0)
    n, truth = 200_000, 0.3
    fair = truth + torch.randn(n, generator=draws, dtype=torch.float64) * 1.0
    biased = truth + 0.5 + torch.randn(n, generator=draws, dtype=torch.float64) * 0.5**0.5
    grid = torch.linspace(0, 1, 101, dtype=torch.float64)
    error = torch.stack([(w * fair + (1 - w) * biased - truth).square().mean() for w in grid])
    assert grid[error.argmin()].item() == pytest.approx(mixing_weight(1.0, 0.5, 0.5), abs=0.03)


def test_mixed_tastes_by_hand_and_their_cycle() -> None:
    rewards, share = torch.tensor([[0.0, 2.0], [0.0, -1.0]]), torch.tensor([0.25, 0.75])
    found = mixed_preference(rewards, share)
    assert found[1, 0].item() == pytest.approx(0.25 * sigma(2) + 0.75 * sigma(-1))
    assert torch.allclose(found + found.T, torch.ones(2, 2, dtype=torch.float64))
    assert mixed_preference(rewards, share, temperature=2.0)[1, 0].item() == pytest.approx(
        0.25 * sigma(1) + 0.75 * sigma(-0.5)
    )
    ring = 4 * torch.tensor([[2.0, 1.0, 0.0], [0.0, 2.0, 1.0], [1.0, 0.0, 2.0]])
    circle = mixed_preference(ring, torch.full((3,), 1 / 3))
    assert circle[0, 1] > 0.6 and circle[1, 2] > 0.6 and circle[2, 0] > 0.6
    assert bt_projection(circle).std() < 1e-6  # no score can say so
    rest = intransitivity(circle)
    assert rest[0, 1].item() == pytest.approx(math.log(circle[0, 1] / circle[1, 0]), abs=1e-6)


def test_intransitivity_is_nought_for_scores_and_orthogonal_to_them() -> None:
    score = torch.randn(5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gaps = score[:, None] - score
    assert intransitivity(gaps.sigmoid()).abs().max() < 1e-9
    draws = torch.randn(5, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    rest = intransitivity((draws - draws.T).sigmoid())
    assert rest.sum(1).abs().max() < 1e-9 and rest.abs().max() > 0.1
    assert abs((rest * gaps).sum()) < 1e-9  # least squares


def test_one_group_alone_is_transitive_and_two_are_not() -> None:
    rewards = torch.tensor([[0.0, 1.0, 3.0], [3.0, 0.0, 1.0]])
    assert intransitivity(mixed_preference(rewards, torch.tensor([1.0, 0.0]))).abs().max() < 1e-9
    assert intransitivity(mixed_preference(rewards, torch.tensor([0.5, 0.5]))).abs().max() > 0.05


def test_residual_harm_meets_a_simulation() -> None:
    draws = torch.Generator().manual_seed(0)
    n, harm, recall = 100_000, 0.4, 0.35
    bad = torch.rand(n, generator=draws) < harm
    for k in range(5):
        expected = residual_harm(harm, recall, k)
        assert bad.double().mean().item() == pytest.approx(
            expected, abs=4 * (expected * (1 - expected) / n) ** 0.5
        )
        bad &= torch.rand(n, generator=draws) >= recall


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: majority_accuracy(1.1, 3), "accuracy must lie in"),
        (lambda: majority_accuracy(0.7, 0), "n must be at least 1"),
        (lambda: swap_averaged(torch.tensor([float("nan")]), 1.0), "logit must be finite"),
        (lambda: swap_averaged(torch.zeros(1), float("inf")), "position must lie in"),
        (lambda: mixing_weight(-1.0, 1.0, 0.0), "variance must lie in"),
        (lambda: mixing_weight(0.0, 0.0, 0.0), "both sources are exact"),
        (lambda: mixed_preference(torch.zeros(2, 3), torch.tensor([1.0])), "with 1 groups, got"),
        (lambda: mixed_preference(torch.zeros(1, 3), torch.tensor([0.5])), "share must be one distribution"),
        (
            lambda: mixed_preference(torch.zeros(1, 3), torch.ones(1), temperature=0.0),
            "temperature must lie in",
        ),
        (lambda: intransitivity(torch.eye(3)), "must sum to 1 and lie strictly between"),
        (lambda: intransitivity(torch.zeros(2, 3)), "shapes must be equal"),
        (lambda: residual_harm(0.5, 2.0, 1), "recall must lie in"),
        (lambda: residual_harm(0.5, 0.5, -1), "revisions must be at least 0"),
    ],
)
def test_bad_input(make, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()


def test_majorities_of_thousands() -> None:
    assert majority_accuracy(0.7, 5001) == pytest.approx(1.0)
    assert majority_accuracy(0.5, 2001) == pytest.approx(0.5)
    assert majority_accuracy(0.51, 1501) == pytest.approx(1 - majority_accuracy(0.49, 1501))
    assert majority_accuracy(0.51, 999) < majority_accuracy(0.51, 1001) < majority_accuracy(0.51, 1003)
    assert [majority_accuracy(p, 3000) for p in (0, 1)] == [0.0, 1.0]


def test_a_sure_preference_in_single_precision_is_no_cycle() -> None:
    score = torch.tensor([0.0, 1.0, 13.0])
    assert intransitivity((score[:, None] - score).sigmoid()).abs().max() < 1e-5
    with pytest.raises(ValueError, match=r"must be \[responses, responses\], got \[3\]"):
        intransitivity(torch.full((3,), 0.5))
