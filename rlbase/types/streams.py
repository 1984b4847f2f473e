"""Spaces, prompts, and what a world and a loop exchange: steps and rollouts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor


@dataclass(frozen=True)
class Discrete:
    """A space of ``n`` alternatives, numbered from 0."""

    n: int


@dataclass(frozen=True)
class Box:
    """A space of real vectors of length ``size``; actions outside ``low``..``high`` are clipped."""

    size: int
    low: float = float("-inf")
    high: float = float("inf")


@dataclass(frozen=True)
class Prompt:
    """Left-padded prompts: the observation with which a text stream begins.

    ``ids`` is ``[B, P]`` (long) and ``mask`` is ``[B, P]`` (bool), False on padding. Padding is
    told apart by the mask alone, never by a token's identity: a pad token is often the EOS too.
    """

    ids: Tensor
    mask: Tensor

    def __getitem__(self, rows: Any) -> Prompt:
        return Prompt(self.ids[rows], self.mask[rows])

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> Prompt:
        return Prompt(self.ids.to(device), self.mask.to(device))


# What a policy sees. In a rollout: [B, T + 1, ...] for tensors (the last column is the
# observation after the last action), or the Prompt alone for text, whose later observations
# are the actions themselves.
Obs: TypeAlias = Tensor | Prompt


class Step(NamedTuple):
    """What a world answers to a column of actions; every tensor is ``[B]``."""

    obs: Obs
    rewards: Tensor
    terminated: Tensor  # the episode is over and nothing follows: its value is zero
    truncated: Tensor  # the clock ran out: `obs` is the final observation, still worth its value
    mask: Tensor  # False where the action given was no choice (autoreset, padding after EOS)
    finished: bool = False  # True when no row of this stream has a choice left
    late_rewards: Tensor | None = None  # [B], known only at the end, paid on each row's last choice


@dataclass(frozen=True)
class Rollout:
    """Streams of choices, ``[B, T]`` throughout; see `rlbase.rollout.rollout`."""

    obs: Obs
    actions: Tensor
    logp: Tensor
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    mask: Tensor
    weight: Tensor | None = None  # probability mass of each choice when actions were enumerated
