"""The trainer of preferences on an enumerable language model: what it computes, and what it must not touch."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from rlbase.exact import enumerate_responses, kl_optimum, total_variation
from rlbase.losses import cdpo, dpo, hinge, ipo, kto, orpo, rdpo, simpo, slic
from rlbase.policies import CausalLMPolicy, TabularPolicy, frozen_copy, random_policy
from rlbase.policies.adapters import adapters_off, with_lora
from rlbase.train import PreferenceConfig, preference, with_reference
from rlbase.train.preference import lengths, measure
from rlbase.train.preference_terms import needs, seq_logp, terms
from rlbase.types import Choices, Labelled, PreferencePairs, Prompt

Loss = Callable[..., Tensor]
EOS = 0
DPO = functools.partial(dpo, beta=0.5)
OF_PAIRS: dict[str, Loss] = {
    "dpo": DPO,
    "cdpo": functools.partial(cdpo, beta=0.5, label_smoothing=0.1),
    "rdpo": functools.partial(rdpo, beta=0.5, label_smoothing=0.1),
    "ipo": functools.partial(ipo, tau=0.5),
    "hinge": functools.partial(hinge, beta=0.5),
    "slic": functools.partial(slic, delta=1.0),
    "simpo": functools.partial(simpo, beta=2.0, gamma=0.5),
    "orpo": functools.partial(orpo, lam=0.5),
}
KTO = functools.partial(kto, beta=0.5)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model(seed: int = 0, dropout: float = 0.0) -> CausalLMPolicy:
    small = {"vocab_size": 3, "hidden_size": 16, "layers": 1, "initializer_range": 0.3}
    return random_policy("gpt2", seed=seed, dropout=dropout, **small)  # type: ignore[arg-type]


def strings(length: int = 3) -> Choices:
    """Every response of three tokens at most, to one prompt."""
    ids, mask = enumerate_responses(3, EOS, length)
    prompt = Prompt(torch.tensor([[1, 2]]), torch.ones(1, 2, dtype=torch.bool))[[0] * len(ids)]
    return Choices(prompt, ids, mask)


def prompts(rows: int, seed: int = 1) -> Prompt:
    ids = torch.randint(0, 3, (rows, 4), generator=seeded(seed))
    return Prompt(ids, torch.arange(4) >= torch.randint(0, 4, (rows, 1), generator=seeded(seed + 1)))


def responses(rows: int, seed: int) -> Choices:
    ids = torch.randint(0, 3, (rows, 5), generator=seeded(seed))
    mask = torch.arange(5) < torch.randint(1, 6, (rows, 1), generator=seeded(seed + 1))
    return Choices(prompts(rows), ids, mask)


def some_pairs(rows: int = 10, **extra: Any) -> PreferencePairs:
    return PreferencePairs(responses(rows, 3), responses(rows, 5), **extra)


def some_verdicts(rows: int = 10, **extra: Any) -> Labelled:
    return Labelled(responses(rows, 3), torch.rand(rows, generator=seeded(9)) < 0.5, **extra)


def run(policy: Any, data: Any, loss: Loss, reference: Any = None, **changes: Any) -> list[dict[str, float]]:
    settings: dict[str, Any] = {"updates": 6, "batch_size": 4, "learning_rate": 0.01} | changes
    config = PreferenceConfig(**settings)
    return list(preference(policy, data, loss, config, reference=reference, generator=seeded()))


def by_hand(policy: Any, rows: Choices, average: bool = False) -> Tensor:
    """Sum, or mean, of a row's own tokens, one row at a time and without padding."""
    found = []
    for k in range(len(rows)):
        assert isinstance(rows.obs, Prompt)
        prompt = rows.obs.ids[k][rows.obs.mask[k]][None]
        actions = rows.actions[k][rows.mask[k]][None]
        logp = policy.evaluate(Prompt(prompt, torch.ones_like(prompt, dtype=torch.bool)), actions)[0]
        found.append(logp.mean() if average else logp.sum())
    return torch.stack(found)


def value(policy: Any, data: Any, loss: Loss, reference: Any = None, kl: Any = None, **changes: Any) -> Any:
    return terms(policy, data, loss, PreferenceConfig(**changes), reference, kl)


# what is computed


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("name", OF_PAIRS)
def test_each_loss_gets_what_its_names_say(name: str, average: bool) -> None:
    policy, reference = model(), frozen_copy(model(1))
    weight = torch.rand(10, generator=seeded(4))
    prob = torch.rand(10, generator=seeded(5))
    pairs = some_pairs(weight=weight, prob=prob)
    known: dict[str, Tensor] = {}
    for side, rows in (("chosen", pairs.chosen), ("rejected", pairs.rejected)):
        known[f"{side}_avg_logp"] = by_hand(policy, rows, True)
        known[f"{side}_logp"] = by_hand(policy, rows, average)
        known[f"{side}_ref_logp"] = by_hand(reference, rows, average)
    loss, names = OF_PAIRS[name], needs(OF_PAIRS[name])
    other = {"chosen": "rejected", "rejected": "chosen"}
    swapped = {f"{other[n.split('_')[0]]}_{n.split('_', 1)[1]}": x for n, x in known.items()}
    each = prob * loss(**{n: known[n] for n in names}) + (1 - prob) * loss(**{n: swapped[n] for n in names})
    each = each - 0.3 * (prob * known["chosen_avg_logp"] + (1 - prob) * known["rejected_avg_logp"])
    expected = (weight * each).sum() / weight.sum()
    needed = reference if any("ref" in n for n in names) else None
    found, _ = value(policy, pairs, loss, needed, average=average, likelihood=0.3)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    one, two = (torch.autograd.grad(x, [*policy.parameters()], allow_unused=True) for x in (found, expected))
    for a, b in zip(one, two, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("soft", [False, True])
def test_verdicts_and_their_reference_point(soft: bool, average: bool) -> None:
    policy, reference = model(), frozen_copy(model(1))
    weight = torch.rand(10, generator=seeded(4))
    data = some_verdicts(weight=weight)
    if soft:
        data = Labelled(data.choices, torch.rand(10, generator=seeded(6)), weight)
    data = data.with_mismatched()
    logp, ref = (by_hand(p, data.choices, average) for p in (policy, reference))
    # each prompt with the response of the row after it; the last with the first
    turned = torch.arange(1, 11) % 10
    there = Choices(data.choices.obs, data.choices.actions[turned], data.choices.mask[turned])
    ratio = (by_hand(policy, there, average) - by_hand(reference, there, average)).detach()
    point = max(0.0, ((weight[turned] * ratio).sum() / weight.sum()).item())
    good = torch.ones(10, dtype=torch.bool)
    share = data.desirable.float()
    each = share * KTO(logp, ref, good, point) + (1 - share) * KTO(logp, ref, ~good, point)
    expected = (weight * each).sum() / weight.sum()
    found, metrics = value(policy, data, KTO, reference, average=average)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    likely = share * by_hand(policy, data.choices, True)  # of what is desirable, and only that
    with_likelihood, _ = value(policy, data, KTO, reference, average=average, likelihood=0.3)
    expected = expected - 0.3 * (weight * likely).sum() / weight.sum()
    torch.testing.assert_close(with_likelihood, expected, rtol=1e-5, atol=1e-5)
    assert metrics["reference_point"].item() == pytest.approx(point, abs=1e-5)
    # where the distance is known, it is taken instead
    found, metrics = value(policy, data, KTO, reference, kl=lambda: 1.25, average=average)
    each = share * KTO(logp, ref, good, 1.25) + (1 - share) * KTO(logp, ref, ~good, 1.25)
    torch.testing.assert_close(found, (weight * each).sum() / weight.sum(), rtol=1e-5, atol=1e-6)
    assert metrics["reference_point"].item() == 1.25


def test_the_reference_point_may_be_above_zero() -> None:
    """Responses that everybody's prompt makes likelier: a third model as policy, so that the mean ratio is positive."""
    points = []
    for seed in range(4):
        data = some_verdicts().with_mismatched()
        points.append(
            value(model(seed), data, KTO, frozen_copy(model(seed + 1)))[1]["reference_point"].item()
        )
    assert min(points) == 0 and max(points) > 0.1, points


def test_metrics_by_hand() -> None:
    """Three comparisons of a bandit's arms: log-ratios .5, -.25, 0 and beta 2."""
    logits = torch.tensor([0.5, -0.25, 0.0])
    policy, reference = TabularPolicy(1, 3), TabularPolicy(1, 3)
    policy.logits.data += logits
    shift = policy.logits.logsumexp(1).item() - math.log(3)  # log-ratios are the logits less this

    def arms(*numbers: int) -> Choices:
        actions = torch.tensor(numbers)[:, None]
        return Choices(torch.zeros_like(actions), actions, torch.ones_like(actions, dtype=torch.bool))

    pairs = PreferencePairs(arms(0, 1, 2), arms(1, 2, 2), prob=torch.tensor([1.0, 0.75, 1.0]))
    loss = functools.partial(dpo, beta=2.0)
    found = measure(policy, pairs, loss, reference=reference)
    # right: 1; the second ranks 1 below 2 and is right for a quarter; equal rewards know nothing
    assert found["accuracy"] == pytest.approx((1 + 0.25 + 0.5) / 3)
    assert found["margin"] == pytest.approx((1.5 + 0.5 * -0.5 + 0) / 3, abs=1e-6)
    chosen = (2 * 0.5 + 0.75 * 2 * -0.25 + 0.25 * 0 + 0) / 3 - 2 * shift
    rejected = (2 * -0.25 + 0.25 * 2 * -0.25 + 0) / 3 - 2 * shift
    assert found["chosen_reward"] == pytest.approx(chosen, abs=1e-6)
    assert found["rejected_reward"] == pytest.approx(rejected, abs=1e-6)
    logp = (policy.logits[0].detach() - policy.logits.logsumexp(1).item()).tolist()
    nll = -(logp[0] + 0.75 * logp[1] + 0.25 * logp[2] + logp[2]) / 3
    assert found["chosen_nll"] == pytest.approx(nll, abs=1e-6)
    weighted = PreferencePairs(pairs.chosen, pairs.rejected, pairs.prob, weight=torch.tensor([0.0, 1.0, 0.0]))
    assert measure(policy, weighted, loss, reference=reference)["accuracy"] == pytest.approx(0.25)
    verdicts = Labelled(arms(0, 1, 2), torch.tensor([True, False, False]))
    said = measure(policy, verdicts, functools.partial(kto, beta=2.0), reference=reference, kl=lambda: 0.0)
    # rewards 2 * (.5, -.25, 0) less 2 * shift, and what is desirable should be above 0
    assert said["margin"] == pytest.approx(1.0 - (-0.5 + 0.0) / 2, abs=1e-6)
    assert said["accuracy"] == 1.0 and said["chosen_nll"] == pytest.approx(-logp[0], abs=1e-6)
    # against a reference point of .6 the desirable one, at .5 less a shift of .13, is not yet above
    higher = measure(policy, verdicts, functools.partial(kto, beta=2.0), reference=reference, kl=lambda: 0.6)
    assert higher["accuracy"] == pytest.approx(2 / 3)
    assert said["chosen_reward"] == pytest.approx(1.0 - 2 * shift, abs=1e-6)
    assert said["rejected_reward"] == pytest.approx(-0.25 - 2 * shift, abs=1e-6)


def test_a_batch_measured_in_parts() -> None:
    policy, reference, pairs = model(), frozen_copy(model(1)), some_pairs()
    whole = measure(policy, pairs, DPO, reference=reference)
    parts = measure(policy, pairs, DPO, PreferenceConfig(batch_size=3), reference=reference)
    assert whole == pytest.approx(parts, abs=1e-5) and whole.keys() == parts.keys()
    assert (
        lengths(pairs).tolist()
        == torch.maximum(lengths_by_hand(pairs.chosen), lengths_by_hand(pairs.rejected)).tolist()
    )


@pytest.mark.parametrize("size", [1, 3])
def test_means_do_not_depend_on_the_batches(size: int) -> None:
    """Rows that weigh differently, and batches without a desirable or without an undesirable response."""
    policy, reference, weight = model(), frozen_copy(model(1)), torch.rand(10, generator=seeded(3))
    desirable = torch.tensor([True] * 3 + [False] * 7)
    verdicts = Labelled(responses(10, 3), desirable, weight)
    for data, loss, kl in ((some_pairs(weight=weight), DPO, None), (verdicts, KTO, lambda: 0.2)):
        whole = measure(policy, data, loss, PreferenceConfig(batch_size=99), reference=reference, kl=kl)
        parts = measure(policy, data, loss, PreferenceConfig(batch_size=size), reference=reference, kl=kl)
        assert whole == pytest.approx(parts, abs=1e-5), loss
        assert all(math.isfinite(x) for x in whole.values())
    nobody = Labelled(responses(10, 3), torch.zeros(10, dtype=torch.bool))
    found = measure(policy, nobody, KTO, reference=reference, kl=lambda: 0.2)
    assert math.isnan(found["chosen_reward"]) and math.isfinite(found["rejected_reward"])


def lengths_by_hand(rows: Choices) -> Tensor:
    assert isinstance(rows.obs, Prompt)
    return rows.obs.mask.sum(1) + rows.mask.sum(1)


# before the first step, and after the last


@pytest.mark.parametrize(
    ("name", "first"),
    [("dpo", math.log(2)), ("cdpo", math.log(2)), ("rdpo", math.log(2)), ("ipo", 1.0), ("hinge", 1.0)],
)
def test_a_policy_begins_at_its_reference(name: str, first: float) -> None:
    policy = model(dropout=0.1)  # which nobody switched off
    records = run(policy, some_pairs(), OF_PAIRS[name], frozen_copy(policy))
    assert records[0]["loss"] == pytest.approx(first, abs=1e-5)
    assert records[0]["margin"] == pytest.approx(0, abs=1e-5) and records[-1]["loss"] != records[0]["loss"]


def test_the_reference_stays() -> None:
    policy, pairs = model(), some_pairs()
    reference = model()  # nobody froze it, and it gets no gradient all the same
    before = seq_logp(reference, pairs.chosen)
    weights = [p.clone() for p in reference.parameters()]
    run(policy, pairs, DPO, reference)
    assert all(torch.equal(a, b) for a, b in zip(weights, reference.parameters(), strict=True))
    assert seq_logp(reference, pairs.chosen).equal(before)
    assert not seq_logp(policy, pairs.chosen).equal(before)
    assert all(p.grad is None for p in reference.parameters())


@pytest.mark.parametrize("kind", ["pairs", "verdicts"])
def test_three_references_are_one(kind: str) -> None:
    """A frozen copy, cached log-probabilities, and the policy under its adapters: the same run."""
    plain = model()
    data: Any = some_pairs() if kind == "pairs" else some_verdicts()
    loss = DPO if kind == "pairs" else KTO
    runs = []
    for kind_of_reference in ("frozen", "cached", "adapters"):
        policy = with_lora(plain, 2)
        reference: Any = {"frozen": frozen_copy(plain), "cached": None, "adapters": adapters_off(policy)}
        given = with_reference(plain, data) if kind_of_reference == "cached" else data
        runs.append(run(policy, given, loss, reference[kind_of_reference]))
    assert runs[0][-1]["loss"] != runs[0][0]["loss"]
    for other in runs[1:]:
        for one, two in zip(runs[0], other, strict=True):
            assert one == pytest.approx(two, abs=2e-5, nan_ok=True)


def test_cached_averages_are_divided_by_the_trainer() -> None:
    policy, reference = model(), model(1)
    for data, loss in ((some_pairs(), OF_PAIRS["ipo"]), (some_verdicts().with_mismatched(), KTO)):
        fresh, _ = value(policy, data, loss, frozen_copy(reference), average=True)
        cached, _ = value(policy, with_reference(reference, data), loss, average=True)
        torch.testing.assert_close(cached, fresh, rtol=1e-5, atol=1e-6)
        own = data.chosen if isinstance(data, PreferencePairs) else data.choices
        kept = with_reference(reference, data).ref_logp[:, 0]
        torch.testing.assert_close(kept, by_hand(reference, own).detach(), rtol=1e-5, atol=1e-5)


def test_cached_numbers_follow_their_rows() -> None:
    policy, pairs = model(), with_reference(model(1), some_pairs())
    order = torch.tensor([7, 2, 2, 0])
    picked = value(policy, pairs[order], DPO)[0]
    again = value(policy, some_pairs()[order], DPO, frozen_copy(model(1)))[0]
    torch.testing.assert_close(picked, again, rtol=1e-5, atol=1e-6)


# what does not count


def garbled(rows: Choices, seed: int) -> Choices:
    """Other tokens wherever the masks say that nothing is there."""
    assert isinstance(rows.obs, Prompt)
    noise = torch.randint(0, 3, rows.actions.shape, generator=seeded(seed))
    ids = torch.randint(0, 3, rows.obs.ids.shape, generator=seeded(seed + 1))
    obs = Prompt(torch.where(rows.obs.mask, rows.obs.ids, ids), rows.obs.mask)
    return Choices(obs, torch.where(rows.mask, rows.actions, noise), rows.mask)


@pytest.mark.parametrize("name", [*OF_PAIRS, "kto"])
def test_garbage_under_the_mask_changes_nothing(name: str) -> None:
    policy, reference = model(), frozen_copy(model(1))
    data: Any = some_pairs() if name != "kto" else some_verdicts()
    if name == "kto":
        other: Any = Labelled(garbled(data.choices, 20), data.desirable).with_mismatched()
        data = data.with_mismatched()
    else:
        other = PreferencePairs(garbled(data.chosen, 20), garbled(data.rejected, 30))
    loss = KTO if name == "kto" else OF_PAIRS[name]
    needed = reference if any("ref" in n for n in needs(loss)) else None
    one, two = (value(policy, x, loss, needed, likelihood=0.5) for x in (data, other))
    torch.testing.assert_close(one[0], two[0], rtol=1e-6, atol=1e-6)
    assert {n: x.item() for n, x in one[1].items()} == pytest.approx(
        {n: x.item() for n, x in two[1].items()}, abs=1e-5
    )


class Logits(torch.nn.Module):
    """A free logit for every row, column and token: where the gradient goes can be read off."""

    stateful = False

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(rows, columns, 3, generator=seeded()))

    def evaluate(self, obs: Any, actions: Tensor) -> tuple[Tensor, Tensor]:
        logp = self.table[:, : actions.shape[1]].log_softmax(-1).gather(-1, actions[..., None])[..., 0]
        return logp, torch.zeros_like(logp)


@pytest.mark.parametrize("name", [*OF_PAIRS, "kto"])
def test_masked_tokens_have_no_gradient(name: str) -> None:
    pairs = some_pairs()
    mask = torch.cat((pairs.chosen.mask, pairs.rejected.mask))
    policy, loss = Logits(20, 5), KTO if name == "kto" else OF_PAIRS[name]
    reference = Logits(20, 5).requires_grad_(False)
    reference.table.data += 0.1 * torch.randn(20, 5, 3, generator=seeded(2))
    data: Any = pairs
    if name == "kto":
        data = Labelled(pairs.joined(), torch.arange(20) < 10)
    needed = reference if any("ref" in n for n in needs(loss)) else None
    found, _ = value(policy, data, loss, needed, kl=(lambda: 0.0) if name == "kto" else None)
    (gradient,) = torch.autograd.grad(found, policy.table)
    assert not gradient[~mask].any()
    touched = gradient[mask].abs().sum(-1) > 0
    assert touched.all() or name in ("hinge", "slic") and touched.any()


# every string of a language model


def test_dpo_on_every_string_of_a_language_model() -> None:
    """Each of 15 strings against each other: the network comes near ref * exp(r / beta), and nothing is sampled."""
    rows, policy = strings(), model()
    ref = by_hand(policy, rows).detach().exp()
    assert ref.sum().item() == pytest.approx(1, abs=1e-5)
    reward = (rows.actions * rows.mask).eq(1).sum(1).float()
    i, j = torch.combinations(torch.arange(len(rows))).unbind(1)
    pairs = PreferencePairs(rows[i], rows[j], prob=(reward[i] - reward[j]).sigmoid())
    best = kl_optimum(ref, reward, beta=0.5)
    records = run(
        policy,
        pairs,
        DPO,
        frozen_copy(policy),
        updates=150,
        batch_size=1000,
        learning_rate=0.02,
        schedule="linear",
    )
    after = by_hand(policy, rows).detach().exp()
    assert total_variation(ref, best) > 0.3 and total_variation(after, best) < 0.03
    assert records[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    prob = torch.where(pairs.prob > 0.5, pairs.prob, 1 - pairs.prob)  # type: ignore[operator]
    assert records[-1]["accuracy"] == pytest.approx(prob.mean().item(), abs=0.01)
