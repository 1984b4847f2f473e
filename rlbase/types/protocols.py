"""What a policy, a critic, a reward model, a world and a tokenizer must be able to do; no base classes."""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from rlbase.types.streams import Box, Discrete, Obs, Step


class Tokenizer(Protocol):
    """What a text world needs of a tokenizer; any Hugging Face tokenizer has it."""

    eos_token_id: int
    vocab_size: int

    def encode(self, text: str) -> list[int]: ...
    def decode(self, ids: list[int]) -> str: ...


@runtime_checkable
class Policy(Protocol):
    """Chooses actions one column at a time, and re-scores whole rows of them in one forward.

    ``stateful`` says that an action's probability depends on earlier actions of the row (a
    language model, a recurrent net), so that rows must be kept whole. Contract:
    `rlbase.rollout.check_policy`.
    """

    stateful: bool

    def initial_state(self, obs: Obs) -> Any: ...

    def step(self, obs: Obs, state: Any, generator: torch.Generator) -> tuple[Tensor, Tensor, Any]:
        """Sample actions and their log-probabilities, both ``[B]``, without gradient."""
        ...

    def evaluate(self, obs: Obs, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities of ``actions`` and entropies, both ``[B, T]``, with gradient."""
        ...


@runtime_checkable
class Critic(Protocol):
    """Says what is still to come from each observation; a separate object, since not every method has one."""

    def value(self, obs: Obs, actions: Tensor) -> Tensor:
        """One value for each observation column: ``[B, T + 1]`` on a rollout."""
        ...


@runtime_checkable
class RewardModel(Protocol):
    """What a response, or a clip of behaviour, is worth: the signature of `rlbase.envs.TextEnv`'s ``token_scorer``."""

    def score(self, obs: Obs, actions: Tensor, mask: Tensor) -> Tensor:
        """One number a row, ``[B]``, with gradient; only choices (``mask`` True) may move it."""
        ...


@runtime_checkable
class Env(Protocol):
    """A batch of worlds stepped together, living on the generator's device. Contract: `rlbase.rollout.check_env`.

    ``returns`` keeps the undiscounted returns of the latest finished episodes. ``horizon`` is
    the number of actions after which every row has finished, or None for worlds that go on
    from one rollout to the next.
    """

    observation_space: Discrete | Box | None
    action_space: Discrete | Box
    batch_size: int
    horizon: int | None
    returns: deque[float]

    def begin(self, generator: torch.Generator) -> Obs:
        """The observation a rollout starts from: a fresh batch, or where the last one stopped."""
        ...

    def step(self, actions: Tensor, generator: torch.Generator) -> Step: ...

    def stack(self, observations: list[Any]) -> Obs:
        """Join the observations of a rollout, in order, into what `Policy.evaluate` takes."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything (tensors, numbers, strings) needed to go on from here, for a checkpoint."""
        ...

    def load_state(self, state: dict[str, Any]) -> None: ...
