"""Any Gymnasium environment with `Discrete` or `Box` spaces, as a batch of worlds.

Gymnasium's own vectorised implementation is used where there is one (CartPole), copies stepped in turn elsewhere.
Left out on purpose: observation and reward normalisation, frame stacks, async workers.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlbase.envs.episodes import EpisodeLog
from rlbase.types import Box, Discrete, Step
from rlbase.validate import choices, has_shape, same_settings, whole

CARTPOLE = ("state", "steps", "prev_done")  # the arrays that Gymnasium's vectorised CartPole steps


class GymEnv:
    """A batch of ``batch_size`` copies of the Gymnasium environment ``name``, with next-step autoreset.

    Observations come out as ``[B]`` long (``Discrete``) or ``[B, size]`` float (``Box``, flattened); continuous
    actions are clipped to the box. ``options`` goes to the environment's constructor. The seed is drawn from
    the generator of the first rollout. A checkpoint of the native CartPole holds its numbers. Of any other
    environment it holds the seed and all actions since, and loading replays them: exact for every environment
    that is deterministic given its seed, but the file grows, and resuming steps through the past again.

    Raises:
        ValueError: no such environment, spaces that are neither ``Discrete`` nor ``Box``, or another autoreset.
        ImportError: the environment needs a package that is missing.

    >>> env = GymEnv("CartPole-v1", batch_size=2)
    >>> env.begin(torch.Generator().manual_seed(0)).shape, env.action_space
    (torch.Size([2, 4]), Discrete(n=2))
    """

    horizon = None

    def __init__(self, name: str, *, batch_size: int = 8, options: dict[str, Any] | None = None) -> None:
        import gymnasium
        from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
        from gymnasium.error import DependencyNotInstalled
        from gymnasium.vector import AutoresetMode

        whole("GymEnv", "batch_size", batch_size, 1)
        try:
            self.vector = gymnasium.make_vec(name, num_envs=batch_size, **(options or {}))
        except (DependencyNotInstalled, ModuleNotFoundError) as error:
            raise ImportError(f"GymEnv: {name} needs a package that is missing: {error}") from None
        except gymnasium.error.Error as error:
            raise ValueError(f"GymEnv: Gymnasium knows no environment {name!r} ({error}).") from None
        except TypeError as error:
            raise ValueError(f"GymEnv: {name} does not take the options {options} ({error}).") from None
        mode = self.vector.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        if mode != AutoresetMode.NEXT_STEP:
            raise ValueError(
                f"GymEnv: {name} must reset on the next step, not with autoreset_mode {mode.name}."
            )
        self.name, self.batch_size = name, batch_size
        self._options = re.sub(r" at 0x\w+", "", repr(options or {}))  # an address is no setting
        self.observation_space = _space(name, "observation", self.vector.single_observation_space)
        self.action_space = _space(name, "action", self.vector.single_action_space)
        self.log = EpisodeLog(batch_size)
        self.returns = self.log.returns
        self._seed: int | None = None
        self._obs = torch.zeros(0)
        self._actions: list[np.ndarray] = []
        self._native = type(self.vector) is CartPoleVectorEnv  # all it remembers is in CARTPOLE

    def begin(self, generator: torch.Generator) -> Tensor:
        if self._seed is None:
            device = generator.device
            self._seed = int(torch.randint(2**31 - 1, (1,), generator=generator, device=device).item())
            self._obs = self._observe(self.vector.reset(seed=self._seed)[0])
        return self._obs.to(generator.device)

    def step(self, actions: Tensor, generator: torch.Generator) -> Step:
        if isinstance(self.action_space, Box):
            has_shape("GymEnv.step", "actions", actions, (self.batch_size, self.action_space.size))
        else:
            choices("GymEnv.step", actions, self.action_space.n, self.batch_size)
        device = generator.device
        obs, rewards, over, cut, mask = (x.to(device) for x in self._advance(actions.cpu().numpy()))
        return Step(obs, rewards, over, cut, mask)

    def _advance(self, actions: np.ndarray) -> tuple[Tensor, ...]:
        if not self._native:
            self._actions.append(actions)
        space = self.vector.single_action_space
        if isinstance(self.action_space, Box):
            low, high = space.low.reshape(-1), space.high.reshape(-1)  # pyright: ignore[reportAttributeAccessIssue]
            given = np.clip(actions, low, high).reshape(self.batch_size, *(space.shape or ()))
        else:
            given = actions + int(space.start)  # pyright: ignore[reportAttributeAccessIssue]
        obs, rewards, terminated, truncated, _ = self.vector.step(given.astype(space.dtype, copy=False))
        self._obs = self._observe(obs)
        over, cut = torch.from_numpy(terminated.copy()), torch.from_numpy(truncated & ~terminated)
        pay = torch.from_numpy(np.asarray(rewards, np.float32).copy())
        if not pay.isfinite().all():
            raise ValueError(f"GymEnv: {self.name} paid a reward that is not finite: {rewards}.")
        return self._obs, pay, over, cut, self.log.record(pay, over | cut)

    def _observe(self, obs: np.ndarray) -> Tensor:
        if isinstance(self.observation_space, Discrete):
            start = int(self.vector.single_observation_space.start)  # pyright: ignore[reportAttributeAccessIssue]
            return torch.from_numpy(np.asarray(obs, np.int64) - start)
        return torch.from_numpy(np.asarray(obs, np.float32).reshape(self.batch_size, -1).copy())

    def stack(self, observations: list[Tensor]) -> Tensor:
        return torch.stack(observations, 1)

    def state(self) -> dict[str, Any]:
        who = {"name": self.name, "batch_size": self.batch_size, "options": self._options, "seed": self._seed}
        if self._native and self._seed is not None:
            arrays = {name: torch.from_numpy(getattr(self.vector, name).copy()) for name in CARTPOLE}
            random = self.vector.np_random.bit_generator.state
            return {**who, "arrays": arrays, "random": random, "obs": self._obs, "log": self.log.state()}
        taken = torch.from_numpy(np.stack(self._actions)) if self._actions else torch.zeros(0)
        return {**who, "actions": taken, "returns": list(self.returns)}

    def load_state(self, state: dict[str, Any]) -> None:
        if (state["name"], state["batch_size"]) != (self.name, self.batch_size):
            theirs, mine = f"{state['batch_size']} x {state['name']}", f"{self.batch_size} x {self.name}"
            raise ValueError(f"GymEnv: the state of {theirs} does not fit {mine}.")
        same_settings("GymEnv", {"options": self._options}, state)
        self._seed, self._actions, self.log = state["seed"], [], EpisodeLog(self.batch_size)
        if self._seed is not None:
            self._obs = self._observe(self.vector.reset(seed=self._seed)[0])
        self.log.returns = self.returns
        if "arrays" in state:
            for name in CARTPOLE:
                setattr(self.vector, name, state["arrays"][name].numpy().copy())
            self.vector.np_random.bit_generator.state = state["random"]
            self._obs = state["obs"].clone()
            self.log.load_state(state["log"])
            return
        for actions in state["actions"].numpy():
            self._advance(actions)
        self.returns.clear()
        self.returns.extend(state["returns"])


def _space(name: str, what: str, space: Any) -> Discrete | Box:
    import gymnasium

    if isinstance(space, gymnasium.spaces.Discrete):
        return Discrete(int(space.n))
    if isinstance(space, gymnasium.spaces.Box):
        return Box(int(np.prod(space.shape)), float(space.low.min()), float(space.high.max()))
    raise ValueError(
        f"GymEnv: {name} has a {type(space).__name__} {what} space, only Discrete and Box are supported."
    )
