"""The warm-up of notebook 00: how exercises work."""

# fmt: off

from __future__ import annotations

import torch
from torch import Tensor

from rlbase.lab.exercise import Case, Exercise

NOTEBOOK = "00_start_here"


def _earned(rewards: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, rewards, 0).sum()


def _case(label: str, rewards: list[float], mask: list[int]) -> Case:
    return Case(label, {"rewards": torch.tensor(rewards), "mask": torch.tensor(mask).bool()})


warm_up = Exercise(
    "warm-up", NOTEBOOK, "add up what was earned", *(1, 4, 2),
    "Write `earned(rewards, mask)`: the total of the rewards `[T]` at the steps where the mask `[T]` is True. The mask "
    "says which steps were the agent's own choices; whatever stands at the others must not count.",
    ("Some of the numbers in `rewards` are not the agent's. The mask tells which.",
     "earned = sum over t of rewards[t] where mask[t] is True.",
     "return rewards[mask].sum()"),
    "right for four rows, one of them without any choice. That is how every exercise works.",
    reference=_earned,
    cases=(
        _case("rewards 1, 2, 3, 9; the last is no choice", [1.0, 2.0, 3.0, 9.0], [1, 1, 1, 0]),
        _case("two choices of four", [5.0, -1.0, 0.5, 2.0], [0, 1, 0, 1]),
        _case("all are choices", [1.0, -2.0, 4.0], [1, 1, 1]),
        _case("no choice at all", [3.0, 3.0], [0, 0]),
    ),
    mistakes=(
        ("You added up everything: only steps where the mask is True count.", lambda r, m: r.sum()),
        ("You took the mean: the task asks for the total.", lambda r, m: _earned(r, m) / m.sum().clamp(min=1)),
        ("You took the mean: the task asks for the total.", lambda r, m: r[m].mean()),
        ("You divided by the number of steps: the task asks for the total.", lambda r, m: _earned(r, m) / len(m)),
        ("The mask is upside down: True marks the steps that count.", lambda r, m: _earned(r, ~m)),
        ("You counted the choices: add up their rewards.", lambda r, m: m.sum()),
        ("You gave one number for each step: add them up.", lambda r, m: torch.where(m, r, 0)),
        ("The sign is flipped.", lambda r, m: -_earned(r, m)),
    ),
)

EXERCISES = (warm_up,)
