"""Losses of reward models: numbers by hand, gradients against enumeration and finite differences, properties."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rlbase import losses
from rlbase.losses import (
    bradley_terry,
    centring,
    k_wise,
    plackett_luce,
    pointwise,
    segment_preference,
    soft_bradley_terry,
)

scores = st.floats(-5, 5)
unit = st.floats(0, 1)
B4 = torch.tensor([0.0, 1.0, 0.5, 2.0], dtype=torch.float64)


def t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def gradient(each: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    at = at.clone().requires_grad_()
    return torch.autograd.grad(each(at).sum(), at)[0]


# numbers by hand


def test_bradley_terry_by_hand() -> None:
    # gap 2 - 0.5 = 1.5: log(1 + e^-1.5) = log 1.22313016 = 0.20141328
    # gap -1.5, the upset:  log(1 + e^1.5) = log 5.48168907 = 1.70141328
    torch.testing.assert_close(
        bradley_terry(t(2.0, 0.5), t(0.5, 2.0)), t(0.20141327798, 1.70141327798), rtol=1e-9, atol=0
    )


def test_the_margin_stands_inside_with_a_minus() -> None:
    # gap 1.5 - margin 1 = 0.5: log(1 + e^-0.5) = log 1.60653066 = 0.47407698; added instead it would be 0.07888973
    each = bradley_terry(t(2.0), t(0.5), margin=1.0)
    torch.testing.assert_close(each, t(0.47407698418), rtol=1e-9, atol=0)
    per_row = bradley_terry(t(2.0, 2.0), t(0.5, 0.5), margin=t(1.0, 0.0))
    torch.testing.assert_close(per_row, t(0.47407698418, 0.20141327798), rtol=1e-9, atol=0)


def test_soft_bradley_terry_by_hand() -> None:
    # 0.9 * 0.20141328 + 0.1 * 1.70141328 = 0.35141328; with margin 1: 0.9 * 0.47407698 + 0.1 * log(1 + e^2.5)
    # where log(1 + e^2.5) = log 13.18249396 = 2.57888973, so 0.42666929 + 0.25788897 = 0.68455826
    torch.testing.assert_close(
        soft_bradley_terry(t(2.0), t(0.5), t(0.9)), t(0.35141327798), rtol=1e-9, atol=0
    )
    torch.testing.assert_close(
        soft_bradley_terry(t(2.0), t(0.5), t(0.9), margin=1.0), t(0.68455825908), rtol=1e-9, atol=0
    )


def test_k_wise_by_hand() -> None:
    # the right order of 2, 1, 0: gaps 1, 2, 1: (0.31326169 + 0.12692801 + 0.31326169) / 3 = 0.25115046
    # the reverse:            gaps -1, -2, -1: (1.31326169 + 2.12692801 + 1.31326169) / 3 = 1.58448380
    rewards = torch.stack((t(2.0, 1.0, 0.0), t(2.0, 1.0, 0.0)))
    ranks = torch.tensor([[1, 2, 3], [3, 2, 1]])
    torch.testing.assert_close(k_wise(rewards, ranks), t(0.25115046154, 1.58448379487), rtol=1e-8, atol=0)


def test_plackett_luce_by_hand() -> None:
    # picking 2 of {2, 1, 0}: log(e^2 + e + 1) - 2 = 0.40760596; then 1 of {1, 0}: 0.31326169; sum 0.72086765
    torch.testing.assert_close(plackett_luce(t(2.0, 1.0, 0.0)[None]), t(0.72086765196), rtol=1e-9, atol=0)


def test_pointwise_and_centring_by_hand() -> None:
    torch.testing.assert_close(pointwise(t(1.5), t(4.0)), t(3.125))  # 2.5^2 / 2
    torch.testing.assert_close(centring(t(1.5), t(-0.5)), t(1.0))  # (1.5 - 0.5)^2


# gradients


def test_population_gradient_is_the_difference_of_win_probabilities() -> None:
    """Enumerate every ordered pair of arms with its probability; the gradient is sigma(model) - sigma(truth)."""
    model = t(0.3, -0.7, 1.1, 0.2)

    def expected(r: Tensor) -> Tensor:
        pairs = itertools.permutations(range(4), 2)
        return sum(torch.sigmoid(B4[i] - B4[j]) * bradley_terry(r[i : i + 1], r[j : j + 1]) for i, j in pairs)  # type: ignore[return-value]

    by_hand = torch.zeros(4, dtype=torch.float64)
    for i, j in itertools.permutations(
        range(4), 2
    ):  # every unordered pair is met twice, once from either side
        by_hand[i] += torch.sigmoid(model[i] - model[j]) - torch.sigmoid(B4[i] - B4[j])
    torch.testing.assert_close(gradient(expected, model), by_hand)
    torch.testing.assert_close(gradient(expected, B4 + 7.0), torch.zeros_like(B4), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    "loss",
    [
        lambda r: bradley_terry(r[:2], r[2:], margin=t(0.5, -1.0)),
        lambda r: soft_bradley_terry(r[:2], r[2:], t(0.3, 1.0), margin=0.7),
        lambda r: k_wise(r[None], torch.tensor([[2, 1, 4, 2]])),
        lambda r: plackett_luce(r[None]),
        lambda r: pointwise(r, B4),
        lambda r: centring(r[:2], r[2:]),
    ],
)
def test_gradient_equals_finite_differences(loss: Callable[[Tensor], Tensor]) -> None:
    assert torch.autograd.gradcheck(loss, (t(0.3, -0.7, 1.1, 0.2).requires_grad_(),), atol=1e-8)


def test_plackett_luce_is_a_law_over_rankings() -> None:
    """The probabilities of all 24 rankings sum to one, and each is the product of its picks."""
    total = 0.0
    for order in itertools.permutations(range(4)):
        each = math.exp(-plackett_luce(B4[list(order)][None]).item())
        strength, product = [math.exp(B4[i]) for i in order], 1.0
        for k in range(4):
            product *= strength[k] / sum(strength[k:])
        assert each == pytest.approx(product, rel=1e-12)
        total += each
    assert total == pytest.approx(1.0, rel=1e-12)


# properties


@given(scores, scores, unit)
def test_antisymmetric_and_calibrated(a: float, b: float, p: float) -> None:
    """Turning a pair round turns its probability round; the slope is sigma(gap) - p, opposite for the two sides."""
    here, there = soft_bradley_terry(t(a), t(b), t(p)), soft_bradley_terry(t(b), t(a), t(1 - p))
    torch.testing.assert_close(here, there)
    slope = gradient(lambda r: soft_bradley_terry(r[:1], r[1:], t(p)), t(a, b))
    expected = 1 / (1 + math.exp(b - a)) - p
    torch.testing.assert_close(slope, t(expected, -expected), atol=1e-12, rtol=1e-9)
    # probabilities of the two outcomes, exp(-loss), sum to one
    both = torch.exp(-bradley_terry(t(a), t(b))) + torch.exp(-bradley_terry(t(b), t(a)))
    torch.testing.assert_close(both, t(1.0))


@given(scores, scores, scores)
def test_a_constant_added_to_all_rewards_changes_no_comparison(a: float, b: float, constant: float) -> None:
    for c in (constant, 1e4):
        torch.testing.assert_close(
            bradley_terry(t(a + c), t(b + c)), bradley_terry(t(a), t(b)), atol=1e-9, rtol=1e-9
        )
        row = t(a, b, 0.0)[None]
        torch.testing.assert_close(plackett_luce(row + c), plackett_luce(row), atol=1e-9, rtol=1e-9)
        ranks = torch.tensor([[1, 3, 2]])
        torch.testing.assert_close(k_wise(row + c, ranks), k_wise(row, ranks), atol=1e-9, rtol=1e-9)


@given(scores, scores, scores, scores)
def test_margin_zero_and_certain_labels_are_the_plain_loss(a: float, b: float, c: float, d: float) -> None:
    plain = bradley_terry(t(a, c), t(b, d))
    torch.testing.assert_close(bradley_terry(t(a, c), t(b, d), margin=t(0.0, 0.0)), plain)
    torch.testing.assert_close(soft_bradley_terry(t(a, c), t(b, d), t(1.0, 1.0)), plain)
    torch.testing.assert_close(soft_bradley_terry(t(b, d), t(a, c), t(0.0, 0.0)), plain)
    wide = bradley_terry(t(a), t(b), margin=0.5)
    torch.testing.assert_close(soft_bradley_terry(t(a), t(b), t(1.0), margin=0.5), wide)


@given(st.lists(scores, min_size=5, max_size=5), st.permutations(range(5)))
def test_k_wise_is_the_mean_over_the_pairs_of_each_prompt(row: list[float], order: list[int]) -> None:
    """Against a loop; and in whatever order the responses stand."""
    rewards, ranks = t(*row), torch.tensor([3, 1, 5, 2, 4])
    pairs = [
        bradley_terry(rewards[i : i + 1], rewards[j : j + 1])
        for i, j in itertools.permutations(range(5), 2)
        if ranks[i] < ranks[j]
    ]
    assert len(pairs) == 10
    expected = torch.stack(pairs).mean()[None]
    torch.testing.assert_close(k_wise(rewards[None], ranks[None]), expected)
    torch.testing.assert_close(k_wise(rewards[order][None], ranks[order][None]), expected)


def test_two_responses_are_one_comparison() -> None:
    pair, ranks = torch.stack((t(2.0, 0.5), t(-1.0, 3.0))), torch.tensor([[1, 2], [1, 2]])
    expected = bradley_terry(pair[:, 0], pair[:, 1])
    torch.testing.assert_close(k_wise(pair, ranks), expected)
    torch.testing.assert_close(plackett_luce(pair), expected)


def test_every_prompt_counts_once_whatever_its_k() -> None:
    """Nine responses make 36 pairs and four make 6: each prompt is still one number, its own mean."""
    generator = torch.Generator().manual_seed(0)
    nine = torch.randn(1, 9, generator=generator, dtype=torch.float64)
    four = torch.cat((nine[:, :4], torch.full((1, 5), float("nan"), dtype=torch.float64)), 1)
    both, ranks = torch.cat((nine, four)).requires_grad_(), torch.arange(9).expand(2, 9)
    mask = torch.tensor([[True] * 9, [True] * 4 + [False] * 5])
    each = k_wise(both, ranks, mask=mask)
    torch.testing.assert_close(each[0:1], k_wise(nine, ranks[:1]))
    torch.testing.assert_close(each[1:2], k_wise(nine[:, :4], ranks[:1, :4]))
    slope = torch.autograd.grad(each.sum(), both)[0]
    assert (slope[1, 4:] == 0).all(), "what was not ranked sends no gradient, NaN or not"
    assert slope.isfinite().all()


def test_ties_count_half_for_either_side() -> None:
    rewards = t(2.0, 0.5)[None]
    half = 0.5 * (bradley_terry(t(2.0), t(0.5)) + bradley_terry(t(0.5), t(2.0)))
    torch.testing.assert_close(k_wise(rewards, torch.tensor([[1, 1]])), half)


def test_margin_stretches_the_gap_as_the_quadratic_says() -> None:
    """Rest of p log s(g-m) + (1-p) log s(-g-m): x = e^g solves (1-p) x^2 + (1-2p) e^m x - p = 0."""
    for p, m in itertools.product((0.6, 0.75, 0.9), (0.0, 1.0, 3.0)):
        a = math.exp(m)
        x = ((2 * p - 1) * a + math.sqrt((2 * p - 1) ** 2 * a**2 + 4 * p * (1 - p))) / (2 * (1 - p))
        gap = math.log(x)
        slope = gradient(lambda g, p=p, m=m: soft_bradley_terry(g, t(0.0), t(p), margin=m), t(gap))
        assert abs(slope.item()) < 1e-12
        assert gap >= math.log(p / (1 - p)) - 1e-12  # inflated, never shrunk: a plus would shrink it
        assert m == 0 or gap > math.log(p / (1 - p)) + 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("extreme", [1e4, -1e4])
def test_stable_at_extremes(extreme: float, dtype: torch.dtype) -> None:
    a, b = torch.full((1,), extreme, dtype=dtype), torch.zeros(1, dtype=dtype)
    lost = max(0.0, -extreme)
    for each, value in (
        (bradley_terry(a, b), lost),
        (bradley_terry(a, b, margin=3.0), lost + 3 * (extreme < 0)),
        (soft_bradley_terry(a, b, torch.tensor([0.25], dtype=dtype)), 0.75e4 if extreme > 0 else 0.25e4),
        (plackett_luce(torch.stack((a, b), 1)), lost),
        (k_wise(torch.stack((a, b), 1), torch.tensor([[1, 2]])), lost),
    ):
        assert each.dtype == dtype
        assert each.item() == pytest.approx(value, rel=1e-6)
    slope = gradient(lambda r: bradley_terry(r[:1], r[1:]), torch.cat((a, b)))
    torch.testing.assert_close(slope, torch.tensor([-1.0, 1.0], dtype=dtype) * (extreme < 0))
    for order in ([0, 1, 2], [2, 1, 0]):
        row = torch.tensor([[1e4, 0.0, -1e4]], dtype=dtype)[:, order]
        found = gradient(plackett_luce, row)
        expected = [0.0, 0.0, 0.0] if order[0] == 0 else [-1.0, -1.0, 2.0]
        torch.testing.assert_close(found, torch.tensor([expected], dtype=dtype))


# what all of them promise: with how many arguments of which shape they are called

CALLS: dict[str, tuple[Callable[..., Tensor], int, tuple[int, ...]]] = {
    "bradley_terry": (bradley_terry, 2, (4,)),
    "soft_bradley_terry": (soft_bradley_terry, 3, (4,)),
    "k_wise": (k_wise, 2, (4, 3)),
    "plackett_luce": (plackett_luce, 1, (4, 3)),
    "pointwise": (pointwise, 2, (4,)),
    "centring": (centring, 2, (4,)),
    "segment_preference": (segment_preference, 3, (4,)),
}


def test_the_list_of_losses_is_complete() -> None:
    of_scores = {
        n for n in losses.__all__ if getattr(losses, n).__module__.endswith((".reward", ".segments"))
    }
    assert of_scores == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_one_number_for_each_comparison_in_the_dtype_that_came(name: str, dtype: torch.dtype) -> None:
    loss, arguments, shape = CALLS[name]
    each = loss(*(torch.full(shape, 0.5, dtype=dtype) for _ in range(arguments)))
    assert (each.dtype, each.shape) == (dtype, shape[:1])


@pytest.mark.parametrize("name", [n for n, (_, arguments, _) in CALLS.items() if arguments > 1])
def test_broadcasting_is_refused(name: str) -> None:
    loss, arguments, shape = CALLS[name]
    for i in range(arguments):
        for wrong in ((), shape[1:] or (1,), (1, *shape), (*shape, 1), (shape[0] + 1, *shape[1:])):
            tensors = [torch.full(shape, 0.5) for _ in range(arguments)]
            tensors[i] = torch.full(wrong, 0.5)
            with pytest.raises(ValueError, match=f"{name}: .*shapes? "):
                loss(*tensors)


def test_a_missing_rank_is_not_the_last_place() -> None:
    ranks = torch.tensor([[1.0, float("nan"), 2.0]])
    with pytest.raises(ValueError, match=r"k_wise: ranks must be finite, got nan at \[0, 1\]"):
        k_wise(torch.zeros(1, 3), ranks)
    real = torch.tensor([[True, False, True]])
    torch.testing.assert_close(k_wise(torch.zeros(1, 3), ranks, mask=real), torch.tensor([2.0]).log())
