"""One choice, one reward: K-armed and contextual bandits."""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from torch import Tensor

from rlbase.types import Discrete, Step
from rlbase.validate import a_tensor, choices, finite, in_range, same_settings, whole


class Bandit:
    """Rows of a single choice among ``K`` arms, paid with ``rewards[context, arm]`` plus Gaussian noise.

    ``rewards`` is ``[K]``, or ``[contexts, K]`` for a contextual bandit whose context, drawn uniformly for every row,
    is the observation. A language model that answers one prompt with one of K fixed responses is this bandit; as in
    text, ``group_size`` neighbouring rows share their context (None: each row has its own, and the batch is one group).

    Raises:
        ValueError: wrong shape, a reward that is not finite, a negative ``noise``, an empty batch, or one that does not
            divide into groups.

    >>> bandit = Bandit(torch.tensor([0.0, 1.0]), batch_size=3)
    >>> generator = torch.Generator().manual_seed(0)
    >>> bandit.begin(generator)
    tensor([0, 0, 0])
    >>> bandit.step(torch.tensor([0, 1, 1]), generator).rewards
    tensor([0., 1., 1.])
    """

    horizon = 1

    def __init__(
        self, rewards: Tensor, *, batch_size: int = 64, group_size: int | None = None, noise: float = 0.0
    ) -> None:
        a_tensor("Bandit", rewards=rewards)
        if rewards.ndim not in (1, 2) or rewards.numel() == 0:
            raise ValueError(
                f"Bandit: rewards must be [K] or [contexts, K], got shape {list(rewards.shape)}."
            )
        finite("Bandit", rewards=rewards)
        in_range("Bandit", "noise", noise, 0, float("inf"), open_high=True)
        whole("Bandit", "batch_size", batch_size, 1)
        whole("Bandit", "group_size", group_size or 1, 1)
        if batch_size % (group_size or 1):
            raise ValueError(
                f"Bandit: batch_size {batch_size} must be a multiple of group_size {group_size}."
            )
        self.rewards = rewards.reshape(-1, rewards.shape[-1]).to(torch.get_default_dtype())
        self.batch_size, self.group_size, self.noise = batch_size, group_size, noise
        self.observation_space = Discrete(self.rewards.shape[0])
        self.action_space = Discrete(self.rewards.shape[1])
        self.returns: deque[float] = deque(maxlen=100)

    def begin(self, generator: torch.Generator) -> Tensor:
        self.rewards = self.rewards.to(generator.device)
        contexts = self.observation_space.n
        rows = self.group_size or 1
        shape, device = (self.batch_size // rows,), generator.device
        drawn = torch.randint(contexts, shape, generator=generator, device=device)
        self._contexts = drawn.repeat_interleave(rows)
        return self._contexts

    def step(self, actions: Tensor, generator: torch.Generator) -> Step:
        choices("Bandit.step", actions, self.action_space.n, self.batch_size)
        rewards = self.rewards[self._contexts, actions]
        if self.noise:
            rewards = rewards + self.noise * torch.randn(
                rewards.shape, generator=generator, device=rewards.device, dtype=rewards.dtype
            )
        self.returns.extend(rewards.tolist())
        over = torch.ones_like(actions, dtype=torch.bool)
        return Step(self._contexts, rewards, over, torch.zeros_like(over), over, finished=True)

    def every_choice(self) -> tuple[Tensor, Tensor, Tensor]:
        """All contexts, arms and expected rewards, each ``[contexts * K]``, for exact expectations."""
        contexts, arms = self.rewards.shape
        device = self.rewards.device
        grid = torch.cartesian_prod(torch.arange(contexts, device=device), torch.arange(arms, device=device))
        return grid[:, 0], grid[:, 1], self.rewards.flatten()

    def stack(self, observations: list[Tensor]) -> Tensor:
        return torch.stack(observations, 1)

    def _settings(self) -> dict[str, Any]:
        sizes = {"batch_size": self.batch_size, "group_size": self.group_size}
        return {"rewards": self.rewards.cpu(), "noise": self.noise, **sizes}

    def state(self) -> dict[str, Any]:
        return {**self._settings(), "returns": list(self.returns)}

    def load_state(self, state: dict[str, Any]) -> None:
        same_settings("Bandit", self._settings(), state)
        self.returns.clear()
        self.returns.extend(state["returns"])
