"""Advantages against brute force: sums of k-step advantages per episode, enumerated groups."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlbase.advantages import discounted_returns, gae, group_normalised, leave_one_out
from rlbase.envs import chain
from rlbase.policies import TabularPolicy
from rlbase.rollout import rollout
from rlbase.train.common import estimate_advantages
from rlbase.types import Rollout

B4_REF = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
B4_REWARD = torch.tensor([0.0, 1.0, 0.5, 2.0], dtype=torch.float64)


def brute_force_gae(
    rewards: list[float], values: list[float], terminated: bool, gamma: float, lam: float
) -> list[float]:
    """One episode, by the definition: (1 - lam) sum_k lam^(k-1) A^(k), the longest taking all remaining weight.

    ``values`` has one entry more than ``rewards``, that of the final observation.
    """
    worth = [*values[:-1], 0.0 if terminated else values[-1]]
    steps, found = len(rewards), []
    for t in range(steps):
        total = 0.0
        for k in range(1, steps - t + 1):
            k_step = sum(gamma**i * rewards[t + i] for i in range(k)) + gamma**k * worth[t + k] - worth[t]
            total += (lam ** (k - 1) if t + k == steps else (1 - lam) * lam ** (k - 1)) * k_step
        found.append(total)
    return found


@st.composite
def streams(draw: st.DrawFn) -> dict[str, Tensor]:
    """Rows of episodes that terminate, are truncated, or are still running, each followed by its reset column."""
    rows, columns, seed = draw(st.integers(1, 3)), draw(st.integers(1, 14)), draw(st.integers(0, 99_999))
    generator = torch.Generator().manual_seed(seed)
    ends = torch.rand(rows, columns, generator=generator)
    terminated = ends < draw(st.floats(0, 0.4))
    truncated = (ends > 1 - draw(st.floats(0, 0.4))) & ~terminated
    mask = torch.ones(rows, columns, dtype=torch.bool)
    for row in range(rows):
        for t in range(columns - 1):
            if (terminated | truncated)[row, t]:
                mask[row, t + 1] = False
                terminated[row, t + 1] = truncated[row, t + 1] = False
    rewards = torch.randn(rows, columns, generator=generator, dtype=torch.float64) * mask
    values = torch.randn(rows, columns + 1, generator=generator, dtype=torch.float64)
    return {
        "rewards": rewards,
        "values": values,
        "terminated": terminated,
        "truncated": truncated,
        "mask": mask,
    }


def episodes(stream: dict[str, Tensor], row: int) -> list[tuple[int, int]]:
    """Half-open spans of columns, one for each episode or part of one."""
    ended, mask = (stream["terminated"] | stream["truncated"])[row], stream["mask"][row]
    spans, start = [], None
    for t in range(len(mask)):
        if mask[t] and start is None:
            start = t
        if start is not None and (ended[t] or t == len(mask) - 1):
            spans.append((start, t + 1))
            start = None
    return spans


@settings(max_examples=60)
@given(streams(), st.sampled_from([0.0, 0.3, 0.95, 1.0]), st.sampled_from([0.0, 0.5, 0.99, 1.0]))
def test_gae_is_the_weighted_sum_of_k_step_advantages(
    stream: dict[str, Tensor], lam: float, gamma: float
) -> None:
    discounts = gamma * (~stream["terminated"]).double()
    found = gae(stream["rewards"], stream["values"], discounts, stream["mask"], lam=lam)
    expected = torch.zeros_like(found)
    for row in range(len(found)):
        for start, stop in episodes(stream, row):
            rewards = stream["rewards"][row, start:stop].tolist()
            values = stream["values"][row, start : stop + 1].tolist()
            over = bool(stream["terminated"][row, stop - 1])
            expected[row, start:stop] = torch.tensor(brute_force_gae(rewards, values, over, gamma, lam))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@settings(max_examples=40)
@given(streams(), st.sampled_from([0.5, 0.99, 1.0]))
def test_reward_to_go_stops_where_an_episode_stops(stream: dict[str, Tensor], gamma: float) -> None:
    empty = torch.zeros_like(stream["mask"], dtype=torch.long)
    flags = (stream["terminated"], stream["truncated"], stream["mask"])
    batch = Rollout(empty, empty, empty.double(), stream["rewards"], *flags)
    _, returns = estimate_advantages(
        batch, stream["rewards"], None, "returns", gamma=gamma, lam=1.0, group_size=1
    )
    for row in range(len(returns)):
        for start, stop in episodes(stream, row):
            for t in range(start, stop):
                by_hand = sum(gamma ** (u - t) * stream["rewards"][row, u].item() for u in range(t, stop))
                assert returns[row, t].item() == pytest.approx(by_hand, abs=1e-9)


def test_gae_by_hand() -> None:
    # gamma .5, lam .5, r = (1, 2), V = (1, 3, 4), running on: delta_1 = 2 + .5 * 4 - 3 = 1,
    # delta_0 = 1 + .5 * 3 - 1 = 1.5, A_0 = 1.5 + .25 * 1 = 1.75
    rewards, mask = torch.tensor([[1.0, 2.0]]), torch.tensor([[True, True]])
    values = torch.tensor([[1.0, 3.0, 4.0]])
    discounts = torch.tensor([[0.5, 0.5]])
    assert gae(rewards, values, discounts, mask, lam=0.5).tolist() == [[1.75, 1.0]]
    # terminated after the second: delta_1 = 2 - 3 = -1, A_0 = 1.5 - .25
    assert gae(rewards, values, torch.tensor([[0.5, 0.0]]), mask, lam=0.5).tolist() == [[1.25, -1.0]]


@given(streams(), st.sampled_from([0.9, 1.0]))
def test_gae_at_the_two_ends_of_lambda(stream: dict[str, Tensor], gamma: float) -> None:
    rewards, values, mask = stream["rewards"], stream["values"], stream["mask"]
    discounts = gamma * (~stream["terminated"]).double()
    error = (rewards + discounts * values[:, 1:] - values[:, :-1]) * mask
    torch.testing.assert_close(gae(rewards, values, discounts, mask, lam=0.0), error)
    zero = torch.zeros_like(values)
    to_go = discounted_returns(rewards, discounts * mask)
    torch.testing.assert_close(gae(rewards, zero, discounts, mask, lam=1.0), to_go * mask)


@given(streams())
def test_what_lies_outside_the_mask_or_beyond_an_end_moves_no_advantage(stream: dict[str, Tensor]) -> None:
    rewards, values, mask = stream["rewards"], stream["values"], stream["mask"]
    discounts = 0.9 * (~stream["terminated"]).double()
    clean = gae(rewards, values, discounts, mask, lam=0.95)
    # The value of a column matters when it is a choice, or the final observation of a truncated episode.
    used = torch.zeros_like(values, dtype=torch.bool)
    used[:, :-1] |= mask
    used[:, 1:] |= mask & ~stream["terminated"]
    junk = float("nan")
    dirty = gae(torch.where(mask, rewards, junk), torch.where(used, values, junk), discounts, mask, lam=0.95)
    assert torch.equal(clean, dirty)


def test_truncation_bootstraps_and_termination_does_not_in_a_real_world() -> None:
    """Independent of the vector code: every row of a chain's rollout, cut into episodes, against brute force."""
    world = chain(5, slip=0.3, time_limit=3, batch_size=6)
    batch = rollout(TabularPolicy(5, 2), world, steps=40, generator=torch.Generator().manual_seed(0))
    assert batch.terminated.any() and batch.truncated.any()
    worth = torch.tensor([10.0, 20.0, 30.0, 40.0, 50.0])[batch.obs]
    advantages, returns = estimate_advantages(
        batch, batch.rewards, worth, "gae", gamma=0.9, lam=0.8, group_size=1
    )
    stream = {"terminated": batch.terminated, "truncated": batch.truncated, "mask": batch.mask}
    for row in range(6):
        for start, stop in episodes(stream, row):
            rewards, values = batch.rewards[row, start:stop].tolist(), worth[row, start : stop + 1].tolist()
            by_hand = brute_force_gae(rewards, values, bool(batch.terminated[row, stop - 1]), 0.9, 0.8)
            assert advantages[row, start:stop].tolist() == pytest.approx(by_hand, rel=1e-5, abs=1e-5)
            expected = [a + v for a, v in zip(by_hand, values, strict=False)]
            assert returns[row, start:stop].tolist() == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_returns_by_hand() -> None:
    # 4; 2 + 0 * 4 (an end); 1 + .5 * 2
    found = discounted_returns(torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[0.5, 0.0, 0.5]]))
    assert found.tolist() == [[2.0, 2.0, 4.0]]


def test_whole_numbered_rewards_are_not_rounded() -> None:
    found = discounted_returns(torch.tensor([[1, 1]]), torch.tensor([[0.5, 0.0]]))
    assert found.tolist() == [[1.5, 1.0]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_is_kept(dtype: torch.dtype) -> None:
    x, mask = torch.ones(2, 3, dtype=dtype), torch.ones(2, 3, dtype=torch.bool)
    found = [discounted_returns(x, x), gae(x, torch.ones(2, 4, dtype=dtype), x, mask, lam=0.9)]
    found += [group_normalised(x), leave_one_out(x)]
    assert {f.dtype for f in found} == {dtype}


# groups


def test_group_advantages_by_hand() -> None:
    # 0, 1, 5: mean 2; others' means 3, 2.5, .5
    rewards = torch.tensor([[0.0, 1.0, 5.0]], dtype=torch.float64)
    assert leave_one_out(rewards).tolist() == [[-3.0, -1.5, 4.5]]
    # sample variance (4 + 1 + 9) / 2 = 7, population 14 / 3
    expected = [-2 / (7**0.5 + 1e-4), -1 / (7**0.5 + 1e-4), 3 / (7**0.5 + 1e-4)]
    assert group_normalised(rewards)[0].tolist() == pytest.approx(expected, rel=1e-6)
    scale = (14 / 3) ** 0.5 + 1e-2
    halos = group_normalised(rewards, ddof=0, eps=1e-2)
    assert halos[0].tolist() == pytest.approx([-2 / scale, -1 / scale, 3 / scale], rel=1e-6)
    assert not group_normalised(torch.ones(2, 4)).any()  # nothing to tell apart, and no NaN
    two = torch.tensor([[0.0, 1.0], [10.0, 30.0]])
    assert leave_one_out(two).tolist() == [[-1.0, 1.0], [-20.0, 20.0]]  # groups do not see each other


@given(st.lists(st.lists(st.floats(-5, 5), min_size=4, max_size=4), min_size=1, max_size=3), st.floats(-3, 3))
def test_group_advantages_do_not_feel_a_shift(rows: list[list[float]], shift: float) -> None:
    rewards = torch.tensor(rows, dtype=torch.float64)
    for rule in (leave_one_out, group_normalised):
        torch.testing.assert_close(rule(rewards + shift), rule(rewards), atol=1e-6, rtol=1e-6)
    brute = [[r - (sum(row) - r) / 3 for r in row] for row in rows]
    torch.testing.assert_close(
        leave_one_out(rewards), torch.tensor(brute, dtype=torch.float64), atol=1e-9, rtol=0
    )
    assert group_normalised(rewards).sum(1).abs().max() < 1e-6


@pytest.mark.parametrize("size", [2, 3, 4])
def test_leave_one_out_is_unbiased_over_every_group(size: int) -> None:
    """All groups of B4: leaving oneself out gives the exact gradient, including oneself 1 - 1/G of it."""
    theta = B4_REF.log().requires_grad_()
    exact = torch.autograd.grad((theta.softmax(0) * B4_REWARD).sum(), theta)[0]
    groups = torch.tensor(list(product(range(4), repeat=size)))
    odds = B4_REF[groups].prod(1)
    logp = theta.log_softmax(0)[groups]
    rewards = B4_REWARD[groups]
    for advantages, share in (
        (leave_one_out(rewards), 1.0),
        (rewards - rewards.mean(1, keepdim=True), 1 - 1 / size),
        (rewards, 1.0),
    ):
        estimate = (odds * (logp * advantages).mean(1)).sum()
        gradient = torch.autograd.grad(estimate, theta, retain_graph=True)[0]
        torch.testing.assert_close(gradient, share * exact)
    estimate = (odds * (logp * group_normalised(rewards)).mean(1)).sum()
    scaled = torch.autograd.grad(estimate, theta)[0]
    assert not torch.allclose(
        scaled / scaled.norm(), exact / exact.norm(), rtol=1e-3
    )  # GRPO's is another direction
