"""Masked reductions equal plain ones on what is left after cutting the rest away."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rlbase.losses import k3, ppo_clip, reinforce, value_clipped, value_mse
from rlbase.masked import fill_unchosen, last_choice, masked_mean, masked_sum, masked_whiten
from rlbase.rewards import kl_shaped, place_on_last_action

NAN = float("nan")
X = torch.tensor([[1.0, 2.0, 9.0], [4.0, 9.0, 9.0], [9.0, 9.0, 9.0]], dtype=torch.float64)
MASK = torch.tensor([[True, True, False], [True, False, False], [False, False, False]])


@st.composite
def masked_tensors(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    rows, columns, seed = draw(st.integers(1, 5)), draw(st.integers(1, 6)), draw(st.integers(0, 9999))
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(rows, columns, generator=generator) < draw(st.floats(0.2, 1))
    mask[0, 0] = True
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64), mask


def test_means_by_hand() -> None:
    assert masked_mean(X, MASK).item() == pytest.approx(7 / 3)  # (1 + 2 + 4) / 3 choices
    assert masked_mean(X, MASK, reduce="sequence").item() == pytest.approx(
        2.75
    )  # (1.5 + 4) / 2 rows that chose
    assert masked_mean(X, MASK, reduce=5).item() == pytest.approx(7 / 15)  # 7 / (3 rows * 5)
    assert masked_sum(X, MASK).tolist() == [3, 4, 0]


def test_whitening_by_hand() -> None:
    # 1, 2, 4: mean 7/3, sample variance (16/9 + 1/9 + 25/9) / 2 = 7/3
    std = (7 / 3) ** 0.5
    expected = torch.tensor([(1 - 7 / 3) / std, (2 - 7 / 3) / std, (4 - 7 / 3) / std], dtype=torch.float64)
    torch.testing.assert_close(masked_whiten(X, MASK)[MASK], expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(
        masked_whiten(X, MASK, shift_mean=False)[MASK], expected + 7 / 3, rtol=1e-6, atol=0
    )
    assert not masked_whiten(X, MASK)[~MASK].any()
    assert (
        masked_whiten(torch.ones(1, 1), torch.ones(1, 1).bool()).item() == 0
    )  # one choice: no spread, no NaN
    assert not masked_whiten(torch.full((1, 4), 0.1), torch.ones(1, 4).bool()).abs().gt(1e-3).any()


@given(masked_tensors())
def test_masked_is_sliced(pair: tuple[Tensor, Tensor]) -> None:
    x, mask = pair
    rows = [row[kept] for row, kept in zip(x, mask, strict=True)]
    every = torch.cat(rows)
    torch.testing.assert_close(masked_mean(x, mask), every.mean())
    means = torch.stack([row.mean() for row in rows if len(row)])
    torch.testing.assert_close(masked_mean(x, mask, reduce="sequence"), means.mean())
    torch.testing.assert_close(masked_mean(x, mask, reduce=7.0), every.sum() / 7 / len(x))
    torch.testing.assert_close(masked_sum(x, mask), torch.stack([row.sum() for row in rows]))
    if len(every) > 1:
        white = (every - every.mean()) / (every.std() + 1e-8)
        torch.testing.assert_close(masked_whiten(x, mask)[mask], white)
    last = last_choice(mask)
    for row, kept, ends in zip(x, mask, last, strict=True):
        assert row[ends].tolist() == row[kept].tolist()[-1:]


@given(masked_tensors(), st.sampled_from([NAN, float("inf"), 1e30]))
def test_garbage_under_the_mask_moves_neither_number_nor_gradient(
    pair: tuple[Tensor, Tensor], junk: float
) -> None:
    x, mask = pair
    spoilt = torch.where(mask, x, junk)
    for reduce in ("token", "sequence", 3.0):
        clean, dirty = x.clone().requires_grad_(), spoilt.clone().requires_grad_()
        a, b = masked_mean(clean, mask, reduce=reduce), masked_mean(dirty, mask, reduce=reduce)
        assert torch.equal(a, b)
        assert torch.equal(torch.autograd.grad(a, clean)[0], torch.autograd.grad(b, dirty)[0])
    assert torch.equal(masked_sum(x, mask), masked_sum(spoilt, mask))
    assert torch.equal(masked_whiten(x, mask), masked_whiten(spoilt, mask))


@given(masked_tensors(), st.sampled_from([NAN, float("inf"), -float("inf"), 1e30]))
def test_filling_before_a_loss_keeps_garbage_out_of_the_gradient(
    pair: tuple[Tensor, Tensor], junk: float
) -> None:
    x, mask = pair
    other = x.flip(0).flip(1)
    for loss in (
        lambda logp: ppo_clip(logp, other, other),
        lambda logp: reinforce(logp, other),
        lambda logp: k3(logp, other),
        lambda values: value_mse(values, other),
        lambda values: value_clipped(values, other, other),
    ):
        found = []
        for leaf in (x.clone().requires_grad_(), torch.where(mask, x, junk).requires_grad_()):
            total = masked_mean(loss(fill_unchosen(leaf, mask, other)), mask)
            found.append((total, torch.autograd.grad(total, leaf)[0]))
        assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_is_kept(dtype: torch.dtype) -> None:
    x = X.to(dtype)
    outcomes = [masked_sum(x, MASK), masked_whiten(x, MASK), fill_unchosen(x, MASK)]
    outcomes += [masked_mean(x, MASK, reduce=reduce) for reduce in ("token", "sequence", 2.0)]
    assert {outcome.dtype for outcome in outcomes} == {dtype}


# rewards


def test_the_score_is_paid_on_the_last_choice() -> None:
    mask = torch.tensor([[True, True, False], [True, True, True], [True, False, True]])
    expected = [[0, 1, 0], [0, 0, 2], [0, 0, 3]]
    assert place_on_last_action(torch.tensor([1.0, 2.0, 3.0]), mask).tolist() == expected


def test_kl_in_the_reward_by_hand() -> None:
    # 1 - .5 * (-1 + 3) = 0; 2 - .5 * (-2 + 1) = 2.5; the third is no choice and keeps its 7
    rewards = torch.tensor([[1.0, 2.0, 7.0]])
    logp = torch.tensor([[-1.0, -2.0, NAN]], requires_grad=True)
    shaped = kl_shaped(
        rewards, logp, torch.tensor([[-3.0, -1.0, NAN]]), torch.tensor([[True, True, False]]), beta=0.5
    )
    assert shaped.tolist() == [[0.0, 2.5, 7.0]]
    assert not shaped.requires_grad  # inside the reward k1 is right, through it a gradient would be wrong


@given(masked_tensors())
def test_summed_charges_are_the_log_ratio_of_the_row(pair: tuple[Tensor, Tensor]) -> None:
    logp, mask = pair
    shaped = kl_shaped(torch.zeros_like(logp), logp, logp.flip(1), mask, beta=0.3)
    expected = -0.3 * masked_sum(logp - logp.flip(1), mask)
    torch.testing.assert_close(masked_sum(shaped, mask), expected)


def test_sequence_gradient_needs_the_charges_of_later_steps() -> None:
    """Two tokens, all four strings enumerated: reward-to-go of the charges gives the exact gradient of -KL."""
    generator = torch.Generator().manual_seed(3)
    theta = torch.randn(
        3, 2, generator=generator, dtype=torch.float64
    ).requires_grad_()  # first; after 0; after 1
    ref = torch.randn(3, 2, generator=generator, dtype=torch.float64).log_softmax(1)
    table = theta.log_softmax(1)
    strings = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    states = torch.stack((torch.zeros(4, dtype=torch.long), 1 + strings[:, 0]), 1)
    logp, ref_logp = table[states, strings], ref[states, strings]
    odds = logp.sum(1).detach().exp()
    exact = torch.autograd.grad(
        (logp.sum(1).exp() * (logp - ref_logp).sum(1)).sum(), theta, retain_graph=True
    )[0]
    charges = -kl_shaped(torch.zeros(4, 2), logp, ref_logp, torch.ones(4, 2).bool(), beta=1.0)
    to_go = charges.flip(1).cumsum(1).flip(1)
    right = torch.autograd.grad((odds[:, None] * logp * to_go).sum(), theta, retain_graph=True)[0]
    wrong = torch.autograd.grad((odds[:, None] * logp * charges).sum(), theta)[0]
    torch.testing.assert_close(right, exact)
    assert not torch.allclose(wrong, exact, rtol=0.1)
