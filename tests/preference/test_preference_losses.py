"""Losses of preferences three ways: a number by hand, gradients against an enumerated world, properties."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from decimal import Decimal, getcontext

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rlbase import losses
from rlbase.losses import cdpo, dpo, hinge, ipo, kto, mismatched_kl, orpo, rdpo, simpo, slic

logps = st.floats(-20, 0)
fours = st.tuples(logps, logps, logps, logps)
betas = st.floats(0.01, 3)

# name: a loss of [B] numbers with its settings bound, and how many tensors it takes
CALLS: dict[str, tuple[Callable[..., Tensor], int]] = {
    "dpo": (functools.partial(dpo, beta=0.7), 4),
    "cdpo": (functools.partial(cdpo, beta=0.7, label_smoothing=0.2), 4),
    "rdpo": (functools.partial(rdpo, beta=0.7, label_smoothing=0.2), 4),
    "ipo": (functools.partial(ipo, tau=0.3), 4),
    "hinge": (functools.partial(hinge, beta=0.7), 4),
    "slic": (functools.partial(slic, delta=1.5), 2),
    "simpo": (functools.partial(simpo, beta=2.0, gamma=0.8), 2),
    "orpo": (functools.partial(orpo, lam=0.4), 2),
}
PAIRED = ("dpo", "cdpo", "rdpo", "ipo", "hinge")


def t(*values: float) -> Tensor:
    return torch.tensor(list(values), dtype=torch.float64)


def verdict(logp: Tensor, ref_logp: Tensor, good: bool, kl: float = 0.3, beta: float = 0.7) -> Tensor:
    desirable = torch.full(logp.shape, good)
    return kto(logp, ref_logp, desirable, kl, beta=beta, desirable_weight=1.3, undesirable_weight=0.6)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x))


def test_the_list_of_losses_is_complete() -> None:
    of_preferences = {n for n in losses.__all__ if getattr(losses, n).__module__.endswith(".preference")}
    assert of_preferences == {*CALLS, "kto", "mismatched_kl"}


# numbers by hand


def test_numbers_by_hand() -> None:
    four = t(-4.0), t(-6.0), t(-5.0), t(-4.5)  # h = (-4 + 5) - (-6 + 4.5) = 1 + 1.5 = 2.5; beta h = .5 at .2
    # log(1 + e^-.5) = log 1.6065306597 = .4740769842
    assert dpo(*four, beta=0.2).item() == pytest.approx(0.4740769841801067, rel=1e-12)
    # the other label: .4740769842 + .5 = .9740769842; .9 * .4740769842 + .1 * .9740769842 = .5240769842
    assert cdpo(*four, beta=0.2, label_smoothing=0.1).item() == pytest.approx(0.5240769841801067, rel=1e-12)
    # (.9 * .4740769842 - .1 * .9740769842) / .8 = (.4266692858 - .0974076984) / .8 = .4115769842
    assert rdpo(*four, beta=0.2, label_smoothing=0.1).item() == pytest.approx(0.4115769841801067, rel=1e-12)
    assert ipo(*four, tau=0.25).item() == pytest.approx(0.25, rel=1e-12)  # (2.5 - 1 / .5)^2 = .5^2
    assert hinge(*four, beta=0.2).item() == pytest.approx(0.5, rel=1e-12)  # 1 - .2 * 2.5
    assert hinge(*four, beta=0.5).item() == 0  # 1 - 1.25 is below 0
    assert slic(*four[:2], delta=3.0).item() == pytest.approx(1.0, rel=1e-12)  # 3 + 4 - 6
    # 2 * (-.5 + .75) - .3 = .2; log(1 + e^-.2) = log 1.8187307531 = .5981388694
    assert simpo(t(-0.5), t(-0.75), beta=2.0, gamma=0.3).item() == pytest.approx(0.598138869381592, rel=1e-9)
    # odds .8 / .2 = 4 and .5 / .5 = 1: -.3 log(4 / 5) = .3 * .2231435513
    assert orpo(t(0.8).log(), t(0.5).log(), lam=0.3).item() == pytest.approx(0.06694306539, rel=1e-9)


def test_kto_by_hand() -> None:
    logp, ref_logp, good = t(-1.0, -4.0, -2.0), t(-2.0, -3.0, -2.0), torch.tensor([True, False, True])
    # u = 1, -1, 0; z = .5; beta = 2: gains 1, -3, -1
    # 1 - sigma(1) = .2689414214; sigma(-3) = .0474258732, times .5; 1 - sigma(-1) = .7310585786
    each = kto(logp, ref_logp, good, 0.5, beta=2.0, undesirable_weight=0.5)
    torch.testing.assert_close(
        each, t(0.2689414213699951, 0.02371293658, 0.7310585786300049), rtol=1e-9, atol=0
    )
    # a reference point below 0 counts as 0: gains 2, -2, 0
    each = kto(logp, ref_logp, good, -7.0, beta=2.0, desirable_weight=3.0)
    torch.testing.assert_close(each, t(3 * 0.11920292202, 0.11920292202, 1.5), rtol=1e-9, atol=0)
    # (1 - 1 + 0) / 3 = 0; weighted 3 : 1 : 0, (3 - 1) / 4 = .5; with the signs turned, never below 0
    assert mismatched_kl(logp, ref_logp).item() == 0
    assert mismatched_kl(logp, ref_logp, t(3.0, 1.0, 0.0)).item() == pytest.approx(0.5)
    assert mismatched_kl(ref_logp, logp, t(3.0, 1.0, 0.0)).item() == 0


# gradients against the enumerated world

SLOPES: dict[
    str, Callable[[float], float]
] = {  # dL/dh, or with respect to the gap where there is no reference
    "dpo": lambda h: -0.7 * sigmoid(-0.7 * h),
    "cdpo": lambda h: 0.7 * (sigmoid(0.7 * h) - 0.8),
    "rdpo": lambda h: -0.7 * (0.8 * sigmoid(-0.7 * h) + 0.2 * sigmoid(0.7 * h)) / 0.6,
    "ipo": lambda h: 2 * (h - 1 / 0.6),
    "hinge": lambda h: -0.7 if 0.7 * h < 1 else 0.0,
    "slic": lambda h: -1.0 if h < 1.5 else 0.0,
    "simpo": lambda h: -2 * sigmoid(0.8 - 2 * h),
}


def world(seed: int, n: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Logits that train, a reference's log-probabilities, and how often each ordered pair is seen, ``[n, n]``."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(2, n, generator=generator, dtype=torch.float64) * 1.5
    often = torch.rand(n, n, generator=generator, dtype=torch.float64)
    return draws[0].clone().requires_grad_(), draws[1].log_softmax(0), often


def all_pairs(n: int) -> tuple[Tensor, Tensor]:
    pairs = torch.tensor(list(itertools.permutations(range(n), 2)))
    return pairs[:, 0], pairs[:, 1]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", SLOPES)
def test_gradient_of_all_comparisons(name: str, seed: int) -> None:
    """In a table the gap's gradient is e_i - e_j: what remains is a sum of slopes, written down here again."""
    loss, arguments = CALLS[name]
    theta, ref, often = world(seed)
    logp, (i, j) = theta.log_softmax(0), all_pairs(5)
    given_ = (logp[i], logp[j], ref[i], ref[j])[:arguments]
    (found,) = torch.autograd.grad((often[i, j] * loss(*given_)).sum(), theta)
    expected = torch.zeros(5, dtype=torch.float64)
    value = (logp - ref if arguments == 4 else logp).tolist()
    for a, b in zip(i.tolist(), j.tolist(), strict=True):
        slope = often[a, b].item() * SLOPES[name](value[a] - value[b])
        expected[a] += slope
        expected[b] -= slope
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert abs(found.sum().item()) < 1e-9  # only differences are trained


@pytest.mark.parametrize("seed", range(3))
def test_gradient_of_the_odds_ratio(seed: int) -> None:
    """d log(P / (1-P)) / d log P = 1 / (1-P), and d log P / d theta = e - pi."""
    theta, _, often = world(seed)
    logp, (i, j) = theta.log_softmax(0), all_pairs(5)
    (found,) = torch.autograd.grad((often[i, j] * orpo(logp[i], logp[j], lam=0.4)).sum(), theta)
    p, expected, one = theta.detach().softmax(0), torch.zeros(5, dtype=torch.float64), torch.eye(5).double()
    odds = p / (1 - p)
    for a, b in zip(i.tolist(), j.tolist(), strict=True):
        slope = -0.4 * (1 - odds[a] / (odds[a] + odds[b])) * often[a, b]
        expected += slope * ((one[a] - p) / (1 - p[a]) - (one[b] - p) / (1 - p[b]))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_gradient_of_all_verdicts(seed: int) -> None:
    theta, ref, often = world(seed)
    logp, q, p = theta.log_softmax(0), often[0], theta.detach().softmax(0)
    value = q * verdict(logp, ref, True) + (1 - q) * verdict(logp, ref, False)
    (found,) = torch.autograd.grad((often[1] * value).sum(), theta)
    expected, one = torch.zeros(5, dtype=torch.float64), torch.eye(5).double()
    for y in range(5):
        s = sigmoid(0.7 * ((logp - ref)[y].item() - 0.3))
        pull = often[1, y] * (1.3 * q[y] - 0.6 * (1 - q[y]))
        expected -= pull * 0.7 * s * (1 - s) * (one[y] - p)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_ktos_first_step_is_a_quarter_of_beta() -> None:
    logp = t(-1.0, -3.0).requires_grad_()
    value = verdict(logp[:1], t(-1.0), True, 0.0) + verdict(logp[1:], t(-3.0), False, 0.0)
    (gradient,) = torch.autograd.grad(value.sum(), logp)
    torch.testing.assert_close(gradient, t(-1.3 * 0.7 / 4, 0.6 * 0.7 / 4))


@pytest.mark.parametrize("name", [*CALLS, "kto"])
def test_gradient_by_finite_differences(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        draws = -0.05 - 3 * torch.rand(4, 6, generator=generator, dtype=torch.float64)
        if name == "kto":
            for good in (True, False):
                inputs = tuple(x.requires_grad_() for x in draws[:2].clone())
                assert torch.autograd.gradcheck(functools.partial(verdict, good=good), inputs)
        else:
            inputs = tuple(x.requires_grad_() for x in draws[: CALLS[name][1]].clone())
            assert torch.autograd.gradcheck(CALLS[name][0], inputs)


def test_nothing_flows_through_the_reference_point() -> None:
    logp, ref, kl = t(-1.0, -2.0).requires_grad_(), t(-1.5, -1.0), t(0.4).requires_grad_()
    value = kto(logp, ref, torch.tensor([True, False]), kl, beta=1.0).sum()
    assert torch.autograd.grad(value, kl, allow_unused=True) == (None,)
    assert not mismatched_kl(logp, ref - 1).requires_grad and mismatched_kl(logp, ref - 1).item() > 0


# properties


@given(fours, betas)
def test_gaps_are_antisymmetric(four: tuple[float, ...], beta: float) -> None:
    """Sides exchanged, h turns its sign: -log sigma(x) + log sigma(-x) = -x, and all that follows from it."""
    a, b, ra, rb = (t(x) for x in four)
    h = (four[0] - four[2]) - (four[1] - four[3])
    way, back = (a, b, ra, rb), (b, a, rb, ra)
    assert (dpo(*way, beta=beta) - dpo(*back, beta=beta)).item() == pytest.approx(-beta * h, abs=1e-8)
    assert (ipo(*way, tau=beta) - ipo(*back, tau=beta)).item() == pytest.approx(-2 * h / beta, abs=1e-6)
    both = hinge(*way, beta=beta) + hinge(*back, beta=beta)
    assert both.item() == pytest.approx(max(2.0, 1 + beta * abs(h)), rel=1e-9)
    smooth = cdpo(*way, beta=beta, label_smoothing=0.5) - cdpo(*back, beta=beta, label_smoothing=0.5)
    assert smooth.item() == pytest.approx(0, abs=1e-8)


@given(fours, st.floats(-5, 5))
def test_only_the_gap_counts(four: tuple[float, ...], shift: float) -> None:
    a, b, ra, rb = (t(x) for x in four)
    for name in PAIRED:
        loss = CALLS[name][0]
        for other in ((a + shift, b + shift, ra, rb), (a + shift, b, ra + shift, rb), (a, b, ra - 2, rb - 2)):
            torch.testing.assert_close(loss(*other), loss(a, b, ra, rb), rtol=1e-7, atol=1e-7)


@given(fours, betas, st.floats(0, 0.45))
def test_smoothing_and_its_inverse(four: tuple[float, ...], beta: float, e: float) -> None:
    a, b, ra, rb = (t(x) for x in four)
    clean, other = dpo(a, b, ra, rb, beta=beta), dpo(b, a, rb, ra, beta=beta)
    for loss in (cdpo, rdpo):
        torch.testing.assert_close(loss(a, b, ra, rb, beta=beta, label_smoothing=0.0), clean)
    smooth = functools.partial(cdpo, beta=beta, label_smoothing=e)
    robust = functools.partial(rdpo, beta=beta, label_smoothing=e)
    torch.testing.assert_close(smooth(a, b, ra, rb), (1 - e) * clean + e * other)
    # the mean over flipped labels: the clean loss for rdpo, and not for cdpo
    flips = (1 - e) * robust(a, b, ra, rb) + e * robust(b, a, rb, ra)
    torch.testing.assert_close(flips, clean, rtol=1e-7, atol=1e-7)
    biased = (1 - e) * smooth(a, b, ra, rb) + e * smooth(b, a, rb, ra)
    assert biased.item() - clean.item() == pytest.approx(2 * e * (1 - e) * (other - clean).item(), abs=1e-8)


@given(st.floats(0.01, 0.49), betas)
def test_cdpo_rests_at_the_log_odds(e: float, beta: float) -> None:
    h, zero = t(math.log((1 - e) / e) / beta).requires_grad_(), t(0.0)
    (gradient,) = torch.autograd.grad(cdpo(h, zero, zero, zero, beta=beta, label_smoothing=e), h)
    assert abs(gradient.item()) < 1e-12


@given(st.floats(0, 1), betas)
def test_ipo_rests_where_the_label_says(p: float, tau: float) -> None:
    h, zero = t((p - 0.5) / tau).requires_grad_(), t(0.0)
    value = p * ipo(h, zero, zero, zero, tau=tau) + (1 - p) * ipo(zero, h, zero, zero, tau=tau)
    assert abs(torch.autograd.grad(value, h)[0].item()) < 1e-9 * max(1, 1 / tau)


@given(logps, logps, betas, st.floats(0, 3))
def test_simpos_margin_is_a_shift_of_the_gap(a: float, b: float, beta: float, gamma: float) -> None:
    zero = t(0.0)
    shifted = simpo(t(a - gamma / beta), t(b), beta=beta, gamma=0.0)
    torch.testing.assert_close(simpo(t(a), t(b), beta=beta, gamma=gamma), shifted, rtol=1e-9, atol=1e-9)
    plain = simpo(t(a), t(b), beta=beta, gamma=0.0)  # DPO whose reference finds all alike
    torch.testing.assert_close(plain, dpo(t(a), t(b), zero, zero, beta=beta), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(slic(t(a), t(b), delta=1.0), hinge(t(a), t(b), zero, zero, beta=1.0))


@given(st.lists(st.tuples(logps, logps, st.booleans()), min_size=1, max_size=6), st.floats(-1, 3), betas)
def test_kto_by_brute_force(rows: list[tuple[float, float, bool]], kl: float, beta: float) -> None:
    logp, ref, good = t(*(r[0] for r in rows)), t(*(r[1] for r in rows)), torch.tensor([r[2] for r in rows])
    each = kto(logp, ref, good, kl, beta=beta, desirable_weight=1.5, undesirable_weight=0.25)
    for found, (own, reference, desirable) in zip(each.tolist(), rows, strict=True):
        gain = beta * (own - reference - max(0.0, kl))
        expected = 1.5 * (1 - sigmoid(gain)) if desirable else 0.25 * (1 - sigmoid(-gain))
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert 0 <= found <= (1.5 if desirable else 0.25)
    ratio = [own - reference for own, reference, _ in rows]
    assert mismatched_kl(logp, ref).item() == pytest.approx(max(0, sum(ratio) / len(ratio)), abs=1e-9)
    weight = [0.5 + k for k in range(len(rows))]
    mean = sum(w * r for w, r in zip(weight, ratio, strict=True)) / sum(weight)
    assert mismatched_kl(logp, ref, t(*weight)).item() == pytest.approx(max(0, mean), abs=1e-9)


@pytest.mark.parametrize("x", [-1e-15, -1e-9, -1e-3, -0.6931, -0.69315, -1.0, -40.0, -700.0, -9999.0])
def test_odds_keep_their_digits(x: float) -> None:
    """log(P / (1 - P)) against arithmetic of 60 digits, from P = 1 - 1e-15 down to P = 0."""
    getcontext().prec = 60
    exact = Decimal(x) - (1 - Decimal(x).exp()).ln()
    even = t(math.log(0.5))  # odds of 1
    found = orpo(t(x), even, lam=1.0).item(), orpo(even, t(x), lam=1.0).item()
    for value, gap in zip(found, (exact, -exact), strict=True):
        assert value == pytest.approx(float((1 + (-gap).exp()).ln()), rel=1e-12)


def test_certainty_has_finite_odds() -> None:
    for dtype in (torch.float32, torch.float64):
        sure = torch.zeros(1, dtype=dtype, requires_grad=True)
        eps = torch.finfo(dtype).eps  # a P that rounds to 1 counts as 1 - eps
        value = orpo(torch.full((1,), math.log(0.5), dtype=dtype), sure, lam=1.0)
        assert value.item() == pytest.approx(math.log(1 / eps), rel=1e-6)
        assert torch.autograd.grad(value.sum(), sure)[0].isfinite()
        just_over = torch.full((1,), 1e-6, dtype=dtype)  # a mean that rounding pushed above 0
        assert orpo(just_over, just_over, lam=1.0).item() == pytest.approx(math.log(2), rel=1e-6)


# dtypes, stability, broadcasting


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [*CALLS, "kto"])
def test_extremes_stay_finite(name: str, dtype: torch.dtype) -> None:
    high = 0.0 if name == "orpo" else 1e4  # odds of P > 1 do not exist
    loss, arguments = CALLS.get(name, (None, 2))
    for values in itertools.product((-1e4, -1.0, 0.0, high), repeat=arguments):
        tensors = [torch.full((3,), v, dtype=dtype, requires_grad=True) for v in values]
        if loss is None:
            made = [verdict(*tensors, good=good, kl=kl) for good in (True, False) for kl in (0.0, 1e4)]
        else:
            made = [loss(*tensors)]
        for each in made:
            gradients = torch.autograd.grad(each.sum(), tensors)
            assert each.isfinite().all() and all(g.isfinite().all() for g in gradients), values


def test_hopeless_comparisons_still_pull() -> None:
    """log(sigmoid(x)) would be minus infinity at x = -1e4, with a gradient of NaN."""
    h, zero = torch.tensor([-1e4], requires_grad=True), torch.zeros(1)
    each = dpo(h, zero, zero, zero, beta=1.0)
    assert each.item() == 1e4 and torch.autograd.grad(each.sum(), h)[0].item() == -1
    lost = torch.tensor([-1e4], requires_grad=True)
    each = orpo(lost, torch.tensor([-1.0]), lam=1.0)
    assert each.item() == pytest.approx(1e4, rel=1e-3)
    assert torch.autograd.grad(each.sum(), lost)[0].item() == pytest.approx(-1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", [*CALLS, "kto", "mismatched_kl"])
def test_dtype_and_shape_are_kept(name: str, dtype: torch.dtype) -> None:
    loss, arguments = CALLS.get(name, (functools.partial(verdict, good=True), 2))
    tensors = [torch.full((3,), -1.0 - i, dtype=dtype) for i in range(arguments)]
    if name == "mismatched_kl":
        assert mismatched_kl(*tensors).dtype == dtype and mismatched_kl(*tensors).shape == ()
        return
    each = loss(*tensors)
    assert each.dtype == dtype and each.shape == (3,)
    assert not each.requires_grad


@pytest.mark.parametrize("name", [*CALLS, "kto"])
def test_broadcasting_is_refused(name: str) -> None:
    loss, arguments = CALLS.get(name, (functools.partial(verdict, good=True), 2))
    for i in range(arguments):
        for shape in ((1,), (2,), (3, 1), (1, 3), ()):
            tensors = [torch.full((3,), -1.0) for _ in range(arguments)]
            tensors[i] = torch.full(shape, -1.0)
            with pytest.raises(ValueError, match=f"{name}: shapes must be equal"):
                loss(*tensors)


def test_verdicts_and_reference_point_have_their_shapes() -> None:
    three = torch.full((3,), -1.0)
    with pytest.raises(ValueError, match="kto: shapes must be equal"):
        kto(three, three, torch.tensor([True]), 0.0, beta=1.0)
    with pytest.raises(ValueError, match=r"kl must be one number for the whole batch, got shape \[3\]"):
        kto(three, three, three > 0, torch.zeros(3), beta=1.0)
    one = kto(three, three, three > 0, torch.zeros(1), beta=1.0)
    assert one.equal(kto(three, three, three > 0, 0.0, beta=1.0)) and one.shape == (3,)
    with pytest.raises(ValueError, match="mismatched_kl: shapes must be equal"):
        mismatched_kl(three, torch.zeros(1))
