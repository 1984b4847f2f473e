"""Every loss three ways: a number by hand, its gradient against an enumerated world, a property."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlbase import losses
from rlbase.exact import kl
from rlbase.losses import (
    clip_fraction,
    exact_kl,
    explained_variance,
    k1,
    k2,
    k3,
    ppo_clip,
    reinforce,
    schulman_beta,
    value_clipped,
    value_mse,
    ziegler_beta,
)

numbers = st.floats(-5, 5, allow_nan=False)
logits = st.lists(st.floats(-3, 3), min_size=2, max_size=6)


def t(*values: float) -> Tensor:
    return torch.tensor([list(values)], dtype=torch.float64)


def world(seed: int, n: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Logits that train, a reference's log-probabilities and rewards of an enumerable choice."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(3, n, generator=generator, dtype=torch.float64)
    return draws[0].clone().requires_grad_(), draws[1].log_softmax(0), draws[2]


def expected_gradient(each: Tensor, theta: Tensor) -> Tensor:
    """Gradient of the expectation over all choices, each weighted by its detached probability."""
    weight = theta.detach().softmax(0)
    return torch.autograd.grad((weight * each[0]).sum(), theta, retain_graph=True)[0]


def exact_gradient(objective: Tensor, theta: Tensor) -> Tensor:
    return torch.autograd.grad(objective, theta, retain_graph=True)[0]


# numbers by hand


def test_reinforce_by_hand() -> None:
    # -A log p = -3 * ln(1/4) = 3 * 1.3862943611 and -(-2) * ln(1/2) = -2 * 0.6931471806
    each = reinforce(t(0.25, 0.5).log(), t(3.0, -2.0))
    torch.testing.assert_close(each, t(4.158883083359672, -1.386294361119891), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("advantage", "ratio", "objective"),
    [(1, 0.5, 0.5), (1, 0.9, 0.9), (1, 1.1, 1.1), (1, 1.5, 1.2)]  # A > 0: never more than 1 + clip
    + [
        (-1, 0.5, -0.8),
        (-1, 0.9, -0.9),
        (-1, 1.1, -1.1),
        (-1, 1.5, -1.5),
    ],  # A < 0: never less loss than 1 - clip
)
def test_clip_table(advantage: float, ratio: float, objective: float) -> None:
    loss = ppo_clip(t(ratio).log() - 2, t(0.0) - 2, t(advantage))
    assert loss.item() == pytest.approx(-objective, rel=1e-6)


@pytest.mark.parametrize(
    ("advantage", "ratio", "flows"),
    [(1, 0.5, True), (1, 1.1, True), (1, 1.5, False), (-1, 0.5, False), (-1, 0.9, True), (-1, 5.0, True)],
)
def test_gradient_stops_only_where_nothing_is_to_be_gained(
    advantage: float, ratio: float, flows: bool
) -> None:
    logp = t(ratio).log().requires_grad_()
    (gradient,) = torch.autograd.grad(ppo_clip(logp, t(0.0), t(advantage)).sum(), logp)
    assert gradient.item() == pytest.approx(-ratio * advantage if flows else 0.0, rel=1e-6)


def test_asymmetric_clip_by_hand() -> None:
    # clip .2 below and .28 above: 1.5 * 1 -> 1.28; .5 * (-1) -> -.8 still
    each = ppo_clip(t(1.5, 0.5).log(), t(0.0, 0.0), t(1.0, -1.0), clip=0.2, clip_high=0.28)
    torch.testing.assert_close(each, t(-1.28, 0.8), rtol=1e-6, atol=0)


def test_value_losses_by_hand() -> None:
    # (1 - 3)^2 / 2 = 2
    assert value_mse(t(1.0), t(3.0)).item() == pytest.approx(2.0, rel=1e-6)
    # V = 1, old 0, clip .2: clipped to .2; max((1 - 1)^2, (.2 - 1)^2) / 2 = .64 / 2
    assert value_clipped(t(1.0), t(0.0), t(1.0)).item() == pytest.approx(0.32, rel=1e-6)
    # V = -1, old 0: clipped to -.2; max((-1 - 1)^2, (-.2 - 1)^2) / 2 = 4 / 2: the worse of the two
    assert value_clipped(t(-1.0), t(0.0), t(1.0)).item() == pytest.approx(2.0, rel=1e-6)


def test_divergences_by_hand() -> None:
    # log pi - log ref = -1 - (-3) = 2; 2^2 / 2 = 2; e^-2 - 1 + 2 = 1.1353352832
    logp, ref_logp = t(-1.0), t(-3.0)
    assert k1(logp, ref_logp).item() == pytest.approx(2.0, rel=1e-6)
    assert k2(logp, ref_logp).item() == pytest.approx(2.0, rel=1e-6)
    assert k3(logp, ref_logp).item() == pytest.approx(1.1353352832366128, rel=1e-6)
    # (1/2) ln 2 + (1/2) ln(2/3) = (1/2) ln(4/3)
    halves, quarters = t(0.5, 0.5).log(), t(0.25, 0.75).log()
    assert exact_kl(halves, quarters).item() == pytest.approx(0.5 * math.log(4 / 3), rel=1e-6)


def test_controllers_by_hand() -> None:
    # e = clip(12/6 - 1, -.2, .2) = .2; .2 * (1 + .2 * 512/10000) = .202048
    assert ziegler_beta(0.2, 12.0, target=6.0, episodes=512, horizon=10_000) == pytest.approx(
        0.202048, rel=1e-9
    )
    # e = 5.4/6 - 1 = -.1; 1 * (1 - .1 * 100/1000) = .99
    assert ziegler_beta(1.0, 5.4, target=6.0, episodes=100, horizon=1000) == pytest.approx(0.99, rel=1e-9)
    assert schulman_beta(0.4, 1.51, target=1.0) == 0.8
    assert schulman_beta(0.4, 1.49, target=1.0) == 0.4
    assert schulman_beta(0.4, 0.67, target=1.0) == 0.4
    assert schulman_beta(0.4, 0.66, target=1.0) == 0.2


def test_diagnostics_by_hand() -> None:
    mask = torch.tensor([[True, True, True, True, False]])
    # ratios 1.5, 1.0, .5, 1.25 against [.8, 1.2]: three of four outside; the fifth is no choice
    ratio = t(1.5, 1.0, 0.5, 1.25, 9.0)
    assert clip_fraction(ratio.log(), t(0, 0, 0, 0, 0), mask) == pytest.approx(0.75)
    assert clip_fraction(ratio.log(), t(0, 0, 0, 0, 0), mask, clip_high=0.3) == pytest.approx(0.5)
    # returns 0, 2: variance 1; errors -.5, .5: variance .25; the third is no choice
    chosen = torch.tensor([[True, True, False]])
    assert explained_variance(t(0.5, 1.5, 7.0), t(0.0, 2.0, -9.0), chosen) == pytest.approx(0.75)
    # enumerated choices count by their probability: shares .75 and .25 stand for rows 0, 0, 0, 1
    weight = t(1.5, 0.5, 9.0)
    assert clip_fraction(t(0.5, 0.0, 0.5), t(0, 0, 0), chosen, weight=weight) == pytest.approx(0.75)
    # returns 0, 0, 0, 2 vary by .75; what the critic leaves, -.5, -.5, -.5, .5, by .1875
    explained = explained_variance(t(0.5, 1.5, 7.0), t(0.0, 2.0, -9.0), chosen, weight=weight)
    assert explained == pytest.approx(1 - 0.1875 / 0.75)
    assert math.isnan(explained_variance(t(1.0, 2.0, 3.0), t(4.0, 4.0, 0.0), chosen))


# gradients against the enumerated world


@pytest.mark.parametrize("seed", range(3))
def test_policy_gradients_equal_the_exact_gradient(seed: int) -> None:
    theta, _, reward = world(seed)
    logp = theta.log_softmax(0)[None]
    expected = exact_gradient(-(theta.softmax(0) * reward).sum(), theta)
    for each in (
        reinforce(logp, reward[None]),
        reinforce(logp, reward[None] - 3.7),  # a constant baseline moves nothing
        ppo_clip(logp, logp.detach(), reward[None]),
    ):
        torch.testing.assert_close(expected_gradient(each, theta), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_ppo_surrogate_off_policy_is_the_importance_weighted_objective(seed: int) -> None:
    theta, ref, reward = world(seed)
    logp, old_logp = theta.log_softmax(0)[None], ref[None]
    # wide open, E_old[ratio A] = E_pi[A] exactly, and so is its gradient
    surrogate = (
        old_logp[0].exp() * ppo_clip(logp, old_logp, reward[None], clip=0.999, clip_high=1e9)[0]
    ).sum()
    low = (logp - old_logp).exp() < 0.001
    assert not low.any()
    torch.testing.assert_close(surrogate, -(theta.softmax(0) * reward).sum())
    expected = exact_gradient(-(theta.softmax(0) * reward).sum(), theta)
    torch.testing.assert_close(exact_gradient(surrogate, theta), expected)


@pytest.mark.parametrize("seed", range(3))
def test_kl_estimators_as_numbers(seed: int) -> None:
    theta, ref, _ = world(seed)
    logp = theta.detach().log_softmax(0)
    for p, q in ((logp, ref), (ref, logp)):  # both directions, each on its own samples
        truth = kl(p.exp(), q.exp())
        assert exact_kl(p, q).item() == pytest.approx(truth, rel=1e-9)
        assert (p.exp() * k1(p[None], q[None])[0]).sum().item() == pytest.approx(truth, rel=1e-9)
        assert (p.exp() * k3(p[None], q[None])[0]).sum().item() == pytest.approx(truth, rel=1e-9)
        assert (p.exp() * k2(p[None], q[None])[0]).sum().item() != pytest.approx(truth, rel=1e-2)


@pytest.mark.parametrize("seed", range(3))
def test_kl_estimators_as_losses(seed: int) -> None:
    theta, ref, _ = world(seed)
    logp = theta.log_softmax(0)
    reverse = exact_gradient(exact_kl(logp, ref), theta)
    forward = exact_gradient(exact_kl(ref, logp), theta)
    assert expected_gradient(k1(logp[None], ref[None]), theta).abs().max() < 1e-12
    torch.testing.assert_close(expected_gradient(k2(logp[None], ref[None]), theta), reverse)
    torch.testing.assert_close(expected_gradient(k3(logp[None], ref[None]), theta), forward)
    assert not torch.allclose(reverse, forward, rtol=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_critics_gradient_is_the_error(seed: int) -> None:
    draws = torch.randn(3, 1, 50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    values, old_values, returns = draws[0].requires_grad_(), draws[1], draws[2]
    (gradient,) = torch.autograd.grad(value_mse(values, returns).sum(), values)
    torch.testing.assert_close(gradient, (values - returns).detach())
    (gradient,) = torch.autograd.grad(value_clipped(values, old_values, returns).sum(), values)
    # independent of the implementation: by cases, where the clipped error is the larger one it is a constant
    for v, old, r, g in zip(values[0], old_values[0], returns[0], gradient[0], strict=True):
        clipped = min(max(v.item(), old.item() - 0.2), old.item() + 0.2)
        stopped = (clipped - r.item()) ** 2 > (v.item() - r.item()) ** 2
        assert g.item() == pytest.approx(0.0 if stopped else (v - r).item(), abs=1e-12)


# properties


@given(numbers, numbers, numbers)
def test_reinforce_is_antisymmetric_in_the_advantage(logp: float, a: float, b: float) -> None:
    assert reinforce(t(logp), t(-a)).item() == -reinforce(t(logp), t(a)).item()
    assert reinforce(t(logp), t(a + b)).item() == pytest.approx(
        (reinforce(t(logp), t(a)) + reinforce(t(logp), t(b))).item(), abs=1e-9
    )


@given(st.lists(numbers, min_size=1, max_size=5), st.lists(numbers, min_size=5, max_size=5))
def test_at_ratio_one_ppo_has_reinforces_gradient(log_probs: list[float], advantages: list[float]) -> None:
    logp, a = t(*log_probs).requires_grad_(), t(*advantages[: len(log_probs)])
    (ours,) = torch.autograd.grad(ppo_clip(logp, logp.detach(), a).sum(), logp)
    (plain,) = torch.autograd.grad(reinforce(logp, a).sum(), logp)
    torch.testing.assert_close(ours, plain, rtol=0, atol=0)


@given(numbers, numbers, numbers, st.floats(0, 0.99))
def test_ppo_is_never_more_optimistic_than_the_plain_surrogate(
    logp: float, old_logp: float, a: float, clip: float
) -> None:
    loss = ppo_clip(t(logp), t(old_logp), t(a), clip=clip).item()
    ratio = math.exp(logp - old_logp)
    assert loss >= -ratio * a - 1e-9
    assert loss == pytest.approx(-min(ratio * a, min(max(ratio, 1 - clip), 1 + clip) * a), abs=1e-9)


@given(logits, st.floats(-2, 2))
def test_divergences_are_zero_only_for_equal_policies(theta: list[float], shift: float) -> None:
    p = torch.tensor(theta, dtype=torch.float64).log_softmax(0)
    q = (torch.tensor(theta, dtype=torch.float64) * (1 + shift)).log_softmax(0)
    assert exact_kl(p, q).item() >= -1e-12
    assert bool((k3(p[None], q[None]) >= 0).all()) and bool((k2(p[None], q[None]) >= 0).all())
    assert k1(p[None], q[None]).equal(-k1(q[None], p[None]))
    assert exact_kl(p, p).item() == 0 and not k3(p[None], p[None]).any()


@given(numbers, numbers, numbers, st.floats(0.01, 2))
def test_clipped_value_loss_is_never_smaller(v: float, old: float, r: float, clip: float) -> None:
    clipped = value_clipped(t(v), t(old), t(r), clip=clip).item()
    assert clipped >= value_mse(t(v), t(r)).item() - 1e-12
    if abs(v - old) <= clip:
        assert clipped == pytest.approx(value_mse(t(v), t(r)).item(), abs=1e-9)


@given(st.floats(0, 10), st.floats(0, 100), st.floats(0.01, 10), st.integers(1, 512))
def test_controllers_push_towards_the_target(
    beta: float, measured: float, target: float, episodes: int
) -> None:
    for next_beta in (
        ziegler_beta(beta, measured, target=target, episodes=episodes, horizon=1000),
        schulman_beta(beta, measured, target=target),
    ):
        assert next_beta >= 0
        assert (next_beta - beta) * (measured - target) >= 0


def test_exact_kl_of_impossible_choices() -> None:
    infinity = float("inf")
    one, other = torch.tensor([0.0, -infinity]), torch.tensor([0.5, 0.5]).log()
    assert exact_kl(one, other).item() == pytest.approx(math.log(2), rel=1e-6)
    assert exact_kl(one, one).item() == 0
    assert exact_kl(other, one).item() == infinity
    batch = exact_kl(torch.stack((one, other)), torch.stack((other, other)))
    assert batch.tolist() == pytest.approx([math.log(2), 0.0], rel=1e-6)


# dtypes, stability, detachment, broadcasting

CALLS = {
    "reinforce": (reinforce, 2),
    "ppo_clip": (ppo_clip, 3),
    "value_mse": (value_mse, 2),
    "value_clipped": (value_clipped, 3),
    "k1": (k1, 2),
    "k2": (k2, 2),
    "k3": (k3, 2),
    "exact_kl": (exact_kl, 2),
}


def test_the_list_of_losses_is_complete() -> None:
    """Losses of scores and losses of preferences have lists of their own, in tests/reward and tests/preference."""
    others = {"clip_fraction", "explained_variance", "schulman_beta", "ziegler_beta"}
    elsewhere = (".reward", ".segments", ".preference")
    listed_there = {n for n in losses.__all__ if getattr(losses, n).__module__.endswith(elsewhere)}
    assert set(losses.__all__) - listed_there == set(CALLS) | others


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_is_kept(name: str, dtype: torch.dtype) -> None:
    loss, arguments = CALLS[name]
    tensors = [torch.full((2, 3), -1.0 - i, dtype=dtype) for i in range(arguments)]
    assert loss(*tensors).dtype == dtype


@pytest.mark.parametrize("name", CALLS)
def test_broadcasting_is_refused(name: str) -> None:
    loss, arguments = CALLS[name]
    for i in range(arguments):
        for shape in ((3,), (1, 3), (2, 1), (3, 2), ()):
            tensors = [torch.zeros(2, 3) for _ in range(arguments)]
            tensors[i] = torch.zeros(shape)
            with pytest.raises(ValueError, match=f"{name}: shapes must be equal"):
                loss(*tensors)


@pytest.mark.parametrize("name", CALLS)
def test_only_the_first_argument_trains(name: str) -> None:
    loss, arguments = CALLS[name]
    tensors = [torch.full((1, 2), -1.0 - 0.3 * i, requires_grad=True) for i in range(arguments)]
    gradients = torch.autograd.grad(loss(*tensors).sum(), tensors, allow_unused=True)
    assert gradients[0] is not None
    if name not in (
        "k1",
        "k2",
        "k3",
        "exact_kl",
    ):  # estimators are symmetric: the caller freezes the reference
        assert all(g is None or not g.any() for g in gradients[1:])


@pytest.mark.parametrize("advantage", [-1e4, -1.0, 0.0, 1.0, 1e4])
@pytest.mark.parametrize("gap", [-1e4, -100.0, 0.0, 100.0, 1e4])
def test_policy_losses_are_stable(gap: float, advantage: float) -> None:
    logp = torch.full((1, 1), gap, requires_grad=True)
    for each in (
        ppo_clip(logp, torch.zeros(1, 1), torch.full((1, 1), advantage)),
        reinforce(logp, torch.full((1, 1), advantage)),
        k1(logp, torch.zeros(1, 1)),
        k2(logp, torch.zeros(1, 1)),
    ):
        (gradient,) = torch.autograd.grad(each.sum(), logp)
        assert each.isfinite().all() and gradient.isfinite().all()
    each = k3(logp, torch.zeros(1, 1))  # e^10000 has no float: infinite, but never NaN
    (gradient,) = torch.autograd.grad(each.sum(), logp)
    assert not each.isnan().any() and not gradient.isnan().any()
    assert each.isfinite().all() or gap < 0


def test_k3_keeps_its_digits_near_zero() -> None:
    # e^x - 1 - x = x^2 / 2 + ...: at x = 1e-4 the naive sum of float32 has lost every digit of 5e-9
    gap = torch.full((1, 1), 1e-4, dtype=torch.float32)
    assert k3(-gap, torch.zeros(1, 1)).item() == pytest.approx(5e-9, rel=0.01)


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_losses_are_pointwise(seed: int) -> None:
    draws = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(seed))
    for name, (loss, arguments) in CALLS.items():
        whole = loss(*draws[:arguments])
        if name != "exact_kl":
            assert whole.shape == (4, 6)
            assert whole[2:3, 1:2].equal(loss(*(x[2:3, 1:2] for x in draws[:arguments])))
