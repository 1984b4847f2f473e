"""Laws of choosing among draws, of PPO-ptx, and of Bradley-Terry fits: against enumeration and direct optimisation."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlbase.exact import (
    acceptance_rate,
    best_of_n,
    best_of_n_kl_bound,
    bt_projection,
    kl,
    kl_optimum,
    pretrain_optimum,
    rejection_law,
    total_variation,
    win_rate,
)

REF = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
REWARD = torch.tensor([0.0, 1.0, 0.5, 2.0], dtype=torch.float64)
PRETRAIN = torch.tensor([0.5, 0.05, 0.4, 0.05], dtype=torch.float64)


def world(seed: int, n: int) -> tuple[Tensor, Tensor, Tensor]:
    draws = torch.randn(3, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return draws[0].softmax(0), draws[1], (2 * draws[2]).softmax(0)


@pytest.mark.parametrize(
    ("gamma", "reward", "nll"),
    [(0.0, 1.555, 2.731), (0.1, 1.394, 2.112), (0.5, 1.048, 1.495), (2.0, 0.570, 1.087)],
)
def test_alignment_tax_on_four_responses(gamma: float, reward: float, nll: float) -> None:
    best = pretrain_optimum(REF, REWARD, PRETRAIN, beta=0.5, gamma=gamma)
    assert (best * REWARD).sum().item() == pytest.approx(reward, abs=5e-4)
    assert -(PRETRAIN * best.log()).sum().item() == pytest.approx(nll, abs=5e-4)


@settings(max_examples=15)
@given(st.integers(0, 9999), st.integers(2, 8), st.floats(0.05, 5), st.floats(0, 5))
def test_pretrain_optimum_is_where_the_objective_is_flat_and_highest(
    seed: int, n: int, beta: float, gamma: float
) -> None:
    ref, reward, pretrain = world(seed, n)

    def objective(policy: Tensor) -> Tensor:
        price = beta * (policy * (policy.log() - ref.log())).sum()
        return (policy * reward).sum() - price + gamma * (pretrain * policy.log()).sum()

    best = pretrain_optimum(ref, reward, pretrain, beta=beta, gamma=gamma)
    theta = best.log().requires_grad_()
    value = objective(theta.softmax(0))
    assert torch.autograd.grad(value, theta)[0].abs().max() < 1e-8
    nearby = theta.detach() + 0.1 * torch.randn(20, n, dtype=torch.float64)
    assert all(objective(other.softmax(0)) <= value + 1e-12 for other in nearby)


def test_limits_of_pretraining() -> None:
    free = pretrain_optimum(REF, REWARD, PRETRAIN, beta=0.5, gamma=0.0)
    torch.testing.assert_close(free, kl_optimum(REF, REWARD, beta=0.5), rtol=1e-9, atol=1e-12)
    bound = pretrain_optimum(REF, REWARD, PRETRAIN, beta=0.5, gamma=1e5)
    assert total_variation(bound, PRETRAIN) < 1e-4
    never = torch.tensor([0.6, 0.4, 0.0], dtype=torch.float64)
    best = pretrain_optimum(never, REWARD[:3], torch.tensor([1.0, 0.0, 0.0]), beta=0.5, gamma=0.5)
    assert best[2] == 0 and best.sum().item() == pytest.approx(1)
    harsh = pretrain_optimum(REF, 1000 * REWARD, PRETRAIN, beta=0.5, gamma=0.0)
    assert harsh.tolist() == pytest.approx([0, 0, 0, 1], abs=1e-300)


@settings(max_examples=20)
@given(st.integers(0, 9999), st.integers(2, 4), st.integers(1, 4), st.floats(0.1, 3), st.booleans())
def test_rejection_by_enumerating_every_draw(seed: int, k: int, n: int, beta: float, ties: bool) -> None:
    """Every n-tuple of draws, and what each keeps on average when its own largest reward stands in for the maximum."""
    ref, reward, _ = world(seed, k)
    if ties:
        reward = (reward > 0).double()
    kept = torch.zeros(k, dtype=torch.float64)
    for draw in product(range(k), repeat=n):
        odds = math.prod(ref[i].item() for i in draw)
        largest = max(reward[i].item() for i in draw)
        for i in draw:
            kept[i] += odds * math.exp((reward[i].item() - largest) / beta) / n
    assert acceptance_rate(ref, reward, beta=beta, draws=n) == pytest.approx(kept.sum().item(), rel=1e-9)
    torch.testing.assert_close(rejection_law(ref, reward, beta=beta, draws=n), kept / kept.sum())


def test_rejection_keeps_the_optimum() -> None:
    torch.testing.assert_close(rejection_law(REF, REWARD, beta=0.5), kl_optimum(REF, REWARD, beta=0.5))
    # .4 e^-4 + .3 e^-2 + .2 e^-3 + .1
    by_hand = 0.4 * math.exp(-4) + 0.3 * math.exp(-2) + 0.2 * math.exp(-3) + 0.1
    assert acceptance_rate(REF, REWARD, beta=0.5) == pytest.approx(by_hand, rel=1e-12)
    assert by_hand == pytest.approx(0.158, abs=5e-4)
    torch.testing.assert_close(rejection_law(REF, REWARD, beta=0.5, draws=1), REF)
    far = [
        total_variation(rejection_law(REF, REWARD, beta=0.5, draws=n), rejection_law(REF, REWARD, beta=0.5))
        for n in (1, 2, 4, 8, 16, 128)
    ]
    assert far == sorted(far, reverse=True) and far[-1] < 1e-3 < far[-2]
    never = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64)  # the unreachable reward of 9 is no maximum
    assert acceptance_rate(never, torch.tensor([0.0, 1.0, 9.0]), beta=1.0) == pytest.approx(
        0.5 + 0.5 * math.exp(-1), rel=1e-6
    )


@given(st.integers(0, 9999), st.integers(2, 8), st.integers(1, 50), st.booleans())
def test_best_of_n_stays_below_the_formula(seed: int, k: int, n: int, ties: bool) -> None:
    ref, reward, _ = world(seed, k)
    if ties:
        reward = reward.round()
    assert kl(best_of_n(ref, reward, n), ref) <= best_of_n_kl_bound(n) + 1e-12


def test_best_of_n_meets_its_formulas_without_ties() -> None:
    many = 1500
    ref, reward = torch.full((many,), 1 / many, dtype=torch.float64), torch.arange(many).double()
    for n in (1, 2, 4, 16):
        best = best_of_n(ref, reward, n)
        assert kl(best, ref) == pytest.approx(best_of_n_kl_bound(n), abs=4e-3)
        assert win_rate(best, ref, reward) == pytest.approx(n / (n + 1), abs=1e-3)
    best = best_of_n(REF, REWARD, 4)
    # beats by the lower ones and half its own: .0256*.2 + .1040*(.4+.1) + .5265*(.6+.15) + .3439*(.9+.05)
    by_hand = 0.0256 * 0.2 + 0.104 * 0.5 + 0.5265 * 0.75 + 0.3439 * 0.95
    assert win_rate(best, REF, REWARD) == pytest.approx(by_hand, rel=1e-6)
    assert win_rate(best, REF, REWARD) < 4 / 5


def test_best_of_n_again_is_best_of_n_squared() -> None:
    twice = best_of_n(best_of_n(REF, REWARD, 3), REWARD, 3)
    torch.testing.assert_close(twice, best_of_n(REF, REWARD, 9))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("margin", [0.0, 0.7])
def test_bradley_terry_fit_is_where_the_loss_is_flat(seed: int, margin: float) -> None:
    draws = torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    preference = draws[0].triu(1) + (1 - draws[0].T).tril(-1) + 0.5 * torch.eye(5)
    found = bt_projection(preference, margin=margin, weight=draws[1]).requires_grad_()
    gap = found[:, None] - found - margin
    off = 1 - torch.eye(5)
    loss = -(draws[1] * preference * off * torch.nn.functional.logsigmoid(gap)).sum()
    assert torch.autograd.grad(loss, found)[0].abs().max() < 1e-9
    assert found.sum().abs() < 1e-9


@given(st.floats(0.02, 0.98), st.floats(0, 3))
def test_margin_inflates_the_gap_as_predicted(p: float, margin: float) -> None:
    found = bt_projection(torch.tensor([[0.5, p], [1 - p, 0.5]], dtype=torch.float64), margin=margin)
    b = (2 * p - 1) * math.exp(margin)
    predicted = math.log((math.sqrt(b * b + 4 * p * (1 - p)) + b) / (2 * (1 - p)))
    assert (found[0] - found[1]).item() == pytest.approx(predicted, rel=1e-6, abs=1e-8)
    if p > 0.5 and margin > 0.01:
        assert predicted > math.log(p / (1 - p))  # asked for more than it has


def test_bradley_terry_finds_the_rewards_behind_the_preferences() -> None:
    preference = torch.sigmoid(REWARD[:, None] - REWARD)
    torch.testing.assert_close(bt_projection(preference), REWARD - REWARD.mean(), rtol=1e-8, atol=1e-8)
    with pytest.raises(ValueError, match="no finite scores"):
        bt_projection(torch.tensor([[0.5, 1.0], [0.0, 0.5]]))
    apart = torch.zeros(4, 4)
    apart[0, 1] = apart[1, 0] = apart[2, 3] = apart[3, 2] = 1
    with pytest.raises(ValueError, match="comparisons fall apart"):
        bt_projection(torch.full((4, 4), 0.4), weight=apart + torch.eye(4))
    for margin, weight, said in ((math.nan, None, "margin must be finite"), (0.0, -apart, "smallest weight")):
        with pytest.raises(ValueError, match=said):
            bt_projection(torch.full((4, 4), 0.4), margin=margin, weight=weight)
