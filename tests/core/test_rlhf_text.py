"""The three stages on text, chained: imitate, learn what is preferred, improve against it; every switch by its effect.

The language model is so small that all its responses can be listed: the optimum of the last stage is known exactly.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from rlbase.envs import CharTokenizer, TextEnv, pad_left
from rlbase.exact import enumerate_responses, kl, kl_optimum, total_variation
from rlbase.policies import CausalLMPolicy, LMCritic, LMRewardModel, frozen_copy, normalise, random_policy
from rlbase.rollout import rollout
from rlbase.train import LANGUAGE_MODEL, ppo
from rlbase.train.prepare import prepare
from rlbase.train.reward_model import RewardModelConfig, reward_model
from rlbase.train.sft import SFTConfig, sft
from rlbase.types import Choices, PreferencePairs

TOKENIZER, LENGTH = CharTokenizer("abc"), 4
IDS, MASK = enumerate_responses(4, TOKENIZER.eos_token_id, LENGTH)
PROMPTS = ("a", "bc")
CONFIG = replace(LANGUAGE_MODEL, updates=50, learning_rate=3e-3, beta=0.5, value_clip=None, value_coef=0.5)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def listed(prompt: str) -> Any:
    return pad_left([TOKENIZER.encode(prompt)])[[0] * len(IDS)]


@torch.no_grad()
def law(policy: Any, prompt: str) -> Tensor:
    """The probability of every response, ``[121]``."""
    seq_logp = torch.where(MASK, policy.evaluate(listed(prompt), IDS)[0], 0).sum(1).double()
    return seq_logp.softmax(0)


def gold() -> Tensor:
    """What people like, known only to those who label: many a, and no c."""
    return ((IDS == 0) & MASK).sum(1) - ((IDS == 2) & MASK).sum(1).double()


def world(scorer: Any, **options: Any) -> TextEnv:
    settings = {"max_new_tokens": LENGTH, "batch_size": 128, **options}
    return TextEnv(PROMPTS, TOKENIZER, token_scorer=scorer, **settings)


def nothing(prompt: Any, actions: Tensor, mask: Tensor) -> Tensor:
    return torch.zeros(len(actions))


class Stages(NamedTuple):
    demonstrations: Choices
    policy: CausalLMPolicy
    judge: LMRewardModel
    accuracy: float
    ceiling: float


@pytest.fixture(scope="module")
def stages() -> Stages:
    """Demonstrations of a chain over letters, a policy that imitates it, and a judge of pairs of its responses."""
    generator = seeded()
    taste = torch.tensor([0.4, 0.3, 0.2])
    letters = torch.multinomial(taste.expand(512, 3), LENGTH, replacement=True, generator=generator)
    ends = torch.randint(1, LENGTH + 1, (512, 1), generator=generator)
    actions = torch.where(torch.arange(LENGTH) < ends, letters, TOKENIZER.eos_token_id)
    mask = torch.arange(LENGTH) <= ends
    prompts = pad_left([TOKENIZER.encode(PROMPTS[i % 2]) for i in range(512)])
    shown = Choices(prompts, actions, mask)
    policy = random_policy("gpt2", vocab_size=4, hidden_size=16, layers=1, initializer_range=0.2)
    list(sft(policy, shown, SFTConfig(updates=200, batch_size=64, learning_rate=0.01), generator=generator))

    laws = [law(policy, prompt) for prompt in PROMPTS]

    def pairs(n: int) -> tuple[PreferencePairs, float]:
        odds = torch.stack([laws[i % 2] for i in range(n)])
        drawn = torch.multinomial(odds, 2, generator=generator)
        prob = (gold()[drawn[:, 0]] - gold()[drawn[:, 1]]).sigmoid()
        ahead = torch.rand(n, generator=generator) < prob
        best, worst = torch.where(ahead[:, None], drawn, drawn.flip(1)).T
        asked = pad_left([TOKENIZER.encode(PROMPTS[i % 2]) for i in range(n)])
        sides = (Choices(asked, IDS[rows], MASK[rows]) for rows in (best, worst))
        return PreferencePairs(*sides), torch.maximum(prob, 1 - prob).mean().item()

    judge = LMRewardModel(policy)
    config = RewardModelConfig(epochs=3, batch_size=64, learning_rate=0.01)
    (train, _), (test, ceiling) = pairs(1500), pairs(1000)
    records = list(reward_model(judge, train, config, held_out=test, generator=generator))
    normalise(judge, shown)
    return Stages(shown, policy, frozen_copy(judge), records[-1]["held_out_accuracy"], ceiling)


def learned(judge: LMRewardModel, prompt: str) -> Tensor:
    with torch.no_grad():
        return judge.score(listed(prompt), IDS, MASK).double()


def test_the_chain_arrives_at_its_known_optimum(stages: Stages) -> None:
    policy, judge = copy.deepcopy(stages.policy), stages.judge
    start = [law(policy, prompt) for prompt in PROMPTS]
    assert stages.accuracy == pytest.approx(
        stages.ceiling, abs=0.04
    )  # what gold itself gets of these noisy labels
    reference, critic = frozen_copy(policy), LMCritic(judge)
    before = [p.clone() for p in (*reference.parameters(), *judge.parameters())]
    records = list(
        ppo(policy, world(judge.score), CONFIG, critic=critic, reference=reference, generator=seeded())
    )
    for prompt, ref in zip(PROMPTS, start, strict=True):
        reward, found = learned(judge, prompt), law(policy, prompt)
        best = kl_optimum(ref, reward, beta=0.5)
        objective = [((p * reward).sum() - 0.5 * kl(p, ref)).item() for p in (ref, found, best)]
        assert objective[1] > objective[0] + 0.95 * (objective[2] - objective[0])
        assert total_variation(found, best) < 0.12 < 0.4 < total_variation(ref, best)
        # gold, which nobody optimised, is up as well: most of what the judge learned is true
        assert (found * gold()).sum() > (ref * gold()).sum() + 1.0
    assert records[-1]["reward_mean"] > records[0]["reward_mean"] + 0.5
    # neither the reference nor the judge has moved by a bit
    after = (*reference.parameters(), *judge.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_judge_reads_what_was_written_and_its_zero_is_the_demonstrations(stages: Stages) -> None:
    env = world(stages.judge.score, missing_eos_penalty=2.0)
    rolled = rollout(stages.policy, env, generator=seeded())
    with torch.no_grad():
        scores = stages.judge.score(rolled.obs, rolled.actions, rolled.mask)  # type: ignore[arg-type]
        shown = stages.demonstrations
        on_demonstrations = stages.judge.score(shown.obs, shown.actions, shown.mask)  # type: ignore[arg-type]
    assert on_demonstrations.mean().abs() < 1e-5
    cut_off = ((rolled.actions != TOKENIZER.eos_token_id) | ~rolled.mask).all(1)
    assert 0 < cut_off.sum() < 128
    expected = scores - 2.0 * cut_off
    torch.testing.assert_close(env.scores, expected)
    last = rolled.mask.sum(1) - 1
    assert torch.equal(rolled.rewards[torch.arange(128), last], env.scores)
    assert (rolled.rewards != 0).sum() == 128  # nothing anywhere else
    # the critic that begins as the judge says after the last token what the judge says
    with torch.no_grad():
        values = LMCritic(stages.judge).value(rolled.obs, rolled.actions)  # type: ignore[arg-type]
    torch.testing.assert_close(values[torch.arange(128), last + 1], scores, rtol=1e-5, atol=1e-5)


def test_a_penalty_on_a_missing_end_has_its_exact_law(stages: Stages) -> None:
    """No reward at all but -1 for running out of room: pi* takes e^(-1 / beta) from those that do."""
    policy = copy.deepcopy(stages.policy)
    env = world(nothing, missing_eos_penalty=1.0)
    reference = frozen_copy(policy)
    list(ppo(policy, env, CONFIG, critic=LMCritic(policy), reference=reference, generator=seeded()))
    endless = ((TOKENIZER.eos_token_id != IDS) | ~MASK).all(1)
    for prompt in PROMPTS:
        ref, found = law(reference, prompt), law(policy, prompt)
        share = ref[endless].sum().item()
        predicted = share * math.exp(-2) / (share * math.exp(-2) + 1 - share)
        assert share > 0.2 and found[endless].sum().item() == pytest.approx(predicted, abs=0.05)


def test_beta_is_steered_by_hand(stages: Stages) -> None:
    """Ziegler's rule with 128 episodes: beta (1 + clip(KL / target - 1, -.2, .2) 128 / horizon), each time."""
    policy, reference = copy.deepcopy(stages.policy), frozen_copy(stages.policy)
    config = replace(CONFIG, updates=6, kl_target=0.05, kl_horizon=256)
    run = ppo(policy, world(stages.judge.score), config, critic=LMCritic(policy), reference=reference)
    records = list(run)
    for now, then in zip(records, records[1:], strict=False):
        error = max(-0.2, min(0.2, now["ref_k1"] / 0.05 - 1))
        assert then["beta"] == pytest.approx(now["beta"] * (1 + error * 128 / 256), rel=1e-6)
    assert records[0]["ref_k1"] == pytest.approx(0, abs=1e-6) and records[1]["beta"] == pytest.approx(0.45)
    assert records[-1]["beta"] > records[1]["beta"]  # pulled back once it had gone too far


def test_whitened_rewards_keep_their_mean(stages: Stages) -> None:
    """Score and price of each token over their spread in the batch, and the mean where it was."""
    reference = random_policy("gpt2", vocab_size=4, hidden_size=16, layers=1, initializer_range=0.3, seed=5)
    env = world(stages.judge.score)
    rolled = rollout(stages.policy, env, generator=seeded())
    config = replace(CONFIG, advantage="returns", whiten_rewards=True, whiten_advantages=False, gamma=0.0)
    batch, _ = prepare(rolled, stages.policy, env, config, 0.5, None, reference)
    with torch.no_grad():
        charge = rolled.logp - reference.evaluate(rolled.obs, rolled.actions)[0]  # type: ignore[arg-type]
    each = (rolled.rewards - 0.5 * charge)[rolled.mask]
    expected = (each - each.mean()) / each.std() + each.mean()
    torch.testing.assert_close(batch.advantages[rolled.mask], expected, rtol=1e-4, atol=1e-5)
    assert each.mean().abs() > 0.1 and each.std() > 0.1  # else keeping the mean would not show


def test_a_reference_that_could_drift_is_refused(stages: Stages) -> None:
    policy = copy.deepcopy(stages.policy)
    critic = LMCritic(policy)
    with pytest.raises(ValueError, match="the reference is the policy itself and would follow it"):
        next(ppo(policy, world(nothing), CONFIG, critic=critic, reference=policy))


def test_a_judge_gone_mad_stops_the_run_in_one_sentence(stages: Stages) -> None:
    policy, judge = copy.deepcopy(stages.policy), copy.deepcopy(stages.judge)
    before = [p.clone() for p in policy.parameters()]
    judge.head.weight.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="TextEnv: scores must be finite, got nan for '"):
        next(ppo(policy, world(judge.score), replace(CONFIG, beta=0.0), critic=LMCritic(policy)))
    assert all(torch.equal(a, b) for a, b in zip(before, policy.parameters(), strict=True))


def test_responses_of_one_token_are_a_bandit(stages: Stages) -> None:
    policy, judge = copy.deepcopy(stages.policy), stages.judge
    one, ones = torch.arange(4)[:, None], torch.ones(4, 1).bool()
    prompts = {text: pad_left([TOKENIZER.encode(text)])[[0] * 4] for text in PROMPTS}
    with torch.no_grad():
        ref = {text: policy.evaluate(prompts[text], one)[0][:, 0].exp() for text in PROMPTS}
        reward = {text: judge.score(prompts[text], one, ones) for text in PROMPTS}
    config = replace(CONFIG, updates=30)
    env = world(judge.score, max_new_tokens=1)
    list(ppo(policy, env, config, critic=LMCritic(judge), reference=frozen_copy(policy), generator=seeded()))
    for text in PROMPTS:
        with torch.no_grad():
            found = policy.evaluate(prompts[text], one)[0][:, 0].exp()
        best = kl_optimum(ref[text], reward[text], beta=0.5)
        assert total_variation(found.double(), best) < 0.02 < total_variation(ref[text].double(), best)
