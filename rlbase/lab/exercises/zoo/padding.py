"""Patient 5: the score is paid on the last column, where most responses have long ended."""

# fmt: off

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rlbase.lab.exercise import Case, Exercise
from rlbase.lab.exercises.zoo.common import (
    AS_IT_CAME,
    NOTEBOOK,
    diagnosis,
    generator,
    length_of,
    letters_world,
    text_recipe,
)
from rlbase.lab.zoo import Part, Patient, Run, tiny_writer, with_readings


def sick(score, mask):  # type: ignore[no-untyped-def]
    """Rewards [B, T]: each row's score [B] on its last token."""
    rewards = torch.zeros(mask.shape)
    rewards[:, -1] = score
    return rewards


def healthy(score: Tensor, mask: Tensor) -> Tensor:
    """The last token of a row is the last one that the policy chose, wherever that is."""
    rewards = torch.zeros(mask.shape)
    rewards[torch.arange(len(mask)), mask.sum(1) - 1] = score
    return rewards


def taste(text: str) -> float:
    """The share of a's, less a tenth for every letter."""
    return text.count("a") / max(1, len(text)) - 0.1 * len(text)


def loop(part: Part, seed: int) -> Run:
    """PPO on a tiny writer; the part places the scores."""
    from rlbase.rollout import rollout
    from rlbase.train import ppo

    policy = tiny_writer("ab", seed=seed)
    world = letters_world(policy, taste, longest=8)

    def collect(*parts: Any, steps: int | None, generator: torch.Generator) -> Any:
        batch = rollout(*parts, steps=steps, generator=generator)
        return replace(batch, rewards=part(world.scores, batch.mask))

    def readings() -> dict[str, float]:
        return {"score": world.scores.mean().item(), "letters in a response": length_of(world)}

    run = ppo(policy, world, text_recipe(updates=40), generator=generator(seed), collect=collect)
    return Run(with_readings(run, readings), [repr(text) for text in world.responses[:6]])


PATIENT = Patient(
    "patient-5", "The chatterbox",
    "PPO on a tiny writer of a's and b's. The scorer pays the share of a's, less a tenth for every letter: `a` and "
    "stop (0.9) is best, `aaaaaaaa` (0.2) is all that eight letters can earn. `score` is what the scorer said of the "
    "latest batch, `reward_mean` what arrived at the policy's choices.",
    ("score", "reward_mean", "letters in a response"),
    sick, healthy, loop, lambda run: run.late("letters in a response"), 3.0, "the length of a response, in letters,",
)

DIAGNOSIS = diagnosis(
    PATIENT, 5, "The scorer charges a tenth for every letter, and the patient writes as many as it can.",
    {
        "a": "The scorer is wrong: it pays for length.",
        "b": "Only responses that fill the whole width are paid; of the others the score is lost.",
        "c": "A discount below 1 makes the policy put off the end.",
        "d": "It is reward hacking: the policy has found a hole in the scorer.",
        "e": "The score is paid on every token, so that longer responses get it more often.",
    },
    "b",
    ("Compare two meters at the *first* update, before anything was learned: score and reward_mean.",
     "reward_mean adds up what was paid where the policy chose. At update 1 it is far from the mean score.",
     "Only what has no padding gets its score. Which responses have none?"),
    "yes. Two meters that must agree, what the scorer said and what the policy got, do not, from the first update on.",
    difficulty=2,
    a="No: it gives 0.2 to eight letters and 0.9 to one, as the healthy run shows. The scorer does its duty.",
    c="No: a discount makes what comes late count less, not more. And reward_mean is not discounted: it would still "
      "equal the score.",
    d="No: a hacked score is high. This one ends at 0.2, and the healthy run reaches 0.9.",
    e="No: then reward_mean would be a multiple of the score, above it. At the start it is near 0, and below it.",
)


def _case(label: str, score: list[float], mask: list[list[int]]) -> Case:
    return Case(label, {"score": torch.tensor(score), "mask": torch.tensor(mask).bool()})


def _put(score: Tensor, mask: Tensor, last: Tensor) -> Tensor:
    return score[:, None] * (torch.arange(mask.shape[1]) == last[:, None])


FIX = Exercise(
    "bug-padding", NOTEBOOK, "pay where the policy chose", *(1, 5, 4),
    "Repair `place_reward(score, mask)`: rewards `[B, T]` that are zero except for each row's `score` `[B]` on its "
    "last True step of `mask` `[B, T]`. The check tries ragged batches, then trains the patient.",
    ("The last column of the table is not the last token of the row.",
     "A row with n choices has its last one in column n - 1, and n = mask.sum(1).",
     "rewards[torch.arange(len(mask)), mask.sum(1) - 1] = score"),
    "right on ragged batches; and the patient writes one letter and stops.",
    reference=healthy,
    cases=(
        _case("rows of 4, 2, 1 and 3 tokens", [1.0, 2.0, -3.0, 0.5],
              [[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]]),
        _case("rows of 2 and 5 tokens", [0.4, -0.7], [[1, 1, 0, 0, 0], [1, 1, 1, 1, 1]]),
        _case("no padding", [0.5, -1.0], [[1, 1, 1], [1, 1, 1]]),
    ),
    mistakes=(
        (AS_IT_CAME + ": the last column is padding in every row that has ended.", sick),
        ("You paid the last column of rows that have none: now nothing reaches the shorter ones.",
         lambda s, m: sick(s, m) * m),
        ("One column too late: a row of n choices has its last one in column n - 1.",
         lambda s, m: _put(s, m, m.sum(1))),
        ("One column too early.", lambda s, m: _put(s, m, (m.sum(1) - 2).clamp(min=0))),
        ("You paid every token: longer responses would earn more.", lambda s, m: s[:, None] * m),
        ("You spread the score over the tokens; pay it once, at the end.",
         lambda s, m: s[:, None] * m / m.sum(1, keepdim=True)),
        ("You paid the first token.", lambda s, m: _put(s, m, torch.zeros(len(m)))),
        ("All rows are paid in the column where the longest ends.",
         lambda s, m: _put(s, m, m.sum(1).float().mean().long().expand(len(m)))),
    ),
    trial=PATIENT.relapse,
)
