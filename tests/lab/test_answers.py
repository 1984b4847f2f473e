"""Every exercise names the mistake in wrong answers and accepts right ones, however they are written."""

from __future__ import annotations

import itertools
from importlib import import_module
from typing import Any

import pytest
import torch

from rlbase.lab import EXERCISES, Exercise, check, find
from rlbase.lab.diagnosis import diagnose
from rlbase.lab.exercises import SHEETS

ANSWERS = [import_module(f"answers.{sheet}") for sheet in SHEETS]
RIGHT: dict[str, list[Any]] = {name: answers for sheet in ANSWERS for name, answers in sheet.RIGHT.items()}
WRONG: dict[str, list[Any]] = {name: answers for sheet in ANSWERS for name, answers in sheet.WRONG.items()}
FUNCTIONS = [e for e in EXERCISES if e.reference is not None]
# Asked twice on purpose: first learned, later found broken in a run.
TWINS = (
    {"reward-on-last", "bug-padding"},
    {"whiten", "bug-whitening"},
    {"last-token-index", "bug-last-token"},
)


def by_name(exercise: Exercise) -> str:
    return exercise.name


@pytest.mark.parametrize(("name", "answer"), [(n, a) for n, answers in RIGHT.items() for a in answers])
def test_right_answers_are_accepted(name: str, answer: Any) -> None:
    result = check(name, answer, strict=False)
    assert (result.passed, result.diagnosis) == (True, "")


@pytest.mark.parametrize(
    ("name", "said", "answer"), [(n, *pair) for n, pairs in WRONG.items() for pair in pairs]
)
def test_wrong_answers_get_their_diagnosis(name: str, said: str, answer: Any) -> None:
    result = check(name, answer, strict=False)
    assert not result.passed
    assert said in result.diagnosis


@pytest.mark.parametrize("exercise", EXERCISES, ids=by_name)
def test_there_are_enough_answers(exercise: Exercise) -> None:
    assert len(WRONG[exercise.name]) >= 5
    assert len(RIGHT[exercise.name]) >= 2
    assert len({said for said, _ in WRONG[exercise.name]}) >= 4


def test_answers_belong_to_exercises() -> None:
    assert set(RIGHT) == set(WRONG) == {e.name for e in EXERCISES}


@pytest.mark.parametrize("exercise", FUNCTIONS, ids=by_name)
def test_every_known_mistake_is_told_from_the_truth_and_from_every_other(exercise: Exercise) -> None:
    for said, function in exercise.mistakes:
        assert diagnose(exercise, function)[0].startswith(said)


@pytest.mark.filterwarnings("ignore")  # nonsense in, warnings out
@pytest.mark.parametrize("exercise", FUNCTIONS, ids=by_name)
def test_a_right_answer_to_another_exercise_is_not_one_here(exercise: Exercise) -> None:
    twins = {exercise.name}.union(*(pair for pair in TWINS if exercise.name in pair))
    others = [RIGHT[e.name][0] for e in FUNCTIONS if e.name not in twins]
    assert all(diagnose(exercise, answer)[0] for answer in others)


@pytest.mark.parametrize("exercise", FUNCTIONS, ids=by_name)
def test_a_right_value_with_a_single_wrong_entry_does_not_pass(exercise: Exercise) -> None:
    """Not one point decides: an answer that is right on all cases but one is rejected, whichever it is."""
    assert exercise.reference is not None
    for spoiled in range(len(exercise.cases)):
        calls = itertools.count()

        def answer(*args: Any, spoiled: int = spoiled, calls: Any = calls) -> Any:
            right = exercise.reference(*args)  # type: ignore[misc]
            runs = 2 if exercise.gradient or exercise.constant else 1
            if next(calls) // runs != spoiled:
                return right
            return (
                tuple(1.01 * part + 0.01 for part in right)
                if isinstance(right, tuple)
                else 1.01 * right + 0.01
            )

        assert diagnose(exercise, answer)[0]


def test_gradients_are_tested_where_something_is_trained() -> None:
    trained = "reinforce-loss masked-mean ppo-ratio ppo-clip kl-estimators kl-in-reward value-clip token-logp"
    assert {e.name for e in EXERCISES if e.gradient or e.constant} >= set(trained.split())


def test_checking_leaves_the_random_state_and_the_cases_alone() -> None:
    before = torch.get_rng_state()
    args = [{k: str(v) for k, v in case.args.items()} for case in find("gae").cases]
    check("gae", RIGHT["gae"][0], strict=False)
    assert torch.equal(before, torch.get_rng_state())
    assert args == [{k: str(v) for k, v in case.args.items()} for case in find("gae").cases]
