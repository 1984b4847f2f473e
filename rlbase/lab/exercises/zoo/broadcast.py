"""Patient 1: [B, 1] times [B] is [B, B]. Every log-probability meets every advantage, and the mean of those is zero."""

# fmt: off

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlbase.lab.exercise import Case, Exercise
from rlbase.lab.exercises.zoo.common import AS_IT_CAME, NOTEBOOK, diagnosis, generator
from rlbase.lab.zoo import Part, Patient, Run, swapped


def sick(logp, advantages):  # type: ignore[no-untyped-def]
    """REINFORCE: logp is [B, 1], advantages are [B]; one number to minimise."""
    return -(logp * advantages).mean()


def healthy(logp: Tensor, advantages: Tensor) -> Tensor:
    """The same with one advantage a row."""
    return -(logp[:, 0] * advantages).mean()


def loop(part: Part, seed: int) -> Run:
    """REINFORCE on four arms."""
    from rlbase.envs import Bandit
    from rlbase.policies import TabularPolicy
    from rlbase.train import ReinforceConfig, reinforce

    policy: Any = TabularPolicy(1, 4)
    bandit: Any = Bandit(torch.tensor([0.0, 1.0, 0.5, 2.0]))
    config = ReinforceConfig(updates=60, learning_rate=0.1, baseline="mean")

    def planted(logp: Tensor, advantages: Tensor) -> Tensor:
        return part(logp, advantages.detach()[:, 0]).expand_as(logp)  # the loop wants [B, 1] and takes the mean

    with swapped("rlbase.train.reinforce", "reinforce_loss", planted):
        records = list(reinforce(policy, bandit, config, generator=generator(seed)))
    arms = zip((0, 1, 0.5, 2), policy.probs()[0].tolist(), strict=True)
    return Run(records, [f"the arm that pays {pays:g}: chosen in {p:.0%} of cases" for pays, p in arms])


PATIENT = Patient(
    "patient-1", "The run that stands still",
    "REINFORCE on a bandit. Four arms pay 0, 1, 0.5 and 2; within 60 updates of 64 pulls the policy should have "
    "found the best one.",
    ("reward_mean", "entropy", "loss", "grad_norm"),
    sick, healthy, loop, lambda run: run.late("entropy"), 0.5, "the entropy at the end, in nats,",
)

DIAGNOSIS = diagnosis(
    PATIENT, 1, "Nothing happens, for sixty updates.",
    {
        "a": "The learning rate is far too small.",
        "b": "The reward never reaches the policy: it is lost on the way.",
        "c": "The policy has collapsed onto one arm and cannot get away from it.",
        "d": "Loss and gradient cancel: every log-probability is multiplied by the advantage of *every* row, and "
             "those average to zero.",
        "e": "The gradient is clipped away by `max_grad_norm`.",
    },
    "d",
    ("Which of the four curves is impossible, and not merely disappointing?",
     "The advantages have mean 0. What is the mean over i and j of logp_i * A_j?",
     "The loss is 0 up to rounding at every update, and the gradient with it: something is summed that cancels."),
    "yes. A loss that is 0 to seven digits at *every* update is no bad luck. It is arithmetic.",
    difficulty=1,
    a="No: grad_norm is measured before the step, so the learning rate cannot make it small. In the healthy run it "
      "starts near 0.4, here it is 0.",
    b="No: reward_mean is 0.9, just what four arms pay that are pulled equally often. Rewards arrive; nothing "
      "follows.",
    c="No: the entropy is 1.386 = ln 4, the largest there is. All four arms are equally likely, as at the start.",
    e="No: grad_norm is the norm *before* clipping, and clipping shortens a gradient, it never makes it 0.",
)


def _case(seed: int, rows: int) -> Case:
    g = torch.Generator().manual_seed(seed)
    logp = -torch.rand(rows, 1, generator=g) - 0.1
    return Case(f"{rows} rows", {"logp": logp, "advantages": torch.randn(rows, generator=g)})


FIX = Exercise(
    "bug-broadcast", NOTEBOOK, "let every choice meet its own advantage", *(1, 5, 4),
    "Repair `policy_loss(logp, advantages)`: `logp` is `[B, 1]` (rows of one choice), `advantages` is `[B]`. Return "
    "the REINFORCE loss, one number: minus the mean over rows of log-probability times advantage. The check tries it "
    "on small batches, gradient included, and then trains the patient with it.",
    ("Write the shapes down: what has the shape [B, 1] * [B]?",
     "loss = -(1/B) sum_i logp_i A_i, B products, not B times B.",
     "return -(logp.squeeze(1) * advantages).mean()"),
    "right on three batches, gradient included; and the patient finds the best arm.",
    reference=healthy, cases=(_case(1, 3), _case(2, 4), _case(3, 1)), gradient=("logp",), constant=("advantages",),
    mistakes=(
        (AS_IT_CAME + ": [B, 1] * [B] is [B, B], all pairs of rows.", sick),
        ("You still sum over all pairs of rows, and then divide by B.", lambda x, a: -(x * a).sum() / len(a)),
        ("The sign is flipped: this is minimised, so good choices must get a negative loss.",
         lambda x, a: -healthy(x, a)),
        ("You summed over rows: take the mean, or the step grows with the batch.", lambda x, a: healthy(x, a) * len(a)),
        ("These are probabilities: REINFORCE weighs log-probabilities.", lambda x, a: -(x[:, 0].exp() * a).mean()),
        ("You sorted or flipped one of the two: row i must meet row i.", lambda x, a: -(x[:, 0] * a.flip(0)).mean()),
    ),
    trial=PATIENT.relapse,
)
