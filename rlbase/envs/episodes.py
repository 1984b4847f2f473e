"""Book-keeping that continuing worlds share: which row is between two episodes, and what the last ones earned."""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from torch import Tensor


class EpisodeLog:
    """Running returns of ``batch_size`` rows with next-step autoreset.

    After an episode ends its row spends one column on the reset; ``resetting`` marks those rows, whose next action
    is no choice. Finished returns go to ``returns``.

    >>> log = EpisodeLog(2)
    >>> _ = log.record(torch.tensor([1.0, 2.0]), torch.tensor([True, False]))
    >>> list(log.returns), log.record(torch.tensor([0.0, 2.0]), torch.tensor([False, False])).tolist()
    ([1.0], [False, True])
    """

    def __init__(self, batch_size: int, *, keep: int = 100) -> None:
        self.returns: deque[float] = deque(maxlen=keep)
        self.running = torch.zeros(batch_size, dtype=torch.float64)
        self.resetting = torch.zeros(batch_size, dtype=torch.bool)

    def record(self, rewards: Tensor, ended: Tensor) -> Tensor:
        """Add one column; returns its mask, True where the action was a choice."""
        chosen = ~self.resetting
        self.running += rewards
        if ended.any():
            self.returns.extend(self.running[ended].tolist())
            self.running[ended] = 0.0
        self.resetting = ended
        return chosen

    def state(self) -> dict[str, Any]:
        return {
            "returns": list(self.returns),
            "running": self.running.clone(),
            "resetting": self.resetting.clone(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.returns.clear()
        self.returns.extend(state["returns"])
        self.running, self.resetting = state["running"].clone(), state["resetting"].clone()
