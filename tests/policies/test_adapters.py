"""Low-rank adapters: nothing changes at first, the model underneath never, and merging changes nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rlbase.envs import CharTokenizer, TextEnv, pad_left
from rlbase.exact import enumerate_responses, kl
from rlbase.policies import CausalLMPolicy, LMCritic, frozen_copy, random_policy
from rlbase.policies.adapters import adapters_off, merged, with_lora
from rlbase.rollout import check_policy
from rlbase.train import PPOConfig, ppo
from rlbase.types import Prompt

TOKENIZER = CharTokenizer("abc")
ARCHITECTURES = ["gpt2", "gpt_neox", "llama"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def count_a(prompts: list[str], responses: list[str]) -> list[float]:
    return [float(text.count("a")) for text in responses]


def text_world() -> TextEnv:
    return TextEnv(["a", "bcb"], TOKENIZER, count_a, max_new_tokens=4, batch_size=8)


def base(architecture: str = "gpt2", **options: Any) -> CausalLMPolicy:
    small = {"vocab_size": 4, "initializer_range": 0.3, "hidden_size": 16, "layers": 1, **options}
    return random_policy(architecture, **small)


def rows() -> tuple[Prompt, Tensor]:
    ids = torch.tensor([[0, 0, 1], [2, 3, 0]])
    prompt = Prompt(ids, torch.tensor([[False, False, True], [True, True, True]]))
    return prompt, torch.tensor([[1, 2, 3, 0], [3, 3, 2, 1]])


def trained(architecture: str, **options: Any) -> tuple[CausalLMPolicy, CausalLMPolicy]:
    plain = base(architecture)
    policy = with_lora(plain, 2)
    settings = {"updates": 4, "epochs": 2, "minibatches": 2, "learning_rate": 0.01, "beta": 0.1, **options}
    reference = adapters_off(policy)
    list(ppo(policy, text_world(), PPOConfig(**settings), critic=LMCritic(policy), reference=reference))
    return plain, policy


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nothing_changes_at_first(architecture: str) -> None:
    plain = base(architecture)
    policy = with_lora(plain, 2)
    same = frozen_copy(plain)  # torch multiplies weights that train by another kernel, 5e-7 away
    for mine, theirs in zip(policy.evaluate(*rows()), same.evaluate(*rows()), strict=True):
        assert torch.equal(mine, theirs)
    check_policy(policy, text_world())
    names = [name for name, p in policy.named_parameters() if p.requires_grad]
    assert names and all("lora_" in name for name in names)
    assert all(p.requires_grad for p in plain.parameters())  # the one it was made from still trains


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_training_leaves_the_model_underneath_alone(architecture: str) -> None:
    plain, policy = trained(architecture)
    with torch.no_grad():
        moved = (policy.evaluate(*rows())[0] - plain.evaluate(*rows())[0]).abs().max()
        assert moved > 0.01
        beneath = adapters_off(policy)
        for mine, theirs in zip(beneath.evaluate(*rows()), frozen_copy(plain).evaluate(*rows()), strict=True):
            assert torch.equal(mine, theirs)
        assert (
            check_policy(beneath, text_world()) < 1e-5
        )  # sampling and scoring alike, adapters back on each time
        assert (policy.evaluate(*rows())[0] - plain.evaluate(*rows())[0]).abs().max() == moved
        one = merged(policy)
        assert (one.evaluate(*rows())[0] - policy.evaluate(*rows())[0]).abs().max() < 1e-5
        assert [n for n, _ in one.named_parameters()] == [n for n, _ in plain.named_parameters()]
    assert all(p.requires_grad for p in one.parameters())
    check_policy(one, text_world())


def test_what_was_frozen_stays_frozen_and_gradients_survive_the_reference() -> None:
    policy = with_lora(base(), 2)
    frozen = frozen_copy(policy)
    adapters_off(frozen).evaluate(*rows())
    assert not any(p.requires_grad for p in frozen.parameters())
    logp = policy.evaluate(*rows())[0]
    adapters_off(policy).evaluate(*rows())  # between a forward and its backward, as in preference losses
    logp.sum().backward()
    grads = {name: p.grad for name, p in policy.named_parameters() if p.requires_grad}
    assert grads and all(grad is not None for grad in grads.values())
    with pytest.raises(ValueError, match="outside|must lie in"):
        adapters_off(policy).evaluate(rows()[0], torch.full((2, 2), 99))
    assert [n for n, p in policy.named_parameters() if p.requires_grad] == list(grads)


def test_distance_to_the_reference_is_charged() -> None:
    """The record's KL is the enumerated KL between the policy and what is under its adapters."""
    _, policy = trained("gpt2", beta=0.0)
    ids, _ = enumerate_responses(4, TOKENIZER.eos_token_id, 4)
    prompt = Prompt(torch.tensor([[0]]), torch.ones(1, 1).bool())[[0] * len(ids)]
    world = TextEnv(["a"], TOKENIZER, count_a, max_new_tokens=4, batch_size=4000)
    _, mask = enumerate_responses(4, TOKENIZER.eos_token_id, 4)
    with torch.no_grad():
        laws = [
            torch.where(mask, p.evaluate(prompt, ids)[0], 0).sum(1).exp()
            for p in (policy, adapters_off(policy))
        ]
    exact = kl(laws[0], laws[1])
    config = PPOConfig(updates=1, epochs=1, minibatches=1, beta=0.1, learning_rate=0.0)
    (record,) = ppo(policy, world, config, critic=LMCritic(policy), reference=adapters_off(policy))
    assert exact > 0.02 and record["ref_k3"] == pytest.approx(exact, rel=0.15)


def run(path: Path | None, updates: int = 6) -> tuple[Iterator[dict[str, float]], CausalLMPolicy]:
    policy = with_lora(base(), 2)
    config = PPOConfig(
        updates=updates, epochs=2, minibatches=2, learning_rate=3e-3, beta=0.1, anneal=False, kl_target=0.01
    )
    critic, reference = LMCritic(policy), adapters_off(policy)
    run = ppo(
        policy, text_world(), config, critic=critic, reference=reference, generator=seeded(), checkpoint=path
    )
    return run, policy


def test_interrupted_runs_go_on_bit_for_bit(tmp_path: Path) -> None:
    records, whole = run(None)
    expected = list(records)
    records, _ = run(tmp_path / "run.safetensors", updates=3)
    list(records)
    records, resumed = run(tmp_path / "run.safetensors")
    assert list(records) == expected[3:]
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_rank_given_and_rank_needed() -> None:
    """Imitating a model that is of rank 2 away, on every response to four prompts: even rank 1 gets most of the way.

    There is no threshold at the rank that made the difference: more rank is nearer, at once from the first.
    """
    torch.manual_seed(0)
    plain = base()
    target = with_lora(plain, 2, alpha=4.0)
    for name, p in target.named_parameters():
        if "lora_B" in name:
            p.data.normal_()
    ids, mask = (x.repeat(4, 1) for x in enumerate_responses(4, TOKENIZER.eos_token_id, 4))
    prompts = pad_left([[0], [1], [0, 1], [2, 0]])[torch.arange(4).repeat_interleave(len(ids) // 4)]

    def laws(policy: CausalLMPolicy) -> Tensor:
        return torch.where(mask, policy.evaluate(prompts, ids)[0], 0).sum(1).view(4, -1)

    with torch.no_grad():
        wanted = laws(target).log_softmax(1)
        far = (wanted.exp() * (wanted - laws(plain))).sum(1).mean()
    short = {}
    for rank in (1, 4):
        student = with_lora(plain, rank, seed=1)
        optimizer = torch.optim.Adam([p for p in student.parameters() if p.requires_grad], lr=0.02)
        for _ in range(200):
            loss = (wanted.exp() * (wanted - laws(student))).sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        short[rank] = loss.item()
    assert far > 0.5 and short[1] < 0.05 * far
    assert short[4] < 0.7 * short[1]


def test_bad_input_gets_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = base()
    with pytest.raises(ValueError, match="with_lora: rank must be at least 1, got 0"):
        with_lora(plain, 0)
    with pytest.raises(ValueError, match=r"with_lora: alpha must lie in \(0, inf\), got 0"):
        with_lora(plain, 1, alpha=0)
    with pytest.raises(ValueError, match="with_lora: targets='nowhere' do not fit this model"):
        with_lora(plain, 1, targets="nowhere")
    with pytest.raises(ValueError, match="has adapters already"):
        with_lora(with_lora(plain, 1), 1)
    with pytest.raises(TypeError, match="with_lora: policy must be a CausalLMPolicy"):
        with_lora(torch.nn.Linear(1, 1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="adapters_off: this policy has no adapters"):
        adapters_off(plain)
    with pytest.raises(ValueError, match="under the adapters trains too, so the reference would drift"):
        adapters_off(with_lora(plain, 1).requires_grad_(True))
    monkeypatch.setitem(sys.modules, "peft", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"need peft: pip install rlbase\[lora\]"):
        with_lora(plain, 1)
