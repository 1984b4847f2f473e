"""Patient 10: a reward model that counts the tokens and reads at that place, on rows that are padded on the left."""

# fmt: off

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlbase.lab.exercise import Case, Exercise
from rlbase.lab.exercises.zoo.common import AS_IT_CAME, NOTEBOOK, diagnosis, generator
from rlbase.lab.zoo import Part, Patient, Run, tiny_writer, with_readings

SHORTEST, LONGEST = 2, 9


def sick(mask):  # type: ignore[no-untyped-def]
    """The column of each row's last real token, [B]; mask [B, L] is False on padding, left and right."""
    return mask.sum(1) - 1


def healthy(mask: Tensor) -> Tensor:
    """The largest column that is real."""
    return (mask * torch.arange(mask.shape[1])).argmax(1)


def _pairs(tokenizer: Any, rows: int, dice: torch.Generator) -> Any:
    """Random prompts and answers of two random letters and a verdict: a is preferred to b."""
    from rlbase.data.encode import encode_responses
    from rlbase.types import PreferencePairs

    def letters(n: int) -> str:
        return "".join("cd"[i] for i in torch.randint(2, (n,), generator=dice).tolist())

    lengths = torch.randint(SHORTEST, LONGEST + 1, (rows,), generator=dice).tolist()
    asked, said = [letters(n) for n in lengths], [letters(2) for _ in range(rows)]
    both = encode_responses(tokenizer, asked * 2, [text + "a" for text in said] + [text + "b" for text in said])
    return PreferencePairs(both[:rows], both[rows:])


def loop(part: Part, seed: int) -> Run:
    """A reward model of comparisons; the part says where to read the score."""
    from rlbase.policies import LMRewardModel
    from rlbase.train import RewardModelConfig, reward_model

    class Reader(LMRewardModel):
        def raw(self, obs: Any, actions: Tensor, mask: Tensor) -> Tensor:
            ids, real = torch.cat((obs.ids, actions), 1), torch.cat((obs.mask, mask), 1)
            places = (real.cumsum(1) - 1).clamp(min=0)
            states = self.backbone(ids, attention_mask=real, position_ids=places)[0]
            return self.head(states[torch.arange(len(ids)), part(real).long()])[:, 0]

    writer, dice = tiny_writer("abcd", seed=seed), generator(seed)
    model: Any = Reader(writer, generator(seed))
    pairs, held_out = (_pairs(writer.tokenizer, rows, dice) for rows in (512, 64))

    @torch.no_grad()
    def readings() -> dict[str, float]:
        some = held_out.chosen[:16]
        together = model.score(some.obs, some.actions, some.mask)
        alone, lengths = torch.zeros(16), some.obs.mask.sum(1)
        for length in lengths.unique():  # rows of one length need no padding: as good as one by one
            rows = some[lengths == length].trimmed()
            alone[lengths == length] = model.score(rows.obs, rows.actions, rows.mask)
        return {"moved by its neighbours": (together - alone).abs().mean().item()}

    config = RewardModelConfig(updates=40, batch_size=32, learning_rate=1e-2, group_by_length=False, eval_every=1)
    records = with_readings(reward_model(model, pairs, config, held_out=held_out, generator=dice), readings)
    with torch.no_grad():
        scores = model.score(*(getattr(held_out.joined(), name) for name in ("obs", "actions", "mask")))
    names = [*"abcd"]
    told = []
    for i in (0, 1, 64, 65):
        row = held_out.joined()[i]
        asked, said = row.obs.ids[row.obs.mask], row.actions[row.mask][:-1]
        told.append(f"{''.join(names[t] for t in asked)} → {''.join(names[t] for t in said)}: {scores[i]:+.1f}")
    return Run(records, told)


PATIENT = Patient(
    "patient-10", "The judge who reads the middle of the file",
    "A reward model is fitted to comparisons. Prompts have two to nine letters, answers three; the last letter alone "
    "decides: `a` is preferred to `b`. No noise in the labels, so the accuracy can reach 1. `moved by its "
    "neighbours`: 16 responses are scored together and one by one; how far the two scores lie apart, on average.",
    ("loss", "accuracy", "held_out_accuracy", "moved by its neighbours"),
    sick, healthy, loop, lambda run: 1 - run.late("held_out_accuracy"), 0.1,
    "the share of held-out pairs judged wrongly",
)

DIAGNOSIS = diagnosis(
    PATIENT, 10, "The labels are clean, and still the accuracy stays far below 1, in training and on held-out pairs.",
    {
        "a": "The labels are noisy: 30 % of them are wrong.",
        "b": "The model is too small for the task.",
        "c": "It overfits.",
        "d": "The score of a response depends on which other rows stand in its batch: it is read at a place that "
             "padding moves.",
        "e": "Chosen and rejected are swapped.",
    },
    "d",
    ("Look at the last panel. Should the score of a text depend on what else is scored at the same time?",
     "Alone, a row has no padding. In a batch it is filled up to the longest prompt. What is counted wrongly then?",
     "It is right in rows without padding, and reads too early in all others."),
    "yes. One and the same response gets another score in other company. Whatever else is true, the place where the "
    "score is read moves with the padding.",
    difficulty=3,
    a="No: with noisy labels the healthy run would stop at the same accuracy. It reaches 1.",
    b="No: the same model, the same weights at the start, reaches 1 in the healthy run.",
    c="No: who overfits is good in training. Here both accuracies are low, and they agree.",
    e="No: swapped pairs are learned just as well, with the sign turned round. And scores would not move with their "
      "neighbours.",
)


def _case(label: str, mask: list[list[int]]) -> Case:
    return Case(label, {"mask": torch.tensor(mask).bool()})


FIX = Exercise(
    "bug-last-token", NOTEBOOK, "find the last real token", *(3, 5, 6),
    "Repair `last_token(mask)`: `mask` `[B, L]` is False on padding, which may stand on the left (short prompts), on "
    "the right (short answers), or on both sides. Return the column of each row's last real token, `[B]`, as whole "
    "numbers. The check tries all kinds of padding, then trains the patient.",
    ("The number of real tokens is the place of the last one only if none is missing in front.",
     "last_b = max { t : mask_bt }.",
     "(mask * torch.arange(mask.shape[1])).argmax(1)"),
    "right with padding on the left, on the right and on both sides; and nobody's score depends on the neighbours.",
    reference=healthy,
    cases=(
        _case("padding on both sides", [[0, 0, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1], [0, 1, 1, 0, 0, 0]]),
        _case("padding on the left", [[0, 0, 0, 1], [0, 1, 1, 1]]),
        _case("padding on the right", [[1, 1, 0], [1, 0, 0], [1, 1, 1]]),
        _case("no padding", [[1, 1, 1]]),
    ),
    mistakes=(
        (AS_IT_CAME + ": with padding on the left the count is too small by just that padding.", sick),
        ("One column too late: columns count from 0.", lambda m: healthy(m) + 1),
        ("You return the count.", lambda m: m.sum(1)),
        ("You read the last column: in a row with padding on the right that is padding.",
         lambda m: torch.full((len(m),), m.shape[1] - 1)),
        ("You return the first real column: argmax finds the first of equals.", lambda m: m.int().argmax(1)),
        ("You count from the right: L - 1 minus that is the column.", lambda m: m.flip(1).int().argmax(1)),
    ),
    trial=PATIENT.relapse,
)
