"""Imitation where the demonstrator is known: losses against enumeration, gradients exactly, and what is copied."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rlbase.exact import enumerate_responses, kl
from rlbase.policies import TabularPolicy, frozen_copy, random_policy
from rlbase.train import SFTConfig, common, sft
from rlbase.train.epochs import Epochs
from rlbase.train.sft import held_out_loss, sft_loss
from rlbase.types import Choices, Prompt

VOCAB, EOS, LENGTH = 4, 3, 3
IDS, MASK = enumerate_responses(VOCAB, eos=EOS, length=LENGTH)
EXACT = SFTConfig(
    batch_size=1000, schedule="constant", reduce=1.0
)  # all responses in every step, rows averaged


def everything(prompt: list[int]) -> Choices:
    """Every response there is to one prompt."""
    ids = torch.tensor(prompt).expand(len(IDS), -1)
    return Choices(Prompt(ids, torch.ones_like(ids, dtype=torch.bool)), IDS, MASK)


@torch.no_grad()
def law(policy: Any, prompt: list[int]) -> Tensor:
    """Its probability of every response, by enumeration."""
    rows = everything(prompt)
    logp = policy.evaluate(rows.obs, rows.actions)[0]
    return torch.where(MASK, logp, 0).sum(1).double().exp()


def demonstrated(probs: Tensor, prompt: list[int]) -> Choices:
    """The demonstrator's whole law as rows: with ``reduce=1.0`` the loss is the exact cross-entropy of responses."""
    rows = everything(prompt)
    return replace(rows, weight=(len(IDS) * probs.float())[:, None].expand(IDS.shape))


def demonstrator() -> Any:
    return random_policy("gpt2", vocab_size=VOCAB, initializer_range=0.4, seed=5)


def entropy(p: Tensor) -> float:
    return -(p * p.log()).sum().item()


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_excess_loss_is_the_divergence_and_vanishes(architecture: str) -> None:
    prompt = [2, 0]
    demo = law(demonstrator(), prompt)
    policy = random_policy(architecture, vocab_size=VOCAB, seed=1)
    rows = demonstrated(demo, prompt)
    assert abs(demo.sum().item() - 1) < 1e-5
    before = sft_loss(policy, rows, EXACT).item()
    start = kl(demo, law(policy, prompt))
    assert before - entropy(demo) == pytest.approx(start, abs=1e-5)
    assert start > 0.3, "or there is nothing to learn"
    config = replace(EXACT, updates=150, learning_rate=3e-3)
    record = list(sft(policy, rows, config))[-1]
    reached = kl(demo, law(policy, prompt))
    assert reached < 0.01
    assert held_out_loss(policy, rows, config) - entropy(demo) == pytest.approx(reached, abs=1e-4)
    assert record["tokens"] == 150 * int(MASK.sum())


def test_gradient_is_policy_minus_demonstrator_at_every_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """d loss / d logits(prefix) = demo(prefix) * (pi(.|prefix) - demo(.|prefix)), summed over the rows that pass it."""
    prompt = [1]
    demo = law(demonstrator(), prompt)
    policy = random_policy("gpt2", vocab_size=VOCAB, initializer_range=0.3, seed=2)
    kept: list[Tensor] = []
    honest = policy._logits

    def watched(hidden: Tensor) -> Tensor:
        logits = honest(hidden)
        logits.retain_grad()
        kept.append(logits)
        return logits

    monkeypatch.setattr(policy, "_logits", watched)
    sft_loss(policy, demonstrated(demo, prompt), EXACT).backward()
    (logits,) = kept
    assert logits.grad is not None
    assert len(logits) == int(MASK.sum()), "the head runs on the chosen tokens and nowhere else"
    rows, columns = MASK.nonzero(as_tuple=True)
    prefixes: dict[tuple[int, ...], list[int]] = {}
    for i, (row, column) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        prefixes.setdefault(tuple(IDS[row, :column].tolist()), []).append(i)
    assert len(prefixes) == 1 + 3 + 9
    for prefix, places in prefixes.items():
        passing = torch.tensor([tuple(r[: len(prefix)]) == prefix for r in IDS.tolist()]) & (
            MASK.sum(1) > len(prefix)
        )
        joint = torch.stack([demo[passing & (IDS[:, len(prefix)] == token)].sum() for token in range(VOCAB)])
        expected = joint.sum() * logits[places[0]].detach().double().softmax(-1) - joint
        found = logits.grad[places].double().sum(0)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


def test_gradient_of_a_table_is_policy_minus_frequencies() -> None:
    policy = TabularPolicy(1, 3, ref=torch.tensor([0.5, 0.3, 0.2]))
    arms = Choices(
        torch.zeros(10, 1).long(), torch.tensor([0] * 7 + [2] * 3)[:, None], torch.ones(10, 1).bool()
    )
    sft_loss(policy, arms, SFTConfig()).backward()
    # 7 of 10 chose the first arm, 3 the third: (0.5 - 0.7, 0.3 - 0, 0.2 - 0.3)
    torch.testing.assert_close(policy.logits.grad, torch.tensor([[-0.2, 0.3, -0.1]]))


def test_prompts_and_padding_are_not_learned() -> None:
    """Against transformers' own logits of the whole text: only those before response tokens are in the loss."""
    policy = random_policy("gpt2", vocab_size=6, initializer_range=0.3)
    prompt = Prompt(
        torch.tensor([[0, 4, 1], [3, 2, 5]]), torch.tensor([[False, True, True], [True, True, True]])
    )
    actions, mask = torch.tensor([[2, 5, 1], [4, 4, 5]]), torch.tensor([[True, True, False], [True] * 3])
    loss = sft_loss(policy, Choices(prompt, actions, mask), SFTConfig())
    found = torch.autograd.grad(loss, list(policy.parameters()))

    def total(row: list[int], given: int) -> Tensor:
        logp = policy.model(torch.tensor([row])).logits[0].log_softmax(-1)
        return -sum(logp[t - 1, row[t]] for t in range(given, len(row)))  # type: ignore[return-value]

    by_hand = (total([4, 1, 2, 5], 2) + total([3, 2, 5, 4, 4, 5], 3)) / 5
    torch.testing.assert_close(loss, by_hand)
    expected = torch.autograd.grad(by_hand, list(policy.parameters()), retain_graph=True)
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-4)
    with_prompt = (total([4, 1, 2, 5], 1) + total([3, 2, 5, 4, 4, 5], 1)) / 8
    assert abs(with_prompt.item() - loss.item()) > 0.05, "learning the prompt would be another loss"


def test_pad_equal_to_eos_hides_no_end() -> None:
    """Padding of the EOS's own number: the real EOS is learned, the padding behind it is not."""
    policy = random_policy("gpt2", vocab_size=4, seed=3)
    prompt = Prompt(torch.tensor([[1], [1]]), torch.ones(2, 1).bool())
    actions = torch.tensor([[0, EOS, EOS], [0, 2, EOS]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    rows = Choices(prompt, actions, mask)
    for _ in sft(policy, rows, SFTConfig(updates=60, learning_rate=1e-2, schedule="constant")):
        pass
    ended = policy.evaluate(prompt, torch.tensor([[0, EOS, 0], [0, 2, EOS]]))[0].exp()
    assert ended[0, 1].item() == pytest.approx(0.5, abs=0.05)  # after 0: end, or go on with 2
    assert ended[1, 2].item() > 0.9


def test_the_denominator_is_named() -> None:
    """Two responses, of one choice with surprise log 2 and of three with log 4 each."""
    policy = TabularPolicy(2, 2, ref=torch.tensor([[0.5, 0.5], [0.25, 0.75]]))
    obs = torch.tensor([[0, 0, 0], [1, 1, 1]])
    rows = Choices(obs, torch.zeros(2, 3).long(), torch.tensor([[True, False, False], [True, True, True]]))
    two, four = math.log(2), math.log(4)
    for reduce, expected in (
        ("token", (two + 3 * four) / 4),
        ("sequence", (two + four) / 2),
        (5, (two + 3 * four) / 10),
    ):
        config = SFTConfig(reduce=reduce, batch_size=1)
        assert sft_loss(policy, rows, config).item() == pytest.approx(expected, rel=1e-6)
        assert held_out_loss(policy, rows, config) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("reduce", ["token", "sequence", 2.0])
def test_held_out_loss_does_not_depend_on_how_it_is_read(reduce: str | float) -> None:
    """Five rows of one to three choices, read two at a time: the last batch is short, and no batch like another."""
    rows = everything([2, 0])[MASK.sum(1).argsort()[[-1, 1, 0, -2, 2]]]
    assert rows.mask.sum(1).tolist() == [3, 2, 1, 3, 2]
    policy, whole = demonstrator(), SFTConfig(reduce=reduce, batch_size=5)
    expected = sft_loss(policy, rows, whole).item()
    assert held_out_loss(policy, rows, replace(whole, batch_size=2)) == pytest.approx(expected, rel=1e-5)


def test_batches_of_like_length_come_in_random_order() -> None:
    """Sorted batches would be a curriculum: the short first in every pass."""
    lengths = torch.arange(64) % 16
    epochs, generator = Epochs(64, 4, lengths=lengths), torch.Generator().manual_seed(0)
    means = []
    for _ in range(2):
        batches = [epochs.next(generator) for _ in range(epochs.batches)]
        assert torch.cat(batches).sort().values.tolist() == list(range(64))
        assert all(len(set(lengths[batch].tolist())) == 1 for batch in batches)
        means.append([lengths[batch[0]].item() for batch in batches])
    assert sorted(means[0]) == sorted(means[1]) == list(range(16))
    assert means[0] != means[1] and all(row != sorted(row) for row in means)


def test_bad_demonstrations_are_copied() -> None:
    """One demonstration in ten is bad, and one answer in ten will be: imitation does not know good from bad."""
    arms = torch.tensor([0] * 9 + [1])[:, None]
    rows = Choices(torch.zeros(10, 1).long(), arms, torch.ones(10, 1).bool())
    policy = TabularPolicy(1, 3)
    for _ in sft(policy, rows, SFTConfig(updates=600, learning_rate=0.1, schedule="linear")):
        pass
    good, bad, never = policy.probs()[0].tolist()
    assert bad == pytest.approx(0.1, abs=0.003)
    assert good == pytest.approx(0.9, abs=0.003)
    assert never < 0.003


def test_a_demonstrator_of_samples_is_learned_by_batches() -> None:
    """5,000 sampled responses, eight passes in shuffled batches: as close as such a sample allows."""
    generator, prompt = torch.Generator().manual_seed(0), [2]
    demo = law(demonstrator(), prompt)
    rows = everything(prompt)[torch.multinomial(demo, 5000, replacement=True, generator=generator)]
    policy = random_policy("gpt2", vocab_size=VOCAB, seed=1)
    config = SFTConfig(epochs=8, batch_size=128, learning_rate=3e-3)
    records = list(sft(policy, rows, config, held_out=rows[:500], generator=generator))
    assert len(records) == 8 * 40
    assert records[-1]["epoch"] == 8
    assert math.isnan(records[0]["held_out_loss"])
    assert records[-1]["held_out_loss"] < records[39]["held_out_loss"]
    assert kl(demo, law(policy, prompt)) < 0.015


def test_a_mean_of_means_fits_another_law() -> None:
    """With ``sequence`` a choice counts 1 / length of its response: at rest pi(a|prefix) is the share of that."""
    prompt = [2]
    demo = law(demonstrator(), prompt)
    policy = random_policy("gpt2", vocab_size=VOCAB, seed=1)
    config = replace(EXACT, reduce="sequence", updates=200, learning_rate=3e-3)
    for _ in sft(policy, demonstrated(demo, prompt), config):
        pass
    share = demo / MASK.sum(1)
    expected = torch.ones(len(IDS), dtype=torch.float64)
    for i, response in enumerate(IDS.tolist()):
        for t in range(int(MASK[i].sum())):
            before = (IDS[:, :t] == torch.tensor(response[:t])).all(1) & MASK[:, t]
            here = before & (IDS[:, t] == response[t])
            expected[i] *= share[here].sum() / share[before].sum()
    assert expected.sum().item() == pytest.approx(1, abs=1e-6)
    assert kl(expected, law(policy, prompt)) < 0.005
    assert kl(demo, expected) > 0.015, "and that is not what was demonstrated"
    short = MASK.sum(1) == 1
    assert expected[short].sum() > 1.2 * demo[short].sum()


def test_what_lies_under_the_mask_moves_nothing() -> None:
    policy = random_policy("gpt2", vocab_size=VOCAB, initializer_range=0.3)
    rows = everything([1])
    other = replace(rows, actions=torch.where(MASK, IDS, (IDS + 1) % VOCAB))
    grads = []
    for each in (rows, other):
        loss = sft_loss(policy, each, SFTConfig())
        grads.append([loss.detach(), *torch.autograd.grad(loss, list(policy.parameters()))])
    for one, two in zip(*grads, strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-5)


def test_logp_is_evaluate_without_the_rest() -> None:
    for architecture in ("gpt2", "gpt_neox", "llama"):
        policy = random_policy(architecture, vocab_size=VOCAB, initializer_range=0.3, temperature=0.7)
        rows = everything([1, 2])
        expected = torch.where(MASK, policy.evaluate(rows.obs, rows.actions)[0], 0)
        torch.testing.assert_close(common.logp_of(policy, rows), expected)


def test_resume_in_the_middle_of_a_pass(tmp_path: Path) -> None:
    def run(path: Path | None) -> tuple[Any, Any]:
        policy = random_policy("gpt2", vocab_size=VOCAB, hidden_size=16, layers=1)
        config = SFTConfig(epochs=2, batch_size=4, learning_rate=1e-2, warmup=3, group_by_length=True)
        generator = torch.Generator().manual_seed(3)
        rows = everything([0])[:18]
        return sft(policy, rows, config, held_out=rows[:5], generator=generator, checkpoint=path), policy

    whole, one = run(None)
    records = list(whole)
    assert len(records) == 10
    resumed: list[dict[str, float]] = []
    two = one
    for steps in (2, 1, 4, 99):  # passes are five batches: stops in the middle of both
        part, two = run(tmp_path / "run.safetensors")
        resumed += [record for _, record in zip(range(steps), part, strict=False)]
    assert [str(r) for r in resumed] == [str(r) for r in records]
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(p, q)
    part, _ = run(tmp_path / "run.safetensors")
    assert list(part) == []


def test_more_passes_may_be_asked_for_later(tmp_path: Path) -> None:
    """One pass, then two of the same run: with a constant learning rate that is two passes in one go."""
    laws = []
    for path, asked in ((None, (2,)), (tmp_path / "run.safetensors", (1, 2))):
        for epochs in asked:
            policy, generator = TabularPolicy(1, 3), torch.Generator().manual_seed(0)
            arms = Choices(torch.zeros(7, 1).long(), torch.arange(7)[:, None] % 3, torch.ones(7, 1).bool())
            config = SFTConfig(epochs=epochs, batch_size=2, learning_rate=0.1, schedule="constant")
            records = list(sft(policy, arms, config, generator=generator, checkpoint=path))
        laws.append((policy.probs().tolist(), records[-1]))
    assert laws[0][0] == laws[1][0] and str(laws[0][1]) == str(laws[1][1])
    with pytest.raises(ValueError, match="has done 8 updates, more than updates=4"):
        list(sft(policy, arms, replace(config, epochs=1), checkpoint=tmp_path / "run.safetensors"))


def test_a_checkpoint_of_other_demonstrations_is_refused(tmp_path: Path) -> None:
    policy, path = TabularPolicy(1, 2), tmp_path / "run.safetensors"
    arms = Choices(torch.zeros(2, 1).long(), torch.tensor([[1], [0]]), torch.ones(2, 1).bool())
    next(iter(sft(policy, arms, SFTConfig(updates=2), checkpoint=path)))
    other = replace(arms, actions=torch.tensor([[1], [1]]))
    with pytest.raises(ValueError, match="was begun with checksum of the data="):
        list(sft(policy, other, SFTConfig(updates=2), checkpoint=path))


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"demonstrations": [1]}, TypeError, r"sft: demonstrations must be a Choices, got \[1\]"),
        ({"config": 3}, TypeError, "sft: config must be a SFTConfig, got 3"),
        ({"policy": 3}, TypeError, "sft: policy must have evaluate, got int"),
        (
            {"policy": frozen_copy(TabularPolicy(1, 2))},
            ValueError,
            "sft: the policy has no parameter that trains",
        ),
        ({"held_out": torch.zeros(1)}, TypeError, "sft: held_out must be a Choices or None"),
        (
            {"demonstrations": Choices(torch.zeros(2, 1).long(), *[torch.tensor([[1], [0]])] * 2)},
            TypeError,
            "boolean",
        ),
        (
            {
                "demonstrations": Choices(
                    torch.zeros(2, 1).long(), torch.zeros(2, 1).long(), torch.tensor([[True], [False]])
                )
            },
            ValueError,
            "sft: every row of demonstrations needs a choice to imitate, got none in row 1",
        ),
    ],
)
def test_one_sentence_for_bad_input(change: dict[str, Any], error: type[Exception], told: str) -> None:
    arms = Choices(torch.zeros(2, 1).long(), torch.tensor([[1], [0]]), torch.ones(2, 1).bool())
    given: dict[str, Any] = {"policy": TabularPolicy(1, 2), "demonstrations": arms, "config": SFTConfig()}
    given |= change
    run = sft(given.pop("policy"), given.pop("demonstrations"), given.pop("config"), **given)
    with pytest.raises(error, match=told):
        list(run)


def test_settings_are_checked() -> None:
    for wrong in (
        {"epochs": 0},
        {"updates": 0},
        {"batch_size": 0},
        {"eval_every": 0},
        {"warmup": -1},
        {"learning_rate": -1.0},
        {"max_grad_norm": 0.0},
        {"schedule": "step"},
        {"reduce": 0},
        {"precision": "int8"},
    ):
        with pytest.raises(ValueError, match=f"SFTConfig: {next(iter(wrong))}"):
            SFTConfig(**wrong)  # type: ignore[arg-type]


def test_a_diverged_policy_stops_with_its_weights_untouched() -> None:
    policy = random_policy("gpt2", vocab_size=VOCAB)
    policy.model.lm_head.weight.data[0] = float("nan")
    before = [p.clone() for p in policy.parameters()]
    with pytest.raises(FloatingPointError, match="sft, update 0: the loss"):
        list(sft(policy, everything([1]), SFTConfig()))
    for one, two in zip(before, policy.parameters(), strict=True):
        assert torch.equal(one.nan_to_num(), two.nan_to_num())
