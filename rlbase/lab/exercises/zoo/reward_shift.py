"""Patient 13: whitened rewards. Whoever takes their mean off pays or fines every further step."""

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
    text_recipe,
)
from rlbase.lab.zoo import Part, Patient, Run, swapped, tiny_writer, with_readings


def sick(rewards, mask):  # type: ignore[no-untyped-def]
    """Rewards [B, T] brought to one scale: standard deviation 1 over the choices, 0 on padding."""
    chosen = rewards[mask]
    white = (rewards - chosen.mean()) / (chosen.std() + 1e-8)
    return torch.where(mask, white, 0)


def healthy(rewards: Tensor, mask: Tensor) -> Tensor:
    """Only the scale changes; what was zero stays zero."""
    return torch.where(mask, rewards / (rewards[mask].std() + 1e-8), 0)


def half_way(rewards: Tensor, mask: Tensor) -> Tensor:
    """OpenAI's form: take the mean off, scale, put it back. Zeros become m (1 - 1/σ), which is not zero."""
    mean, std = rewards[mask].mean(), rewards[mask].std() + 1e-8
    return torch.where(mask, (rewards - mean) / std + mean, 0)


def loop(part: Part, seed: int) -> Run:
    """PPO on a tiny writer whose longer texts earn more; the part whitens the rewards."""
    from rlbase.masked import masked_whiten
    from rlbase.train import ppo

    policy = tiny_writer("ab", seed=seed)
    world = letters_world(policy, lambda text: 0.5 + text.count("a") / 8, longest=8, rows=64, prompts="a")

    def planted(x: Tensor, mask: Tensor, *, shift_mean: bool = True) -> Tensor:
        return masked_whiten(x, mask) if shift_mean else part(x, mask)  # advantages as ever, rewards by the part

    def readings() -> dict[str, float]:
        return {"letters in a response": length_of(world)}

    config = text_recipe(updates=40, whiten_rewards=True)
    with swapped("rlbase.train.prepare", "masked_whiten", planted):
        records = with_readings(ppo(policy, world, config, generator=generator(seed)), readings)
    return Run(records, [repr(text) for text in world.responses[:6]])


PATIENT = Patient(
    "patient-13", "The writer who falls silent",
    "PPO on a tiny writer. A text earns 0.5, and an eighth for every `a` in it: eight a's earn 1.5, silence earns "
    "0.5. No price on length, no KL. So that rewards of any size can be learned from, they are brought to one scale "
    "first (`whiten_rewards`).",
    ("reward_mean", "letters in a response", "entropy"),
    sick, healthy, loop, lambda run: 1.5 - run.late("reward_mean"), 0.6,
    "what the reward lacks of the best possible 1.5",
)

DIAGNOSIS = diagnosis(
    PATIENT, 13, "Writing is paid and silence is not, yet the patient ends every text at once. Rewards, ratio and mask "
    "have been looked at: every number that the scorer gives is right.",
    {
        "a": "The reward is paid on padding, so that long texts lose it.",
        "b": "The KL penalty is too strong.",
        "c": "Scaling the rewards has also *moved* them: every step without a reward now costs something.",
        "d": "It is a local optimum, bad luck with this seed.",
        "e": "The discount is below 1, so that a late reward counts for little.",
    },
    "c",
    ("A token in the middle of a text gets 0 from the scorer. What does it get after whitening?",
     "(0 - mean)/σ is negative when the mean reward is positive: a fine for every token, as long as one writes.",
     "The fewer tokens, the smaller the fine. The cheapest text is the empty one."),
    "yes. With the mean taken off, each token costs mean/σ. A constant for every step is harmless where all episodes "
    "are equally long, and decides everything where the policy chooses their length.",
    difficulty=4,
    a="No: reward_mean starts near 0.7, what these texts earn. All of it arrives.",
    b="No: there is none in this recipe, β is 0.",
    d="No: it happens with every seed (try the clinic below), and the healthy run starts from the same weights.",
    e="No: γ is 1 in this recipe.",
)


def _case(label: str, rewards: list[list[float]], mask: list[list[int]]) -> Case:
    return Case(label, {"rewards": torch.tensor(rewards), "mask": torch.tensor(mask).bool()})


FIX = Exercise(
    "bug-reward-shift", NOTEBOOK, "scale, do not move", *(3, 4, 8),
    "Repair `scale_rewards(rewards, mask)`, both `[B, T]`: bring rewards to standard deviation 1 over the choices "
    "(divisor n - 1) so that nothing else about them changes: a reward of 0 stays 0, twice the reward stays twice "
    "the reward. 0 on padding. The check asks for exactly that, then trains the patient.",
    ("Which of the two operations, subtracting and dividing, can change which text is best?",
     "Σ_t c·r_t orders texts as Σ_t r_t does; Σ_t (r_t + c) adds c times the length.",
     "return torch.where(mask, rewards / (rewards[mask].std() + 1e-8), 0)"),
    "zeros stay zeros and proportions stay, whatever the table; and the patient writes.",
    reference=healthy, inside="mask",
    cases=(
        _case("scores on the last tokens", [[0.0, 0.0, 1.0], [0.0, 2.0, 0.0]], [[1, 1, 1], [1, 1, 0]]),
        _case("negative scores", [[0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, -4.0]], [[1, 1, 0, 0], [1, 1, 1, 1]]),
        _case("a reward on every step", [[0.5, 1.5, -1.0], [2.0, 0.0, 0.0]], [[1, 1, 1], [1, 0, 0]]),
    ),
    mistakes=(
        (AS_IT_CAME + ": with the mean taken off, a step that earned nothing is fined.", sick),
        ("The famous half repair, (r - m)/σ + m: the mean is back, but a reward of 0 is now m (1 - 1/σ). Zero only "
         "if σ happens to be 1. Do not take the mean off in the first place.", half_way),
        ("You divided by the variance: its root is the deviation.",
         lambda r, m: torch.where(m, r / (r[m].var() + 1e-8), 0)),
        ("The padding is counted in the deviation.", lambda r, m: r / ((r * m).std() + 1e-8) * m),
        ("You scaled each row by itself: a great text and a poor one would earn the same.",
         lambda r, m: torch.stack([
             x / (x[k].std() + 1e-8) * k if k.sum() > 1 else x * k for x, k in zip(r, m, strict=True)
         ])),
        ("You only took the mean off: that is the harmful half, and the scale is as it was.",
         lambda r, m: torch.where(m, r - r[m].mean(), 0)),
        ("You changed nothing: the scale is still the scorer's.", lambda r, m: torch.where(m, r, 0)),
        ("You divided by the largest reward, not by the deviation.",
         lambda r, m: torch.where(m, r / r[m].abs().max(), 0)),
    ),
    trial=PATIENT.relapse,
)
