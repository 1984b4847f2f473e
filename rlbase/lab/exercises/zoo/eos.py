"""Patient 2: padding is EOS, and the mask is guessed from it. The one real EOS of each text is lost."""

# fmt: off

from __future__ import annotations

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
)
from rlbase.lab.zoo import Part, Patient, Run, tiny_writer, with_readings


def sick(tokens, eos):  # type: ignore[no-untyped-def]
    """Which response tokens [B, T] are learned; rows are filled up on the right with eos, as there is no pad token."""
    return tokens != eos


def healthy(tokens: Tensor, eos: int) -> Tensor:
    """All tokens up to the first EOS, and that one, too."""
    seen = (tokens == eos).long().cumsum(1)
    return (seen == 0) | ((seen == 1) & (tokens == eos))


def loop(part: Part, seed: int) -> Run:
    """Supervised fine-tuning of a tiny writer; the part makes the mask."""
    from rlbase.envs import pad_left
    from rlbase.rollout import rollout
    from rlbase.train import SFTConfig, sft
    from rlbase.types import Choices

    policy, dice = tiny_writer("ab", seed=seed), generator(seed)
    eos, rows, width = policy.tokenizer.eos_token_id, 128, 5
    letters, lengths = torch.randint(2, (rows, 1), generator=dice), torch.randint(1, 5, (rows, 1), generator=dice)
    tokens = torch.where(torch.arange(width) < lengths, letters, eos)
    demonstrations = Choices(pad_left(letters.tolist()), tokens, part(tokens, eos).bool())
    world = letters_world(policy, lambda text: 0.0, longest=16)

    def readings() -> dict[str, float]:
        batch = rollout(policy, world, generator=dice)
        stopped = ((batch.actions == eos) & batch.mask).any(1).float().mean()
        return {"share that stops": stopped.item(), "letters in a response": length_of(world)}

    config = SFTConfig(updates=40, batch_size=64, learning_rate=1e-2)
    records = with_readings(sft(policy, demonstrations, config, generator=dice), readings)
    return Run(records, [f"{p} → {r!r}" for p, r in zip(world.prompts_used[:4], world.responses[:4], strict=True)])


PATIENT = Patient(
    "patient-2", "The one that cannot stop",
    "Supervised fine-tuning. The prompt is a letter, the demonstrated answer is that letter one to four times, then "
    "EOS. The model has no pad token of its own, so rows are filled up with EOS. After each update it answers 32 "
    "prompts, with room for sixteen letters.",
    ("loss", "share that stops", "letters in a response"),
    sick, healthy, loop, lambda run: 1 - run.late("share that stops"), 0.2, "the share of answers that never stop",
)

DIAGNOSIS = diagnosis(
    PATIENT, 2, "The loss is *lower* than the healthy one's, and no answer ever ends.",
    {
        "a": "The model has not been trained long enough.",
        "b": "The demonstrations are too long.",
        "c": "The EOS at the end of each demonstration is not among the tokens that are learned.",
        "d": "The model overfits: it knows its demonstrations by heart.",
        "e": "The sampling temperature is too high.",
    },
    "c",
    ("What does a model have to be shown in order to learn to stop?",
     "Guessing when a text of random length ends costs at least some surprise. Who is not asked has a lower loss.",
     "Somebody computed the mask as `tokens != pad`, and pad is EOS."),
    "yes. Nobody ever showed it an end. And its loss is lower because the hardest question, *is this the end?*, was "
    "not asked.",
    difficulty=1,
    a="No: the loss has been near 0 for twenty updates. What it is shown, it has learned.",
    b="No: demonstrations have at most four letters, the answers sixteen, all the room there is.",
    d="No: one can know by heart only what one has been shown, and then it would stop after four letters.",
    e="No: the healthy model is sampled in the same way, and it stops.",
)


def _case(label: str, tokens: list[list[int]], eos: int) -> Case:
    return Case(label, {"tokens": torch.tensor(tokens), "eos": eos})


def _upto(tokens: Tensor, eos: int, extra: int) -> Tensor:
    return torch.arange(tokens.shape[1]) < (tokens != eos).sum(1, keepdim=True) + extra


FIX = Exercise(
    "bug-eos", NOTEBOOK, "keep the one EOS that counts", *(2, 5, 6),
    "Repair `response_mask(tokens, eos)`: `tokens` `[B, T]` are responses that each end with EOS and are then filled "
    "up with EOS on the right (a row that was cut off has none). True on what is to be learned: every token up to "
    "and *including* the first EOS; False on the rest. The check tries rows of all lengths, then trains the patient.",
    ("The first EOS was written by the author, the others by the collate function.",
     "m_t = 1 as long as no EOS stands *before* t: (number of EOS among the tokens before t) = 0.",
     "ends = (tokens == eos).long(); return ends.cumsum(1) - ends == 0"),
    "right for rows of every length, cut-off ones too; and the patient stops.",
    reference=healthy,
    cases=(
        _case("rows of 3, 1 and 4 tokens with their EOS", [[1, 2, 0, 0, 0], [0, 0, 0, 0, 0], [2, 2, 1, 0, 0]], 0),
        _case("eos is 7, one row cut off", [[5, 6, 7, 7], [5, 6, 5, 6]], 7),
        _case("no padding", [[1, 2, 9], [2, 1, 9]], 9),
    ),
    mistakes=(
        (AS_IT_CAME + ": the real EOS is thrown out with the padding.", sick),
        ("You learn the padding, too: most of what the model sees would be EOS after EOS.",
         lambda t, e: torch.ones_like(t).bool()),
        ("You learn a second EOS, which is padding already.", lambda t, e: _upto(t, e, 2)),
        ("The last real token is missing as well.", lambda t, e: _upto(t, e, -1)),
        ("Upside down: this is the padding, and the EOS.", lambda t, e: t == e),
        ("You learn the EOS and nothing else.", lambda t, e: (t == e) & (t == e).long().cumsum(1).eq(1)),
        ("All rows end where the longest does: the padding of the shorter ones is learned.",
         lambda t, e: torch.arange(t.shape[1]).expand(t.shape) < ((t != e).sum(1).max() + 1)),
    ),
    trial=PATIENT.relapse,
)
