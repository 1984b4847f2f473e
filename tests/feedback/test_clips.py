"""Clips: cut from anywhere, never across a reset; comparisons: kept, counted, saved."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rlbase.envs import TextEnv, chain, garden
from rlbase.envs.text import CharTokenizer
from rlbase.feedback import Comparisons, cut
from rlbase.policies import TabularPolicy, random_policy
from rlbase.rollout import rollout
from rlbase.types import Choices, Rollout


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def walked(steps: int = 60) -> Rollout:
    """A walk whose observation is its own column number, so that a clip tells where it was cut."""
    batch = rollout(TabularPolicy(5, 2), chain(5, time_limit=9), steps=steps, generator=seeded())
    columns = torch.arange(batch.obs.shape[1]).expand_as(batch.obs)  # type: ignore[union-attr]
    return replace(batch, obs=columns, rewards=10.0 ** columns[:, :-1].remainder(3).float())


def test_clips_are_consecutive_and_all_their_steps_are_choices() -> None:
    batch = walked()
    clips = cut(batch, 4, 500, generator=seeded(1))
    obs = clips.choices.obs
    assert isinstance(obs, torch.Tensor) and obs.shape == (500, 5)
    assert (obs.diff(dim=1) == 1).all() and clips.choices.mask.all()
    torch.testing.assert_close(clips.paid, (10.0 ** obs[:, :-1].remainder(3).float()).sum(1))


def test_every_place_is_drawn_and_none_across_a_reset() -> None:
    batch = walked(40)
    places = {
        (row, t) for row in range(len(batch.mask)) for t in range(37) if batch.mask[row, t : t + 4].all()
    }
    marked = replace(batch, obs=batch.obs + 1000 * torch.arange(len(batch.mask))[:, None])  # type: ignore[operator]
    clips = cut(marked, 4, 20_000, generator=seeded(2))
    starts = clips.choices.obs[:, 0]  # type: ignore[index]
    found = {(int(s) // 1000, int(s) % 1000) for s in starts}
    assert found == places and len(places) < batch.mask.shape[0] * 37
    counts = torch.tensor([(starts == 1000 * r + t).sum() for r, t in sorted(places)]).float()
    mean = 20_000 / len(places)
    assert ((counts - mean).abs() < 5 * mean**0.5).all()


def test_an_episode_may_end_on_the_last_step_of_a_clip() -> None:
    batch = rollout(TabularPolicy(3, 2), chain(3), steps=30, generator=seeded())  # every episode is one step
    clips = cut(batch, 1, 50, generator=seeded())
    assert set(clips.choices.obs[:, 1].tolist()) == {0, 2}  # type: ignore[index]
    with pytest.raises(ValueError, match="no episode in this rollout lasts for 2 choices"):
        cut(batch, 2, 1, generator=seeded())


def test_no_clips_of_text() -> None:
    text = TextEnv(["a"], CharTokenizer("ab"), lambda p, r: [0.0] * len(p), max_new_tokens=3, batch_size=2)
    batch = rollout(random_policy("gpt2", vocab_size=3), text, generator=seeded())
    with pytest.raises(TypeError, match="compare whole responses"):
        cut(batch, 1, 1, generator=seeded())


def some(n: int, length: int = 3, seed: int = 0) -> Choices:
    batch = rollout(TabularPolicy(9, 4), garden(torch.zeros(3, 3)), steps=20, generator=seeded(seed))
    return cut(batch, length, n, generator=seeded(seed)).choices


def test_comparisons_keep_what_was_said_and_drop_what_was_skipped() -> None:
    told = Comparisons(2)
    assert len(told) == 0
    one, two = some(3), some(3, seed=1)
    told.add(one, two, torch.tensor([1.0, float("nan"), 0.5]), generator=seeded())
    told.add(two[:1], one[:1], torch.tensor([0.0]), generator=seeded())
    assert len(told) == 3 and told.prob.tolist() == [1.0, 0.5, 0.0]
    assert torch.equal(told.first.obs, torch.cat([one.obs[[0, 2]], two.obs[:1]]))  # type: ignore[index]
    assert torch.equal(told.second.actions, torch.cat([two.actions[[0, 2]], one.actions[:1]]))


def test_the_bootstrap_is_poisson_and_can_be_left_out() -> None:
    told, all_of_them = Comparisons(4), Comparisons(4, bootstrap=False)
    clips = some(5000)
    told.add(clips, clips, torch.ones(5000), generator=seeded(3))
    all_of_them.add(clips, clips, torch.ones(5000), generator=seeded(3))
    n = told.counts.numel()
    assert abs(told.counts.mean().item() - 1) < 4 / n**0.5
    left_out = (told.counts == 0).float().mean().item()
    assert abs(left_out - 0.367879) < 4 * (0.3679 * 0.6321 / n) ** 0.5
    assert not torch.equal(told.counts[:, 0], told.counts[:, 1])
    assert (all_of_them.counts == 1).all()


def test_comparisons_survive_being_saved() -> None:
    told, again = Comparisons(3), Comparisons(3)
    told.add(some(4), some(4, seed=1), torch.tensor([1.0, 0.0, 0.5, 1.0]), generator=seeded())
    again.load_state(told.state())
    again.add(some(1), some(1, seed=1), torch.tensor([0.0]), generator=seeded())
    assert len(told) == 4 and len(again) == 5
    assert torch.equal(again.counts[:4], told.counts)
    with pytest.raises(ValueError, match="belongs to 3 members, here are 2"):
        Comparisons(2).load_state(told.state())
