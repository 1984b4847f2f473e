"""Imitation in hand: two demonstrators, a share of bad demonstrations, and a policy fine-tuned on them just now."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlbase.exact import kl
from rlbase.explore.live import Explorable, buttons, explore, int_slider, slider
from rlbase.explore.scene import Bars, Line, Panel, Points, Scene
from rlbase.policies import TabularPolicy
from rlbase.train.sft import SFTConfig, sft
from rlbase.types import Choices

ANSWERS = ["helpful", "curt", "wrong", "rude"]
WORTH = torch.tensor([1.0, 0.5, -0.5, -1.0], dtype=torch.float64)  # what somebody would say who judged them
BEFORE = torch.tensor([0.15, 0.25, 0.35, 0.25], dtype=torch.float64)
CAREFUL = torch.tensor([0.60, 0.30, 0.08, 0.02], dtype=torch.float64)
CARELESS = torch.tensor([0.05, 0.15, 0.30, 0.50], dtype=torch.float64)


def demonstrator(bad: float) -> Tensor:
    """The law of what is demonstrated when a share ``bad`` of it comes from the careless writer, ``[4]``.

    >>> demonstrator(0.5).round(decimals=3).tolist()
    [0.325, 0.225, 0.19, 0.26]
    """
    return (1 - bad) * CAREFUL + bad * CARELESS


def demonstrations(bad: float, n: int, seed: int = 0) -> Tensor:
    """``n`` answers drawn from `demonstrator`, ``[n]``: the same random numbers whatever ``bad``."""
    luck = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.searchsorted(demonstrator(bad).cumsum(0), luck).clamp(max=3)


def imitate(answers: Tensor, updates: int) -> Tensor:
    """Where `rlbase.train.sft` takes a policy that begins at `BEFORE`, ``[4]``.

    >>> imitate(torch.tensor([0, 0, 0, 3]), updates=60).round(decimals=2).tolist()
    [0.75, 0.0, 0.0, 0.25]
    """
    policy: Any = TabularPolicy(1, 4, ref=BEFORE)
    counts = torch.bincount(answers, minlength=4)
    rows = counts.nonzero()  # equal demonstrations as one row that counts for all of them
    weight = (counts[rows] * len(rows) / len(answers)).float()
    shown = Choices(torch.zeros_like(rows), rows, torch.ones_like(rows, dtype=torch.bool), weight)
    for _ in sft(policy, shown, SFTConfig(updates=updates, batch_size=4, learning_rate=0.5)):
        pass
    return policy.probs()[0].detach().double()


def imitation_scene(bad: float = 0.1, n: int = 1000, updates: int = 100) -> Scene:
    """What was demonstrated, what was learned from it, and what either is worth."""
    law, answers = demonstrator(bad), demonstrations(bad, n)
    policy = imitate(answers, updates) if updates else BEFORE
    bars = [
        Bars(BEFORE, "reference", "before"),
        Bars(law, "truth", "the demonstrators"),
        Bars(policy, "policy", "after SFT"),
    ]
    shares = Panel(bars, "Which answer is given", "", "probability", y_range=(0, 0.72), categories=ANSWERS)
    ends = [(p @ WORTH).item() for p in (CAREFUL, CARELESS)]
    marks = [
        Line([0, 1], ends, "truth", "the demonstrators", width=2),
        Points([bad], [(policy @ WORTH).item()], "policy", "after SFT", size=6),
    ]
    names = ("What the answers are worth", "share of bad demonstrations", "mean worth")
    caption = (
        f"{bad:.0%} of the demonstrators are careless. They are rude {law[3]:.1%} of the time, in these {n:,} "
        f"demonstrations {(answers == 3).double().mean():.1%}, the policy {policy[3]:.1%}. "
        f"KL(demonstrators‖policy) = {kl(law, policy):.4f} nats."
    )
    return Scene(
        [shares, Panel(marks, *names, (0, 1), (-0.8, 0.8), weight=0.8)], caption, width=900, height=340
    )


def imitation_explorer() -> Explorable:
    """The share of bad demonstrations, their number and the training time in hand."""
    controls = {
        "bad": slider(0.1, 0.0, 1.0, step=0.05, label="bad demonstrations"),
        "n": buttons(1000, [10, 100, 1000, 10_000], label="demonstrations"),
        "updates": int_slider(100, 0, 200, step=10, label="gradient steps"),
    }
    return explore(imitation_scene, controls)
