"""A world that pays what a learned reward says, and keeps its own rewards to itself."""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

import torch
from torch import Tensor

from rlbase.types import Env, Obs, Step
from rlbase.validate import finite


class PaysEach(Protocol):
    """Whatever says of each step what it is worth."""

    def each(self, obs: Tensor, actions: Tensor) -> Tensor: ...


class LearnedReward:
    """The world ``env``, paying ``reward.each(obs, actions)`` in place of its own rewards.

    With ``endless`` an episode's end is reported as the clock running out: the last observation keeps its value.
    Preferences between clips of one length leave a constant per step undetermined. In a world with ends that constant
    decides whether living is worth while; in an endless one it cancels.

    ``returns`` are still the world's own: for your eyes only, no trainer learns from them.

    Raises:
        ValueError: while stepping, where the learned reward is not finite.

    >>> from rlbase.envs import chain
    >>> from rlbase.policies import TabularReward
    >>> world = LearnedReward(chain(3, batch_size=1), TabularReward(3, None))
    >>> generator = torch.Generator().manual_seed(0)
    >>> _ = world.begin(generator)
    >>> step = world.step(torch.tensor([1]), generator)
    >>> abs(step.rewards.item()), step.terminated.item(), step.truncated.item(), list(world.returns)
    (0.0, False, True, [1.0])
    """

    def __init__(self, env: Env, reward: PaysEach, *, endless: bool = True) -> None:
        self.env, self.reward, self.endless = env, reward, endless
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self.batch_size, self.horizon = env.batch_size, env.horizon
        self._seen = torch.zeros(0)

    @property
    def returns(self) -> deque[float]:
        """Latest returns by the world's own rewards."""
        return self.env.returns

    @returns.setter
    def returns(self, value: deque[float]) -> None:
        self.env.returns = value

    def begin(self, generator: torch.Generator) -> Obs:
        obs = self.env.begin(generator)
        assert isinstance(obs, Tensor)
        self._seen = obs
        return obs

    @torch.no_grad()
    def step(self, actions: Tensor, generator: torch.Generator) -> Step:
        step = self.env.step(actions, generator)
        paid = self.reward.each(self._seen[:, None], actions[:, None])[:, 0]
        finite("LearnedReward.step", **{"the learned reward": paid})
        assert isinstance(step.obs, Tensor)
        self._seen = step.obs
        rewards = torch.where(step.mask, paid.to(step.rewards.dtype), 0)
        if not self.endless:
            return step._replace(rewards=rewards, late_rewards=None)
        cut = step.truncated | step.terminated
        never = torch.zeros_like(cut)
        return step._replace(rewards=rewards, terminated=never, truncated=cut, late_rewards=None)

    def stack(self, observations: list[Any]) -> Obs:
        return self.env.stack(observations)

    def state(self) -> dict[str, Any]:
        return {"env": self.env.state(), "seen": self._seen, "endless": self.endless}

    def load_state(self, state: dict[str, Any]) -> None:
        if state["endless"] != self.endless:
            raise ValueError("LearnedReward: the saved state belongs to a world with another `endless`.")
        self.env.load_state(state["env"])
        self._seen = state["seen"]
