"""The loss of clip comparisons: by hand, against soft Bradley-Terry, at its limits, and in its gradient."""

from __future__ import annotations

import math

import pytest
import torch

from rlbase.losses import segment_preference, soft_bradley_terry

E = 0.1


def test_by_hand() -> None:
    # sigmoid(2) = 0.880797; 0.9 * 0.880797 + 0.05 = 0.8427174; label 1: -log 0.8427174 = 0.1711236
    # label 0: -log 0.1572826 = 1.8497109; label 1/4: 0.25 * 0.1711236 + 0.75 * 1.8497109 = 1.4300641
    ahead = torch.tensor([2.0, 2.0, 2.0], dtype=torch.float64)
    loss = segment_preference(ahead, 0 * ahead, torch.tensor([1.0, 0.0, 0.25], dtype=torch.float64))
    torch.testing.assert_close(
        loss, torch.tensor([0.1711236, 1.8497109, 1.4300641], dtype=torch.float64), rtol=1e-6, atol=0
    )


def test_without_error_it_is_soft_bradley_terry() -> None:
    a, b = torch.linspace(-30, 30, 13), torch.linspace(8, -9, 13)
    labels = torch.linspace(0, 1, 13)
    torch.testing.assert_close(
        segment_preference(a, b, labels, error=0), soft_bradley_terry(a, b, labels), rtol=1e-6, atol=1e-6
    )


def test_gradient_is_the_closed_form() -> None:
    """d/da of -mu log P - (1 - mu) log(1 - P) is (P - mu) / (P (1 - P)) times (1 - error) s (1 - s)."""
    a = torch.tensor([1.5, -0.3, 0.0, 4.0], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([0.2, 0.9, 0.0, -3.0], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([1.0, 0.0, 0.5, 0.0], dtype=torch.float64)
    segment_preference(a, b, labels, error=E).sum().backward()
    s = (a - b).sigmoid().detach()
    p = (1 - E) * s + E / 2
    expected = (p - labels) / (p * (1 - p)) * (1 - E) * s * (1 - s)
    assert a.grad is not None and b.grad is not None
    torch.testing.assert_close(a.grad, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(b.grad, -expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [1e2, 1e4])
def test_a_wrong_label_costs_at_most_the_error(size: float) -> None:
    ahead = torch.tensor([size, -size, size, -size], requires_grad=True)
    labels = torch.tensor([0.0, 1.0, 1.0, 0.0])
    loss = segment_preference(ahead, torch.zeros(4), labels, error=E)
    wrong, right = -math.log(E / 2), -math.log(1 - E / 2)
    torch.testing.assert_close(loss, torch.tensor([wrong, wrong, right, right]), rtol=1e-5, atol=1e-6)
    loss.sum().backward()
    assert ahead.grad is not None and ahead.grad.abs().max() < 1e-6  # an answer beyond belief teaches nothing


def test_swapping_the_clips_and_the_label_changes_nothing() -> None:
    g = torch.Generator().manual_seed(0)
    a, b, labels = torch.randn(9, generator=g), torch.randn(9, generator=g), torch.rand(9, generator=g)
    torch.testing.assert_close(
        segment_preference(a, b, labels), segment_preference(b, a, 1 - labels), rtol=1e-6, atol=1e-7
    )


def test_the_right_rewards_have_the_smallest_expected_loss() -> None:
    """With labels as likely as the model says they are, the loss is least at the true difference, error included."""
    truth, grid = 1.3, torch.linspace(-4, 4, 801, dtype=torch.float64)
    p = (1 - E) / (1 + math.exp(-truth)) + E / 2
    loss = segment_preference(grid, 0 * grid, torch.full_like(grid, p), error=E)
    assert abs(grid[loss.argmin()].item() - truth) < 0.011
    unaware = segment_preference(grid, 0 * grid, torch.full_like(grid, p), error=0)
    assert (
        grid[unaware.argmin()].item() < truth - 0.1
    )  # who knows of no error takes it for a small difference
