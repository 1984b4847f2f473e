"""The trainer of preferences at its edges: ties, repeated prompts, other policies, every kind of reference."""

from __future__ import annotations

import functools
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from test_preference_trainer import DPO, KTO, model, responses, run, seeded, some_pairs, some_verdicts, value
from torch import Tensor

from rlbase.envs import Bandit
from rlbase.exact import ipo_optimum
from rlbase.feedback.raters import Rater
from rlbase.losses import dpo, hinge, ipo
from rlbase.policies import MLPPolicy, TabularPolicy, frozen_copy
from rlbase.policies.adapters import adapters_off, with_lora
from rlbase.train import OnlineConfig, PreferenceConfig, online_preference, preference, with_reference
from rlbase.train.online_preference import compared
from rlbase.train.preference import measure
from rlbase.train.preference_terms import seq_logp, terms
from rlbase.types import Choices, Discrete, Labelled, PreferencePairs, Prompt

# ties


@pytest.mark.parametrize("kind", ["frozen", "cached", "adapters"])
@pytest.mark.parametrize("size", [2, 3, 10])
def test_a_policy_that_equals_its_reference_is_right_half_the_time(kind: str, size: int) -> None:
    """However the reference was computed: what is left of rounding ranks nobody."""
    for data, loss in ((some_pairs(), DPO), (some_verdicts(), KTO)):
        policy = with_lora(model(), 2) if kind == "adapters" else model()
        reference = {"frozen": frozen_copy(policy), "cached": None, "adapters": None}[kind]
        reference = adapters_off(policy) if kind == "adapters" else reference
        given: Any = with_reference(policy, data) if kind == "cached" else data
        first = run(policy, given, loss, reference, batch_size=size)[0]
        assert first["accuracy"] == 0.5, (kind, loss)


def test_small_differences_above_rounding_count() -> None:
    policy, reference = TabularPolicy(1, 2), TabularPolicy(1, 2)
    policy.logits.data += torch.tensor([1e-4, 0.0])
    arms = Choices(torch.zeros(2, 1).long(), torch.tensor([[0], [1]]), torch.ones(2, 1).bool())
    pairs = PreferencePairs(arms[:1], arms[1:])
    for beta in (1e-3, 0.1, 10.0):  # a matter of log-probabilities, not of their price
        assert measure(policy, pairs, functools.partial(dpo, beta=beta), reference=reference)["accuracy"] == 1
    said = Labelled(arms, torch.tensor([True, False]))
    assert measure(policy, said, KTO, reference=reference, kl=lambda: 0.0)["accuracy"] == 1


def test_the_reference_point_on_record_is_the_one_in_the_loss() -> None:
    for point in (-1.0, torch.tensor(-1.0)):
        found = value(model(), some_verdicts(), KTO, frozen_copy(model(1)), kl=lambda point=point: point)
        at_zero = value(model(), some_verdicts(), KTO, frozen_copy(model(1)), kl=lambda: 0.0)
        assert found[0].equal(at_zero[0]) and found[1]["reference_point"].item() == 0


# whose response a prompt meets


def verdicts_on(*prompts: int, weight: Tensor | None = None) -> Labelled:
    ids = torch.tensor(prompts)[:, None]
    rows = torch.arange(len(ids))[:, None]
    mask = torch.ones_like(ids, dtype=torch.bool)
    return Labelled(Choices(Prompt(ids, mask), rows, mask), mask[:, 0], weight)


@pytest.mark.parametrize(
    ("prompts", "own"),
    [
        ((1, 2, 3, 4), 0),
        ((5, 5, 2, 2, 3, 3), 0),  # two responses to each prompt, side by side
        ((1, 1, 1, 1, 2, 2, 2, 2), 0),
        ((3, 1, 3, 1, 2, 2, 3), 0),
        ((1, 1, 1, 2), 2),  # as few as there can be
        ((1, 1, 1), 3),  # one prompt: there are no others
    ],
)
def test_mismatched_responses_belong_to_other_prompts(prompts: tuple[int, ...], own: int) -> None:
    weight = torch.rand(len(prompts), generator=seeded())
    given = verdicts_on(*prompts, weight=weight)
    data = given.with_mismatched().mismatched
    assert data is not None and data.weight is not None
    rows, asked = data.actions[:, 0], torch.tensor(prompts)
    assert sorted(rows.tolist()) == list(range(len(prompts)))  # everybody's response, once
    assert not (rows == torch.arange(len(prompts))).any()
    assert (asked[rows] == asked).sum() == own
    assert data.obs is given.choices.obs and data.weight[:, 0].equal(weight[rows])
    if len(set(prompts)) in (1, len(prompts)):
        assert rows.equal(torch.arange(len(prompts)).roll(-1))


def test_contexts_of_a_bandit_are_prompts_too() -> None:
    context, action = torch.tensor([[0], [0], [1], [1]]), torch.arange(4)[:, None]
    data = Labelled(Choices(context, action, torch.ones(4, 1).bool()), torch.ones(4).bool())
    found = data.with_mismatched().mismatched
    assert found is not None and found.actions[:, 0].tolist() == [2, 3, 0, 1]


def test_a_step_of_learning_is_no_distance_to_others() -> None:
    """Prompt k is answered k, by both of its two rows: the policy that learned that has not moved elsewhere."""
    contexts = torch.tensor([0, 0, 1, 1, 2, 2])[:, None]
    data = Labelled(Choices(contexts, contexts.clone(), torch.ones(6, 1).bool()), torch.ones(6).bool())
    policy = TabularPolicy(3, 3)
    policy.logits.data += 3 * torch.eye(3)
    found = measure(policy, data, KTO, reference=TabularPolicy(3, 3))
    assert found["chosen_reward"] > 0 and found["reference_point"] == 0


# references


def test_adapters_switched_off_are_a_reference_to_cache() -> None:
    plain = model()
    policy = with_lora(plain, 2)
    for name, p in policy.named_parameters():
        if "lora_B" in name:
            p.data.normal_(generator=seeded())
    pairs = some_pairs()
    kept = with_reference(adapters_off(policy), pairs).ref_logp
    assert kept is not None and kept.dtype == torch.float32
    torch.testing.assert_close(kept, with_reference(plain, pairs).ref_logp, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(kept[:, 0], seq_logp(policy, pairs.chosen), atol=1e-2)


def test_caching_keeps_everything_else() -> None:
    prob, margin, weight = (torch.rand(10, generator=seeded(k)) for k in (1, 2, 3))
    pairs = with_reference(model(), some_pairs(prob=prob, margin=margin, weight=weight), batch_size=3)
    assert pairs.prob is prob and pairs.margin is margin and pairs.weight is weight
    assert pairs.ref_logp is not None
    torch.testing.assert_close(pairs.ref_logp[:, 1], seq_logp(model(), pairs.rejected))
    said = with_reference(model(), some_verdicts(weight=weight))
    assert said.weight is weight and said.mismatched is not None
    torch.testing.assert_close(said.ref_logp[:, 1], seq_logp(model(), said.mismatched))
    own = Choices(said.choices.obs, responses(10, 7).actions, responses(10, 7).mask)
    kept = with_reference(model(), Labelled(said.choices, said.desirable, weight, own))
    assert kept.mismatched is own  # somebody else's choice of mismatched responses is respected


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_bfloat16_weights_and_forwards(precision: str) -> None:
    for data, loss, first in ((some_pairs(), DPO, math.log(2)), (some_verdicts(), KTO, 0.5)):
        policy = model().to(torch.bfloat16)
        records = run(policy, data, loss, frozen_copy(policy), precision=precision)
        assert records[0]["loss"] == pytest.approx(first, rel=1e-3) and records[0]["accuracy"] == 0.5
        assert all(math.isfinite(r["loss"]) and math.isfinite(r["grad_norm"]) for r in records)


# data


def test_even_odds_pull_together_and_everybody_liked_pulls_up() -> None:
    """A tie's best gap is the reference's; with nobody to dislike, what nobody said is no number."""
    policy, pairs = model(), some_pairs(prob=torch.full((10,), 0.5))
    records = run(policy, pairs, DPO, frozen_copy(model(1)), updates=80, batch_size=10, schedule="constant")
    assert records[0]["loss"] > math.log(2) + 1e-3
    assert records[-1]["loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert {r["accuracy"] for r in records} == {0.5} and {r["margin"] for r in records} == {0.0}
    liked = Labelled(responses(10, 3), torch.ones(10, dtype=torch.bool))
    policy = model()
    records = list(
        preference(policy, liked, KTO, PreferenceConfig(updates=3), reference=model(), kl=lambda: 0.0)
    )
    assert records[-1]["loss"] < records[0]["loss"] == pytest.approx(0.5)
    assert math.isnan(records[0]["rejected_reward"]) and records[-1]["chosen_reward"] > 0


def test_rows_that_do_not_count_are_as_if_they_were_not_there() -> None:
    weight = torch.tensor([1.0, 0, 2, 0, 1, 0, 0, 1, 0, 3])
    keep = weight.nonzero()[:, 0]
    reference = frozen_copy(model(1))
    for data, loss, kl in ((some_pairs(weight=weight), DPO, None), (some_verdicts(weight=weight), KTO, 0.2)):
        point = None if kl is None else lambda: 0.2
        one, two = (value(model(), x, loss, reference, kl=point, likelihood=0.3) for x in (data, data[keep]))
        torch.testing.assert_close(one[0], two[0], rtol=1e-5, atol=1e-6)
        assert {k: v.item() for k, v in one[1].items()} == pytest.approx(
            {k: v.item() for k, v in two[1].items()}, abs=1e-5
        )


def test_a_policy_that_is_no_language_model() -> None:
    """Two short journeys, vectors as observations, one of them longer: the network learns which was liked."""
    torch.manual_seed(0)
    obs, mask = (
        torch.randn(8, 4, 3, generator=seeded()),
        torch.tensor([[True] * 4, [True, True, False, False]]),
    )
    mask = mask.repeat(4, 1)
    journeys = Choices(obs, torch.randint(0, 2, (8, 4), generator=seeded(1)), mask)
    pairs = PreferencePairs(journeys[:4], journeys[4:])
    policy = MLPPolicy(3, Discrete(2))
    records = run(policy, pairs, DPO, frozen_copy(policy), updates=30, batch_size=4, learning_rate=0.05)
    assert records[0]["loss"] == pytest.approx(math.log(2)) and records[0]["accuracy"] == 0.5
    assert records[-1]["accuracy"] == 1 and records[-1]["loss"] < 0.2


# chance


def test_nobodys_chance_but_the_generators() -> None:
    """Whatever the global generator says, the run is the same, and leaves it alone; another generator, another run."""
    runs = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        runs.append(run(model(), some_pairs(), DPO, frozen_copy(model())))
        assert torch.get_rng_state().equal(before)
    assert all(a == pytest.approx(b, rel=0, abs=0, nan_ok=True) for a, b in zip(*runs, strict=True))
    config = PreferenceConfig(updates=3, batch_size=4)
    other = preference(
        model(), some_pairs(), DPO, config, reference=frozen_copy(model()), generator=seeded(5)
    )
    assert [r["grad_norm"] for r in other] != [r["grad_norm"] for r in runs[0][:3]]


def test_online_resumed_between_rounds(tmp_path: Path) -> None:
    """Which arms are drawn and who wins come from the checkpoint's generator, not from a fresh one."""
    config = OnlineConfig(updates=4, epochs=2, minibatches=3, learning_rate=0.05)

    def begun(path: Path | None) -> tuple[TabularPolicy, Any]:
        policy, bandit = TabularPolicy(1, 3), Bandit(torch.tensor([0.0, 1.0, 2.0]), batch_size=24)
        reference = frozen_copy(policy)
        return policy, online_preference(
            policy, bandit, DPO, config, reference=reference, generator=seeded(), checkpoint=path
        )

    whole, run_ = begun(None)
    records = list(run_)
    _, run_ = begun(tmp_path / "run.safetensors")
    parts = [next(run_), next(run_)]
    again, run_ = begun(tmp_path / "run.safetensors")
    parts += list(run_)
    assert parts == records and again.logits.equal(whole.logits)
    assert [r["labels"] for r in records] == [24, 48, 72, 96]


def test_online_comparisons_are_of_one_prompt_and_follow_the_rater() -> None:
    bandit = Bandit(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), batch_size=64, group_size=2)
    strict, policy = Rater(temperature=0), TabularPolicy(2, 2)
    pairs, reward = compared(policy, bandit, strict, seeded())
    assert isinstance(pairs.chosen.obs, Tensor) and isinstance(pairs.rejected.obs, Tensor)
    assert pairs.chosen.obs[:, 0].equal(pairs.rejected.obs[:, 0])
    paid = [
        torch.tensor([[0.0, 1.0], [1.0, 0.0]])[x.obs[:, 0], x.actions[:, 0]]  # type: ignore[index]
        for x in (pairs.chosen, pairs.rejected)
    ]
    assert (paid[0] >= paid[1]).all() and (paid[0] > paid[1]).any()
    assert torch.cat(paid).mean().item() == pytest.approx(reward)
    soft, _ = compared(policy, bandit, Rater(), seeded(), soft=True)
    assert soft.prob is not None and {round(p, 3) for p in soft.prob.tolist()} == {0.269, 0.5, 0.731}


def test_every_epoch_of_a_round_has_its_own_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pass over a round's comparisons meets all of them, in batches that are drawn anew."""
    seen: list[list[int]] = []
    honest = terms

    def watched(policy: Any, batch: PreferencePairs, *rest: Any) -> Any:
        seen.append(batch.chosen.actions[:, 0].tolist())
        return honest(policy, batch, *rest)

    monkeypatch.setattr(sys.modules["rlbase.train.online_preference"], "terms", watched)
    policy, config = TabularPolicy(1, 50), OnlineConfig(updates=1, epochs=2, minibatches=3)
    bandit = Bandit(torch.arange(50.0), batch_size=30)
    list(online_preference(policy, bandit, DPO, config, reference=frozen_copy(policy)))
    assert [len(rows) for rows in seen] == [10] * 6
    first, second = sum(seen[:3], []), sum(seen[3:], [])
    assert sorted(first) == sorted(second) and first != second


def test_rewards_are_priced_by_the_setting_of_the_loss() -> None:
    reference, pairs = frozen_copy(model(1)), some_pairs()
    plain = measure(model(), pairs, functools.partial(hinge, beta=1.0), reference=reference)["margin"]
    priced = measure(model(), pairs, functools.partial(ipo, tau=0.25), reference=reference)["margin"]
    assert plain != 0 and priced == pytest.approx(0.25 * plain, rel=1e-5)


def test_rows_of_verdicts_keep_what_is_theirs() -> None:
    """Mismatched responses, weights and cached numbers follow their rows; pairs give both sides their weight."""
    rows, weight = torch.tensor([4, 1, 1]), torch.rand(10, generator=seeded())
    said = with_reference(model(), some_verdicts(weight=weight))
    some = said[rows]
    assert some.mismatched.actions.equal(said.mismatched.actions[rows])
    assert some.ref_logp.equal(said.ref_logp[rows]) and some.weight.equal(weight[rows])
    apart = some_pairs(weight=weight, prob=weight).unpaired()
    assert apart.weight is not None and apart.weight.equal(torch.cat((weight, weight)))
    assert apart.desirable.equal(torch.cat((weight, 1 - weight)))


def test_padding_makes_no_other_prompt() -> None:
    ids, real = torch.tensor([[7, 1], [8, 1], [9, 2], [7, 2]]), torch.tensor([[False, True]] * 4)
    arms = Choices(Prompt(ids, real), torch.arange(4)[:, None], torch.ones(4, 1).bool())
    found = Labelled(arms, torch.ones(4).bool()).with_mismatched().mismatched
    assert found is not None and found.actions[:, 0].tolist() == [2, 3, 0, 1]


def test_how_often_opponents_are_drawn_need_not_add_up() -> None:
    ref, P, mu = torch.ones(2) / 2, torch.tensor([[0.5, 0.8], [0.2, 0.5]]), torch.tensor([0.3, 0.7])
    once, thrice = (ipo_optimum(ref, P, k * mu, tau=0.5) for k in (1, 3))
    torch.testing.assert_close(once, thrice)


def test_the_last_record_measures_the_finished_policy() -> None:
    policy, reference, unseen = model(), frozen_copy(model(1)), some_pairs(6)
    config = PreferenceConfig(updates=3, eval_every=2, learning_rate=0.01, schedule="constant")
    records = list(preference(policy, some_pairs(), DPO, config, reference=reference, held_out=unseen))
    assert math.isnan(records[0]["held_out_loss"])
    assert records[2]["held_out_loss"] == measure(policy, unseen, DPO, config, reference=reference)["loss"]
    assert records[2]["held_out_loss"] != records[1]["held_out_loss"]
