"""Llama 2's reward of two goals, and its recipe from start to end where two attributes are known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from rlbase import exact
from rlbase.envs import Bandit, CharTokenizer, TextEnv, pad_left
from rlbase.policies import TabularPolicy, frozen_copy, random_policy
from rlbase.rewards import TwoRewards, logit, piecewise, whiten
from rlbase.rollout import enumerate_actions
from rlbase.train import PPOConfig, RejectionConfig, best_of_n, ppo, rejection_finetune

# six responses: how helpful and how safe two reward models find them; the last is helpful and unsafe
HELPFUL = torch.tensor([0.30, 0.50, 0.70, 0.80, 0.60, 0.95])
SAFE = torch.tensor([0.95, 0.80, 0.50, 0.20, 0.90, 0.05])
REF = torch.tensor([0.30, 0.25, 0.15, 0.10, 0.10, 0.10])
BETA = 0.5


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def combined(unsafe: bool, threshold: float = 0.15) -> Tensor:
    return logit(piecewise(HELPFUL, SAFE, torch.full((6,), unsafe), threshold=threshold))


def both_prompts() -> Bandit:
    """Prompt 0 is harmless, prompt 1 is tagged unsafe."""
    return Bandit(torch.stack([combined(False), combined(True)]), batch_size=64)


def test_piecewise_by_hand() -> None:
    free = piecewise(HELPFUL, SAFE, torch.zeros(6).bool())
    assert free.tolist() == pytest.approx([0.30, 0.50, 0.70, 0.80, 0.60, 0.05])  # only the last is below .15
    tagged = piecewise(HELPFUL, SAFE, torch.ones(6).bool())
    assert torch.equal(tagged, SAFE)
    edge = torch.tensor([0.15, 0.1499])
    assert piecewise(edge + 0.5, edge, torch.zeros(2).bool()).tolist() == pytest.approx([0.65, 0.1499])
    strict = piecewise(HELPFUL, SAFE, torch.zeros(6).bool(), threshold=0.6)
    assert strict.tolist() == pytest.approx([0.30, 0.50, 0.50, 0.20, 0.60, 0.05])


def test_logit_undoes_the_sigmoid_and_whitening_takes_the_unit() -> None:
    scores = torch.linspace(-6, 6, 13)
    torch.testing.assert_close(logit(scores.sigmoid()), scores, rtol=1e-4, atol=1e-5)
    assert logit(torch.tensor([0.0, 1.0])).abs().max().item() == pytest.approx(math.log(1e6), rel=0.01)
    white = whiten(scores)
    assert white.mean().abs() < 1e-6 and white.std().item() == pytest.approx(1)
    torch.testing.assert_close(whiten(3 * scores - 7), white)
    assert whiten(torch.tensor([5.0])).tolist() == [0.0]
    # a price on whitened scores is that price times their spread on the scores themselves
    reward = combined(False)
    by_unit = exact.kl_optimum(REF, whiten(reward), beta=BETA)
    torch.testing.assert_close(by_unit, exact.kl_optimum(REF, reward, beta=BETA * reward.std().item()))


def optimum(prompt: int) -> Tensor:
    return exact.kl_optimum(REF, combined(bool(prompt)), beta=BETA)


def test_ppo_reaches_the_optimum_of_both_prompts() -> None:
    policy, reference = (TabularPolicy(2, 6, ref=REF) for _ in range(2))
    config = PPOConfig(
        updates=500,
        epochs=1,
        minibatches=1,
        advantage="returns",
        whiten_advantages=False,
        learning_rate=0.05,
        beta=BETA,
    )
    collect: Any = enumerate_actions
    list(ppo(policy, both_prompts(), config, reference=reference, collect=collect))
    for prompt in (0, 1):
        found = policy.probs()[prompt].detach().double()
        assert exact.total_variation(found, optimum(prompt)) < 0.005
        # closed form by hand: ref times the odds of the probability, to the power 1 / beta = 2
        chosen = SAFE if prompt else torch.where(SAFE < 0.15, SAFE, HELPFUL)
        weights = REF * (chosen / (1 - chosen)) ** 2
        torch.testing.assert_close(optimum(prompt).float(), weights / weights.sum(), rtol=1e-4, atol=1e-6)
    assert (
        optimum(0).argmax() == 3 and optimum(1).argmax() == 0
    )  # the most helpful that is not unsafe; the safest


def test_no_weighting_of_both_goals_does_the_same() -> None:
    """Any single scalar a h + (1 - a) s gives both prompts one answer; which it is, a decides."""
    for a in torch.linspace(0, 1, 21).tolist():
        scalar = exact.kl_optimum(REF, a * logit(HELPFUL) + (1 - a) * logit(SAFE), beta=BETA)
        short = [
            (optimum(prompt) * combined(bool(prompt))).sum() - (scalar * combined(bool(prompt))).sum()
            for prompt in (0, 1)
        ]
        assert max(short) > 0.3


def test_rejection_sampling_then_ppo() -> None:
    """Llama 2's order: imitate the best of four twice, then PPO with that policy as reference."""
    policy = TabularPolicy(2, 6, ref=REF)
    bandit = both_prompts()
    bandit.batch_size = 16_000
    config = RejectionConfig(updates=2, samples=4, epochs=250, learning_rate=0.1)
    before = policy.probs().detach()
    for _ in rejection_finetune(policy, bandit, config, generator=seeded()):
        after = policy.probs().detach()
        for prompt in (0, 1):
            law = exact.best_of_n(before[prompt], combined(bool(prompt)), 4)
            assert exact.total_variation(after[prompt].double(), law) < 0.015
        before = after
    for prompt in (0, 1):
        law = exact.best_of_n(REF, combined(bool(prompt)), 16)
        assert exact.total_variation(before[prompt].double(), law) < 0.03
    start = frozen_copy(policy)
    settings: dict[str, Any] = {"advantage": "returns", "whiten_advantages": False, "learning_rate": 0.05}
    last = PPOConfig(updates=300, epochs=1, minibatches=1, beta=2.0, **settings)
    collect: Any = enumerate_actions
    list(ppo(policy, both_prompts(), last, reference=start, collect=collect))
    for prompt in (0, 1):
        law = exact.kl_optimum(start.probs()[prompt].detach(), combined(bool(prompt)), beta=2.0)
        assert exact.total_variation(policy.probs()[prompt].detach().double(), law) < 0.005


class Weighed:
    """A reward model that likes one letter: its logit is how often it occurs, times a weight."""

    def __init__(self, letter: int, weight: float) -> None:
        self.letter, self.weight = letter, weight

    def score(self, obs: Any, actions: Tensor, mask: Tensor) -> Tensor:
        return self.weight * ((actions == self.letter) & mask).sum(1)


def test_two_reward_models_score_text() -> None:
    """Helpful: one a more is one logit more. Safe: starts sure (by c) and every b takes three."""
    tokenizer = CharTokenizer("abc")
    helpful, safe = Weighed(0, 1.0), Weighed(1, -3.0)
    judge = TwoRewards(helpful, safe, tokenizer, unsafe=lambda text: "c" in text, whitened=False)
    prompts = pad_left([[0], [0], [1, 2], [1, 2]])  # "a", "a", and twice "bc", which is unsafe
    actions = torch.tensor([[0, 0, 3], [0, 1, 0], [0, 0, 0], [1, 3, 3]])
    mask = torch.tensor([[True] * 3, [True] * 3, [True] * 3, [True, True, False]])
    # two a: 2; an unsafe response: -3; no b in an unsafe prompt: 0; one b: -3
    assert judge.score(prompts, actions, mask).tolist() == pytest.approx([2.0, -3.0, 0.0, -3.0], abs=1e-4)
    white = TwoRewards(helpful, safe, tokenizer, unsafe=lambda text: "c" in text).score(
        prompts, actions, mask
    )
    torch.testing.assert_close(white, whiten(torch.tensor([2.0, -3.0, 0.0, -3.0])), rtol=1e-4, atol=1e-4)
    env = TextEnv(["a", "bc"], tokenizer, token_scorer=judge.score, max_new_tokens=3, batch_size=2)
    policy = random_policy("gpt2", vocab_size=4, hidden_size=16, layers=1)
    found = best_of_n(policy, env, 64, generator=seeded())
    best = dict(zip(found.prompts, found.responses, strict=True))
    assert best["a"].startswith("aa") and "b" not in best["bc"]


def test_bad_input_gets_one_sentence() -> None:
    p = torch.tensor([0.5])
    with pytest.raises(ValueError, match="piecewise: safe must be probabilities, in .* take the sigmoid"):
        piecewise(p, p + 3, p > 0)
    with pytest.raises(
        TypeError, match="piecewise: unsafe_prompt must be a boolean tensor, got torch.float32"
    ):
        piecewise(p, p, p)
    with pytest.raises(ValueError, match="piecewise: helpful must be finite, got nan"):
        piecewise(p * math.nan, p, p > 0)
    with pytest.raises(ValueError, match=r"piecewise: threshold must lie in \[0, 1\], got 15"):
        piecewise(p, p, p > 0, threshold=15)
    with pytest.raises(ValueError, match="piecewise: shapes must be equal"):
        piecewise(p, torch.cat((p, p)), p > 0)
