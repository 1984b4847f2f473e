"""A world that pays a learned reward: it keeps the contract, hides its own pay, and does not let ends speak."""

from __future__ import annotations

import pytest
import torch

from rlbase.envs import Bandit, LearnedReward, TabularMDP, chain, garden
from rlbase.envs.gridworld import gridworld
from rlbase.exact import value_iteration
from rlbase.policies import TabularPolicy, TabularReward
from rlbase.rollout import check_env, rollout
from rlbase.train import A2CConfig, a2c
from rlbase.train.preference_rl import plan, reward_table


def table(n_states: int, n_actions: int, seed: int = 0) -> TabularReward:
    reward = TabularReward(n_states, n_actions)
    reward.table.data = torch.randn(n_states, n_actions, generator=torch.Generator().manual_seed(seed))
    return reward


@pytest.mark.parametrize("endless", [True, False])
@pytest.mark.parametrize("env", [chain(4, slip=0.1, time_limit=5), garden(torch.zeros(2, 3), time_limit=4)])
def test_it_keeps_the_contract_of_worlds(env: TabularMDP, endless: bool) -> None:
    check_env(LearnedReward(env, table(*env.rewards.shape), endless=endless))


def test_it_pays_the_learned_reward_of_what_was_seen_and_done() -> None:
    env, reward = chain(5, time_limit=6, batch_size=8), table(5, 2)
    world = LearnedReward(env, reward)
    for _ in range(2):  # the second rollout goes on where the first one stopped
        batch = rollout(TabularPolicy(5, 2), world, steps=15, generator=torch.Generator().manual_seed(1))
        expected = torch.where(batch.mask, reward.each(batch.obs, batch.actions), 0)  # type: ignore[arg-type]
        torch.testing.assert_close(batch.rewards, expected.detach())
        assert not batch.mask.all()


def test_ends_are_reported_as_the_clock_and_only_where_asked() -> None:
    def ends(endless: bool) -> tuple[int, int]:
        world = LearnedReward(chain(4, batch_size=8), table(4, 2), endless=endless)
        batch = rollout(TabularPolicy(4, 2), world, steps=20, generator=torch.Generator().manual_seed(1))
        return int(batch.terminated.sum()), int(batch.truncated.sum())

    (none, as_clock), (over, no_clock) = ends(True), ends(False)
    assert none == no_clock == 0 and as_clock == over > 0


def test_one_step_worlds_that_finish_by_themselves() -> None:
    bandit = Bandit(torch.tensor([5.0, 0.0]), batch_size=4)
    reward = TabularReward(1, 2)
    reward.table.data = torch.tensor([[0.0, 3.0]])
    batch = rollout(
        TabularPolicy(1, 2), LearnedReward(bandit, reward), generator=torch.Generator().manual_seed(0)
    )
    assert batch.rewards.tolist() == (3.0 * batch.actions).tolist()


def test_no_trainer_learns_from_the_hidden_rewards() -> None:
    """Two worlds that differ in nothing but their own pay give the same policy, bit for bit."""
    found = []
    for pays in (torch.zeros(3, 3), 100 * torch.arange(9.0).view(3, 3)):
        from rlbase.policies import for_env

        torch.manual_seed(0)
        env = garden(pays, time_limit=7)
        policy, critic = for_env(env)
        world = LearnedReward(env, table(9, 4))
        list(a2c(policy, world, A2CConfig(updates=5), critic=critic))
        found.append(policy.logits.detach().clone())  # type: ignore[union-attr]
    assert torch.equal(*found) and found[0].abs().max() > 0


def test_a_reward_that_is_not_finite_is_one_sentence() -> None:
    reward = table(4, 2)
    reward.table.data[1] = float("nan")
    with pytest.raises(ValueError, match=r"the learned reward must be finite, got nan"):
        rollout(TabularPolicy(4, 2), LearnedReward(chain(4), reward), steps=2, generator=torch.Generator())


def greedy(env: TabularMDP, reward: TabularReward) -> torch.Tensor:
    q = value_iteration(env.transitions, reward_table(reward, env), gamma=0.9).q
    return q.argmax(1)[~env.is_terminal]


def test_a_constant_per_step_changes_what_is_best_where_episodes_end_and_only_there() -> None:
    """Preferences between clips of one length do not see the constant, so it must not matter: see `LearnedReward`."""
    field, maze = garden(torch.zeros(3, 3)), gridworld("S..\n.#.\n..+")
    for env, same in ((field, True), (maze, False)):
        one, other = table(9, 4), table(9, 4)
        one.table.data = 0.1 * one.table.data - 1.0  # every step costs: out, where there is a way out
        other.table.data = one.table.data + 2.0  # every step pays: stay
        assert torch.equal(greedy(env, one), greedy(env, other)) is same


def test_planning_gives_the_soft_optimum() -> None:
    env = garden(torch.zeros(2, 2))
    policy, world = TabularPolicy(4, 4), LearnedReward(env, table(4, 4))
    (record,) = plan(policy, world, gamma=0.9, temperature=0.5)
    rewards = reward_table(world.reward, env)
    uniform = torch.full((4, 4), 0.25)
    values = value_iteration(env.transitions, rewards, gamma=0.9, ref=uniform, beta=0.5)
    torch.testing.assert_close(policy.probs().double(), (values.q / 0.5).softmax(1), rtol=1e-4, atol=1e-6)
    assert record["planned_value"] == pytest.approx(values.values[env.start].item())
