"""Choosing among draws: the laws that come out, and fine-tuning on what was chosen."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rlbase import exact
from rlbase.envs import Bandit, CharTokenizer, GymEnv, TextEnv
from rlbase.policies import MLPPolicy, TabularPolicy, random_policy
from rlbase.train import RejectionConfig, accept, best_of_n, rejection_finetune, rejection_sampling
from rlbase.types import Discrete, Prompt

REF = torch.tensor([0.4, 0.3, 0.2, 0.1])
REWARD = torch.tensor([0.0, 1.0, 0.5, 2.0])
TOKENIZER = CharTokenizer("abc")
MANY = 100_000


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def four(prompts: int, reward: Tensor = REWARD) -> tuple[TabularPolicy, Bandit]:
    return TabularPolicy(1, 4, ref=REF), Bandit(reward, batch_size=prompts)


def frequencies(actions: Tensor) -> Tensor:
    return torch.bincount(actions.flatten(), minlength=4) / actions.numel()


def count_a(prompts: list[str], responses: list[str]) -> list[float]:
    return [float(text.count("a")) - 0.1 * len(text) for text in responses]


def text_world(**options: Any) -> TextEnv:
    return TextEnv(
        ["a", "bcb", "cc"], TOKENIZER, count_a, **{"max_new_tokens": 4, "batch_size": 3, **options}
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("reward", [[0.0, 1.0, 0.5, 2.0], [0.0, 1.0, 1.0, 0.0], [3.0, 3.0, 3.0, 3.0]])
def test_best_of_four_has_the_exact_law(seed: int, reward: list[float]) -> None:
    policy, bandit = four(MANY, torch.tensor(reward))
    found = best_of_n(policy, bandit, 4, generator=seeded(seed))
    law = exact.best_of_n(REF, torch.tensor(reward), 4)
    seen = frequencies(found.choices.actions)
    assert exact.total_variation(seen, law) < 0.01
    assert found.scores.shape == (MANY, 4) and found.kept.sum(1).eq(1).all()
    assert torch.equal(found.scores[found.kept], found.scores.max(1).values)
    assert torch.equal(found.scores[found.kept], torch.tensor(reward)[found.choices.actions[:, 0]])
    if reward[3] == 2:
        assert exact.kl(seen, REF) == pytest.approx(0.5825, abs=0.01)
        one = found.scores[:, 0].roll(1)  # an independent single draw
        wins = (found.scores.max(1).values > one).double() + 0.5 * (
            found.scores.max(1).values == one
        ).double()
        assert wins.mean().item() == pytest.approx(exact.win_rate(law, REF, REWARD), abs=0.005)


def test_best_of_n_wins_n_times_in_n_plus_one_without_ties() -> None:
    many = 250
    policy = TabularPolicy(1, many)
    bandit = Bandit(torch.randn(many, generator=seeded()), batch_size=30_000)
    for n in (2, 5):
        scores = best_of_n(policy, bandit, n, generator=seeded(n)).scores
        wins = (scores.max(1).values > scores[:, 0].roll(1)).double().mean().item()
        assert wins == pytest.approx(n / (n + 1), abs=0.01)  # .0028 is one standard error, ties cost .002


def test_every_context_is_repeated_in_its_own_group() -> None:
    rewards = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    found = best_of_n(TabularPolicy(2, 2), Bandit(rewards, batch_size=64), 16, generator=seeded())
    contexts = found.choices.obs[:, 0]  # type: ignore[index]
    assert set(contexts.tolist()) == {0, 1} and len(found.choices) == 64
    assert torch.equal(found.choices.actions[:, 0], 1 - contexts)  # 16 coins rarely miss the good side
    grouped = Bandit(rewards, batch_size=12, group_size=4)
    drawn = grouped.begin(seeded()).view(3, 4)
    assert torch.equal(drawn, drawn[:, :1].expand(3, 4))
    assert best_of_n(TabularPolicy(2, 2), grouped, 5, generator=seeded()).scores.shape == (3, 5)
    assert (grouped.batch_size, grouped.group_size, len(grouped.returns)) == (12, 4, 0)  # not touched


def test_text_comes_with_prompts_strings_and_scores() -> None:
    policy = random_policy("gpt2", vocab_size=4, initializer_range=0.3, hidden_size=16, layers=1)
    found = best_of_n(policy, text_world(), 8, generator=seeded())
    assert sorted(found.prompts) == ["a", "bcb", "cc"] and found.scores.shape == (3, 8)
    assert found.scores.max(1).values.tolist() == pytest.approx(count_a(found.prompts, found.responses))
    for row, (prompt, response) in enumerate(zip(found.prompts, found.responses, strict=True)):
        ids, kept = found.choices.actions[row], found.choices.mask[row]
        assert TOKENIZER.decode(ids[kept].tolist()).removesuffix(".") == response
        obs = found.choices.obs
        assert isinstance(obs, Prompt)
        assert TOKENIZER.decode(obs.ids[row][obs.mask[row]].tolist()) == prompt
    assert found.env_steps > int(found.choices.mask.sum())
    one = best_of_n(policy, text_world(max_new_tokens=1), 1, generator=seeded())
    assert one.choices.actions.shape == (3, 1) and one.kept.all()


@pytest.mark.parametrize("seed", range(3))
def test_accepted_draws_follow_the_optimum(seed: int) -> None:
    policy, bandit = four(80_000)
    found = rejection_sampling(policy, bandit, 10, beta=0.5, max_reward=2.0, generator=seeded(seed))
    assert found.kept.double().mean().item() == pytest.approx(0.158, rel=0.01)
    assert len(found.choices) == int(found.kept.sum()) > MANY
    optimum = exact.kl_optimum(REF, REWARD, beta=0.5)
    assert exact.total_variation(frequencies(found.choices.actions), optimum) < 0.01


@pytest.mark.parametrize("n", [1, 2, 8])
def test_an_estimated_maximum_accepts_too_much(n: int) -> None:
    policy, bandit = four(400_000 // n)
    found = rejection_sampling(policy, bandit, n, beta=0.5, generator=seeded(n))
    expected = exact.acceptance_rate(REF, REWARD, beta=0.5, draws=n)
    assert found.kept.double().mean().item() == pytest.approx(expected, rel=0.01)
    assert expected > 1.5 * exact.acceptance_rate(REF, REWARD, beta=0.5)
    seen = frequencies(found.choices.actions)
    assert exact.total_variation(seen, exact.rejection_law(REF, REWARD, beta=0.5, draws=n)) < 0.01
    assert exact.total_variation(seen, exact.kl_optimum(REF, REWARD, beta=0.5)) > 0.15


def test_a_running_maximum_is_the_average_over_how_many_were_seen() -> None:
    """The i-th draw is measured by the largest of i: the mean of the laws for 1, 2, ..., n draws."""
    policy, bandit = four(50_000)
    drawn = best_of_n(policy, bandit, 8, generator=seeded())
    running = accept(drawn.scores, beta=0.5, generator=seeded(1), max_reward=drawn.scores.cummax(1).values)
    rates = [exact.acceptance_rate(REF, REWARD, beta=0.5, draws=i) for i in range(1, 9)]
    assert running.double().mean(0).tolist() == pytest.approx(rates, abs=0.01)
    at_once = accept(drawn.scores, beta=0.5, generator=seeded(1))
    assert (at_once <= running).all()  # the same dice: who waits for all draws accepts less


def test_a_maximum_that_is_too_small_truncates_the_reward() -> None:
    policy, bandit = four(40_000)
    found = rejection_sampling(policy, bandit, 10, beta=0.5, max_reward=1.0, generator=seeded())
    short = exact.kl_optimum(REF, REWARD.clamp(max=1.0), beta=0.5)
    assert exact.total_variation(frequencies(found.choices.actions), short) < 0.01


def test_rounds_of_imitating_the_best_of_three_are_the_best_of_nine() -> None:
    policy, bandit = four(30_000)
    config = RejectionConfig(updates=2, samples=3, epochs=150, learning_rate=0.1)
    records = rejection_finetune(policy, bandit, config, generator=seeded())
    for power, record in enumerate(records, 1):
        law = exact.best_of_n(REF, REWARD, 3**power)
        assert exact.total_variation(policy.probs()[0].detach().double(), law) < 0.01
        assert record["kept"] == pytest.approx(1 / 3)
        assert record["kept_reward_mean"] == pytest.approx((law * REWARD).sum().item(), abs=0.02)
        before = exact.best_of_n(REF, REWARD, 3 ** (power - 1))
        assert record["reward_mean"] == pytest.approx((before * REWARD).sum().item(), abs=0.02)


def test_imitating_what_is_accepted_reaches_the_optimum_round_by_round() -> None:
    policy, bandit = four(8_000)
    config = RejectionConfig(
        updates=2, samples=8, beta=1.0, max_reward=2.0, epochs=150, learning_rate=0.1, minibatches=1
    )
    for rounds, _ in enumerate(rejection_finetune(policy, bandit, config, generator=seeded()), 1):
        law = exact.kl_optimum(REF, REWARD, beta=1.0 / rounds)
        assert exact.total_variation(policy.probs()[0].detach().double(), law) < 0.01


def run(checkpoint: Path | None, updates: int = 6) -> tuple[Iterator[dict[str, float]], nn.Module]:
    policy = random_policy("gpt2", vocab_size=4, initializer_range=0.3, hidden_size=16, layers=1)
    config = RejectionConfig(updates=updates, samples=4, epochs=2, minibatches=2, learning_rate=3e-3)
    return rejection_finetune(policy, text_world(), config, generator=seeded(), checkpoint=checkpoint), policy


def test_interrupted_runs_go_on_bit_for_bit(tmp_path: Path) -> None:
    records, whole = run(None)
    whole_records = list(records)
    assert whole_records[-1]["reward_mean"] > whole_records[0]["reward_mean"]
    records, _ = run(tmp_path / "run.safetensors")
    for _ in range(3):
        next(records)
    records, resumed = run(tmp_path / "run.safetensors")
    assert list(records) == whole_records[3:]
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_all_draws_are_counted_and_not_only_those_that_were_kept() -> None:
    policy, bandit = four(5)
    config = RejectionConfig(updates=2, samples=3)
    assert [r["env_steps"] for r in rejection_finetune(policy, bandit, config, generator=seeded())] == [
        15,
        30,
    ]


def test_a_round_that_accepts_nothing_changes_nothing() -> None:
    policy, bandit = four(4)
    config = RejectionConfig(updates=1, samples=2, beta=0.01, max_reward=100.0)
    (record,) = rejection_finetune(policy, bandit, config, generator=seeded())
    assert record["kept"] == 0 and math.isnan(record["loss"])
    torch.testing.assert_close(policy.probs()[0], REF)


def test_bad_input_gets_one_sentence() -> None:
    policy, bandit = four(4)
    with pytest.raises(ValueError, match="best_of_n: n must be at least 1, got 0"):
        best_of_n(policy, bandit, 0, generator=seeded())
    cartpole = GymEnv("CartPole-v1", batch_size=2)
    with pytest.raises(ValueError, match="best_of_n: GymEnv cannot begin several rows alike"):
        best_of_n(MLPPolicy(4, Discrete(2)), cartpole, 2, generator=seeded())
    with pytest.raises(ValueError, match=r"rejection_sampling: beta must lie in \(0, inf\], got 0"):
        rejection_sampling(policy, bandit, 2, beta=0, generator=seeded())
    with pytest.raises(ValueError, match="accept: scores must be finite, got nan"):
        accept(torch.tensor([[math.nan]]), beta=1.0, generator=seeded())
    with pytest.raises(ValueError, match="max_reward is what rejection with a beta measures from"):
        RejectionConfig(max_reward=1.0)
    with pytest.raises(ValueError, match="RejectionConfig: samples must be at least 1"):
        RejectionConfig(samples=0)
    with pytest.raises(TypeError, match="rejection_finetune: config must be a RejectionConfig"):
        next(rejection_finetune(policy, bandit, 3))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batch_size 5 must be a multiple of group_size 2"):
        Bandit(REWARD, batch_size=5, group_size=2)
