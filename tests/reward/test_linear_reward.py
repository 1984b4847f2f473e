"""The linear reward against scipy, against the trainer, and its errors against what they are over repetitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from rlbase import exact
from rlbase.evaluate import outcome
from rlbase.train import linear_reward

NAN = float("nan")


def made(
    n: int, seed: int, weight: tuple[float, ...] = (1.0, -0.5, 0.0)
) -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(seed)
    x = torch.randn(n, len(weight), generator=draws, dtype=torch.float64)
    prob = (x @ torch.tensor(weight, dtype=torch.float64)).sigmoid()
    return x, (torch.rand(n, generator=draws, dtype=torch.float64) < prob).double()


def test_agrees_with_scipy_in_everything_at_once() -> None:
    """Soft labels, weights, a covariate that bears no prior, and a prior."""
    x, _ = made(300, 0)
    draws = torch.Generator().manual_seed(9)
    z = torch.randn(300, 1, generator=draws, dtype=torch.float64)
    y, a = (torch.rand(300, generator=draws, dtype=torch.float64) for _ in range(2))
    found = linear_reward(x, y, covariates=z, weight=a, prior=2.0)

    def loss(w: np.ndarray) -> float:
        gap = x.numpy() @ w[:3] + z.numpy()[:, 0] * w[3]
        each = y.numpy() * np.logaddexp(0, -gap) + (1 - y.numpy()) * np.logaddexp(0, gap)
        return float(a.numpy() @ each + w[:3] @ w[:3])

    theirs = minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-9})
    assert torch.cat([found.weight, found.shift]).tolist() == pytest.approx(theirs.x.tolist(), abs=1e-5)
    rest = loss(theirs.x) - theirs.x[:3] @ theirs.x[:3]
    assert found.loss == pytest.approx(rest / a.sum().item(), abs=1e-8)


def test_errors_are_what_repetitions_show_also_with_weights() -> None:
    """The sandwich and not the inverse information, which is wrong as soon as rows are weighted."""
    fits = []
    for seed in range(400):
        x, y = made(400, seed, (0.8, -0.5))
        weight = torch.where(x[:, 0] > 0, 3.0, 0.25)
        fits.append(linear_reward(x, y, weight=weight.double()))
    spread = torch.stack([fit.weight for fit in fits]).std(0)
    claimed = torch.stack([fit.error for fit in fits]).mean(0)
    naive = torch.stack([fit.information.inverse().diagonal().sqrt() for fit in fits]).mean(0)
    assert ((claimed / spread) - 1).abs().max() < 0.12
    assert ((naive / spread) - 1).abs().max() > 0.15


def test_a_covariate_takes_its_effect_out_of_the_reward() -> None:
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, 1, generator=draws, dtype=torch.float64)
    believed = (0.7 * x[:, 0] + torch.randn(20_000, generator=draws, dtype=torch.float64)).sign()
    prob = (x[:, 0] + 1.5 * believed).sigmoid()
    y = (torch.rand(20_000, generator=draws, dtype=torch.float64) < prob).double()
    blind, told = linear_reward(x, y), linear_reward(x, y, covariates=believed[:, None])
    assert blind.weight.item() > 1.3
    assert abs(told.weight.item() - 1) < 3 * told.error[0] < 0.15
    assert abs(told.shift.item() - 1.5) < 3 * told.error[1] < 0.15
    assert torch.equal(told.score(x), x @ told.weight)


def test_a_prior_shrinks_and_the_runaway_is_told() -> None:
    x = torch.tensor([[1.0], [2.0], [-1.0]])
    y = torch.tensor([1.0, 1.0, 0.0])
    with pytest.raises(
        ValueError, match="no finite weights fit best, since a combination of the features tells"
    ):
        linear_reward(x, y)
    strong, weak = (linear_reward(x, y, prior=prior).weight.item() for prior in (10.0, 0.1))
    assert 0 < strong < weak < 10


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: linear_reward(torch.zeros(3), torch.zeros(3)),
            r"difference must be \[comparisons, features\]",
        ),
        (lambda: linear_reward(torch.zeros(0, 2), torch.zeros(0)), "difference must be"),
        (
            lambda: linear_reward(torch.ones(2, 1), torch.tensor([0.5, NAN])),
            "prob must be finite, got nan at .1.",
        ),
        (lambda: linear_reward(torch.ones(2, 1), torch.tensor([0.5, 2.0])), "prob must lie in 0 to 1"),
        (lambda: linear_reward(torch.ones(2, 1), torch.ones(3)), r"prob must have shape \[2\]"),
        (lambda: linear_reward(torch.ones(2, 1), torch.ones(2), prior=-1.0), "prior must lie in"),
        (
            lambda: linear_reward(torch.ones(2, 1), torch.ones(2), weight=-torch.ones(2)),
            "weight must be 0 or more",
        ),
        (lambda: linear_reward(torch.ones(2, 1), torch.ones(2), weight=torch.zeros(2)), "above 0 somewhere"),
        (lambda: linear_reward(torch.zeros(2, 1), torch.full((2,), 0.5)), "the same in every comparison"),
        (
            lambda: linear_reward(torch.ones(2, 1), torch.tensor([0.0, 1.0]), covariates=torch.ones(2, 1)),
            "its weight cannot be told",
        ),
        (
            lambda: linear_reward(torch.ones(2, 1), torch.ones(2), covariates=torch.ones(3, 1)),
            "covariates must have shape",
        ),
        (lambda: linear_reward(torch.ones(2, 1), torch.ones(2), steps=0), "steps must be at least 1"),
    ],
)
def test_bad_input(make, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()


# what a wrong reward costs


@pytest.mark.parametrize("seed", range(4))
def test_regret_is_the_price_of_the_divergence(seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    gold, reward, logits = torch.randn(3, 6, generator=draws, dtype=torch.float64)
    ref, beta = logits.softmax(0), 0.3
    found = outcome(reward, gold, ref, beta=beta)
    ours, best = (exact.kl_optimum(ref, each, beta=beta) for each in (reward, gold))
    assert found.regret == pytest.approx(beta * exact.kl(ours, best), abs=1e-9)
    shifted = outcome(reward + 7, gold - 3, ref, beta=beta)
    assert list(found) == pytest.approx(list(shifted), abs=1e-9)
    off = reward - gold
    mean = sum(p * x for p, x in zip(ref.tolist(), off.tolist(), strict=True))
    by_hand = sum(p * (x - mean) ** 2 for p, x in zip(ref.tolist(), off.tolist(), strict=True)) ** 0.5
    assert found.error == pytest.approx(by_hand)
    right = pairs = 0.0
    for i in range(6):
        for j in range(6):
            if gold[i] > gold[j]:
                pairs += (ref[i] * ref[j]).item()
                right += (ref[i] * ref[j] * (reward[i] > reward[j])).item()
    assert found.accuracy == pytest.approx(right / pairs)


def test_ties_count_half_and_bad_input_is_told() -> None:
    gold, ref = torch.tensor([0.0, 1.0, 2.0]), torch.full((3,), 1 / 3)
    assert outcome(torch.tensor([0.0, 0.0, 1.0]), gold, ref, beta=1.0).accuracy == pytest.approx(2.5 / 3)
    for arguments, sentence in (
        ((gold, torch.ones(3), ref), "all gold rewards are equal"),
        ((gold, gold, torch.ones(3)), "ref must be one distribution"),
        ((gold[:2], gold, ref), "shapes must be equal"),
        ((gold / 0, gold, ref), "reward must be finite"),
    ):
        with pytest.raises(ValueError, match=sentence):
            outcome(*arguments, beta=1.0)


# where the optimum is far away, or nowhere


def noisy(n: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    return made(n, 3)


def test_a_part_of_the_answers_that_is_told_is_a_runaway_too() -> None:
    """Half of the rows are a bent coin, the others are told by a feature of their own: its weight is infinite."""
    x = torch.eye(2).repeat_interleave(20, 0)
    y = torch.ones(40)
    y[:8] = 0
    for weight in (1e-6, 1.0, 1e3):
        a = torch.where(x[:, 1] > 0, weight, 1.0)
        with pytest.raises(ValueError, match="no finite weights fit best"):
            linear_reward(x, y, weight=a)
    beside = torch.cat(
        [x, torch.tensor([[1e6, 0.0]])]
    )  # a row far out hides nothing, whether it counts or not
    for count in (0.0, 1.0):
        with pytest.raises(ValueError, match="no finite weights fit best"):
            linear_reward(
                beside,
                torch.cat([y, torch.ones(1)]),
                weight=torch.cat([torch.ones(40), torch.tensor([count])]),
            )
    with pytest.raises(ValueError, match="no finite weights fit best"):  # the prior does not hold covariates
        linear_reward(x[:, :1], y, covariates=x[:, 1:], prior=1.0)
    assert linear_reward(x[:20], y[:20], covariates=None, prior=1e-9).weight[0] == pytest.approx(
        np.log(12 / 8), abs=1e-6
    )


def test_a_comparison_far_out_is_no_runaway() -> None:
    """The optimum is finite, and one row has log-odds of thousands there; or it counts nothing."""
    x, y = noisy()
    plain = linear_reward(x, y).weight
    far = torch.cat([x, torch.tensor([[1e4, 0.0, 0.0]], dtype=torch.float64)])
    told = torch.cat([y, torch.ones(1, dtype=torch.float64)])
    torch.testing.assert_close(linear_reward(far, told).weight, plain, rtol=1e-9, atol=1e-9)
    none = torch.cat([torch.ones(200), torch.zeros(1)]).double()
    for wrong in (told, 1 - told):
        wrong = torch.cat([y, wrong[-1:]])
        torch.testing.assert_close(linear_reward(far, wrong, weight=none).weight, plain, rtol=1e-9, atol=1e-9)


def test_features_may_have_any_unit() -> None:
    x, y = noisy()
    plain, unit = linear_reward(x, y), torch.tensor([1.0, 1e-8, 1e6], dtype=torch.float64)
    found = linear_reward(x * unit, y)
    torch.testing.assert_close(found.weight * unit, plain.weight, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(found.error * unit, plain.error, rtol=1e-8, atol=1e-10)


def test_a_full_step_may_overshoot() -> None:
    """Five comparisons on which Newton's full steps never settle: halved where the loss would rise, they do."""
    rows = [[-8.56, 12.24], [-0.07, 0.18], [0.9, 0.16], [-2.11, 33.9], [-3.8, -18.09]]
    x, y = torch.tensor(rows, dtype=torch.float64), torch.tensor([0, 0, 1, 0, 0], dtype=torch.float64)
    w = linear_reward(x, y, prior=1e-2).weight
    gradient = x.T @ ((x @ w).sigmoid() - y) + 1e-2 * w
    assert gradient.abs().max() < 1e-5


def test_where_newton_sets_out_changes_nothing() -> None:
    x, y = noisy()
    plain = linear_reward(x, y)
    for start in (plain.weight, torch.tensor([9.0, -9.0, 4.0])):
        found = linear_reward(x, y, start=start)
        torch.testing.assert_close(found.weight, plain.weight, rtol=1e-7, atol=1e-7)
        torch.testing.assert_close(found.error, plain.error, rtol=1e-6, atol=1e-8)
    with pytest.raises(ValueError, match="start"):
        linear_reward(x, y, start=torch.zeros(2))
    with pytest.raises(ValueError, match="start"):
        linear_reward(x, y, start=torch.tensor([0.0, NAN, 0.0]))
