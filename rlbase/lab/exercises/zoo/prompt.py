"""Patient 3: the prompt is learned as if it were an answer. The loss cannot fall, whatever the model has understood."""

# fmt: off

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from rlbase.lab.exercise import Case, Exercise
from rlbase.lab.exercises.zoo.common import AS_IT_CAME, NOTEBOOK, diagnosis, generator
from rlbase.lab.zoo import Part, Patient, Run, tiny_writer, with_readings


def sick(real, prompt_length):  # type: ignore[no-untyped-def]
    """Which tokens [B, L] are learned. Prompt and response stand in one row; real is False on padding."""
    return real


def healthy(real: Tensor, prompt_length: Tensor) -> Tensor:
    """What was answered, not what was asked."""
    return real & (torch.arange(real.shape[1]) >= prompt_length[:, None])


def _data(policy, rows: int, dice: torch.Generator):  # type: ignore[no-untyped-def]
    """Random prompts of 3 to 6 letters and a colon; the answer is the first letter twice, and EOS."""
    lengths = torch.randint(3, 7, (rows,), generator=dice).tolist()
    prompts = ["." + "".join("abcd"[i] for i in torch.randint(4, (n,), generator=dice).tolist()) + ":" for n in lengths]
    texts = [policy.tokenizer.encode(text + 2 * text[1] + ".") for text in prompts]
    width = max(map(len, texts))
    tokens = torch.tensor([row + [0] * (width - len(row)) for row in texts])
    real = torch.arange(width) < torch.tensor([len(row) for row in texts])[:, None]
    return prompts, tokens, real, torch.tensor([len(text) for text in prompts])


def loop(part: Part, seed: int) -> Run:
    """Supervised fine-tuning of a tiny writer on rows that hold prompt and response; the part makes the mask."""
    from rlbase.envs import TextEnv
    from rlbase.rollout import rollout
    from rlbase.train import SFTConfig, sft
    from rlbase.types import Choices, Prompt

    policy, dice = tiny_writer("abcd:", seed=seed), generator(seed)

    def choices(rows: int, mask_of: Part) -> tuple[list[str], Choices]:
        prompts, tokens, real, lengths = _data(policy, rows, dice)
        first = Prompt(tokens[:, :1], real[:, :1])  # the policy scores everything after the first token
        return prompts, Choices(first, tokens[:, 1:], mask_of(real, lengths).bool()[:, 1:])

    _, demonstrations = choices(512, part)
    questions, held_out = choices(64, healthy)

    def right(prompts: list[str], responses: list[str]) -> list[float]:
        return [float(answer == 2 * asked[1]) for asked, answer in zip(prompts, responses, strict=True)]

    exam: Any = TextEnv(questions, policy.tokenizer, right, max_new_tokens=4, batch_size=64)

    def readings() -> dict[str, float]:
        rollout(policy, exam, generator=dice)
        return {"right answers": exam.scores.mean().item()}

    config = SFTConfig(updates=80, batch_size=64, learning_rate=1e-2, eval_every=1)
    run = sft(policy, demonstrations, config, held_out=held_out, generator=dice)
    records = with_readings(run, readings)
    return Run(records, [f"{p[1:]} → {r}" for p, r in zip(exam.prompts_used[:4], exam.responses[:4], strict=True)])


PATIENT = Patient(
    "patient-3", "The one that understands and cannot show it",
    "Supervised fine-tuning. The prompt is three to six random letters and a colon, the answer the first letter "
    "twice: `dacb:` → `dd`. *Held-out loss* is the loss on 64 new prompts, of the answers alone. `right answers` is "
    "an exam after each update.",
    ("loss", "held_out_loss", "right answers"),
    sick, healthy, loop, lambda run: run.late("loss") - run.late("held_out_loss"), 0.3,
    "what the training loss has above the held-out one, in nats a token,",
    {"loss": (math.log(4), "a random letter: ln 4")},
)

DIAGNOSIS = diagnosis(
    PATIENT, 3,
    "The training loss stays near 0.9. On *new* prompts the loss falls almost to 0, and the exam goes as well as the "
    "healthy one's.",
    {
        "a": "The model overfits its demonstrations.",
        "b": "The two losses are not taken over the same tokens: the training loss counts something nobody can learn.",
        "c": "The learning rate is too large to get to the bottom.",
        "d": "The held-out prompts have leaked into the demonstrations.",
        "e": "The demonstrations contradict each other.",
    },
    "b",
    ("Overfitting makes the training loss the *lower* one. Here it is the higher one, by far.",
     "Which tokens of `.dacb:dd.` can be foreseen, and which cost ln 4 = 1.39 nats whatever one knows?",
     "The letters of the prompt are random. Somebody counts them."),
    "yes. The letters of a prompt are random, each costs ln 4 for ever. They are in the training loss and not in the "
    "other.",
    difficulty=2,
    a="No: who overfits does better in training than on new prompts. Here it is the other way round.",
    c="No: the same steps bring the held-out loss to the bottom.",
    d="No: that would explain a good exam, not a bad training loss. (And the prompts are drawn anew.)",
    e="No: contradictions would stand in the held-out loss, too, which is almost 0.",
)


def _case(label: str, lengths: list[int], prompts: list[int]) -> Case:
    real = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return Case(label, {"real": real, "prompt_length": torch.tensor(prompts)})


def _from(real: Tensor, start: Tensor) -> Tensor:
    return real & (torch.arange(real.shape[1]) >= start[:, None])


FIX = Exercise(
    "bug-prompt", NOTEBOOK, "learn the answer, not the question", *(2, 5, 5),
    "Repair `learned(real, prompt_length)`: each row holds a prompt of `prompt_length` `[B]` tokens, then the "
    "response, then padding; `real` `[B, L]` is False on padding. True on the response's tokens, its first one "
    "included, False elsewhere. The check tries prompts of different lengths, then trains the patient.",
    ("Column t of a row belongs to the prompt as long as t < prompt_length.",
     "m_bt = real_bt · 1[t ≥ prompt_length_b]: one comparison, with its own limit in each row.",
     "real & (torch.arange(real.shape[1]) >= prompt_length[:, None])"),
    "right for prompts of every length; and the patient's two losses agree.",
    reference=healthy,
    cases=(_case("prompts of 2 and 4 tokens", [6, 6], [2, 4]), _case("rows of 7, 4 and 5", [7, 4, 5], [3, 1, 4])),
    mistakes=(
        (AS_IT_CAME + ": the prompt is learned like an answer.", sick),
        ("The first token of the response is missing: it stands in column prompt_length, counted from 0.",
         lambda r, p: _from(r, p + 1)),
        ("The last token of the prompt is still in.", lambda r, p: _from(r, p - 1)),
        ("The padding is in: keep `real`.", lambda r, p: _from(torch.ones_like(r), p)),
        ("Upside down: you learn the prompt and nothing else.", lambda r, p: r & ~_from(r, p)),
        ("Every row is cut where the first row's prompt ends.", lambda r, p: _from(r, p[:1].expand(len(p)))),
        ("Every row is cut where the longest prompt ends.", lambda r, p: _from(r, p.max().expand(len(p)))),
    ),
    trial=PATIENT.relapse,
)
