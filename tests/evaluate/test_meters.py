"""Meters: exact on a bandit, within their error of the enumerated truth for text, cut out of streams for episodes."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from rlbase import exact
from rlbase.envs import Bandit, CharTokenizer, GymEnv, TextEnv, chain
from rlbase.evaluate import Estimate, Played, enumerated, metered, meters, perplexity, play, report
from rlbase.losses import kto
from rlbase.policies import MLPPolicy, TabularPolicy, frozen_copy, random_policy
from rlbase.train import PreferenceConfig, preference
from rlbase.train.language_model import nats
from rlbase.types import Choices, Discrete, Labelled, Prompt

REF = torch.tensor([[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]])
PI = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]])
PROXY = torch.tensor([[0.0, 1.0, 0.5, 2.0], [1.0, 1.0, 0.0, 0.0]])
GOLD = torch.tensor([[3.0, 3.0, 0.0, -2.0], [1.0, 0.0, 2.0, 2.0]])
TOKENIZER = CharTokenizer("ab")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_bandit_is_enumerated_exactly() -> None:
    policy, reference = TabularPolicy(2, 4, ref=PI), TabularPolicy(2, 4, ref=REF)
    found = enumerated(policy, Bandit(PROXY, noise=5.0), reference=reference, gold=GOLD)
    p = PI.double()
    wins = [exact.win_rate(PI[s], REF[s], GOLD[s]) for s in range(2)]
    truth = {
        "proxy": (p * PROXY).sum(1).mean(),
        "gold": (p * GOLD).sum(1).mean(),
        "kl": (exact.kl(PI[0], REF[0]) + exact.kl(PI[1], REF[1])) / 2,
        "entropy": -(p * p.log()).sum(1).mean(),
        "wins": sum(wins) / 2,
    }
    for name, value in truth.items():
        assert found[name].value == pytest.approx(float(value), abs=1e-6), name
        assert (found[name].low, found[name].high, found[name].n) == (found[name].value, found[name].value, 0)
    assert set(found) == set(truth)


def test_gold_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"enumerated: gold must have shape \[2, 4\], got \[1, 3\]"):
        enumerated(TabularPolicy(2, 4), Bandit(PROXY), gold=torch.zeros(3))


# text, against the enumeration of all it can say


def worth(prompts: list[str], responses: list[str]) -> list[float]:
    return [
        text.count("b") - (prompt == "ab") * 0.5 * len(text)
        for prompt, text in zip(prompts, responses, strict=True)
    ]


def counted_a(prompts: list[str], responses: list[str]) -> list[float]:
    return [float(text.count("a")) for text in responses]


def writers() -> tuple[Any, Any]:
    options = {"vocab_size": 3, "initializer_range": 0.15}
    return random_policy("gpt2", seed=3, **options), random_policy("gpt_neox", seed=4, **options)


def law(policy: Any, prompt: str) -> tuple[Tensor, list[str], Tensor, Tensor]:
    """Probabilities, texts, lengths of all responses to a prompt, and which of them do not end."""
    ids, mask = exact.enumerate_responses(3, TOKENIZER.eos_token_id, 3)
    encoded = torch.tensor([TOKENIZER.encode(prompt)] * len(ids))
    logp = policy.evaluate(Prompt(encoded, torch.ones_like(encoded).bool()), ids)[0]
    texts = [
        TOKENIZER.decode([t for t in row[kept].tolist() if t != 2])
        for row, kept in zip(ids, mask, strict=True)
    ]
    ended = ((ids == 2) & mask).any(1)
    return torch.where(mask, logp, 0).sum(1).exp().detach().double(), texts, mask.sum(1).double(), ~ended


def text_world(n: int, prompts: tuple[str, ...] = ("ab", "b")) -> TextEnv:
    return TextEnv(prompts, TOKENIZER, counted_a, max_new_tokens=3, batch_size=n, missing_eos_penalty=0.25)


def truth(policy: Any, reference: Any) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for prompt in ("ab", "b"):
        p, texts, length, cut = law(policy, prompt)
        q = law(reference, prompt)[0]
        gold = torch.tensor(worth([prompt] * len(texts), texts), dtype=torch.float64)
        proxy = torch.tensor(counted_a([], texts), dtype=torch.float64) - 0.25 * cut
        mean = {
            "proxy": p @ proxy,
            "gold": p @ gold,
            "kl": p @ (p / q).log(),
            "length": p @ length,
            "unfinished": p @ cut.double(),
            "wins": exact.win_rate(p, q, gold),
        }
        for name, value in mean.items():
            found.setdefault(name, []).append(float(value))
    return {name: sum(values) / 2 for name, values in found.items()}


def test_sampled_text_meets_the_enumerated_truth_within_its_own_error() -> None:
    policy, reference = writers()
    expected = truth(policy, reference)
    played = play(policy, text_world(4000), 4000, reference=reference, gold=worth, generator=seeded())
    found = meters(played, policy)
    assert len(played.proxy) == len(played.responses) == 4000
    for name in ("proxy", "gold", "kl", "length", "unfinished"):
        error = (found[name].high - found[name].low) / (2 * 1.96)
        assert abs(found[name].value - expected[name]) < 3.5 * error, name
        assert error < 0.03, name
    # per choice: what `evaluate` says, along the samples
    assert 0.5 < found["entropy"].value < math.log(3)
    assert played.length.min() == 1 and played.length.max() == 3


def test_sampled_win_rate_is_the_exact_one() -> None:
    policy, reference = writers()
    page = report(policy, text_world(4000), reference=reference, gold=worth, n=4000)
    exactly = truth(policy, reference)["wins"]
    assert exactly < 0.4, "or a flipped win rate would pass"
    assert page.policy["wins"].value == pytest.approx(exactly, abs=0.025)  # three standard errors


def test_kl_of_a_policy_to_itself_is_zero_in_every_row() -> None:
    policy, _ = writers()
    played = play(policy, text_world(50), 50, reference=frozen_copy(policy), generator=seeded())
    assert played.kl is not None and played.kl.abs().max() < 1e-5


def test_one_start_gives_two_policies_the_same_prompts_and_other_words() -> None:
    policy, reference = writers()
    one = play(policy, text_world(6), 60, generator=seeded(1), start=5)
    two = play(reference, text_world(6), 60, generator=seeded(2), start=5)
    third = play(policy, text_world(6), 60, generator=seeded(2), start=6)
    assert one.prompts == two.prompts != third.prompts
    assert len(one.prompts) == 60
    assert len({tuple(one.prompts[i : i + 6]) for i in range(0, 60, 6)}) > 1, "every round draws anew"
    assert one.responses != two.responses


def test_looking_changes_nothing() -> None:
    policy, _ = writers()
    world = text_world(6)
    world.returns.extend([1.0, 2.0])
    before = world.state()
    weights = [p.clone() for p in policy.parameters()]
    play(policy, world, 12, generator=seeded())
    assert world.state() == before
    assert all(torch.equal(a, b) for a, b in zip(weights, policy.parameters(), strict=True))
    assert all(p.grad is None for p in policy.parameters())


def test_wrong_number_of_gold_scores_is_said() -> None:
    policy, _ = writers()
    with pytest.raises(ValueError, match=r"play: the gold scores must have shape \[4\], got \[1\]"):
        play(policy, text_world(4), 4, gold=lambda p, r: [1.0], generator=seeded())
    with pytest.raises(ValueError, match="play: the gold scores must be finite"):
        play(policy, text_world(4), 4, gold=lambda p, r: [math.nan] * 4, generator=seeded())


# episodes


def walker(right: float) -> TabularPolicy:
    return TabularPolicy(5, 2, ref=torch.tensor([1 - right, right]))


class PaysRight:
    """A step reward: 1 for each step to the right."""

    def each(self, obs: Tensor, actions: Tensor) -> Tensor:
        return actions.double()


def test_episodes_are_cut_out_of_the_stream() -> None:
    """Always right from state 1 of 5: three steps, one reward; the reset column between two episodes is no choice."""
    policy, reference = walker(1 - 1e-9), walker(0.5)
    played = play(
        policy, chain(5, batch_size=3), 1, reference=reference, gold=PaysRight(), steps=10, generator=seeded()
    )
    # columns: 3 steps, reset, 3 steps, reset, 2 steps of an episode that does not end: two episodes a row
    assert played.length.tolist() == [3.0] * 6
    assert played.proxy.tolist() == [1.0] * 6
    assert played.gold is not None and played.gold.tolist() == [3.0] * 6
    assert played.unfinished.sum() == 0
    assert played.kl is not None
    assert played.kl.tolist() == pytest.approx([3 * math.log(2)] * 6, rel=1e-5)


def test_running_into_the_time_limit_is_unfinished() -> None:
    played = play(walker(1 - 1e-9), chain(9, time_limit=2, batch_size=2), 1, steps=6, generator=seeded())
    assert played.length.tolist() == [2.0] * 4
    assert played.unfinished.tolist() == [1.0] * 4


def test_cartpole_earns_its_length() -> None:
    world = GymEnv("CartPole-v1", batch_size=4)
    policy = MLPPolicy(4, Discrete(2))
    played = play(policy, world, 1, steps=200, generator=seeded())
    assert len(played.proxy) > 8
    assert torch.equal(played.proxy, played.length)
    assert not len(world.returns), "the world is fresh again"
    again = play(policy, world, 1, steps=200, generator=seeded())
    assert torch.equal(again.proxy, played.proxy)


def test_a_world_in_use_and_a_world_without_ends_are_refused() -> None:
    world = chain(5)
    world.returns.append(1.0)
    with pytest.raises(
        ValueError, match="play: this world is in the middle of its episodes; pass a fresh one"
    ):
        play(walker(0.5), world, 1, steps=5, generator=seeded())
    with pytest.raises(ValueError, match="play: no episode ended within 2 steps; allow more"):
        play(walker(1 - 1e-9), chain(9), 1, steps=2, generator=seeded())
    with pytest.raises(ValueError, match="say how many steps a rollout takes"):
        play(walker(0.5), chain(5), 1, generator=seeded())


# what is kept


def test_perplexity_by_hand() -> None:
    policy = TabularPolicy(1, 2, ref=torch.tensor([0.25, 0.75]))
    mask = torch.tensor([[True, True], [True, False]])
    rows = Choices(torch.zeros(2, 2).long(), torch.tensor([[0, 1], [1, 0]]), mask)
    # -log of .25 * .75 * .75 over three choices; the masked one counts nowhere
    assert perplexity(policy, rows).value == pytest.approx((1 / (0.25 * 0.75 * 0.75)) ** (1 / 3), rel=1e-6)
    weighted = Choices(rows.obs, rows.actions, mask, torch.tensor([[3.0, 0.0], [1.0, 7.0]]))
    assert perplexity(policy, weighted).value == pytest.approx((4**3 / 0.75) ** (1 / 4), rel=1e-6)
    assert perplexity(policy, rows, batch_size=1).value == pytest.approx(perplexity(policy, rows).value)


def test_perplexity_agrees_with_the_pretraining_loss_whatever_the_padding() -> None:
    policy, _ = writers()
    texts = [[0, 1, 1, 2], [1, 0], [1, 1, 2]]
    ids = torch.tensor([[0, 0, 9, 9], [0, 1, 9, 9], [0, 1, 9, 9]])[:, :2]
    actions = torch.tensor([[1, 1, 2], [0, 0, 0], [1, 2, 0]])
    mask = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0]]).bool()
    rows = Choices(Prompt(ids, torch.tensor([[False, True]]).expand(3, 2)), actions, mask)
    total, tokens = nats(policy, texts)
    assert perplexity(policy, rows).value == pytest.approx(math.exp(total / tokens), rel=1e-5)


def test_perplexity_of_an_impossible_choice_is_said() -> None:
    policy = TabularPolicy(1, 2)
    policy.logits.data[0, 0] = -math.inf
    rows = Choices(torch.zeros(1, 1).long(), torch.zeros(1, 1).long(), torch.ones(1, 1).bool())
    with pytest.raises(ValueError, match="perplexity: log-probabilities must be finite, got -inf"):
        perplexity(policy, rows)


def test_skill_is_a_number_or_an_estimate() -> None:
    rows = Played(torch.zeros(3), torch.ones(3), torch.zeros(3), torch.ones(3))
    assert meters(rows, TabularPolicy(1, 2), skill=lambda p: p.probs()[0, 0].item())["skill"].value == 0.5
    sure = Estimate(0.5, 0.4, 0.6, 90)
    assert meters(rows, TabularPolicy(1, 2), skill=lambda p: sure)["skill"] == sure


def test_length_bias_and_agreement_have_the_right_sign() -> None:
    proxy, length = torch.tensor([1.0, 2.0, 3.0, 4.5]), torch.tensor([10.0, 20.0, 30.0, 41.0])
    found = meters(Played(proxy, length, torch.zeros(4), length, gold=-proxy), None)  # type: ignore[arg-type]
    assert found["length_bias"].value > 0.99
    assert found["agreement"].value == pytest.approx(-1)
    assert found["entropy"].value == pytest.approx(1)  # summed nats over summed choices


def test_a_run_on_offline_data_is_metered_too() -> None:
    """Pairs say nothing of what the policy does; its world does, and the verdicts' own record keeps its name."""
    reward = torch.tensor([0.0, 1.0, 0.5])
    arms = Choices(torch.zeros(3, 1).long(), torch.arange(3)[:, None], torch.ones(3, 1).bool())
    policy = TabularPolicy(1, 3)
    reference = frozen_copy(policy)
    verdicts = Labelled(arms, torch.tensor([False, True, False]))
    run = preference(policy, verdicts, partial(kto, beta=0.5), PreferenceConfig(updates=20, learning_rate=0.1),
                     reference=reference)  # fmt: skip
    records = list(metered(run, policy, Bandit(reward), reference=reference, gold=reward[None], every=20))
    probs = policy.probs()[0].detach().double()
    assert records[-1]["kl"] == pytest.approx((probs * (3 * probs).log()).sum().item(), abs=1e-5)
    assert records[-1]["gold"] == pytest.approx((probs @ reward.double()).item(), abs=1e-5)
    assert (
        records[-1]["reference_point"] == 0.0
    )  # one prompt: mismatched responses fall as often as they rise
