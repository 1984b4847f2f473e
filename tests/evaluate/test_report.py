"""The one-page report: what it says, that it travels, and the run that it watches goes on as it would."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rlbase import exact
from rlbase.envs import CharTokenizer, TextEnv, chain
from rlbase.envs.hackable import hackable
from rlbase.evaluate import (
    Estimate,
    Report,
    Sample,
    Table,
    exactly,
    metered,
    paired_win_rate,
    report,
    side_by_side,
    stopped_early,
)
from rlbase.policies import TabularPolicy, frozen_copy, random_policy
from rlbase.rollout import enumerate_actions
from rlbase.train import LANGUAGE_MODEL, PPOConfig, ReinforceConfig, ppo, reinforce
from rlbase.types import Choices, Prompt

TOKENIZER = CharTokenizer("ab")
ODD = "a | b\nc"


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def writer(seed: int) -> Any:
    return random_policy("gpt2", vocab_size=3, initializer_range=0.5, seed=seed)


def count_a(prompts: list[str], responses: list[str]) -> list[float]:
    return [float(text.count("a")) for text in responses]


def by_prompt(prompts: list[str], responses: list[str]) -> list[float]:
    return [float(len(prompt)) for prompt in prompts]


def text_world(n: int = 8) -> TextEnv:
    return TextEnv(["ab", "b", "bba"], TOKENIZER, count_a, max_new_tokens=4, batch_size=n)


def held_out() -> Choices:
    ids = torch.tensor([[0, 1], [1, 1]])
    actions = torch.tensor([[1, 0, 2], [0, 2, 0]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    return Choices(Prompt(ids, torch.ones_like(ids).bool()), actions, mask)


def a(value: float, width: float = 0.1, n: int = 10) -> Estimate:
    return Estimate(value, value - width, value + width, n)


def test_of_a_language_model() -> None:
    policy, reference = writer(1), writer(2)
    page = report(
        policy, text_world(), reference=reference, gold=count_a, held_out=held_out(), n=64, title="tiny"
    )
    both = {"proxy", "gold", "agreement", "entropy", "length", "length_bias", "unfinished", "perplexity"}
    assert set(page.reference) == both | {"distinct_1", "distinct_2"}
    assert set(page.policy) == set(page.reference) | {"kl", "wins"}
    assert page.policy["gold"].n == page.policy["wins"].n == 64
    assert page.policy["proxy"] == page.policy["gold"], "they are the same scorer here"
    assert len(page.samples) == 3
    for sample in page.samples:
        assert sample.prompt in ("ab", "b", "bba")
        assert sample.gold == sample.proxy == sample.response.count("a")
    text = str(page)
    for words in ("tiny", "reward paid (the proxy)", "held-out perplexity", "KL to the reference, nats"):
        assert words in text
    assert "| reward meant (gold) |" in page._repr_markdown_()


def test_both_policies_meet_the_same_prompts() -> None:
    """A gold reward that depends on the prompt alone: every pair is a tie, every mean equal."""
    policy, reference = writer(1), writer(2)
    page = report(policy, text_world(), reference=reference, gold=by_prompt, n=40)
    assert page.policy["gold"] == page.reference["gold"]
    assert page.policy["wins"].value == 0.5
    # and they speak by chances of their own: the same policy twice does not say the same
    twin = report(policy, text_world(64), reference=frozen_copy(policy), gold=count_a, n=64)
    assert twin.policy["kl"].value == pytest.approx(0, abs=1e-5)
    assert any(sample.response != sample.reference for sample in twin.samples)


def test_wins_are_the_policys_over_the_reference_pair_by_pair() -> None:
    policy, reference = writer(1), writer(2)
    page = report(policy, text_world(7), reference=reference, gold=count_a, n=63, samples=63)
    mine = torch.tensor([float(sample.response.count("a")) for sample in page.samples])
    theirs = torch.tensor([float((sample.reference or "").count("a")) for sample in page.samples])
    assert page.policy["wins"] == paired_win_rate(mine, theirs)
    assert page.policy["wins"] != paired_win_rate(theirs, mine), "or the test would see nothing"


def test_pages_of_one_seed_share_their_reference() -> None:
    one, two, reference = writer(1), writer(2), writer(3)
    pages = [
        report(p, text_world(), reference=reference, gold=count_a, n=24, generator=seeded())
        for p in (one, two)
    ]
    one_side, other = (json.loads(page.to_json())["reference"] for page in pages)
    assert one_side == other
    assert pages[0].policy["entropy"] != pages[1].policy["entropy"]


def test_another_generator_draws_other_prompts() -> None:
    policy = writer(1)
    pages = [report(policy, text_world(), n=32, samples=32, generator=seeded(seed)) for seed in (1, 2)]
    one, two = ([sample.prompt for sample in page.samples] for page in pages)
    assert one != two


def test_of_a_bandit_and_of_episodes() -> None:
    world = hackable(250)
    ref = TabularPolicy(1, 250)
    beyond = TabularPolicy(1, 250, ref=exact.kl_optimum(world.ref, world.proxy, beta=0.3).float())
    page = report(beyond, world.bandit(), reference=ref, gold=world.gold)
    assert page.findings() == ["What is paid rose, what is meant fell: the reward was hacked."]
    assert page.policy["kl"].value == pytest.approx(
        exact.kl(exact.kl_optimum(world.ref, world.proxy, beta=0.3), world.ref), abs=1e-5
    )
    walk = report(TabularPolicy(5, 2), chain(5), reference=TabularPolicy(5, 2), steps=60, generator=seeded())
    assert "wins" not in walk.policy and walk.policy["kl"].value == 0
    assert walk.policy["length"].value >= 1


def test_travels_as_json(tmp_path: Path) -> None:
    samples = (Sample(ODD, "x", None, 1.0, None), Sample("p", "y", "z", 0.5, -1.0))
    page = Report(
        "page", {"gold": a(1.0), "length_bias": Estimate(math.nan, -math.inf, math.inf, 1)}, {}, samples
    )
    page.save(tmp_path / "page.json")
    again = Report.load(tmp_path / "page.json")
    assert json.loads((tmp_path / "page.json").read_text())["policy"]["length_bias"] == [None, None, None, 1]
    assert again.to_json() == page.to_json()
    assert again.policy["gold"] == page.policy["gold"] and tuple(again.samples) == samples
    assert str(again) == str(page)
    (tmp_path / "other.json").write_text('{"title": 1}')
    with pytest.raises(ValueError, match="Report.load: .*other.json holds no report"):
        Report.load(tmp_path / "other.json")


def test_markdown_survives_bars_and_line_breaks() -> None:
    page = Report("page", {"gold": a(1.0)}, {"gold": a(2.0)}, (Sample(ODD, ODD, ODD, 1.0, 0.0),))
    lines = [line for line in page._repr_markdown_().split("\n") if line.startswith("|")]
    columns = {line.replace("\\|", "").count("|") for line in lines}
    assert columns == {4}  # three columns in both tables
    assert "a \\| b c" in lines[-1]
    assert str(Table(("", "x"), [("long name", "1")])).split("\n") == ["           x", "long name  1"]


GOOD = {"proxy": a(1.0), "gold": a(1.0), "perplexity": a(5.0), "distinct_2": a(0.5), "unfinished": a(0.2)}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"proxy": a(3.0), "gold": a(0.0)}, "What is paid rose, what is meant fell: the reward was hacked."),
        ({"proxy": a(3.0), "gold": a(0.95)}, "What is paid rose, what is meant did not."),
        (
            {"perplexity": a(6.0)},
            "Held-out choices surprise it more than before (perplexity 5 → 6): it has forgotten.",
        ),
        ({"unfinished": a(0.7)}, "Most of what it does is cut off unfinished."),
        (
            {"distinct_2": a(0.2)},
            "It repeats itself: less than half the reference's distinct pairs of words.",
        ),
    ],
)
def test_findings_name_what_should_worry(change: dict[str, Estimate], sentence: str) -> None:
    page = Report("page", {**GOOD, **change}, GOOD)
    assert page.findings() == [sentence]
    assert sentence in str(page) and sentence in page._repr_markdown_()


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"proxy": a(3.0), "gold": a(3.0)},  # both rose
        {"proxy": a(1.1), "gold": a(0.9)},  # within the error
        {"proxy": a(0.0), "gold": a(0.0)},  # both fell: no hack
        {"perplexity": a(4.0)},
        {"unfinished": a(0.55)},
    ],
)
def test_findings_are_silent_otherwise(change: dict[str, Estimate]) -> None:
    assert Report("page", {**GOOD, **change}, GOOD).findings() == []
    assert Report("page", {**GOOD, **change}).findings() == []


def test_side_by_side_has_a_column_each() -> None:
    one = Report("one", {"gold": a(1.0), "kl": a(0.5)}, {"gold": a(0.0)})
    two = Report("two", {"gold": a(2.0)}, {"gold": a(9.0)})
    table = side_by_side({"first": one, "second": two})
    assert list(table.header) == ["", "first", "second", "reference"]
    assert list(table.rows[0]) == ["reward meant (gold)", "1 [0.9, 1.1]", "2 [1.9, 2.1]", "0 [-0.1, 0.1]"]
    assert list(table.rows[1]) == ["KL to the reference, nats", "0.5 [0.4, 0.6]", "", ""]
    with pytest.raises(ValueError, match="side_by_side: the number of reports must be at least 1"):
        side_by_side({})


# inside a run


def train_text(wrapped: bool) -> tuple[list[dict[str, float]], Any, Any]:
    policy = writer(1)
    reference, world = frozen_copy(policy), text_world()
    config = replace(LANGUAGE_MODEL, updates=4, advantage="returns", learning_rate=1e-2)
    run = ppo(policy, world, config, reference=reference, generator=seeded())
    if wrapped:
        run = metered(
            run, policy, world, reference=reference, gold=count_a, held_out=held_out(), every=2, n=16
        )
    return list(run), policy, world


def test_a_metered_run_is_the_same_run_bit_for_bit() -> None:
    plain, one, world = train_text(False)
    watched, two, other = train_text(True)
    assert [{k: r[k] for k in plain[0]} for r in watched] == plain
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), two.parameters(), strict=True))
    assert world.state() == other.state()
    looks = [i for i, record in enumerate(watched, 1) if "gold" in record]
    assert looks == [1, 2, 4]
    assert {"proxy", "gold", "kl", "perplexity", "length", "agreement"} <= set(watched[0])


def test_meters_of_a_bandit_run_are_exact() -> None:
    world, policy = hackable(30), TabularPolicy(1, 30)
    run = reinforce(policy, world.bandit(), ReinforceConfig(updates=5))
    *_, last = metered(run, policy, world.bandit(), reference=TabularPolicy(1, 30), gold=world.gold, every=5)
    probs = policy.probs()[0].detach().double()
    assert last["gold"] == pytest.approx((probs @ world.gold).item(), abs=1e-5)
    assert last["kl"] == pytest.approx(exact.kl(probs, world.ref), abs=1e-5)


def curve(values: list[float], name: str = "gold") -> Any:
    for i, value in enumerate(values):
        yield {"update": float(i), name: value}


def test_stops_after_so_many_looks_without_a_new_best() -> None:
    seen = [r["gold"] for r in stopped_early(curve([1, 2, 1.5, 3, 2, 2, 2, 9]), patience=3)]
    assert seen == [1, 2, 1.5, 3, 2, 2, 2]
    assert len(list(stopped_early(curve([1, 2, 3, 4]), patience=1))) == 4
    flat = [r["gold"] for r in stopped_early(curve([1, 1, 1, 1]), patience=2)]
    assert flat == [1, 1, 1], "no progress is no new best"


def test_updates_without_a_look_do_not_count() -> None:
    run = [{"gold": 2.0}, {}, {}, {}, {"gold": 1.0}, {}, {"gold": 3.0}]
    assert len(list(stopped_early(run, patience=2))) == 7


def test_stops_as_soon_as_a_limit_is_exceeded() -> None:
    run = [{"kl": 0.5}, {"kl": 2.0}, {"kl": 2.1}, {"kl": 0.1}]
    assert [r["kl"] for r in stopped_early(run, limit=("kl", 2.0))] == [0.5, 2.0, 2.1]


def test_nothing_to_watch_is_said() -> None:
    with pytest.raises(
        ValueError, match=r"stopped_early: no record has 'gold'; put metered\(...\) around the run"
    ):
        list(stopped_early([{"loss": 1.0}]))


@pytest.mark.parametrize("leave", [False, True], ids=["it stops itself", "the reader leaves"])
def test_the_best_weights_come_back(leave: bool) -> None:
    policy = TabularPolicy(1, 2)

    def run() -> Any:
        for i, gold in enumerate([0.0, 5.0, 4.0, 3.0, 2.0]):
            policy.logits.data.fill_(float(i))
            yield {"gold": gold, "kl": 0.0}

    for record in stopped_early(run(), patience=2, policy=policy):
        if leave and record["gold"] == 4.0:
            break
    assert policy.logits.unique().tolist() == [1.0]


def test_a_best_beyond_the_limit_is_not_kept() -> None:
    policy = TabularPolicy(1, 2)

    def run() -> Any:
        for i, kl in enumerate([0.1, 0.5, 9.0]):
            policy.logits.data.fill_(float(i))
            yield {"gold": float(i), "kl": kl}

    assert len(list(stopped_early(run(), limit=("kl", 1.0), policy=policy))) == 3
    assert policy.logits.unique().tolist() == [1.0]


def test_early_stopping_saves_a_run_that_hacks_its_reward() -> None:
    """Plain PPO on the proxy in exact expectations: without a stop the gold reward ends below its start; with one the
    run ends soon after its peak, and the weights kept are those of the peak."""

    def train(stop: bool) -> tuple[list[dict[str, float]], float]:
        world, policy = hackable(250), TabularPolicy(1, 250)
        config = PPOConfig(
            updates=60,
            advantage="returns",
            learning_rate=0.2,
            minibatches=1,
            whiten_advantages=False,
            anneal=False,
        )
        run = metered(
            ppo(policy, world.bandit(), config, collect=enumerate_actions),
            policy, world.bandit(), reference=TabularPolicy(1, 250), gold=world.gold, every=1,
        )  # fmt: skip
        records = list(stopped_early(run, patience=3, policy=policy) if stop else run)
        return records, (policy.probs()[0].detach().double() @ world.gold).item()

    whole, end = train(False)
    gold = [record["gold"] for record in whole]
    start = hackable(250).gold.mean().item()
    assert max(gold) > start + 0.2 > start - 1 > end
    assert all(
        x <= y + 1e-6 for x, y in zip(whole, whole[1:], strict=False) for x, y in [(x["proxy"], y["proxy"])]
    )
    stopped, kept = train(True)
    assert len(stopped) < len(whole) / 2
    assert kept == pytest.approx(max(gold), abs=1e-6)


def test_repeating_itself_means_less_than_half_the_pairs_of_words() -> None:
    for share, worries in ((0.46, 0), (0.44, 1)):
        page = Report("x", {"distinct_2": exactly(share)}, {"distinct_2": exactly(0.9)})
        assert len(page.findings()) == worries
