"""The trainers land where theory says: closed forms on bandits and strings, value iteration on tables."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rlbase.envs import Bandit, CharTokenizer, TabularMDP, TextEnv, chain, gridworld
from rlbase.exact import (
    enumerate_responses,
    k3_loss_optimum,
    kl,
    kl_optimum,
    total_variation,
    value_iteration,
)
from rlbase.policies import (
    CausalLMPolicy,
    LMCritic,
    MLPPolicy,
    TabularCritic,
    TabularPolicy,
    for_env,
    frozen_copy,
    random_policy,
)
from rlbase.rollout import enumerate_actions, rollout
from rlbase.train import (
    A2CConfig,
    PPOConfig,
    ReinforceConfig,
    TRPOConfig,
    a2c,
    ppo,
    reinforce,
    trpo,
)
from rlbase.types import Box, Discrete, Prompt, Step

B4_REF = torch.tensor([0.4, 0.3, 0.2, 0.1])
B4_REWARD = torch.tensor([0.0, 1.0, 0.5, 2.0])
EXACT = PPOConfig(
    updates=200,
    epochs=1,
    minibatches=1,
    learning_rate=0.1,
    gamma=1.0,
    advantage="returns",
    whiten_advantages=False,
    max_grad_norm=10.0,
    beta=0.5,
)


def settings(config: PPOConfig, **changes: object) -> PPOConfig:
    return replace(config, **changes)  # type: ignore[arg-type]


def random_bandit(seed: int) -> tuple[Tensor, Tensor, float]:
    generator = torch.Generator().manual_seed(seed)
    n = int(torch.randint(2, 9, (1,), generator=generator))
    ref, reward = torch.randn(n, generator=generator).softmax(0), torch.randn(n, generator=generator)
    return ref, reward, 0.3 + torch.rand(1, generator=generator).item()


# bandits


@pytest.mark.parametrize("seed", range(5))
def test_random_bandits_exactly(seed: int) -> None:
    ref, reward, beta = random_bandit(seed)
    policy, reference = (TabularPolicy(1, len(ref), ref=ref) for _ in range(2))
    config = settings(EXACT, updates=300, learning_rate=0.05, beta=beta)
    records = list(ppo(policy, Bandit(reward), config, reference=reference, collect=enumerate_actions))
    best = kl_optimum(ref, reward, beta=beta)
    assert total_variation(policy.probs()[0].detach(), best) < 0.02
    assert records[-1]["ref_k1"] == pytest.approx(kl(best, ref), abs=0.02)  # weighted metrics are exact too
    assert records[-1]["reward_mean"] == pytest.approx((best * reward).sum().item(), abs=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_random_bandits_sampled(seed: int) -> None:
    ref, reward, beta = random_bandit(10 + seed)
    policy, reference = (TabularPolicy(1, len(ref), ref=ref) for _ in range(2))
    config = settings(EXACT, epochs=2, learning_rate=0.04, beta=beta)
    generator = torch.Generator().manual_seed(seed)
    env = Bandit(reward, batch_size=256, noise=0.3)
    list(ppo(policy, env, config, reference=reference, generator=generator))
    assert total_variation(policy.probs()[0].detach(), kl_optimum(ref, reward, beta=beta)) < 0.05


@pytest.mark.parametrize("advantage", ["gae", "leave_one_out", "group"])
def test_every_advantage_reaches_the_same_optimum(advantage: str) -> None:
    # At the optimum all rewards minus charges are equal, so a group's standard deviation divides nothing: GRPO
    # rests at the same place, although on the way its gradient is not that of the objective.
    policy, reference = (TabularPolicy(1, 4, ref=B4_REF) for _ in range(2))
    critic = TabularCritic(1) if advantage == "gae" else None
    config = settings(EXACT, advantage=advantage, learning_rate=0.05, epochs=2)
    env = Bandit(B4_REWARD, batch_size=256)
    list(ppo(policy, env, config, critic=critic, reference=reference))
    assert total_variation(policy.probs()[0].detach(), kl_optimum(B4_REF, B4_REWARD, beta=0.5)) < 0.05


@pytest.mark.parametrize(
    ("placement", "optimum"),
    [
        ("reward", kl_optimum(B4_REF, B4_REWARD, beta=0.5)),
        ("k1_loss", torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64)),  # no force: the best arm alone
        ("k2_loss", kl_optimum(B4_REF, B4_REWARD, beta=0.5)),
        ("k3_loss", k3_loss_optimum(B4_REF, B4_REWARD, beta=0.5)),
    ],
)
def test_each_kl_placement_lands_on_its_own_optimum(placement: str, optimum: Tensor) -> None:
    policy, reference = (TabularPolicy(1, 4, ref=B4_REF) for _ in range(2))
    config = settings(EXACT, kl_placement=placement)
    list(ppo(policy, Bandit(B4_REWARD), config, reference=reference, collect=enumerate_actions))
    found = policy.probs()[0].detach()
    assert total_variation(found, optimum) < 0.02
    if placement in ("k1_loss", "k3_loss"):
        assert total_variation(found, kl_optimum(B4_REF, B4_REWARD, beta=0.5)) > 0.1


def test_contextual_bandit() -> None:
    rewards = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.2, 0.4, 1.0]])
    policy, reference = TabularPolicy(3, 3), TabularPolicy(3, 3)
    config = settings(EXACT, updates=150, epochs=2, beta=0.4, learning_rate=0.05)
    list(ppo(policy, Bandit(rewards, batch_size=384), config, reference=reference))
    for row, reward in zip(policy.probs().detach(), rewards, strict=True):
        assert total_variation(row, kl_optimum(torch.full((3,), 1 / 3), reward, beta=0.4)) < 0.05
    policy = TabularPolicy(3, 3)  # and exactly, where every context weighs the same
    config = settings(config, epochs=1, learning_rate=0.1)
    list(ppo(policy, Bandit(rewards), config, reference=reference, collect=enumerate_actions))
    for row, reward in zip(policy.probs().detach(), rewards, strict=True):
        assert total_variation(row, kl_optimum(torch.full((3,), 1 / 3), reward, beta=0.4)) < 0.02


@pytest.mark.parametrize("baseline", ["none", "mean", "leave_one_out"])
def test_reinforce_finds_the_best_arm(baseline: str) -> None:
    policy = TabularPolicy(1, 4)
    config = ReinforceConfig(updates=150, learning_rate=0.1, baseline=baseline)
    list(reinforce(policy, Bandit(B4_REWARD + 1, noise=0.2), config))
    assert policy.probs()[0, 3] > 0.95


@pytest.mark.parametrize("baseline", ["none", "mean"])
def test_reinforce_follows_the_exact_gradient_when_actions_are_enumerated(baseline: str) -> None:
    policy = TabularPolicy(1, 4, ref=B4_REF)
    exact = torch.autograd.grad((policy.probs()[0] * B4_REWARD).sum(), policy.logits)[0]
    config = ReinforceConfig(updates=1, baseline=baseline)
    (record,) = list(reinforce(policy, Bandit(B4_REWARD), config, collect=enumerate_actions))
    assert record["grad_norm"] == pytest.approx(exact.norm().item(), rel=1e-5)
    assert record["reward_mean"] == pytest.approx((B4_REF * B4_REWARD).sum().item(), rel=1e-5)


# tables


def greedy_is_optimal(policy: TabularPolicy, world: TabularMDP, gamma: float) -> None:
    q = value_iteration(world.transitions, world.rewards, gamma=gamma).q
    reachable, frontier = {world.start}, [world.start]
    while frontier:  # by the optimal policy, slips included
        state = frontier.pop()
        for following in world.transitions[state, int(q[state].argmax())].nonzero().flatten().tolist():
            if following not in reachable:
                reachable.add(following)
                frontier.append(following)
    for state in reachable:
        if not world.is_terminal[state]:
            chosen = int(policy.logits[state].argmax())
            assert q[state, chosen] > q[state].max() - 1e-6, f"state {state}: {chosen}, q {q[state].tolist()}"


TABLES: list[tuple[Callable[..., TabularMDP], float]] = [
    (functools.partial(chain, 5, small=0.2), 0.9),  # far-sighted: .9^2 > .2, walk
    (functools.partial(chain, 5, small=0.2), 0.3),  # near-sighted: .3^2 < .2, take it
    (functools.partial(chain, 5, small=0.05, slip=0.2), 0.9),
    (functools.partial(gridworld), 0.9),
    (functools.partial(gridworld, "S..+\n.#.-\n....", slip=0.2, step_reward=-0.04), 0.9),
]


@pytest.mark.parametrize(("build", "gamma"), TABLES)
def test_greedy_policy_is_value_iterations(build: Callable[..., TabularMDP], gamma: float) -> None:
    world = build(time_limit=40, batch_size=32)
    policy, critic = for_env(world)
    config = PPOConfig(
        updates=100, steps=24, epochs=3, minibatches=2, learning_rate=0.05, gamma=gamma, entropy_coef=0.01
    )
    list(ppo(policy, world, config, critic=critic))  # type: ignore[arg-type]
    greedy_is_optimal(policy, world, gamma)  # type: ignore[arg-type]


def test_other_trainers_walk_the_chain() -> None:
    for train in (
        lambda policy, critic, world: a2c(
            policy,
            world,
            A2CConfig(updates=250, learning_rate=0.05, gamma=0.9, entropy_coef=0.02),
            critic=critic,
        ),
        lambda policy, critic, world: trpo(
            policy, world, TRPOConfig(updates=60, steps=40, gamma=0.9, max_kl=0.03), critic=critic
        ),
        lambda policy, critic, world: reinforce(
            policy,
            world,
            ReinforceConfig(updates=250, steps=40, learning_rate=0.03, gamma=0.9, baseline="mean"),
        ),
    ):
        world = chain(4, small=0.1, time_limit=30, batch_size=32)
        policy, critic = for_env(world)
        list(train(policy, critic, world))
        greedy_is_optimal(policy, world, 0.9)  # type: ignore[arg-type]


def test_time_limits_are_not_ends() -> None:
    """One state that pays 1 for ever, cut after 5 steps: its value is 1 / (1 - gamma), not a sum of 5."""
    world = TabularMDP(torch.ones(1, 2, 1), torch.ones(1, 2), time_limit=5, batch_size=16)
    policy, critic = TabularPolicy(1, 2), TabularCritic(1)
    config = PPOConfig(updates=60, steps=20, learning_rate=0.1, gamma=0.8, value_coef=1.0)
    list(ppo(policy, world, config, critic=critic))
    assert critic.values.item() == pytest.approx(5.0, abs=0.1)


# strings

TOKENIZER = CharTokenizer("abc")
RESPONSES, RESPONSE_MASK = enumerate_responses(4, TOKENIZER.eos_token_id, 3)


def taste(prompts: list[str], responses: list[str]) -> list[float]:
    return [text.count("a") - 0.5 * text.count("b") + text.endswith("c") for text in responses]


def law(policy: CausalLMPolicy) -> Tensor:
    prompt = Prompt(torch.zeros(1, 1, dtype=torch.long), torch.ones(1, 1, dtype=torch.bool))
    with torch.no_grad():
        logp = policy.evaluate(prompt[[0] * len(RESPONSES)], RESPONSES)[0]
    odds = torch.where(RESPONSE_MASK, logp, 0).double().sum(1).exp()
    return odds / odds.sum()


@pytest.mark.parametrize(
    ("advantage", "seed"), [("gae", 0), ("gae", 1), ("gae", 2), ("leave_one_out", 0), ("group", 0)]
)
def test_language_model_reaches_the_closed_form_over_all_strings(advantage: str, seed: int) -> None:
    policy = random_policy("gpt2", vocab_size=4, hidden_size=32, layers=2, initializer_range=0.2, seed=seed)
    reference = frozen_copy(policy)
    critic = LMCritic(policy) if advantage == "gae" else None
    env = TextEnv(
        ["a"], TOKENIZER, taste, max_new_tokens=3, batch_size=96, group_size=1 if advantage == "gae" else 48
    )
    config = settings(
        EXACT, updates=70, epochs=2, learning_rate=4e-3, lam=0.95, advantage=advantage, max_grad_norm=1.0
    )
    generator = torch.Generator().manual_seed(seed)
    records = list(ppo(policy, env, config, critic=critic, reference=reference, generator=generator))
    texts = [
        TOKENIZER.decode(row[kept].tolist()).removesuffix(".")
        for row, kept in zip(RESPONSES, RESPONSE_MASK, strict=True)
    ]
    start = law(reference)
    best = kl_optimum(start, torch.tensor(taste([], texts)), beta=0.5)
    assert total_variation(start, best) > 0.5  # a long way
    assert total_variation(law(policy), best) < 0.05
    assert records[-1]["ref_k1"] == pytest.approx(kl(best, start), abs=0.3)


# what the clip does and does not do


def reuse(clip: float, clip_high: float | None) -> list[dict[str, float]]:
    torch.manual_seed(0)
    policy = MLPPolicy(3, Discrete(3))
    world = Probe(64)
    config = PPOConfig(
        updates=3,
        epochs=20,
        minibatches=4,
        learning_rate=1e-2,
        advantage="returns",
        clip=clip,
        clip_high=clip_high,
    )
    return list(ppo(policy, world, config))


class Probe:
    """One random vector, one of three choices, a noisy reward: something to overfit."""

    horizon = 1
    observation_space, action_space = Box(3), Discrete(3)

    def __init__(self, batch_size: int) -> None:
        self.batch_size, self.returns = batch_size, deque(maxlen=100)

    def begin(self, generator: torch.Generator) -> Tensor:
        self.obs = torch.randn(self.batch_size, 3, generator=generator)
        return self.obs

    def step(self, actions: Tensor, generator: torch.Generator) -> Step:
        rewards = self.obs.gather(1, actions[:, None])[:, 0] + torch.randn(
            self.batch_size, generator=generator
        )
        over = torch.ones(self.batch_size, dtype=torch.bool)
        self.returns.extend(rewards.tolist())
        return Step(self.obs, rewards, over, ~over, over, finished=True)

    def stack(self, observations: list[Tensor]) -> Tensor:
        return torch.stack(observations, 1)

    def state(self) -> dict[str, object]:
        return {}

    def load_state(self, state: dict[str, object]) -> None: ...


def test_clipping_restrains_but_bounds_nothing() -> None:
    clipped, free = reuse(0.2, None), reuse(0.999, 1e6)
    assert free[0]["old_kl"] >= 3 * clipped[0]["old_kl"] > 0
    assert max(record["ratio_max"] for record in clipped) > 1.2 * 1.05  # beyond 1 + clip all the same
    assert clipped[0]["clip_fraction"] > 0


def test_stop_kl_stops() -> None:
    torch.manual_seed(0)
    config = PPOConfig(updates=3, epochs=20, learning_rate=1e-2, advantage="returns", stop_kl=0.01)
    records = list(ppo(MLPPolicy(3, Discrete(3)), Probe(64), config))
    assert all(1 <= record["epochs"] < 20 for record in records)
    assert all(record["old_kl"] > 0.01 for record in records)  # it is the epoch that went too far


@pytest.mark.parametrize("rule", ["ziegler", "schulman"])
def test_adaptive_beta_steers_the_kl(rule: str) -> None:
    policy, reference = (TabularPolicy(1, 4, ref=B4_REF) for _ in range(2))
    config = settings(
        EXACT,
        updates=500,
        learning_rate=0.05,
        anneal=False,
        beta=1.0,
        kl_target=0.3,
        kl_rule=rule,
        kl_horizon=40,
    )
    records = list(ppo(policy, Bandit(B4_REWARD), config, reference=reference, collect=enumerate_actions))
    late = [record["ref_k1"] for record in records[-150:]]
    low, high = (0.27, 0.33) if rule == "ziegler" else (0.3 / 1.7, 0.3 * 1.7)
    assert low < sum(late) / len(late) < high
    fixed = kl(kl_optimum(B4_REF, B4_REWARD, beta=1.0), B4_REF)
    assert abs(fixed - 0.3) > 0.02  # it did not start there


def test_trpo_keeps_its_promise() -> None:
    world = chain(6, slip=0.1, time_limit=30, batch_size=16)
    policy, critic = for_env(world)
    records = list(trpo(policy, world, TRPOConfig(updates=25, steps=20, max_kl=0.005), critic=critic))
    assert all(0 <= record["old_kl"] <= 0.005 for record in records)
    assert sum(record["accepted"] for record in records) >= 20
    assert max(record["old_kl"] for record in records) > 0.002  # it uses the room it has
    torch.manual_seed(0)
    gaussian, probe = MLPPolicy(3, Discrete(3)), Probe(128)
    assert all(r["old_kl"] <= 0.01 for r in trpo(gaussian, probe, TRPOConfig(updates=10)))


def test_trpo_measures_the_divergence_it_bounds() -> None:
    policy = TabularPolicy(1, 4, ref=B4_REF)
    config = TRPOConfig(updates=1, max_kl=0.01, damping=1e-6)
    before = policy.probs()[0].detach().double()
    (record,) = list(trpo(policy, Bandit(B4_REWARD), config, collect=enumerate_actions))
    after = policy.probs()[0].detach().double()
    assert record["old_kl"] == pytest.approx(kl(before, after), rel=1e-3)
    assert 0.002 < kl(before, after) <= 0.01  # at least half a step: a quarter of the divergence
    # the natural gradient of a softmax table is the centred reward: theta moves along r - E[r]
    moved = after.log() - before.log()
    direction = B4_REWARD.double() - (before * B4_REWARD).sum()
    centred = moved - (before * moved).sum()
    assert torch.cosine_similarity(centred, direction, 0) > 0.999


# sampling


def test_sampled_actions_follow_the_probabilities() -> None:
    generator = torch.Generator().manual_seed(0)
    policy = TabularPolicy(1, 4, ref=B4_REF)
    batch = rollout(policy, Bandit(B4_REWARD, batch_size=20_000), generator=generator)
    assert total_variation(batch.actions.flatten().bincount() / 20_000, B4_REF) < 0.01
    assert batch.rewards.mean().item() == pytest.approx(0.6, abs=0.02)  # .3 * 1 + .2 * .5 + .1 * 2
