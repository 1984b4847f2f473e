"""A language model as judge: read at the last real token whatever the padding, ensembles, a zero, a critic from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rlbase.envs import CharTokenizer, TextEnv
from rlbase.policies import (
    Ensemble,
    LMCritic,
    LMRewardModel,
    TabularReward,
    frozen_copy,
    normalise,
    random_policy,
)
from rlbase.rollout import rollout
from rlbase.types import Choices, PreferencePairs, Prompt

ARCHITECTURES = ("gpt2", "gpt_neox", "llama")
EOS = 4


def judge(architecture: str = "gpt2", seed: int = 0) -> LMRewardModel:
    policy = random_policy(architecture, vocab_size=5, initializer_range=0.3, seed=seed)
    return LMRewardModel(policy, torch.Generator().manual_seed(seed))


def rows(
    prompts: list[list[int]], responses: list[list[int]], *, left: int = 0, right: int = 0, pad: int
) -> Choices:
    """Padded on both sides, by ``left`` and ``right`` columns more than needed."""
    wide, long = max(map(len, prompts)) + left, max(map(len, responses)) + right
    ids = torch.tensor([[pad] * (wide - len(p)) + p for p in prompts])
    given = torch.tensor([[False] * (wide - len(p)) + [True] * len(p) for p in prompts])
    actions = torch.tensor([r + [pad] * (long - len(r)) for r in responses])
    mask = torch.tensor([[True] * len(r) + [False] * (long - len(r)) for r in responses])
    return Choices(Prompt(ids, given), actions, mask)


def scored(model: Any, choices: Choices) -> Tensor:
    with torch.no_grad():
        return model.score(choices.obs, choices.actions, choices.mask)


PROMPTS = [[1], [2, 3, 0], [0, 1, 1, 2, 3], [3, 3]]
RESPONSES = [[2, 0, EOS], [EOS], [1, 3, 0, 2, 1, 1], [0]]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_read_at_the_last_real_token(architecture: str) -> None:
    """By hand: transformers run on each text alone, without any padding, and the head on its last state."""
    model = judge(architecture)
    expected = []
    for prompt, response in zip(PROMPTS, RESPONSES, strict=True):
        hidden = model.backbone(torch.tensor([prompt + response]))[0][0, -1]
        expected.append((hidden @ model.head.weight[0] + model.head.bias[0]).item())
    alone = torch.tensor(expected)
    assert alone.std() > 0.1, "or a wrong index would not be seen"
    for pad in (0, EOS):  # the pad token may be the EOS, or any other
        for left, right in ((0, 0), (3, 0), (0, 4), (2, 5)):
            found = scored(model, rows(PROMPTS, RESPONSES, left=left, right=right, pad=pad))
            torch.testing.assert_close(found, alone, atol=2e-5, rtol=1e-5)
    some = [3, 1]
    fewer = rows([PROMPTS[i] for i in some], [RESPONSES[i] for i in some], pad=0)
    torch.testing.assert_close(scored(model, fewer), alone[some], atol=2e-5, rtol=1e-5)
    one_by_one = [scored(model, rows([p], [r], pad=0)) for p, r in zip(PROMPTS, RESPONSES, strict=True)]
    torch.testing.assert_close(torch.cat(one_by_one), alone, atol=2e-5, rtol=1e-5)


def test_an_eos_in_the_middle_ends_nothing() -> None:
    """The mask says where a response ends; a token's identity does not."""
    model = judge()
    one = scored(model, rows([[1]], [[2, EOS, 3]], pad=EOS))
    two = scored(model, rows([[1]], [[2, EOS]], right=1, pad=EOS))
    assert abs((one - two).item()) > 1e-3


def test_what_others_wrote_in_between_is_read_and_not_read_at() -> None:
    """A turn of somebody else inside a row: the mask has a hole, the score is that of the last choice."""
    model, row = judge(), rows([[1]], [[2, 0, 3, 1]], pad=0)
    whole, hole = row.mask.clone(), torch.tensor([[True, False, True, False]])
    whole[0, 3] = False
    expected = model.score(row.obs, row.actions, whole)
    assert torch.equal(model.score(row.obs, row.actions, hole), expected)
    assert not torch.allclose(
        model.score(row.obs, row.actions, torch.tensor([[True, True] + 2 * [False]])), expected
    )


def test_joined_pairs_score_as_each_side_does() -> None:
    model = judge()
    chosen, rejected = (
        rows(PROMPTS, RESPONSES, pad=0),
        rows(PROMPTS, RESPONSES[::-1], left=2, right=1, pad=EOS),
    )
    both = PreferencePairs(chosen, rejected).joined().trimmed()
    apart = torch.cat((scored(model, chosen), scored(model, rejected)))
    torch.testing.assert_close(scored(model, both), apart, atol=2e-5, rtol=1e-5)


def test_no_gradient_from_what_was_not_chosen() -> None:
    """Tokens behind the last choice get no gradient at all, and the prompt's do: it is read, not padded over."""
    model = judge()
    batch = rows([[1, 2]], [[0, 3]], right=1, pad=EOS)
    model.score(batch.obs, batch.actions, batch.mask).sum().backward()
    assert isinstance(batch.obs, Prompt)
    gradient = model.backbone.wte.weight.grad.abs().sum(1)
    assert (gradient[[0, 1, 2, 3]] > 0).all() and gradient[EOS] == 0


def test_head_starts_at_zero_or_apart() -> None:
    policy = random_policy("gpt2", vocab_size=5, hidden_size=64)
    batch = rows(PROMPTS, RESPONSES, pad=0)
    assert scored(LMRewardModel(policy), batch).tolist() == [0.0] * 4
    one, two = (LMRewardModel(policy, torch.Generator().manual_seed(s)) for s in (0, 1))
    assert (scored(one, batch) - scored(two, batch)).abs().min() > 0
    assert one.head.weight.std().item() == pytest.approx(65**-0.5, rel=0.3)


def test_the_policy_is_copied_and_a_frozen_one_thawed() -> None:
    policy = random_policy("gpt2", vocab_size=5)
    for source in (policy, frozen_copy(policy)):
        model = LMRewardModel(source)
        assert all(p.requires_grad for p in model.parameters())
        theirs = {id(p) for p in source.parameters()}
        assert not any(id(p) in theirs for p in model.parameters())
    assert len(list(model.buffers())) >= 2 and {"shift", "scale"} <= model.state_dict().keys()


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"mask": torch.zeros(2, 2).bool()}, ValueError, "every response needs at least one chosen token"),
        ({"mask": torch.ones(2, 2)}, TypeError, "LMRewardModel: mask must be a boolean tensor"),
        ({"mask": torch.ones(2, 3).bool()}, ValueError, "LMRewardModel: shapes must be equal"),
        (
            {"actions": torch.full((2, 2), 7)},
            ValueError,
            r"LMRewardModel: action tokens must lie in 0..4, got 7",
        ),
        (
            {"actions": torch.zeros(2, 80).long(), "mask": torch.ones(2, 80).bool()},
            ValueError,
            "LMRewardModel: prompt and response together have .*context of 64",
        ),
    ],
)
def test_one_sentence_for_bad_input(change: dict[str, Any], error: type[Exception], told: str) -> None:
    good = rows([[1], [2]], [[1, 2], [3, 0]], pad=0)
    given = {"obs": good.obs, "actions": good.actions, "mask": good.mask, **change}
    with pytest.raises(error, match=told):
        judge().score(**given)
    with pytest.raises(TypeError, match="LMRewardModel: policy must be a CausalLMPolicy, got 3"):
        LMRewardModel(3)  # type: ignore[arg-type]


# its zero and its unit


def test_demonstrations_score_zero_after_normalising() -> None:
    model, batch = judge(), rows(PROMPTS, RESPONSES, pad=0)
    demonstrations, others = batch[:2], batch[2:]
    before = scored(model, others) - scored(model, demonstrations).mean()
    assert normalise(model, demonstrations) is model
    assert abs(scored(model, demonstrations).mean().item()) < 1e-6
    torch.testing.assert_close(scored(model, others), before, atol=1e-5, rtol=1e-5)  # shifted, not stretched
    normalise(model, batch, mean=3.0, std=2.0, batch_size=3)
    found = scored(model, batch)
    assert found.mean().item() == pytest.approx(3, abs=1e-5)
    assert found.std(correction=0).item() == pytest.approx(2, abs=1e-5)
    normalise(model, batch, mean=3.0, std=2.0)  # twice is once
    torch.testing.assert_close(scored(model, batch), found, atol=1e-5, rtol=1e-5)


def test_every_member_of_an_ensemble_gets_its_own_zero() -> None:
    batch = rows(PROMPTS, RESPONSES, pad=0)
    ensemble = Ensemble([judge(seed=0), judge(seed=1)])
    ensemble.members[1].head.bias.data += 100.0  # a member that is 100 above would never be the minimum
    ensemble.rule = "min"
    torch.testing.assert_close(scored(ensemble, batch), scored(ensemble.members[0], batch))
    normalise(ensemble, batch, std=1.0)
    each = torch.stack([scored(member, batch) for member in ensemble.members])
    standard = (each - each.mean(1, keepdim=True)) / each.std(1, correction=0, keepdim=True)
    torch.testing.assert_close(scored(ensemble, batch), standard.min(0).values, atol=1e-4, rtol=1e-4)


def test_normalising_refuses() -> None:
    batch = rows(PROMPTS, RESPONSES, pad=0)
    flat = LMRewardModel(random_policy("gpt2", vocab_size=5))
    with pytest.raises(ValueError, match="normalise: all these choices score alike"):
        normalise(flat, batch, std=1.0)
    assert scored(normalise(flat, batch), batch).tolist() == [0.0] * 4
    flat.head.bias.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="normalise: the model's scores are not finite"):
        normalise(flat, batch)
    with pytest.raises(
        TypeError, match=r"a TabularReward has no shift and scale; wrap it in Ensemble\(\[model\]\)"
    ):
        normalise(TabularReward(1, 2), batch)  # type: ignore[type-var]
    with pytest.raises(ValueError, match="the number of choices must be at least 1, got 0"):
        normalise(judge(), batch[:0])


# ensembles


def test_rules_by_hand() -> None:
    """Three members give arm 0: 1, 2, 6 and arm 1: 3, 3, 3. Means 3; minima 1, 3; variances (4+1+9)/3 = 14/3, 0."""
    members = []
    for zero, one in ((1.0, 3.0), (2.0, 3.0), (6.0, 3.0)):
        members.append(TabularReward(1, 2))
        members[-1].table.data = torch.tensor([[zero, one]])
    arms = (torch.zeros(2, 1).long(), torch.tensor([[0], [1]]), torch.ones(2, 1).bool())
    for rule, penalty, expected in (
        ("mean", 0.5, [3.0, 3.0]),
        ("min", 0.5, [1.0, 3.0]),
        ("variance", 0.5, [3 - 7 / 3, 3.0]),
        ("variance", 0.1, [3 - 1.4 / 3, 3.0]),
        ("variance", 0.0, [3.0, 3.0]),
    ):
        ensemble = Ensemble(members, rule, penalty)
        torch.testing.assert_close(ensemble.score(*arms), torch.tensor(expected))
    assert len(ensemble) == 3
    assert ensemble.raw(*arms).tolist() == [[1.0, 3.0], [2.0, 3.0], [6.0, 3.0]]
    for bad, told in (
        (lambda: Ensemble([]), "Ensemble: needs at least one member"),
        (
            lambda: Ensemble(members, "max"),
            "Ensemble: rule must be one of 'mean', 'min', 'variance', got 'max'",
        ),
        (lambda: Ensemble(members, "variance", -1.0), "Ensemble: penalty must lie in"),
    ):
        with pytest.raises(ValueError, match=told):
            bad()


# a critic and a world of text


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_critic_starts_as_the_reward_model(architecture: str) -> None:
    """The value of the state after the last token is the score, shift and scale included; then they part."""
    model = judge(architecture)
    batch = rows([[1, 2], [3, 0]], [[0, 3, EOS], [1, 1, EOS]], pad=0)
    normalise(model, batch, mean=-1.0, std=0.5)
    critic = LMCritic(model.requires_grad_(False))
    values = critic.value(batch.obs, batch.actions)  # type: ignore[arg-type]
    assert values.shape == (2, 4)
    torch.testing.assert_close(values[:, -1], scored(model, batch), atol=1e-4, rtol=1e-4)
    assert all(p.requires_grad for p in critic.parameters()), "a frozen judge gives a critic that learns"
    values.sum().backward()
    for p in critic.parameters():
        p.data += 1.0
    assert not torch.allclose(critic.value(batch.obs, batch.actions)[:, -1], scored(model, batch))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="LMCritic: share=True would train the reward model along"):
        LMCritic(model, share=True)


def text_env(scorer: Any) -> TextEnv:
    return TextEnv(["a", "bcd"], CharTokenizer("abcd"), token_scorer=scorer, max_new_tokens=4, batch_size=6)


def test_pays_in_a_world_of_text_as_it_scores_the_rollout() -> None:
    model, generator = judge(), torch.Generator().manual_seed(0)
    env = text_env(model.score)
    rolled = rollout(random_policy("gpt2", vocab_size=5), env, generator=generator)
    again = scored(model, Choices(rolled.obs, rolled.actions, rolled.mask))
    torch.testing.assert_close(env.scores, again, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close((rolled.rewards * rolled.mask).sum(1), again, atol=2e-5, rtol=1e-5)
    one = TextEnv(["a"], CharTokenizer("abcd"), token_scorer=model.score, max_new_tokens=1, batch_size=2)
    assert rollout(random_policy("gpt2", vocab_size=5), one, generator=generator).rewards.isfinite().all()


def test_a_judge_that_says_nan_is_one_sentence() -> None:
    model = judge()
    model.head.bias.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="TextEnv: scores must be finite, got nan for"):
        rollout(random_policy("gpt2", vocab_size=5), text_env(model.score), generator=torch.Generator())


def test_choices_keep_their_scores_when_cut() -> None:
    model, batch = judge(), rows(PROMPTS, RESPONSES, left=4, right=4, pad=EOS)
    garbage = replace(batch, actions=torch.where(batch.mask, batch.actions, 2))
    torch.testing.assert_close(scored(model, batch), scored(model, batch.trimmed()), atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(scored(model, batch), scored(model, garbage), atol=2e-5, rtol=1e-5)
