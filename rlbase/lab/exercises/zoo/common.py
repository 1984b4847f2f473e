"""What the patients share: two text worlds, their recipe, and the shape of a diagnosis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from rlbase.lab.exercise import Exercise, choice
from rlbase.lab.zoo import Part, Patient

NOTEBOOK = "18_bug_zoo"
AS_IT_CAME = "This is the patient as it came in"


def diagnosis(
    patient: Patient, number: int, question: str, options: dict[str, str], right: str, hints: tuple[str, str, str],
    verified: str, *, difficulty: int, **wrong: str,
) -> Exercise:  # fmt: skip
    """The multiple choice that comes before the knife: what do these traces say? ``wrong`` has a reason a letter."""
    listed = "\n".join(f"- **{letter})** {text}" for letter, text in options.items())
    task = f"{question} Look at the traces, then answer with a letter.\n\n{listed}"
    assert {right, *wrong} == set(options)
    return Exercise(
        patient.name, NOTEBOOK, f"diagnose patient {number}", difficulty, 4, 3, task, hints, verified,
        judge=choice(right, **wrong),
    )  # fmt: skip


def generator(seed: int) -> torch.Generator:
    """A fresh generator."""
    return torch.Generator().manual_seed(seed)


def text_recipe(**changes: Any) -> Any:
    """PPO for the tiny writers: one epoch, one minibatch, so that every ratio is 1 when nothing is wrong."""
    from rlbase.train import LANGUAGE_MODEL

    settings: dict[str, Any] = {"epochs": 1, "learning_rate": 5e-3, "beta": 0.0, "advantage": "returns"}
    return replace(LANGUAGE_MODEL, **{**settings, "anneal": False, **changes})


def letters_world(
    policy: Any, score: Callable[[str], float], *, longest: int, rows: int = 32, prompts: str = "ab"
) -> Any:
    """A text world in which every response is paid by what ``score`` says of it; each prompt is one letter."""
    from rlbase.envs import TextEnv

    def scorer(prompts: list[str], responses: list[str]) -> list[float]:
        return [score(text) for text in responses]

    return TextEnv(list(prompts), policy.tokenizer, scorer, max_new_tokens=longest, batch_size=rows)


def length_of(world: Any) -> float:
    """Letters in a response, on average over the latest rollout."""
    return sum(map(len, world.responses)) / world.batch_size


def behaviour(name: str, test: Callable[[Part], str | None], patient: Patient) -> Callable[[Any], str | None]:
    """Judge a repair by what it does: ``test`` names the mistake or returns None, then the patient is trained again."""
    from rlbase.lab.trial import attempt

    def judge(answer: Any) -> str | None:
        if not callable(answer):
            return f"Pass the function itself, check({name!r}, your_function), not what it returned."
        with torch.random.fork_rng(devices=[]):
            return attempt(test, answer) or attempt(patient.relapse, answer)

    return judge
