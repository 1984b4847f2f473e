"""The truths themselves, checked by brute force: nothing else may vouch for them."""

from __future__ import annotations

import math
from collections import Counter
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlbase.envs import CharTokenizer, TextEnv, chain, gridworld
from rlbase.exact import (
    best_of_n,
    enumerate_responses,
    k3_loss_optimum,
    kl,
    kl_optimum,
    policy_value,
    total_variation,
    value_iteration,
)
from rlbase.policies import random_policy
from rlbase.rollout import rollout
from rlbase.types import Prompt

REF = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
REWARD = torch.tensor([0.0, 1.0, 0.5, 2.0], dtype=torch.float64)
BETA = 0.5


def world(seed: int, n: int) -> tuple[Tensor, Tensor]:
    draws = torch.randn(2, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return draws[0].softmax(0), draws[1]


def objective(policy: Tensor, ref: Tensor, reward: Tensor, beta: float) -> float:
    return (policy * reward).sum().item() - beta * kl(policy, ref)


def test_four_responses() -> None:
    best = kl_optimum(REF, REWARD, beta=BETA)
    weights = [0.4, 0.3 * math.exp(2), 0.2 * math.exp(1), 0.1 * math.exp(4)]  # ref e^(r / beta), by hand
    assert best.tolist() == pytest.approx([w / sum(weights) for w in weights], rel=1e-9)
    assert best.tolist() == pytest.approx([0.0464, 0.2572, 0.0631, 0.6334], abs=5e-5)
    assert kl(best, REF) == pytest.approx(0.9568, abs=5e-5)
    assert objective(best, REF, REWARD, BETA) == pytest.approx(1.0771, abs=5e-5)
    assert objective(best, REF, REWARD, BETA) == pytest.approx(BETA * math.log(sum(weights)), rel=1e-9)
    k3 = k3_loss_optimum(REF, REWARD, beta=BETA)
    assert k3.tolist() == pytest.approx([0.0966, 0.1400, 0.0636, 0.6998], abs=5e-5)
    assert total_variation(k3, best) == pytest.approx(0.117, abs=5e-4)
    four = best_of_n(REF, REWARD, 4)
    # order by reward 0, .5, 1, 2 with cumulative .4, .6, .9, 1: fourth powers .0256, .1296, .6561, 1
    assert four.tolist() == pytest.approx([0.0256, 0.5265, 0.1040, 0.3439], rel=1e-9)
    assert kl(four, REF) == pytest.approx(0.5825, abs=5e-5)
    assert kl(four, REF) < math.log(4) - 3 / 4


@given(st.integers(0, 9999), st.integers(2, 8), st.floats(0.1, 5))
def test_any_policy_falls_short_by_beta_times_its_distance(seed: int, n: int, beta: float) -> None:
    ref, reward = world(seed, n)
    best, other = kl_optimum(ref, reward, beta=beta), world(seed + 1, n)[0]
    gap = objective(best, ref, reward, beta) - objective(other, ref, reward, beta)
    assert gap == pytest.approx(beta * kl(other, best), rel=1e-6, abs=1e-9)
    assert gap >= -1e-12


@given(st.integers(0, 9999), st.integers(2, 8), st.floats(0.1, 5))
def test_k3_rests_where_the_forward_objective_is_flat(seed: int, n: int, beta: float) -> None:
    ref, reward = world(seed, n)
    theta = k3_loss_optimum(ref, reward, beta=beta).log().requires_grad_()
    policy = theta.softmax(0)
    value = (policy * reward).sum() - beta * (ref * (ref.log() - policy.log())).sum()
    assert torch.autograd.grad(value, theta)[0].abs().max() < 1e-8
    assert value.item() >= (ref * reward).sum().item() - 1e-9  # better than staying


def test_limits_of_the_price() -> None:
    assert total_variation(kl_optimum(REF, REWARD, beta=1e6), REF) < 1e-5
    assert total_variation(k3_loss_optimum(REF, REWARD, beta=1e6), REF) < 1e-5
    assert kl_optimum(REF, REWARD, beta=1e-3)[3] > 1 - 1e-9
    never = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64)
    for optimum in (kl_optimum, k3_loss_optimum):
        assert optimum(never, torch.tensor([0.0, 1.0, 9.0]), beta=1.0)[2] == 0


def test_distances_by_hand() -> None:
    p, q = torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75])
    assert total_variation(p, q) == pytest.approx(0.25)
    assert kl(p, q) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3), rel=1e-6)
    assert kl(torch.tensor([1.0, 0.0]), p) == pytest.approx(math.log(2), rel=1e-6)
    assert kl(p, torch.tensor([1.0, 0.0])) == float("inf")


@settings(max_examples=25)
@given(st.integers(0, 9999), st.integers(2, 4), st.integers(1, 4), st.booleans())
def test_best_of_n_by_enumerating_every_draw(seed: int, k: int, n: int, ties: bool) -> None:
    ref, reward = world(seed, k)
    if ties:
        reward = (reward > 0).double()
    expected = torch.zeros(k, dtype=torch.float64)
    for draws in product(range(k), repeat=n):
        best = max(reward[i].item() for i in draws)
        winners = [i for i in draws if reward[i].item() == best]
        for winner in winners:  # a tie among the draws is decided by lot
            expected[winner] += ref[list(draws)].prod() / len(winners)
    torch.testing.assert_close(best_of_n(ref, reward, n), expected)


# tables


def random_mdp(seed: int, states: int = 4, actions: int = 2) -> tuple[Tensor, Tensor]:
    draws = torch.randn(
        states, actions, states + 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return (2 * draws[..., 1:]).softmax(-1), draws[..., 0]


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("seed", range(4))
def test_value_iteration_is_the_best_of_all_deterministic_policies(seed: int, gamma: float) -> None:
    transitions, rewards = random_mdp(seed)
    found = value_iteration(transitions, rewards, gamma=gamma)
    every = [
        policy_value(transitions, rewards, torch.eye(2)[list(choice)], gamma=gamma)
        for choice in product(range(2), repeat=4)
    ]
    best = torch.stack(every).max(0).values  # one policy is best in every state at once
    torch.testing.assert_close(found.values, best, rtol=1e-7, atol=1e-7)
    greedy = torch.eye(2)[found.q.argmax(1)]
    torch.testing.assert_close(policy_value(transitions, rewards, greedy, gamma=gamma), best)
    torch.testing.assert_close(found.q, rewards + gamma * transitions @ best, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("seed", range(3))
def test_policy_value_is_the_sum_of_discounted_rewards(seed: int) -> None:
    transitions, rewards = random_mdp(seed)
    policy = torch.randn(4, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).softmax(1)
    where, total = torch.eye(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    for t in range(400):  # the law of the state after t steps, from each start
        total += 0.9**t * where @ (policy * rewards).sum(1)
        where = where @ torch.einsum("sa,sat->st", policy, transitions)
    torch.testing.assert_close(policy_value(transitions, rewards, policy, gamma=0.9), total)


@pytest.mark.parametrize("seed", range(3))
def test_soft_value_iteration_against_direct_optimisation(seed: int) -> None:
    transitions, rewards = random_mdp(seed)
    ref = torch.full((4, 2), 0.5, dtype=torch.float64)
    ref[:, 0] += 0.3
    ref[:, 1] -= 0.3
    beta, gamma = 0.7, 0.8
    soft = value_iteration(transitions, rewards, gamma=gamma, ref=ref, beta=beta)
    theta = torch.zeros(4, 2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([theta], max_iter=300, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def value() -> Tensor:
        policy = theta.softmax(1)
        paid = (policy * (rewards - beta * (policy.log() - ref.log()))).sum(1)
        followed = torch.einsum("sa,sat->st", policy, transitions)
        return torch.linalg.solve(torch.eye(4, dtype=torch.float64) - gamma * followed, paid)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = -value().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(soft.values, value().detach(), rtol=1e-6, atol=1e-6)
    best = (ref.log() + soft.q / beta).softmax(1)
    torch.testing.assert_close(best, theta.softmax(1).detach(), rtol=1e-3, atol=1e-4)
    hard = value_iteration(transitions, rewards, gamma=gamma)
    almost = value_iteration(transitions, rewards, gamma=gamma, ref=ref, beta=1e-4)
    torch.testing.assert_close(almost.values, hard.values, rtol=1e-2, atol=1e-2)


def test_chain_by_hand() -> None:
    # length 6, start 1: the prize is 4 steps to the right, worth gamma^3 there, 3 from state 2, ...
    world = chain(6, small=0.1)
    far = value_iteration(world.transitions, world.rewards, gamma=0.9)
    assert far.values[1:5].tolist() == pytest.approx([0.9**3, 0.9**2, 0.9, 1.0], rel=1e-6)
    near = value_iteration(world.transitions, world.rewards, gamma=0.2)
    assert near.values[1].item() == pytest.approx(0.1, rel=1e-6)  # .2^3 = .008 < .1: the small one
    assert near.q[1].argmax() == 0 and far.q[1].argmax() == 1
    slippery = chain(4, slip=0.25, small=0.1)
    # from state 1 to the right: .75 to 2 (pays 0), .25 to 0 (pays .1)
    assert slippery.rewards[1].tolist() == pytest.approx([0.75 * 0.1, 0.25 * 0.1])
    assert slippery.transitions[1, 1].tolist() == pytest.approx([0.25, 0, 0.75, 0])


def test_gridworld_by_hand() -> None:
    world = gridworld("S.+\n.#-", slip=0.2, step_reward=-0.05)
    # right from the middle of the top row: .8 onto +, .1 up (stays), .1 down (a wall, stays)
    assert world.transitions[1, 1].tolist() == pytest.approx([0, 0.2, 0.8, 0, 0, 0])
    assert world.rewards[1, 1].item() == pytest.approx(-0.05 + 0.8)
    assert world.transitions[1, 0].tolist() == pytest.approx([0.1, 0.8, 0.1, 0, 0, 0])
    assert world.is_terminal.tolist() == [False, False, True, False, False, True]


def test_undiscounted_worlds_settle_only_if_they_end() -> None:
    world = gridworld("S..+", step_reward=-1.0)
    found = value_iteration(world.transitions, world.rewards, gamma=1.0)
    assert found.values.tolist() == pytest.approx([-2, -1, 0, 0])


# responses


@given(st.integers(2, 5), st.integers(1, 4), st.data())
def test_every_response_once(vocab: int, length: int, data: st.DataObject) -> None:
    eos = data.draw(st.integers(0, vocab - 1))
    ids, mask = enumerate_responses(vocab, eos, length)
    rows = [tuple(row[kept].tolist()) for row, kept in zip(ids, mask, strict=True)]
    others = vocab - 1
    assert len(set(rows)) == len(rows) == sum(others**k for k in range(length)) + others**length
    for row in rows:
        assert eos not in row[:-1] and (row[-1] == eos or len(row) == length)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_probabilities_of_all_responses_sum_to_one(architecture: str) -> None:
    tokenizer = CharTokenizer("abc")
    policy = random_policy(
        architecture, vocab_size=tokenizer.vocab_size, initializer_range=0.5, temperature=0.7
    )
    ids, mask = enumerate_responses(4, tokenizer.eos_token_id, 4)
    prompt = Prompt(torch.tensor([[1, 2]]), torch.ones(1, 2, dtype=torch.bool))[[0] * len(ids)]
    with torch.no_grad():
        logp = policy.evaluate(prompt, ids)[0]
    odds = torch.where(mask, logp, 0).sum(1).exp()
    assert odds.sum().item() == pytest.approx(1, abs=1e-5)
    assert odds.max() < 0.9

    # and they are the frequencies with which the text world sees them
    def nothing(prompts: list[str], responses: list[str]) -> list[float]:
        return [0.0] * len(prompts)

    env = TextEnv(["bc"], tokenizer, nothing, max_new_tokens=4, batch_size=4000)
    rollout(policy, env, generator=torch.Generator().manual_seed(0))
    expected: dict[str, float] = {}
    for row, kept, p in zip(ids, mask, odds.tolist(), strict=True):
        text = tokenizer.decode(row[kept].tolist()).removesuffix(".")  # ended or cut off: they read alike
        expected[text] = expected.get(text, 0.0) + p
    seen = Counter(env.responses)
    assert seen.keys() <= expected.keys()
    distance = 0.5 * sum(abs(seen[text] / 4000 - p) for text, p in expected.items())
    assert distance < 0.1
