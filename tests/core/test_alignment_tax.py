"""PPO-ptx: the optimum it should reach, what it costs and saves on a shared language model, and what a KL price does.

Known answers of four responses with the pretraining law P: `rlbase.exact.pretrain_optimum`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from rlbase.envs import Bandit, CharTokenizer, TextEnv, pad_left
from rlbase.exact import enumerate_responses, kl_optimum, pretrain_optimum, total_variation
from rlbase.policies import CausalLMPolicy, LMCritic, TabularPolicy, frozen_copy, random_policy
from rlbase.rollout import enumerate_actions
from rlbase.train import LANGUAGE_MODEL, PPOConfig, ppo
from rlbase.train.common import imitation_loss
from rlbase.train.sft import SFTConfig, sft
from rlbase.types import Choices

REF = torch.tensor([0.4, 0.3, 0.2, 0.1])
REWARD = torch.tensor([0.0, 1.0, 0.5, 2.0])
PRETRAIN = torch.tensor([0.5, 0.05, 0.4, 0.05])
EXACT = PPOConfig(
    updates=400,
    epochs=1,
    minibatches=1,
    advantage="returns",
    whiten_advantages=False,
    learning_rate=0.05,
    beta=0.5,
)
TOKENIZER, LENGTH = CharTokenizer("abcd"), 4


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def law(p: Tensor) -> Choices:
    """Every response once, weighted: the plain mean of weight * x is the expectation under p."""
    n = len(p)
    zeros, ones = torch.zeros(n, 1).long(), torch.ones(n, 1).bool()
    return Choices(zeros, torch.arange(n)[:, None], ones, weight=(n * p)[:, None])


@pytest.mark.parametrize(
    ("gamma", "reward", "nll"),
    [(0, 1.555, 2.731), (0.1, 1.394, 2.112), (0.5, 1.048, 1.495), (2, 0.570, 1.087)],
)
def test_four_responses_reach_their_optimum(gamma: float, reward: float, nll: float) -> None:
    policy, reference = TabularPolicy(1, 4, ref=REF), TabularPolicy(1, 4, ref=REF)
    config = replace(EXACT, pretrain_coef=gamma)
    given = law(PRETRAIN) if gamma else None
    collect: Any = enumerate_actions
    list(ppo(policy, Bandit(REWARD), config, reference=reference, pretrain=given, collect=collect))
    found = policy.probs()[0].detach().double()
    assert total_variation(found, pretrain_optimum(REF, REWARD, PRETRAIN, beta=0.5, gamma=gamma)) < 1e-3
    assert (found * REWARD).sum().item() == pytest.approx(reward, abs=0.003)
    assert -(PRETRAIN * found.log()).sum().item() == pytest.approx(nll, abs=0.003)


def test_imitation_by_hand() -> None:
    """Two rows, three choices: -(ln 1/2 + ln 1/4 + ln 1/4) / 3; the masked fourth has no say, not even as NaN."""

    class Fixed:
        def evaluate(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
            logp = torch.tensor([[0.5, 0.25], [0.25, float("nan")]]).log()
            return logp, logp

    mask = torch.tensor([[True, True], [True, False]])
    rows = Choices(torch.zeros(2, 2), torch.zeros(2, 2).long(), mask)
    policy: Any = Fixed()
    assert imitation_loss(policy, rows, None, seeded()).item() == pytest.approx(5 * math.log(2) / 3, rel=1e-6)


def test_one_step_adds_the_gradient_of_imitation() -> None:
    """With no reward and no price, PPO-ptx follows gamma (p - pi), the gradient of E_p[log pi]."""
    policy = TabularPolicy(1, 4, ref=REF)
    config = replace(EXACT, updates=1, beta=0.0, pretrain_coef=3.0, max_grad_norm=1e9)
    collect: Any = enumerate_actions
    (record,) = ppo(policy, Bandit(0 * REWARD), config, pretrain=law(PRETRAIN), collect=collect)
    assert record["grad_norm"] == pytest.approx(3 * (PRETRAIN - REF).norm().item(), rel=1e-5)
    assert record["pretrain_loss"] == pytest.approx(-(PRETRAIN * REF.log()).sum().item(), rel=1e-5)
    moved = policy.logits.detach()[0] - REF.log()
    assert torch.equal(moved.sign(), (PRETRAIN - REF).sign())


def beta_for(reward: float) -> float:
    low, high = 0.05, 1e3
    for _ in range(80):
        middle = math.sqrt(low * high)
        enough = (kl_optimum(REF, REWARD, beta=middle) * REWARD).sum().item() > reward
        low, high = (middle, high) if enough else (low, middle)
    return low


@pytest.mark.parametrize("gamma", [0.1, 0.5])
def test_a_higher_price_on_kl_instead_at_equal_reward(gamma: float) -> None:
    """Where pretraining was another law than the reference, beta cannot replace it; where it was the same, nearly."""
    saved = {}
    for name, pretrain in (("other", PRETRAIN), ("same", REF)):
        mixed = pretrain_optimum(REF, REWARD, pretrain, beta=0.5, gamma=gamma)
        priced = kl_optimum(REF, REWARD, beta=beta_for((mixed * REWARD).sum().item()))
        assert (priced * REWARD).sum().item() == pytest.approx((mixed * REWARD).sum().item(), abs=1e-6)
        saved[name] = (pretrain * (mixed.log() - priced.log())).sum().item()  # nats of surprise
    assert saved["other"] == pytest.approx({0.1: 0.196, 0.5: 0.221}[gamma], abs=0.001)
    assert saved["same"] == pytest.approx({0.1: 0.048, 0.5: 0.020}[gamma], abs=0.001)


# one transformer for everything: a corpus that begins with a, b or c, and a task whose prompt is d

AFTER = torch.tensor(  # what follows a letter, EOS last
    [
        [0.15, 0.55, 0.10, 0.05, 0.15],
        [0.05, 0.15, 0.55, 0.10, 0.15],
        [0.10, 0.05, 0.15, 0.55, 0.15],
        [0.55, 0.10, 0.05, 0.15, 0.15],
    ]
)


def corpus(starts: list[int], n: int, seed: int) -> Choices:
    first, generator = torch.tensor(starts).repeat(n), seeded(seed)
    token, alive = first, torch.ones_like(first, dtype=torch.bool)
    actions, mask = [], []
    for _ in range(LENGTH):
        drawn = torch.multinomial(AFTER[token.clamp(max=3)], 1, generator=generator)[:, 0]
        actions.append(drawn)
        mask.append(alive)
        alive, token = alive & (drawn < 4), drawn
    return Choices(pad_left([[i] for i in first.tolist()]), torch.stack(actions, 1), torch.stack(mask, 1))


HELD_OUT = corpus([0, 1, 2], 1000, seed=9)


def count_a(prompts: list[str], responses: list[str]) -> list[float]:
    return [float(text.count("a")) for text in responses]


class Outcome(NamedTuple):
    reward: float
    perplexity: float


@torch.no_grad()
def measured(policy: CausalLMPolicy) -> Outcome:
    """The exact mean reward on the task, by enumeration, and the perplexity of the held-out corpus."""
    ids, mask = enumerate_responses(5, TOKENIZER.eos_token_id, LENGTH)
    logp = torch.where(mask, policy.evaluate(pad_left([[3]] * len(ids)), ids)[0], 0).sum(1)
    reward = (logp.exp() * ((ids == 0) & mask).sum(1)).sum().item()
    nll = -policy.evaluate(HELD_OUT.obs, HELD_OUT.actions)[0][HELD_OUT.mask].mean()  # type: ignore[arg-type]
    return Outcome(reward, math.exp(nll))


def pretrained() -> CausalLMPolicy:
    policy = random_policy("gpt2", vocab_size=5, hidden_size=16, layers=1, initializer_range=0.2)
    config = SFTConfig(updates=300, batch_size=64, learning_rate=0.01)
    list(sft(policy, corpus([0, 1, 2, 3], 1000, seed=0), config, generator=seeded()))
    return policy


def tuned(start: CausalLMPolicy, beta: float, coef: float, seed: int = 0) -> Outcome:
    policy, given = copy.deepcopy(start), corpus([0, 1, 2], 1000, seed=0) if coef else None
    world = TextEnv(["d"], TOKENIZER, count_a, max_new_tokens=LENGTH, batch_size=64)
    config = replace(LANGUAGE_MODEL, updates=25, learning_rate=3e-3, beta=beta)
    config = replace(config, pretrain_coef=coef, pretrain_rows=64)
    critic, reference = LMCritic(policy), frozen_copy(start)
    list(
        ppo(policy, world, config, critic=critic, reference=reference, pretrain=given, generator=seeded(seed))
    )
    return measured(policy)


def test_pretraining_in_the_mix_pays_the_tax_back_and_kl_does_not() -> None:
    start = pretrained()
    before, alone = measured(start), tuned(start, 0.1, 0.0)
    mixed, priced = tuned(start, 0.1, 1.0), tuned(start, 0.3, 0.0)
    assert before.perplexity < 3.7  # the corpus itself has about 3.5
    assert alone.perplexity > 2 * before.perplexity  # asked for: a rise of at least a tenth
    assert mixed.perplexity - before.perplexity < 0.1 * (
        alone.perplexity - before.perplexity
    )  # at most a half
    assert mixed.reward - before.reward > 0.85 * (alone.reward - before.reward)  # at least three quarters
    # three times the price of KL costs more of the reward, and has not seen the prompts on which the model forgets
    assert priced.reward < mixed.reward and priced.perplexity > 1.3 * mixed.perplexity


def run(path: Path | None, updates: int = 6) -> tuple[Iterator[dict[str, float]], list[Any]]:
    policy = random_policy("gpt2", vocab_size=5, hidden_size=16, layers=1, initializer_range=0.2)
    world = TextEnv(["d"], TOKENIZER, count_a, max_new_tokens=LENGTH, batch_size=8)
    config = replace(
        LANGUAGE_MODEL, updates=updates, learning_rate=3e-3, epochs=2, minibatches=2, anneal=False
    )
    config = replace(config, pretrain_coef=0.7, pretrain_rows=5)
    critic, reference = LMCritic(policy), frozen_copy(policy)
    parts: dict[str, Any] = {"critic": critic, "reference": reference, "pretrain": corpus([0, 1], 20, seed=1)}
    return ppo(policy, world, config, **parts, generator=seeded(), checkpoint=path), [policy, critic]


def test_interrupted_runs_go_on_bit_for_bit(tmp_path: Path) -> None:
    records, whole = run(None)
    expected = list(records)
    records, _ = run(tmp_path / "run.safetensors")
    for _ in range(3):
        next(records)
    records, resumed = run(tmp_path / "run.safetensors")
    assert list(records) == expected[3:]
    for mine, theirs in zip(whole, resumed, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), theirs.parameters(), strict=True))


def test_pretraining_and_its_weight_go_together() -> None:
    policy, bandit = TabularPolicy(1, 4), Bandit(REWARD)
    for coef, given in ((0.0, law(PRETRAIN)), (1.0, None)):
        with pytest.raises(ValueError, match="pretrain and pretrain_coef go together"):
            next(ppo(policy, bandit, replace(EXACT, beta=0.0, pretrain_coef=coef), pretrain=given))
