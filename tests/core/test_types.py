"""Choices and pairs of them: cutting off and filling up columns changes nothing that counts."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlbase.policies import random_policy
from rlbase.types import Choices, PreferencePairs, Prompt, RewardModel


def text(prompts: list[list[int]], responses: list[list[int]], *, left: int = 0, right: int = 0) -> Choices:
    """Rows by hand, with ``left`` and ``right`` columns more than the longest row needs."""
    before, after = max(map(len, prompts)) + left, max(map(len, responses)) + right
    ids = torch.tensor([[0] * (before - len(p)) + p for p in prompts])
    real = torch.tensor([[False] * (before - len(p)) + [True] * len(p) for p in prompts])
    actions = torch.tensor([r + [0] * (after - len(r)) for r in responses])
    mask = torch.tensor([[True] * len(r) + [False] * (after - len(r)) for r in responses])
    return Choices(Prompt(ids, real), actions, mask)


TOKENS = st.lists(st.integers(0, 3), min_size=1, max_size=4)
ROWS = st.lists(st.tuples(TOKENS, TOKENS, TOKENS), min_size=1, max_size=4)


def same(one: Choices, two: Choices) -> bool:
    assert isinstance(one.obs, Prompt) and isinstance(two.obs, Prompt)
    pairs = zip(parts(one), parts(two), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def parts(x: Choices) -> tuple[torch.Tensor, ...]:
    assert isinstance(x.obs, Prompt)
    return x.obs.ids, x.obs.mask, x.actions, x.mask


def unpadded(x: Choices) -> list[tuple[list[int], list[int]]]:
    """What each row says, padding left out: token 0 is a real token here, only the masks can tell."""
    ids, real, actions, mask = parts(x)
    return [(ids[i][real[i]].tolist(), actions[i][mask[i]].tolist()) for i in range(len(x))]


@given(ROWS, st.integers(0, 3), st.integers(0, 3))
def test_trimming_takes_padding_and_nothing_else(
    rows: list[tuple[list[int], list[int], list[int]]], left: int, right: int
) -> None:
    prompts, responses, _ = map(list, zip(*rows, strict=True))
    wide = text(prompts, responses, left=left, right=right)
    assert same(wide.trimmed(), text(prompts, responses))
    assert unpadded(wide.trimmed()) == list(zip(prompts, responses, strict=True))


def test_trimming_does_not_change_what_a_language_model_says() -> None:
    policy = random_policy("gpt2", vocab_size=5, initializer_range=0.5)
    wide = text([[0, 3], [2]], [[1, 0], [4, 2, 0]], left=3, right=2)
    small = wide.trimmed()
    assert isinstance(wide.obs, Prompt) and isinstance(small.obs, Prompt)
    assert small.obs.ids.shape == (2, 2) and small.actions.shape == (2, 3)
    long, _ = policy.evaluate(wide.obs, wide.actions)
    short, _ = policy.evaluate(small.obs, small.actions)
    torch.testing.assert_close(short[small.mask], long[wide.mask], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("extra", [0, 1])
def test_trimming_keeps_the_observation_after_the_last_action(extra: int) -> None:
    """Behaviour: T or T + 1 observations; a gap in the middle (an autoreset) is no end."""
    mask = torch.tensor([[True, False, True, False], [True, False, False, False]])
    obs, actions = torch.arange(2 * (4 + extra)).view(2, -1), torch.arange(8).view(2, 4)
    small = Choices(obs, actions, mask, weight=torch.rand(2, 4)).trimmed()
    assert isinstance(small.obs, torch.Tensor) and small.weight is not None
    assert torch.equal(small.obs, obs[:, : 3 + extra]) and torch.equal(small.actions, actions[:, :3])
    assert small.mask.shape == small.weight.shape == (2, 3)


def test_one_column_stays_where_nothing_was_chosen() -> None:
    empty = Choices(Prompt(torch.zeros(1, 3).long(), torch.zeros(1, 3).bool()), *torch.zeros(2, 1, 4).bool())
    small = empty.trimmed()
    assert isinstance(small.obs, Prompt) and small.obs.ids.shape == (1, 1) and small.actions.shape == (1, 1)


@given(ROWS)
def test_joining_keeps_every_row(rows: list[tuple[list[int], list[int], list[int]]]) -> None:
    prompts, good, bad = map(list, zip(*rows, strict=True))
    pairs = PreferencePairs(text(prompts, good, left=2), text(prompts, bad))
    both = pairs.joined()
    assert len(both) == 2 * len(pairs)
    assert unpadded(both) == [*zip(prompts, good, strict=True), *zip(prompts, bad, strict=True)]
    assert isinstance(both.obs, Prompt) and bool(
        both.obs.mask[:, -1].all()
    )  # prompts still end in one column
    assert bool(both.mask[:, 0].all())  # and responses begin in the next


def test_joining_behaviour_and_weights() -> None:
    yes = torch.ones(1, 2).bool()
    long = Choices(torch.tensor([[1, 2, 3]]), torch.tensor([[4, 5]]), yes, weight=torch.tensor([[0.5, 2.0]]))
    short = Choices(torch.tensor([[6, 7]]), torch.tensor([[8]]), yes[:, :1])
    both = PreferencePairs(long, short).joined()
    assert isinstance(both.obs, torch.Tensor) and both.obs.tolist() == [[1, 2, 3], [6, 7, 0]]
    assert both.actions.tolist() == [[4, 5], [8, 0]] and both.mask.tolist() == [[True, True], [True, False]]
    assert both.weight is not None and both.weight[:, 0].tolist() == [0.5, 1.0]
    assert both.weight[0, 1] == 2.0
    with pytest.raises(TypeError, match="PreferencePairs: both sides must be text, or neither"):
        PreferencePairs(long, text([[1]], [[1]])).joined()


def test_pairs_are_picked_with_all_that_belongs_to_them() -> None:
    pairs = PreferencePairs(
        text([[1], [2], [3]], [[1], [2], [3]]),
        text([[1], [2], [3]], [[0], [0], [0]]),
        prob=torch.tensor([0.1, 0.2, 0.3]),
        margin=torch.tensor([1.0, 2.0, 3.0]),
    )
    for rows in (torch.tensor([2, 0]), [2, 0], torch.tensor([True, False, True])):
        some = pairs[rows]
        first = [3, 1] if some.chosen.actions[0] == 3 else [1, 3]
        assert some.chosen.actions[:, 0].tolist() == first and some.rejected.actions.tolist() == [[0], [0]]
        assert some.prob is not None and some.margin is not None
        assert some.margin.tolist() == first and torch.allclose(some.prob * 10, some.margin)
    bare = PreferencePairs(pairs.chosen, pairs.rejected)[1:].to("cpu")
    assert bare.prob is None and bare.margin is None and len(bare) == 2
    assert pairs.to("cpu").prob is not None


def test_pairs_that_do_not_fit() -> None:
    three, two = text([[1], [2], [3]], [[1], [2], [3]]), text([[1], [2]], [[1], [2]])
    with pytest.raises(ValueError, match="PreferencePairs: as many rejected as chosen, got 3 and 2"):
        PreferencePairs(three, two)
    with pytest.raises(ValueError, match=r"PreferencePairs: prob must have shape \[3\], got \[3, 1\]"):
        PreferencePairs(three, three, prob=torch.ones(3, 1))
    with pytest.raises(ValueError, match=r"PreferencePairs: margin must have shape \[3\], got \[2\]"):
        PreferencePairs(three, three, margin=torch.ones(2))


def test_a_reward_model_is_whatever_scores() -> None:
    class Length:
        def score(self, obs: Prompt, actions: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return mask.sum(1).float()

    assert isinstance(Length(), RewardModel) and not isinstance(random_policy("gpt2"), RewardModel)
