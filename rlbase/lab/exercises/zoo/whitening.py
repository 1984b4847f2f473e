"""Patient 11: mean and deviation are taken over the whole table, padding included."""

# fmt: off

from __future__ import annotations

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
from rlbase.lab.zoo import Part, Patient, Run, swapped, tiny_writer, with_readings


def sick(advantages, mask):  # type: ignore[no-untyped-def]
    """Advantages [B, T] with mean 0 and standard deviation 1; 0 on padding."""
    mean, std = advantages.mean(), advantages.std()
    return (advantages - mean) / (std + 1e-8) * mask


def healthy(advantages: Tensor, mask: Tensor) -> Tensor:
    """Mean and deviation of what was chosen, and of nothing else."""
    chosen = advantages[mask]
    return torch.where(mask, (advantages - chosen.mean()) / (chosen.std() + 1e-8), 0)


def loop(part: Part, seed: int) -> Run:
    """PPO on a tiny writer in a wide table; the part whitens the advantages."""
    from rlbase.masked import masked_whiten
    from rlbase.train import ppo

    policy = tiny_writer("ab", seed=seed)
    world = letters_world(policy, lambda text: 1.0 + text.startswith("a"), longest=12)

    def planted(x: Tensor, mask: Tensor, **options: Any) -> Tensor:
        return masked_whiten(x, mask, **options) if options else part(x, mask)

    def readings() -> dict[str, float]:
        return {"letters in a response": length_of(world)}

    with swapped("rlbase.train.prepare", "masked_whiten", planted):
        config = text_recipe(updates=25, learning_rate=3e-3)
        records = with_readings(ppo(policy, world, config, generator=generator(seed)), readings)
    return Run(records, [repr(text) for text in world.responses[:6]])


def _off_zero(run: Run) -> float:
    return sum(abs(record["policy_loss"]) for record in run.records[:10]) / 10


PATIENT = Patient(
    "patient-11", "The diligent worker who is always praised",
    "PPO on a tiny writer: 2 for a text that begins with `a`, 1 for any other, up to twelve letters. Advantages are "
    "whitened, one step is taken for each batch.",
    ("reward_mean", "policy_loss", "ratio_max", "letters in a response"),
    sick, healthy, loop, _off_zero, 0.05, "the mean size of policy_loss over the first ten updates",
)

DIAGNOSIS = diagnosis(
    PATIENT, 11,
    "It learns, about as fast as the healthy run; nobody would look twice. One panel is impossible all the same.",
    {
        "a": "The ratio is wrong: old and new log-probabilities do not fit together.",
        "b": "The sign of the loss is flipped.",
        "c": "The learning rate is too small.",
        "d": "The mean that is taken off the advantages is not the mean over the choices: something else is in it.",
        "e": "The critic is biased.",
    },
    "d",
    ("At ratio 1 the policy loss is minus the mean advantage. What is the mean of whitened advantages?",
     "policy_loss = -mean(ρ A) with ρ = 1 and mean(A) = 0: it must be 0, to rounding. In the healthy run it is.",
     "Zeros from padding pull the mean down, so nearly every choice looks better than average."),
    "yes. At ratio 1 the policy loss is minus the mean advantage, and whitened ones have mean 0 *over the choices*. "
    "Here padding is counted in.",
    difficulty=4,
    a="No: ratio_max is 1.000 at every update. Scores and samples agree.",
    b="No: with a flipped sign the reward would fall. It rises.",
    c="No: the size of the step cannot move policy_loss, which is computed before it.",
    e="No: this recipe has no critic; its advantages are plain returns.",
)


def _case(label: str, seed: int, mask: list[list[int]], shift: float = 1.0) -> Case:
    chosen = torch.tensor(mask).bool()
    x = shift + torch.randn(chosen.shape, generator=torch.Generator().manual_seed(seed))
    return Case(label, {"advantages": torch.where(chosen, x, 0), "mask": chosen})


def _garbage() -> Case:
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]]).bool()
    return Case("99 and -99 on the padding",
                {"advantages": torch.tensor([[1.0, 3.0, 99.0], [5.0, -99.0, 99.0]]), "mask": mask})


FIX = Exercise(
    "bug-whitening", NOTEBOOK, "whiten what was chosen", *(2, 4, 6),
    "Repair `whiten(advantages, mask)`, both `[B, T]`: mean 0 and standard deviation 1 over the choices (`mask` "
    "True), 0 elsewhere. Either divisor, n or n - 1, is right. The check looks at tables with much padding and with "
    "rubbish on it, then trains the patient.",
    ("The mean of a row's own tokens does not depend on how wide the table is.",
     "μ and σ over {A_bt : m_bt = 1}, then (A - μ)/σ where m = 1 and 0 elsewhere.",
     "chosen = advantages[mask]; mean, std = chosen.mean(), chosen.std()"),
    "right with much padding and rubbish on it; and at ratio 1 the patient's policy loss is 0.",
    reference=healthy, inside="mask",
    also=(lambda advantages, mask: torch.where(
        mask, (advantages - advantages[mask].mean()) / (advantages[mask].std(correction=0) + 1e-8), 0
    ),),
    cases=(
        _case("rows of 4, 2 and 1", 1, [[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]),
        _case("much padding", 2, [[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]], 3.0),
        _garbage(),
    ),
    mistakes=(
        (AS_IT_CAME + ": the zeros on the padding are counted in mean and deviation.", sick),
        ("The mean is right, the deviation still counts the padding.",
         lambda x, m: (x - x[m].mean()) / ((x * m).std() + 1e-8) * m),
        ("The deviation is right, the mean still counts the padding.",
         lambda x, m: (x - (x * m).mean()) / (x[m].std() + 1e-8) * m),
        ("You whitened each row by itself: a response that is bad from end to end would look average.",
         lambda x, m: torch.stack([
             torch.where(k, (r - r[k].mean()) / (r[k].std(correction=0) + 1e-8), 0) for r, k in zip(x, m, strict=True)
         ])),
        ("You did not take the mean off.", lambda x, m: x / (x[m].std() + 1e-8) * m),
        ("You did not divide by the deviation.", lambda x, m: (x - x[m].mean()) * m),
        ("You divided by the variance: its root is the deviation.",
         lambda x, m: (x - x[m].mean()) / (x[m].var() + 1e-8) * m),
        ("The mask is upside down: you took mean and deviation of the padding.",
         lambda x, m: (x - x[~m].mean()) / (x[~m].std() + 1e-8) * m),
    ),
    trial=PATIENT.relapse,
)
