"""Bad input to what learns from clips: one sentence each, saying what was wrong, what was expected, and where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rlbase.envs import GymEnv, LearnedReward, TabularMDP, garden
from rlbase.feedback import Clips, Comparisons, Rater, cut, judge
from rlbase.losses import segment_preference
from rlbase.policies import MLPReward, StepEnsemble, TabularPolicy, TabularReward
from rlbase.rollout import rollout
from rlbase.train.preference_rl import (
    PreferenceRLConfig,
    choose_pairs,
    fit_reward,
    plan,
    preference_rl,
)
from rlbase.types import Choices, Discrete

NAN = float("nan")
TWO = torch.zeros(2)
CONFIG = PreferenceRLConfig(updates=1, steps=10, clip_length=3, comparisons=2)


def field() -> TabularMDP:
    return garden(torch.zeros(2, 2), batch_size=4)


def ensemble(members: int = 2) -> StepEnsemble:
    return StepEnsemble([TabularReward(4, None) for _ in range(members)])


def clips(n: int = 2, length: int = 3) -> Clips:
    generator = torch.Generator().manual_seed(0)
    batch = rollout(TabularPolicy(4, 4), field(), steps=10, generator=generator)
    return cut(batch, length, n, generator=generator)


def learn(ask: Any = None, config: Any = CONFIG, reward: Any = None, env: Any = None, **options: Any) -> Any:
    policy = TabularPolicy(4, 4)
    run = preference_rl(
        policy,
        env or field(),
        ensemble() if reward is None else reward,
        ask or judge(Rater()),
        lambda world, generator: plan(policy, world, gamma=0.9),
        config,
        **options,
    )
    return list(run)


def told(first: Any, second: Any, labels: Any) -> None:
    Comparisons(2).add(first, second, labels, generator=torch.Generator())


def diverged() -> StepEnsemble:
    broken = ensemble()
    broken.members[1].table.data.fill_(NAN)
    return broken


Case = tuple[Callable[[], Any], type[Exception], str]
CASES: dict[str, Case] = {
    "a label above 1": (
        lambda: segment_preference(TWO, TWO, torch.tensor([1.0, 2.0])),
        ValueError,
        r"segment_preference: labels must lie in \[0, 1\], got \[1.0, 2.0\]",
    ),
    "a label that is skipped reaches the loss": (
        lambda: segment_preference(TWO, TWO, torch.tensor([1.0, NAN])),
        ValueError,
        r"prob_a must be finite, got nan at \[1\]",
    ),
    "one label for two pairs": (
        lambda: segment_preference(TWO, TWO, torch.ones(1)),
        ValueError,
        "shapes must be equal",
    ),
    "nothing but error": (
        lambda: segment_preference(TWO, TWO, TWO, error=1.0),
        ValueError,
        r"error must lie in \[0, 1\), got 1.0",
    ),
    "a rater of negative temperature": (
        lambda: Rater(temperature=-1),
        ValueError,
        r"Rater: temperature must lie in \[0, inf\), got -1",
    ),
    "rewards that do not pair up": (
        lambda: Rater().prob(TWO, torch.zeros(3)),
        ValueError,
        "Rater.prob: shapes must be equal",
    ),
    "clips of no length": (lambda: clips(length=0), ValueError, "cut: length must be at least 1"),
    "clips longer than any episode": (
        lambda: clips(length=11),
        ValueError,
        "no episode in this rollout lasts for 11 choices; take shorter clips or longer rollouts",
    ),
    "clips of two lengths": (
        lambda: told(clips().choices, clips(length=2).choices, TWO),
        ValueError,
        r"clips of one length are compared, got \[2, 3\] and \[2, 2\]",
    ),
    "clips in place of their choices": (
        lambda: told(clips(), clips(), TWO),
        TypeError,
        "Comparisons.add: first must be a Choices",
    ),
    "a label below 0": (
        lambda: told(clips().choices, clips().choices, torch.tensor([-1.0, 1.0])),
        ValueError,
        r"labels must lie in \[0, 1\] or be NaN, got \[-1.0, 1.0\]",
    ),
    "a table of no states": (lambda: TabularReward(0, 2), ValueError, "n_states must be at least 1"),
    "a state the table has not": (
        lambda: TabularReward(2, None).each(torch.tensor([[5]]), torch.zeros(1, 1).long()),
        ValueError,
        "TabularReward: observations must be state numbers in 0..1",
    ),
    "observations of another size": (
        lambda: MLPReward(4, Discrete(2)).each(torch.zeros(1, 2, 3), torch.zeros(1, 2).long()),
        ValueError,
        r"MLPReward: one observation must have shape \[4\], got \[3\]",
    ),
    "units of nothing": (
        lambda: MLPReward(2, Discrete(2), units=torch.tensor([1.0, 0.0])),
        ValueError,
        r"units must be positive, got \[1.0, 0.0\]",
    ),
    "actions of no known kind": (
        lambda: MLPReward(2, None),  # type: ignore[arg-type]
        TypeError,
        "action_space must be Discrete or Box, got NoneType",
    ),
    "an ensemble of nobody": (lambda: StepEnsemble([]), ValueError, "needs at least one member"),
    "a member that has diverged": (
        lambda: diverged().normalise(clips().choices),
        ValueError,
        "a member's reward is not finite: its fit has diverged",
    ),
    "a world of another kind in the checkpoint": (
        lambda: LearnedReward(field(), ensemble(), endless=False).load_state(
            LearnedReward(field(), ensemble()).state()
        ),
        ValueError,
        "the saved state belongs to a world with another `endless`",
    ),
    "a garden in one row of numbers": (
        lambda: garden(TWO),
        ValueError,
        r"garden: pays must be a table \[rows, columns\], got shape \[2\]",
    ),
    "a garden with a hole": (
        lambda: garden(torch.tensor([[1.0, NAN]])),
        ValueError,
        r"garden: pays must be finite, got nan at \[0, 1\]",
    ),
    "fewer clips than questions": (
        lambda: choose_pairs(ensemble(), clips(3), 2),
        ValueError,
        "choose_pairs: 2 pairs need 4 clips, got 3",
    ),
    "questions of an unknown kind": (
        lambda: choose_pairs(ensemble(), clips(4), 2, query="random"),
        ValueError,
        "query must be one of 'disagreement', 'uniform', got 'random'",
    ),
    "a fit without comparisons": (
        lambda: fit_reward(ensemble(), Comparisons(2), generator=torch.Generator()),
        ValueError,
        "there is no comparison to learn from yet",
    ),
    "a fit of another ensemble's comparisons": (
        lambda: fit_reward(ensemble(3), Comparisons(2), generator=torch.Generator()),
        ValueError,
        "the comparisons were counted for 2 members, the reward has 3",
    ),
    "a plan without tables": (
        lambda: next(plan(TabularPolicy(4, 4), LearnedReward(GymEnv("CartPole-v1"), ensemble()), gamma=0.9)),
        TypeError,
        "only a TabularMDP has the tables to plan with, got GymEnv",
    ),
    "a policy without curiosity": (
        lambda: next(plan(TabularPolicy(4, 4), LearnedReward(field(), ensemble()), gamma=0.9, temperature=0)),
        ValueError,
        r"plan: temperature must lie in \(0, inf\], got 0",
    ),
    "a rater who answers half the questions": (
        lambda: learn(lambda a, b, g: torch.ones(1)),
        ValueError,
        r"prob must have shape \[2\], got \[1\]",
    ),
    "a rater who answers out of 10": (
        lambda: learn(lambda a, b, g: torch.tensor([7.0, 10.0])),
        ValueError,
        r"labels must lie in \[0, 1\] or be NaN",
    ),
    "a rater who answers in words": (
        lambda: learn(lambda a, b, g: ["left", "right"]),
        TypeError,
        "prob must be a tensor, got list",
    ),
    "a single model in place of an ensemble": (
        lambda: learn(reward=TabularReward(4, None)),
        TypeError,
        "preference_rl: reward must be a StepEnsemble",
    ),
    "a configuration of another trainer": (
        lambda: learn(config={"updates": 3}),
        TypeError,
        "config must be a PreferenceRLConfig",
    ),
    "a seed in place of a generator": (
        lambda: learn(generator=7),
        TypeError,
        "generator must be a Generator or None, got 7",
    ),
    "rounds without questions": (
        lambda: PreferenceRLConfig(comparisons=0),
        ValueError,
        "comparisons must be at least 1, got 0",
    ),
    "a reward of no spread": (
        lambda: PreferenceRLConfig(reward_std=0),
        ValueError,
        r"reward_std must lie in \(0, inf\], got 0",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_bad_input_gets_one_clear_sentence(name: str) -> None:
    call, kind, sentence = CASES[name]
    with pytest.raises(kind, match=sentence) as caught:
        call()
    assert caught.type is kind
    assert "\n" not in str(caught.value).strip()


def test_a_fit_that_diverges_says_so_before_it_touches_anything() -> None:
    reward, pairs = diverged(), Comparisons(2)
    pairs.add(clips().choices, clips().choices, torch.ones(2), generator=torch.Generator())
    with pytest.raises(FloatingPointError, match="fit_reward: the loss .* is not finite"):
        fit_reward(reward, pairs, generator=torch.Generator())
    assert (reward.members[0].table == 0).all()


def test_identical_clips_teach_nothing_whatever_the_label() -> None:
    same, reward, pairs = clips(), ensemble(), Comparisons(2)
    pairs.add(same.choices, same.choices, torch.ones(2), generator=torch.Generator())
    fit_reward(reward, pairs, PreferenceRLConfig(epochs=3), generator=torch.Generator())
    assert all(p.abs().max() == 0 for p in reward.parameters())


def test_choices_cut_by_hand_are_as_good() -> None:
    """Clips need not come from `cut`: anything with one length will do."""
    stay = Choices(torch.zeros(1, 2).long(), torch.zeros(1, 2).long(), torch.ones(1, 2).bool())
    told(stay, stay, torch.ones(1))
