"""Step rewards: look-ups, sums under the mask, one scale for the members, and where they disagree."""

from __future__ import annotations

import pytest
import torch

from rlbase.policies import MLPReward, StepEnsemble, TabularReward
from rlbase.types import Box, Choices, Discrete

OBS = torch.tensor([[0, 1, 2], [2, 2, 0]])  # one column more than choices
ACTIONS = torch.tensor([[1, 0], [0, 1]])
MASK = torch.tensor([[True, True], [True, False]])


def table(rows: list[list[float]]) -> TabularReward:
    reward = TabularReward(len(rows), len(rows[0]))
    reward.table.data = torch.tensor(rows)
    return reward


def test_a_table_is_looked_up_and_summed_over_choices_only() -> None:
    reward = table([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert reward.each(OBS, ACTIONS).tolist() == [[2.0, 3.0], [5.0, 6.0]]
    assert reward.score(OBS, ACTIONS, MASK).tolist() == [5.0, 5.0]
    reward.score(OBS, ACTIONS, MASK).sum().backward()
    assert reward.table.grad is not None
    assert reward.table.grad.tolist() == [[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]  # nothing under the mask


def test_a_reward_of_states_does_not_see_actions() -> None:
    reward = TabularReward(3, None)
    reward.table.data = torch.tensor([[1.0], [3.0], [5.0]])
    assert reward.each(OBS, ACTIONS).tolist() == reward.each(OBS, 0 * ACTIONS).tolist() == [[1, 3], [5, 5]]


def test_a_spread_starts_the_members_apart() -> None:
    torch.manual_seed(0)
    assert TabularReward(500, 4).table.abs().max() == 0
    assert abs(TabularReward(500, 4, spread=0.3).table.std().item() - 0.3) < 0.02


def test_a_network_picks_the_output_of_the_action_and_measures_in_units() -> None:
    torch.manual_seed(0)
    reward = MLPReward(2, Discrete(3), hidden=(8,), units=torch.tensor([1.0, 0.1]))
    obs = torch.randn(4, 6, 2)
    actions = torch.randint(3, (4, 5))
    outputs = reward.net(obs[:, :5] / torch.tensor([1.0, 0.1]))
    for b in range(4):
        for t in range(5):
            assert reward.each(obs, actions)[b, t] == outputs[b, t, actions[b, t]]


def test_a_network_reads_continuous_actions() -> None:
    torch.manual_seed(0)
    reward = MLPReward(2, Box(1), hidden=(8,))
    obs, actions = torch.randn(4, 6, 2), torch.randn(4, 5, 1)
    expected = reward.net(torch.cat((obs[:, :5], actions), -1))[..., 0]
    torch.testing.assert_close(reward.each(obs, actions), expected)
    assert not torch.equal(reward.each(obs, actions), reward.each(obs, actions + 1))


def test_normalising_by_hand() -> None:
    """Members 0, 1 and 10, 30 over two steps: each becomes -1, 1, and so does the average; its spread is asked for."""
    ensemble = StepEnsemble([table([[0.0], [1.0]]), table([[10.0], [30.0]]), table([[7.0], [7.0]])])
    walk = Choices(torch.tensor([[0, 1, 1]]), torch.zeros(1, 3).long(), torch.tensor([[True, True, False]]))
    ensemble.normalise(walk, std=2.0)
    assert ensemble.shift.tolist() == [0.5, 20.0, 7.0] and ensemble.scale.tolist() == [0.5, 10.0, 1.0]
    torch.testing.assert_close(ensemble.each(walk.obs, walk.actions), torch.tensor([[-2.0, 2.0, 2.0]]))
    torch.testing.assert_close(ensemble.score(walk.obs, walk.actions, walk.mask), torch.tensor([0.0]))


def test_no_member_outweighs_the_others() -> None:
    """Averaging before normalising would let the loud member decide alone."""
    ensemble = StepEnsemble([table([[0.0], [1.0], [0.0]]), table([[1000.0], [0.0], [0.0]])])
    walk = Choices(torch.tensor([[0, 1, 2]]), torch.zeros(1, 3).long(), torch.ones(1, 3).bool())
    ensemble.normalise(walk)
    first, second, third = ensemble.each(walk.obs, walk.actions)[0].tolist()
    assert first == pytest.approx(second) and first > third


def test_members_that_say_nothing_are_left_alone() -> None:
    ensemble = StepEnsemble([TabularReward(2, 1), TabularReward(2, 1)])
    walk = Choices(torch.tensor([[0, 1]]), torch.zeros(1, 2).long(), torch.ones(1, 2).bool())
    ensemble.normalise(walk)
    assert ensemble.each(walk.obs, walk.actions).tolist() == [[0.0, 0.0]]


def test_disagreement_by_hand() -> None:
    # sums: member 1 says a - b = 2, member 2 says -2: P = 0.880797, 0.119203, variance ((0.761594)/2)^2 = 0.145006
    ensemble = StepEnsemble([table([[1.0], [0.0]]), table([[0.0], [1.0]])])
    twice = torch.zeros(1, 2).long(), torch.ones(1, 2).bool()
    a, b = Choices(torch.tensor([[0, 0]]), *twice), Choices(torch.tensor([[1, 1]]), *twice)
    assert ensemble.disagreement(a, b).item() == pytest.approx(0.145006, rel=1e-5)
    assert ensemble.disagreement(a, a).item() == 0
    ensemble.normalise(a)  # what is asked does not depend on how the reward is scaled for the policy
    assert ensemble.disagreement(a, b).item() == pytest.approx(0.145006, rel=1e-5)
