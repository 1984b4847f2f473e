"""Language models as policies, on three architectures with random weights, against plain transformers."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from rlbase.envs import TextEnv
from rlbase.policies import CausalLMPolicy, LMCritic, frozen_copy, random_policy
from rlbase.rollout import check_policy
from rlbase.types import Prompt

ARCHITECTURES = ("gpt2", "gpt_neox", "llama")
VOCAB = 11


def lm(architecture: str = "gpt2", **options: float) -> CausalLMPolicy:
    # Weights far from zero, so that the distributions are far from uniform and mistakes show.
    return random_policy(architecture, vocab_size=VOCAB, initializer_range=0.3, seed=1, **options)  # type: ignore[arg-type]


def prompt(*rows: list[int], width: int = 0) -> Prompt:
    width = max(width, *map(len, rows))
    ids = torch.tensor([[7] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[False] * (width - len(row)) + [True] * len(row) for row in rows])
    return Prompt(ids, mask)


PROMPTS = prompt([3, 1, 4, 1, 5], [9, 2], [6])


def sample(policy: CausalLMPolicy, obs: Prompt, steps: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator, state, seen = torch.Generator().manual_seed(seed), policy.initial_state(obs), obs
    tokens, logps = [], []
    for _ in range(steps):
        seen, logp, state = policy.step(seen, state, generator)
        tokens.append(seen)
        logps.append(logp)
    return torch.stack(tokens, 1), torch.stack(logps, 1)


def by_hand(policy: CausalLMPolicy, row: list[int], actions: list[int]) -> list[Tensor]:
    """Log-distributions before each action: one plain forward per action, no padding, no cache."""
    found = []
    for t in range(len(actions)):
        logits = policy.model(torch.tensor([row + actions[:t]])).logits[0, -1]
        found.append((logits / policy.temperature).log_softmax(-1))
    return found


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sampled_rescored_and_plain_log_probabilities_agree(architecture: str, temperature: float) -> None:
    policy = lm(architecture, temperature=temperature, dropout=0.3)
    actions, sampled = sample(policy, PROMPTS, 8)
    logp, entropy = policy.evaluate(PROMPTS, actions)
    torch.testing.assert_close(logp, sampled, atol=1e-5, rtol=0)
    for row in range(3):
        tokens = PROMPTS.ids[row][PROMPTS.mask[row]].tolist()
        for t, expected in enumerate(by_hand(policy, tokens, actions[row].tolist())):
            assert logp[row, t].item() == pytest.approx(expected[actions[row, t]].item(), abs=1e-5)
            brute = -sum(p * p.log() for p in expected.exp()).item()
            assert entropy[row, t].item() == pytest.approx(brute, abs=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_padding_changes_nothing(architecture: str) -> None:
    policy = lm(architecture)
    wider = prompt([3, 1, 4, 1, 5], [9, 2], [6], width=9)
    actions, logp = sample(policy, PROMPTS, 6)
    again, logp_again = sample(policy, wider, 6)
    assert torch.equal(actions, again)
    torch.testing.assert_close(logp, logp_again, atol=1e-5, rtol=0)
    garbage = Prompt(torch.where(wider.mask, wider.ids, 2), wider.mask)
    torch.testing.assert_close(
        policy.evaluate(wider, actions)[0], policy.evaluate(garbage, actions)[0], atol=1e-6, rtol=0
    )
    critic = LMCritic(policy)
    torch.nn.init.normal_(critic.head.weight)
    values = critic.value(PROMPTS, actions)
    torch.testing.assert_close(values, critic.value(wider, actions), atol=1e-4, rtol=0)


def test_sampling_follows_the_distribution() -> None:
    policy = lm()
    n = 20_000
    tokens, _ = sample(policy, prompt(*[[3, 1, 4]] * n), 1)
    found = torch.bincount(tokens[:, 0], minlength=VOCAB) / n
    expected = by_hand(policy, [3, 1, 4], [0])[0].exp()
    # Five standard deviations of a binomial share.
    assert ((found - expected).abs() <= 5 * (expected * (1 - expected) / n).sqrt() + 1e-9).all()


def test_a_cold_policy_writes_what_greedy_generate_writes() -> None:
    policy = lm(temperature=1e-4)
    obs = prompt([3, 1, 4], [9, 2, 8])
    actions, _ = sample(policy, obs, 6)
    written = policy.model.generate(
        obs.ids,
        attention_mask=obs.mask.long(),
        max_new_tokens=6,
        min_new_tokens=6,
        do_sample=False,
        eos_token_id=None,
    )
    assert torch.equal(actions, written[:, 3:])


def test_same_generator_same_tokens_and_rows_for_themselves() -> None:
    policy = lm()
    first, second = sample(policy, PROMPTS, 6, seed=3), sample(policy, PROMPTS, 6, seed=3)
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    assert not torch.equal(first[0], sample(policy, PROMPTS, 6, seed=4)[0])
    alone = policy.evaluate(PROMPTS[1:2], first[0][1:2])[0]
    torch.testing.assert_close(alone, policy.evaluate(PROMPTS, first[0])[0][1:2], atol=1e-5, rtol=0)


def test_dropout_stays_off() -> None:
    policy = lm(dropout=0.5)
    actions, _ = sample(policy, PROMPTS, 4)
    before = policy.evaluate(PROMPTS, actions)[0]
    critic = LMCritic(policy)
    torch.nn.init.ones_(critic.head.weight)
    values = critic.value(PROMPTS, actions)
    policy.train()
    critic.train()
    assert not any(m.training for part in (policy, critic) for m in part.modules())
    assert torch.equal(before, policy.evaluate(PROMPTS, actions)[0])
    assert torch.equal(values, critic.value(PROMPTS, actions))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradient_is_that_of_a_plain_forward(architecture: str) -> None:
    policy = lm(architecture, temperature=0.7)
    actions = torch.tensor([[2, 8, 4]])
    policy.evaluate(prompt([3, 1]), actions)[0].sum().backward()
    found = [p.grad.clone() for p in policy.parameters() if p.grad is not None]
    assert len(found) == len(list(policy.parameters()))
    policy.zero_grad()
    sum(d[a] for d, a in zip(by_hand(policy, [3, 1], [2, 8, 4]), [2, 8, 4], strict=True)).backward()  # type: ignore[union-attr]
    for mine, p in zip(found, policy.parameters(), strict=True):
        torch.testing.assert_close(mine, p.grad, atol=1e-4, rtol=1e-4)


def test_step_takes_no_gradient() -> None:
    policy = lm()
    tokens, logp = sample(policy, PROMPTS, 2)
    assert not logp.requires_grad and tokens.dtype == torch.long


def test_critic_has_one_value_per_state() -> None:
    """The value in column t may depend on actions before t only, and does depend on the one just before."""
    critic = LMCritic(lm())
    assert (critic.value(PROMPTS, torch.zeros(3, 5, dtype=torch.long)) == 0).all()
    torch.nn.init.normal_(critic.head.weight)
    actions = torch.tensor([[1, 2, 3, 4]]).repeat(3, 1)
    values = critic.value(PROMPTS, actions)
    assert values.shape == (3, 5)
    for t in range(4):
        changed = actions.clone()
        changed[:, t] = 9
        moved = (critic.value(PROMPTS, changed) - values).abs() > 1e-4
        assert not moved[:, : t + 1].any() and moved[:, t + 1].all()


def test_critic_sharing_and_detaching() -> None:
    policy = lm()
    actions = torch.tensor([[1, 2]]).repeat(3, 1)

    def reaches(critic: LMCritic) -> tuple[bool, bool, bool]:
        """Whether the value's gradient reaches the head, the critic's own backbone, and the policy."""
        torch.nn.init.ones_(critic.head.weight)
        policy.zero_grad()
        critic.zero_grad()
        critic.value(PROMPTS, actions).sum().backward()
        own = [] if critic.backbone is None else list(critic.backbone.parameters())
        return (
            critic.head.weight.grad is not None,
            any(p.grad is not None for p in own),
            any(p.grad is not None for p in policy.parameters()),
        )

    assert reaches(LMCritic(policy)) == (True, True, False)
    assert reaches(LMCritic(policy, detach=True)) == (True, False, False)
    assert reaches(LMCritic(policy, share=True)) == (True, False, True)
    assert reaches(LMCritic(policy, share=True, detach=True)) == (True, False, False)
    assert len(list(LMCritic(policy, share=True).parameters())) == 2


def test_frozen_copy_stands_still() -> None:
    policy = lm()
    policy.tokenizer = object()
    reference = frozen_copy(policy)
    assert reference.tokenizer is policy.tokenizer
    assert not any(p.requires_grad for p in reference.parameters())
    actions = torch.tensor([[1, 2]]).repeat(3, 1)
    before = reference.evaluate(PROMPTS, actions)[0]
    with torch.no_grad():
        for p in policy.parameters():
            p.mul_(0.5)
    assert torch.equal(before, reference.evaluate(PROMPTS, actions)[0])


def test_reduced_precision_still_answers_in_float32() -> None:
    policy = lm().to(torch.bfloat16)
    actions, logp = sample(policy, PROMPTS, 3)
    again, entropy = policy.evaluate(PROMPTS, actions)
    assert logp.dtype == again.dtype == entropy.dtype == torch.float32
    assert LMCritic(policy).value(PROMPTS, actions).dtype == torch.float32


class Letters:
    eos_token_id, vocab_size = VOCAB - 1, VOCAB

    def encode(self, text: str) -> list[int]:
        return [ord(c) - ord("a") for c in text]

    def decode(self, ids: list[int]) -> str:
        return "".join(chr(ord("a") + i) for i in ids)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_contract(architecture: str) -> None:
    def scorer(prompts: list[str], responses: list[str]) -> list[float]:
        return [float(len(text)) for text in responses]

    env = TextEnv(["a", "bcd", "ef"], Letters(), scorer, max_new_tokens=6, batch_size=6)
    assert check_policy(lm(architecture, temperature=0.8), env) < 1e-5


def raw(ids: list[list[int]], mask: list[list[bool]]) -> Prompt:
    return Prompt(torch.tensor(ids, dtype=torch.long), torch.tensor(mask, dtype=torch.bool))


GOOD = torch.tensor([[1, 2]])
FIVE = torch.ones(1, 5, dtype=torch.long)
BAD_INPUTS = {
    "empty": (raw([[0, 0]], [[False, False]]), GOOD, "at least one token"),
    "no columns": (raw([[]], [[]]), GOOD, "at least one token"),
    "right-padded": (raw([[1, 2]], [[True, False]]), GOOD, "padded on the left"),
    "shapes": (raw([[1, 2]], [[True]]), GOOD, "must both have shape"),
    "prompt token": (prompt([1, VOCAB]), GOOD, "prompt tokens must lie in 0..10, got 11"),
    "action token": (prompt([1]), torch.tensor([[1, -1]]), "action tokens must lie in 0..10, got -1"),
    "too long": (prompt([1] * 60), FIVE, "have 65 tokens, more than the model's context of 64"),
    "rows": (prompt([1]), FIVE.repeat(2, 1), "actions must have shape [1, T]"),
    "no actions": (prompt([1]), FIVE[:, :0], "T >= 1"),
    "one dimension": (prompt([1]), FIVE[0], "actions must have shape"),
}


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_bad_input_is_one_sentence(case: str) -> None:
    obs, actions, sentence = BAD_INPUTS[case]
    with pytest.raises(ValueError) as caught:
        lm().evaluate(obs, actions)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_generation_stops_at_the_end_of_the_context() -> None:
    policy = lm()
    assert sample(policy, prompt([1] * 62, [1]), 2)[0].shape == (2, 2)
    with pytest.raises(ValueError, match="65 tokens, more than the model's context of 64"):
        sample(policy, prompt([1] * 62, [1]), 3)


def test_other_bad_input() -> None:
    policy = lm()
    for temperature in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="temperature must lie in"):
            CausalLMPolicy(policy.model, temperature=temperature)
    capped = copy.deepcopy(policy.model)
    capped.config.final_logit_softcapping = 30.0
    with pytest.raises(ValueError, match="final_logit_softcapping"):
        CausalLMPolicy(capped)
    broken = copy.deepcopy(policy)
    next(broken.parameters()).data.fill_(float("nan"))
    with pytest.raises(ValueError, match="diverged"):
        sample(broken, PROMPTS, 1)
