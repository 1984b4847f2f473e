"""What every training loop promises besides its destination."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rlbase.advantages import gae
from rlbase.envs import Bandit, CharTokenizer, GymEnv, TextEnv, chain
from rlbase.policies import LMCritic, MLPCritic, MLPPolicy, TabularPolicy, for_env, frozen_copy, random_policy
from rlbase.rollout import enumerate_actions, rollout
from rlbase.train import A2CConfig, PPOConfig, ReinforceConfig, TRPOConfig, a2c, ppo, reinforce, trpo
from rlbase.train.batch import Batch
from rlbase.train.common import gradient_step
from rlbase.train.ppo import next_beta, ppo_loss
from rlbase.train.prepare import prepare
from rlbase.types import Discrete, Policy, Prompt

NAN = float("nan")
TOKENIZER = CharTokenizer("abc")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def count_a(prompts: list[str], responses: list[str]) -> list[float]:
    return [float(text.count("a")) for text in responses]


def text_world(**options: Any) -> TextEnv:
    settings: dict[str, Any] = {"max_new_tokens": 4, "batch_size": 8, **options}
    return TextEnv(["a", "bcb"], TOKENIZER, count_a, **settings)


def parts(kind: str) -> tuple[Any, Any, Any]:
    torch.manual_seed(0)
    if kind == "table":
        world = chain(5, slip=0.2, time_limit=6, batch_size=8)
        return (*for_env(world), world)
    if kind == "network":
        world = GymEnv("CartPole-v1", batch_size=4)
        return (*for_env(world, hidden=(16,)), world)
    policy = random_policy("gpt2", vocab_size=4, initializer_range=0.3, hidden_size=16, layers=1)
    return policy, LMCritic(policy), text_world()


def weights(*modules: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for module in modules for p in module.parameters()]


KINDS = ["table", "network", "language model"]


@pytest.mark.parametrize("kind", KINDS)
def test_first_epoch_ratio_is_one(kind: str) -> None:
    policy, critic, world = parts(kind)
    steps = None if world.horizon else 32
    config = PPOConfig(updates=1, steps=steps, epochs=1, minibatches=1)
    (record,) = list(ppo(policy, world, config, critic=critic))
    assert record["ratio_max"] == pytest.approx(1, abs=1e-5)
    assert record["old_kl"] == pytest.approx(0, abs=1e-9) and record["clip_fraction"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_seeded_runs_are_equal_bit_for_bit(kind: str) -> None:
    found = []
    for _ in range(2):
        policy, critic, world = parts(kind)
        config = PPOConfig(updates=3, steps=None if world.horizon else 16, epochs=2, minibatches=2)
        records = list(ppo(policy, world, config, critic=critic, generator=seeded(5)))
        found.append((weights(policy, critic), [r["loss"] for r in records]))
    assert found[0][1] == found[1][1]
    assert all(torch.equal(a, b) for a, b in zip(found[0][0], found[1][0], strict=True))
    policy, critic, world = parts(kind)
    list(ppo(policy, world, config, critic=critic, generator=seeded(6)))
    assert any(not torch.equal(a, b) for a, b in zip(found[0][0], weights(policy, critic), strict=True))


def test_a2c_is_ppo_with_one_epoch() -> None:
    """The very same steps: one epoch, one minibatch, and at ratio 1 the clip does nothing."""
    left_policy, left_critic, left = parts("table")
    right_policy, right_critic, right = parts("table")
    shared: dict[str, Any] = {"updates": 6, "steps": 9, "learning_rate": 0.01, "gamma": 0.9, "lam": 0.8}
    shared |= {"entropy_coef": 0.02, "value_coef": 0.3, "whiten_advantages": True}
    list(a2c(left_policy, left, A2CConfig(**shared), critic=left_critic, generator=seeded()))
    config = PPOConfig(**shared, epochs=1, minibatches=1)
    list(ppo(right_policy, right, config, critic=right_critic, generator=seeded()))
    torch.testing.assert_close(left_policy.logits, right_policy.logits)
    torch.testing.assert_close(left_critic.values, right_critic.values)


def test_loss_by_hand() -> None:
    """One minibatch of two choices, everything written out."""

    class Fixed(nn.Module):
        stateful = False

        def evaluate(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
            return torch.tensor([[1.5], [0.5]]).log(), torch.tensor([[0.3], [0.5]])

        def value(self, obs: Tensor, actions: Tensor) -> Tensor:
            return torch.tensor([[1.0], [2.0]])

    batch = Batch(
        torch.zeros(2, 1, 1),
        torch.zeros(2, 1),
        torch.zeros(2, 1),
        torch.ones(2, 1).bool(),
        advantages=torch.tensor([[1.0], [-1.0]]),
        returns=torch.tensor([[3.0], [2.0]]),
        old_values=torch.tensor([[1.0], [2.0]]),
        ref_logp=torch.tensor([[1.0], [1.0]]).log(),
    )
    config = PPOConfig(entropy_coef=0.1, value_coef=0.5, kl_placement="k2_loss")
    loss, metrics = ppo_loss(Fixed(), Fixed(), batch, config, 0.7)  # type: ignore[arg-type]
    # policy: -(1.2 - .8) / 2 = -.2; entropy .4; critic: (1/2 * 4 + 0) / 2 = 1;
    # k2: (ln(1.5)^2 / 2 + ln(.5)^2 / 2) / 2 = (.0822 + .2402) / 2 = .16121
    assert metrics["policy_loss"].item() == pytest.approx(-0.2, rel=1e-6)
    assert metrics["value_loss"].item() == pytest.approx(1.0, rel=1e-6)
    assert loss.item() == pytest.approx(-0.2 - 0.1 * 0.4 + 0.5 * 1.0 + 0.7 * 0.1612135, rel=1e-5)
    assert metrics["clip_fraction"] == 1 and metrics["ratio_max"].item() == pytest.approx(1.5)
    # KL(old || new) by k3: (e^x - 1 - x) at x = ln 1.5 and ln .5: (.5 - .405465 + -.5 + .693147) / 2
    assert metrics["old_kl"].item() == pytest.approx((0.5 - 0.4054651 - 0.5 + 0.6931472) / 2, rel=1e-5)


class Scripted(nn.Module):
    """Log-probabilities, entropies and values that are leaves, so that their gradients can be looked at."""

    stateful = True

    def __init__(self, logp: Tensor, entropy: Tensor, values: Tensor) -> None:
        super().__init__()
        self.logp, self.entropy, self.values = (x.clone().requires_grad_() for x in (logp, entropy, values))

    def evaluate(self, obs: Prompt, actions: Tensor) -> tuple[Tensor, Tensor]:
        return self.logp, self.entropy

    def value(self, obs: Prompt, actions: Tensor) -> Tensor:
        return self.values


@pytest.mark.parametrize("junk", [NAN, float("inf"), -float("inf"), 1e30])
@pytest.mark.parametrize("placement", ["reward", "k1_loss", "k2_loss", "k3_loss"])
@pytest.mark.parametrize("reduce", ["token", "sequence", 5.0])
@pytest.mark.parametrize("value_clip", [None, 0.2])
def test_garbage_on_padding_moves_neither_loss_nor_gradient(
    junk: float, placement: str, reduce: str | float, value_clip: float | None
) -> None:
    generator = seeded()
    mask = torch.tensor([[True, True, False, False], [True, True, True, True], [True, False, False, False]])
    drawn = [torch.randn(3, 4, generator=generator) for _ in range(7)]
    after = torch.randn(3, 1, generator=generator)
    config = PPOConfig(
        entropy_coef=0.1, kl_placement=placement, reduce=reduce, value_clip=value_clip, beta=0.3
    )
    found = []
    for spoil in (False, True):

        def dirty(x: Tensor, spoil: bool = spoil) -> Tensor:
            return torch.where(mask, x, junk) if spoil else x

        logp, entropy, values, old_logp, advantages, returns, ref_logp = map(dirty, drawn)
        policy = Scripted(logp, entropy, torch.cat((values, after), 1))
        batch = Batch(
            Prompt(torch.zeros(3, 1).long(), torch.ones(3, 1).bool()),
            torch.zeros(3, 4).long(),
            torch.where(
                mask, old_logp, 0.0
            ),  # what prepare fills: sampled log-probabilities are always finite
            mask,
            advantages,
            returns,
            values,
            torch.where(mask, ref_logp, 0.0),
        )
        loss, metrics = ppo_loss(policy, policy, batch, config, 0.3)  # type: ignore[arg-type]
        gradients = torch.autograd.grad(loss, (policy.logp, policy.entropy, policy.values))
        found.append((loss, gradients, [m.item() for m in metrics.values()]))
    assert torch.equal(found[0][0], found[1][0]) and found[0][2] == found[1][2]
    for clean, spoilt in zip(found[0][1], found[1][1], strict=True):
        assert torch.equal(clean, spoilt)
        assert not spoilt[:, :4][~mask].any()


def test_minibatches_share_out_every_choice_once() -> None:
    policy, critic, world = parts("table")
    rolled = rollout(policy, world, steps=30, generator=seeded())
    config = PPOConfig(whiten_advantages=False)
    batch, _ = prepare(rolled, policy, world, config, 0.0, critic, None)
    assert len(batch.mask) == int(rolled.mask.sum()) < rolled.mask.numel()
    obs = batch.obs
    assert isinstance(obs, Tensor)
    assert torch.equal(obs[:, 0], rolled.obs[:, :-1][rolled.mask])  # type: ignore[index]
    for count in (1, 4, 7, 1000):
        pieces = list(batch.minibatches(count, seeded()))
        for name in ("actions", "old_logp", "advantages", "returns", "old_values"):
            joined = torch.cat([getattr(piece, name) for piece in pieces])
            assert torch.equal(joined.sort(0).values, getattr(batch, name).sort(0).values)
        sizes = [len(piece.mask) for piece in pieces]
        assert len(sizes) == min(count, len(batch.mask)) and max(sizes) - min(sizes) <= 1
        # rows stay together: each piece's log-probabilities are those of its own choices
        for piece in pieces:
            torch.testing.assert_close(policy.evaluate(piece.obs, piece.actions)[0], piece.old_logp)
    first, second = ([p.actions for p in batch.minibatches(2, seeded(s))] for s in (1, 2))
    assert not torch.equal(first[0], second[0])


def test_text_minibatches_keep_rows_and_prompts_together() -> None:
    policy, critic, world = parts("language model")
    rolled = rollout(policy, world, generator=seeded())
    config = PPOConfig(whiten_advantages=False)
    batch, _ = prepare(rolled, policy, world, config, 0.0, critic, None)
    for piece in batch.minibatches(3, seeded()):
        logp = policy.evaluate(piece.obs, piece.actions)[0]
        torch.testing.assert_close(logp[piece.mask], piece.old_logp[piece.mask], atol=1e-5, rtol=1e-5)


def test_prepare_by_hand() -> None:
    """KL in the reward, whitening of rewards, returns: two rows of text, against plain arithmetic."""
    policy, critic, world = parts("language model")
    reference = random_policy("gpt2", vocab_size=4, initializer_range=0.3, hidden_size=16, layers=1, seed=9)
    rolled = rollout(policy, world, generator=seeded())
    config = PPOConfig(advantage="returns", whiten_advantages=False, gamma=1.0, beta=0.4)
    batch, record = prepare(rolled, policy, world, config, 0.4, None, reference)
    ratio = rolled.logp - reference.evaluate(rolled.obs, rolled.actions)[0].detach()
    for row in range(8):
        count = int(rolled.mask[row].sum())
        paid = [rolled.rewards[row, t].item() - 0.4 * ratio[row, t].item() for t in range(count)]
        for t in range(count):
            assert batch.advantages[row, t].item() == pytest.approx(sum(paid[t:]), abs=1e-5)
    rows = [ratio[row][rolled.mask[row]] for row in range(8)]
    assert record["ref_k1"] == pytest.approx(sum(r.sum().item() for r in rows) / 8, abs=1e-5)
    assert record["ref_k2"] == pytest.approx(sum((r**2).sum().item() / 2 for r in rows) / 8, abs=1e-5)
    by_k3 = sum(((-r).exp() - 1 + r).sum().item() for r in rows) / 8
    assert record["ref_k3"] == pytest.approx(by_k3, abs=1e-5)
    assert record["reward_mean"] == pytest.approx(world.scores.mean().item(), abs=1e-6)
    config = PPOConfig(advantage="returns", whiten_rewards=True, whiten_advantages=False, gamma=0.0)
    batch, _ = prepare(rolled, policy, world, config, 0.0, None, None)
    rewards = rolled.rewards[rolled.mask]
    scaled = (rewards - rewards.mean()) / (rewards.std() + 1e-8) + rewards.mean()  # the mean stays
    torch.testing.assert_close(batch.advantages[rolled.mask], scaled)
    batch, _ = prepare(rolled, policy, world, PPOConfig(advantage="returns"), 0.0, None, None)
    chosen = batch.advantages[rolled.mask]
    assert chosen.mean().abs() < 1e-6 and chosen.std().item() == pytest.approx(1, abs=1e-4)


def test_group_advantages_compare_whole_rows_of_one_prompt() -> None:
    policy, _, _ = parts("language model")
    world = text_world(group_size=4)
    rolled = rollout(policy, world, generator=seeded())
    config = PPOConfig(advantage="leave_one_out", whiten_advantages=False)
    batch, _ = prepare(rolled, policy, world, config, 0.0, None, None)
    for row in range(8):
        group = range(row // 4 * 4, row // 4 * 4 + 4)
        others = [world.scores[i].item() for i in group if i != row]
        expected = world.scores[row].item() - sum(others) / 3
        assert batch.advantages[row][rolled.mask[row]].tolist() == pytest.approx(
            [expected] * int(rolled.mask[row].sum()), abs=1e-6
        )


def test_enumerated_metrics_are_expectations() -> None:
    policy, reference = (TabularPolicy(1, 3, ref=torch.tensor([0.6, 0.3, 0.1])) for _ in range(2))
    rewards = torch.tensor([0.0, 1.0, 3.0])
    before = policy.probs()[0].detach()
    config = PPOConfig(
        updates=1, epochs=2, minibatches=1, advantage="returns", whiten_advantages=False, learning_rate=0.3
    )
    (record,) = list(ppo(policy, Bandit(rewards), config, reference=reference, collect=enumerate_actions))
    assert record["reward_mean"] == pytest.approx(0.6)  # .3 * 1 + .1 * 3
    # after the first of two steps, that is where the second epoch measured: Adam moves each logit by its rate
    moved = TabularPolicy(1, 3, ref=before)
    moved.logits.data += 0.3 * torch.sign(before * (rewards - 0.6))
    after = moved.probs()[0].detach()
    exact = (before * (before / after).log()).sum().item()
    assert record["old_kl"] == pytest.approx(exact, rel=1e-3)


def test_learning_rate_falls_to_zero_and_records_are_complete() -> None:
    policy, critic, world = parts("table")
    config = PPOConfig(updates=4, steps=8, learning_rate=0.4, beta=0.1)
    records = list(ppo(policy, world, config, critic=critic, reference=frozen_copy(policy)))
    assert [r["learning_rate"] for r in records] == pytest.approx([0.4, 0.3, 0.2, 0.1])
    promised = "update env_steps reward_mean return_mean loss policy_loss value_loss entropy clip_fraction ratio_max "
    promised += "old_kl ref_k1 ref_k2 ref_k3 beta explained_variance grad_norm learning_rate epochs"
    for record in records:
        assert set(promised.split()) <= record.keys()
        assert all(isinstance(value, int | float) for value in record.values())
    assert [r["update"] for r in records] == [1, 2, 3, 4]
    assert records[-1]["env_steps"] <= 4 * 8 * 8
    list(ppo(policy, world, PPOConfig(updates=2, steps=8, anneal=False), critic=critic))


def test_only_the_policy_and_the_critic_move() -> None:
    policy, critic, world = parts("language model")
    reference = frozen_copy(policy)
    before = weights(reference)
    old = weights(policy, critic)
    list(ppo(policy, world, PPOConfig(updates=1, beta=0.1), critic=critic, reference=reference))
    assert all(torch.equal(a, b) for a, b in zip(before, weights(reference), strict=True))
    assert (
        sum(not torch.equal(a, b) for a, b in zip(old, weights(policy, critic), strict=True)) > len(old) // 2
    )


def test_gradients_are_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    honest = torch.optim.Adam.step

    def watched(self: torch.optim.Adam) -> None:
        seen.extend(p.grad.norm() for group in self.param_groups for p in group["params"])
        honest(self)

    monkeypatch.setattr(torch.optim.Adam, "step", watched)

    def step(limit: float) -> Tensor:
        policy = TabularPolicy(1, 2)
        config = ReinforceConfig(updates=1, max_grad_norm=limit, learning_rate=1e-5)
        (record,) = list(reinforce(policy, Bandit(torch.tensor([0.0, 100.0])), config))
        assert record["grad_norm"] > 10  # the norm before shortening
        assert policy.logits.grad is None  # not kept while the next rollout and forward run
        return seen[-1]

    assert step(0.5).item() == pytest.approx(0.5, rel=1e-4)
    assert step(float("inf")) > 10


def diverge(name: str) -> tuple[Policy, Iterator[dict[str, float]]]:
    """A run whose second rollout earns so much that its gradient is infinite."""
    policy, bandit = TabularPolicy(1, 2), Bandit(torch.tensor([1.0, 2.0]), batch_size=8)
    runs: dict[str, Callable[..., Any]] = {
        "ppo": functools.partial(
            ppo, config=PPOConfig(advantage="returns", whiten_advantages=False, epochs=1, minibatches=1)
        ),
        "reinforce": functools.partial(reinforce, config=ReinforceConfig()),
    }
    run = runs[name](policy, bandit)
    next(run)
    bandit.rewards = torch.full_like(bandit.rewards, 3e38)
    return policy, run


@pytest.mark.parametrize("name", ["ppo", "reinforce"])
def test_a_diverging_loss_stops_before_it_spoils_the_policy(name: str) -> None:
    policy, run = diverge(name)
    before = weights(policy)  # type: ignore[arg-type]
    with pytest.raises(FloatingPointError, match="is not finite; the policy is as it was"):
        next(run)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(policy), strict=True))  # type: ignore[arg-type]


def test_trpo_gives_up_a_step_that_is_not_a_number() -> None:
    policy, bandit = TabularPolicy(1, 2), Bandit(torch.tensor([1.0, 2.0]), batch_size=8)
    before = weights(policy)
    bandit.rewards = torch.full_like(bandit.rewards, 3e38)
    (record,) = list(trpo(policy, bandit, TRPOConfig(updates=1)))
    assert record["accepted"] == 0
    assert all(torch.equal(a, b) for a, b in zip(before, weights(policy), strict=True))


def test_identity_bandit_in_seconds() -> None:
    """Twelve contexts, twelve arms, one right: the probe every trainer should pass before CartPole."""
    world = Bandit(torch.eye(12), batch_size=128)
    policy, critic = for_env(world)
    config = PPOConfig(updates=80, learning_rate=0.05, entropy_coef=0.0)
    records = list(ppo(policy, world, config, critic=critic))
    assert records[-1]["return_mean"] > 0.9
    assert policy.probs().diagonal().mean() > 0.9  # type: ignore[union-attr]


def test_cartpole_learns() -> None:
    torch.manual_seed(1)
    world = GymEnv("CartPole-v1", batch_size=32)
    policy, critic = MLPPolicy(4, Discrete(2), hidden=(32, 32)), MLPCritic(4, hidden=(32, 32))
    config = PPOConfig(updates=20, steps=64, epochs=6, learning_rate=3e-3, gamma=0.98, lam=0.9)
    records = list(ppo(policy, world, config, critic=critic))
    assert records[0]["return_mean"] < 40 and records[-1]["return_mean"] > 100


def test_gaussian_policies_learn() -> None:
    """Reach 1.5 on a line: reward -(action - 1.5)^2."""
    from test_known_answers import Probe

    from rlbase.types import Box, Step

    class Reach(Probe):
        action_space = Box(1)  # type: ignore[assignment]

        def step(self, actions: Tensor, generator: torch.Generator) -> Step:
            over = torch.ones(self.batch_size, dtype=torch.bool)
            return Step(self.obs, -(actions[:, 0] - 1.5).square(), over, ~over, over, finished=True)

    torch.manual_seed(0)
    policy = MLPPolicy(3, Box(1), hidden=(8,))
    config = PPOConfig(updates=60, learning_rate=0.02, advantage="returns")
    list(ppo(policy, Reach(256), config))
    assert policy.net(torch.zeros(1, 3)).item() == pytest.approx(1.5, abs=0.2)
    assert policy.log_std is not None and policy.log_std.item() < -0.5


def test_bfloat16_and_sharing_critics_train() -> None:
    policy = random_policy("gpt2", vocab_size=4, hidden_size=16, layers=1)
    critic = LMCritic(policy, share=True)
    config = PPOConfig(updates=2, epochs=1, precision="bfloat16")
    before = weights(policy)
    records = list(ppo(policy, text_world(), config, critic=critic))
    assert all(abs(r["ratio_max"] - 1) < 0.1 for r in records)
    assert any(not torch.equal(a, b) for a, b in zip(before, weights(policy), strict=True))


def test_denominators_count_the_rows_of_the_rollout_for_every_policy() -> None:
    """A table forgets its past, but "sequence" and a constant still mean the rows that were rolled out."""
    policy, critic, world = parts("table")
    rolled = rollout(policy, world, steps=12, generator=seeded())
    counts = rolled.mask.sum(1)
    assert counts.min() < counts.max()
    for reduce in ("sequence", 5.0):
        config = PPOConfig(reduce=reduce, whiten_advantages=False)
        batch, _ = prepare(rolled, policy, world, config, 0.0, critic, None)
        _, metrics = ppo_loss(policy, critic, batch, config, 0.0)
        each = torch.where(rolled.mask, gae_of(rolled, critic, config), 0)  # at ratio 1 the loss is -A
        rows = each.sum(1) / counts if reduce == "sequence" else each.sum(1) / 5
        assert metrics["policy_loss"].item() == pytest.approx(-rows.mean().item(), rel=1e-5)


def gae_of(rolled: Any, critic: Any, config: PPOConfig) -> Tensor:
    values = critic.value(rolled.obs, rolled.actions).detach()
    discounts = config.gamma * (~rolled.terminated).float()
    return gae(rolled.rewards, values, discounts, rolled.mask, lam=config.lam)


def test_first_ratio_is_one_in_bfloat16_too() -> None:
    """Sampled in float32 and learnt in bfloat16: without scoring anew the ratio would be the rounding."""
    policy = random_policy("gpt2", vocab_size=4, initializer_range=0.5)
    config = PPOConfig(
        updates=1, epochs=1, minibatches=1, advantage="returns", precision="bfloat16", beta=0.1
    )
    (record,) = list(ppo(policy, text_world(), config, reference=frozen_copy(policy)))
    assert record["ratio_max"] == pytest.approx(1, abs=1e-5)
    assert record["ref_k1"] == pytest.approx(0, abs=1e-5)


def test_value_clip_reaches_the_loss() -> None:
    """The critic moved by 1 where .2 is allowed: 1/2 max{(1 - 2)^2, (.2 - 2)^2} = 1.62, not .5."""
    one = torch.ones(1, 1)
    policy = Scripted(0 * one, 0 * one, torch.ones(1, 2))
    obs = Prompt(torch.zeros(1, 1).long(), one.bool())
    batch = Batch(obs, one.long(), 0 * one, one.bool(), one, returns=2 * one, old_values=0 * one)
    for clip, expected in ((0.2, 1.62), (None, 0.5)):
        _, metrics = ppo_loss(policy, policy, batch, PPOConfig(value_clip=clip), 0.0)  # type: ignore[arg-type]
        assert metrics["value_loss"].item() == pytest.approx(expected, rel=1e-5)


def test_networks_and_tables_train_in_float64() -> None:
    for kind in ("table", "network"):
        policy, critic, world = parts(kind)
        policy.double(), critic.double()
        (record,) = list(ppo(policy, world, PPOConfig(updates=1, steps=8), critic=critic))
        assert record["loss"] == record["loss"] and record["ratio_max"] < 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda x: x.sum() + float("inf"),  # an infinite loss whose gradient is finite
        lambda x: (x - x.detach()).abs().sqrt().sum(),  # a loss of 0 whose gradient is not
    ],
)
def test_no_step_is_taken_on_what_is_not_finite(spoil: Callable[[Tensor], Tensor]) -> None:
    x = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([x], lr=0.1)
    with pytest.raises(FloatingPointError, match="probe: the loss .* or its gradient is not finite"):
        gradient_step("probe", spoil(x), [x], optimizer, 1.0)
    assert x.tolist() == [1.0, 1.0]


def test_the_mean_baseline_takes_all_of_a_constant_reward() -> None:
    for baseline, still in (("none", False), ("mean", True), ("leave_one_out", True)):
        config = ReinforceConfig(updates=1, baseline=baseline)
        (record,) = list(
            reinforce(TabularPolicy(1, 2), Bandit(torch.tensor([2.0, 2.0]), batch_size=7), config)
        )
        assert (record["grad_norm"] < 1e-6) == still


@pytest.mark.parametrize("baseline", ["none", "mean"])
def test_reinforce_loss_by_hand(baseline: str) -> None:
    """A uniform policy says -ln 2 everywhere: the loss is ln 2 times the mean of G - b, less the entropy bonus."""
    rolled = rollout(TabularPolicy(5, 2), chain(5, time_limit=4, batch_size=8), steps=12, generator=seeded(3))
    assert rolled.truncated.any() and rolled.terminated.any()
    returns = []
    for row in range(8):
        for start in range(12):
            if rolled.mask[row, start]:
                total, weight = 0.0, 1.0
                for t in range(start, 12):
                    total += weight * rolled.rewards[row, t].item()
                    weight *= 0.5
                    if rolled.terminated[row, t] or rolled.truncated[row, t]:
                        break
                returns.append(total)
    paid = sum(returns) / len(returns) if baseline == "none" else 0.0
    config = ReinforceConfig(updates=1, steps=12, gamma=0.5, entropy_coef=0.3, baseline=baseline)
    world = chain(5, time_limit=4, batch_size=8)
    (record,) = list(reinforce(TabularPolicy(5, 2), world, config, generator=seeded(3)))
    assert record["loss"] == pytest.approx(math.log(2) * (paid - 0.3), rel=1e-5)


def test_upper_clip_reaches_the_loss() -> None:
    """Ratio 1.5, advantage 1: what counts is 1.28 when the upper clip is .28, and 1.2 when it is that below."""
    one = torch.ones(1, 1)
    policy = Scripted((1.5 * one).log(), 0 * one, torch.ones(1, 2))
    batch = Batch(Prompt(one.long(), one.bool()), one.long(), 0 * one, one.bool(), one)
    for high, expected in ((0.28, -1.28), (None, -1.2)):
        _, metrics = ppo_loss(policy, None, batch, PPOConfig(clip_high=high), 0.0)  # type: ignore[arg-type]
        assert metrics["policy_loss"].item() == pytest.approx(expected, rel=1e-6)


def test_beta_follows_the_unbiased_estimate() -> None:
    record = {"ref_k1": 1.0, "ref_k2": 0.1, "ref_k3": 0.1}
    halve_or_double = PPOConfig(beta=0.2, kl_target=0.5, kl_rule="schulman")
    assert next_beta(halve_or_double, 0.2, record, episodes=10) == 0.4
    in_proportion = PPOConfig(beta=0.2, kl_target=0.5, kl_horizon=100)
    assert next_beta(in_proportion, 0.2, record, episodes=10) == pytest.approx(0.2 * (1 + 0.2 * 10 / 100))
    assert next_beta(PPOConfig(beta=0.2), 0.2, record, episodes=10) == 0.2


def test_bandit_noise_has_the_stated_size() -> None:
    world = Bandit(torch.tensor([1.0, 3.0]), batch_size=10_000, noise=0.25)
    world.begin(seeded())
    paid = world.step(torch.ones(10_000, dtype=torch.long), seeded()).rewards
    assert paid.mean().item() == pytest.approx(3, abs=0.02) and paid.std().item() == pytest.approx(
        0.25, rel=0.05
    )


def test_returns_and_explained_variance_by_hand() -> None:
    policy, critic, world = parts("table")
    critic.values.data = torch.tensor([0.3, -0.2, 0.5, 0.1, 0.9])
    rolled = rollout(policy, world, steps=12, generator=seeded())
    config = PPOConfig(whiten_advantages=False)
    batch, record = prepare(rolled, policy, world, config, 0.0, critic, None)
    values = critic.values.detach()[rolled.obs[:, :-1]][rolled.mask]  # type: ignore[index]
    returns = gae_of(rolled, critic, config)[rolled.mask] + values
    assert batch.returns is not None
    torch.testing.assert_close(batch.returns[:, 0], returns)
    explained = 1 - (returns - values).var(correction=0) / returns.var(correction=0)
    assert record["explained_variance"] == pytest.approx(explained.item(), rel=1e-4)


@pytest.mark.parametrize("setting", ["gamma", "lam"])
def test_trpo_hears_its_discount_and_trace(setting: str) -> None:
    found = []
    for value in (0.2, 0.9):
        policy, critic, world = parts("table")
        critic.values.data = torch.tensor([0.3, -0.2, 0.5, 0.1, 0.9])
        list(trpo(policy, world, TRPOConfig(updates=1, steps=12, **{setting: value}), critic=critic))
        found.append(weights(policy)[0])
    assert not torch.allclose(found[0], found[1])
