"""Rewards that are learned and paid step by step: a table, a small network, an ensemble that knows its doubts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rlbase.masked import masked_sum
from rlbase.policies.mlp import _forward, mlp
from rlbase.policies.tabular import _look_up, entries
from rlbase.types import Box, Choices, Discrete
from rlbase.validate import has_shape, in_range, whole


class StepReward(Protocol):
    """A reward that says of every step what it is worth."""

    def each(self, obs: Tensor, actions: Tensor) -> Tensor:
        """Reward of each step, ``[B, T]``; observations may have one column more."""
        ...

    def score(self, obs: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
        """Sum over each row's choices, ``[B]``."""
        ...


class TabularReward(nn.Module):
    r"""A number $r(s,a)$ for each state and action, or $r(s)$ for each state where ``n_actions`` is None.

    Starts at 0, or at random with standard deviation ``spread``: the members of an ensemble then differ where nothing
    has been learned.

    Raises:
        ValueError: a size below 1, or a negative ``spread``.

    >>> reward = TabularReward(3, 2)
    >>> reward.table.data[1, 0] = 5.0
    >>> reward.each(torch.tensor([[0, 1]]), torch.tensor([[0, 0]])).tolist()
    [[0.0, 5.0]]
    """

    def __init__(self, n_states: int, n_actions: int | None, *, spread: float = 0.0) -> None:
        super().__init__()
        whole("TabularReward", "n_states", n_states, 1)
        whole("TabularReward", "n_actions", 1 if n_actions is None else n_actions, 1)
        in_range("TabularReward", "spread", spread, 0, float("inf"), open_high=True)
        self.sees_actions = n_actions is not None
        noise = torch.randn(n_states, n_actions or 1)
        self.table = nn.Parameter(spread * noise + 0.0)  # + 0.0: no minus zeros

    def each(self, obs: Tensor, actions: Tensor) -> Tensor:
        """Reward of each step, ``[B, T]``."""
        states = obs[:, : actions.shape[1]]
        if not self.sees_actions:
            return _look_up("TabularReward", self.table[:, 0], states)
        return entries("TabularReward", self.table, states, actions)

    def score(self, obs: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
        """Sum over each row's choices, ``[B]``."""
        return masked_sum(self.each(obs, actions), mask)


class MLPReward(nn.Module):
    """A network that says what a step is worth, $r(s,a)$, for vector observations.

    A `Discrete` action picks one of the network's outputs, a `Box` action is an input beside the observation.
    Observations are divided by ``units`` ``[obs_size]`` first: a few hundred comparisons are not enough to find out
    that a tenth of a radian is a lot.

    Raises:
        ValueError: ``obs_size`` below 1, or ``units`` that are not positive numbers ``[obs_size]``.
        TypeError: an action space that is neither `Discrete` nor `Box`.

    >>> reward = MLPReward(4, Discrete(2))
    >>> obs, actions = torch.zeros(3, 6, 4), torch.zeros(3, 5, dtype=torch.long)
    >>> reward.each(obs, actions).shape, reward.score(obs, actions, actions == 0).shape
    (torch.Size([3, 5]), torch.Size([3]))
    """

    units: Tensor

    def __init__(
        self,
        obs_size: int,
        action_space: Discrete | Box,
        *,
        hidden: tuple[int, ...] = (64, 64),
        units: Tensor | None = None,
    ) -> None:
        super().__init__()
        whole("MLPReward", "obs_size", obs_size, 1)
        units = torch.ones(obs_size) if units is None else units
        has_shape("MLPReward", "units", units, (obs_size,))
        if not ((units > 0) & units.isfinite()).all():
            raise ValueError(f"MLPReward: units must be positive, got {units.tolist()}.")
        self.register_buffer("units", units.float())
        if not isinstance(action_space, Discrete | Box):
            raise TypeError(
                f"MLPReward: action_space must be Discrete or Box, got {type(action_space).__name__}."
            )
        self.discrete = isinstance(action_space, Discrete)
        inputs = obs_size if isinstance(action_space, Discrete) else obs_size + action_space.size
        outputs = action_space.n if isinstance(action_space, Discrete) else 1
        self.net = mlp(inputs, hidden, outputs, last_gain=1.0)

    def each(self, obs: Tensor, actions: Tensor) -> Tensor:
        """Reward of each step, ``[B, T]``."""
        has_shape("MLPReward", "one observation", obs[0, 0], tuple(self.units.shape))
        seen = obs[:, : actions.shape[1]] / self.units
        if self.discrete:
            return _forward("MLPReward", self.net, seen).gather(-1, actions[..., None])[..., 0]
        return _forward("MLPReward", self.net, torch.cat((seen, actions.to(seen.dtype)), -1))[..., 0]

    def score(self, obs: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
        """Sum over each row's choices, ``[B]``."""
        return masked_sum(self.each(obs, actions), mask)


class StepEnsemble(nn.Module):
    r"""Several step rewards, each brought to one scale before they are averaged.

    $$\hat r(s,a)=g\cdot\frac1M\sum_m\frac{r_m(s,a)-\mu_m}{\sigma_m}$$

    Christiano et al. (2017), section 2.2.3. `normalise` measures $\mu_m$ and $\sigma_m$ on some behaviour and sets
    $g$ so that the average, too, has the spread one asks for. Where the members disagree one should ask.

    Raises:
        ValueError: no members.

    >>> ensemble = StepEnsemble([TabularReward(2, 1), TabularReward(2, 1)])
    >>> for member, scale in zip(ensemble.members, (1.0, 100.0)): member.table.data[1] = scale
    >>> walked = Choices(torch.tensor([[0, 1]]), torch.zeros(1, 2).long(), torch.ones(1, 2).bool())
    >>> ensemble.normalise(walked)
    >>> ensemble.each(walked.obs, walked.actions).tolist()
    [[-1.0, 1.0]]
    """

    shift: Tensor
    scale: Tensor
    gain: Tensor

    def __init__(self, members: Sequence[Any]) -> None:
        super().__init__()
        if not members:
            raise ValueError("StepEnsemble: needs at least one member, got none.")
        self.members: Any = nn.ModuleList(members)
        self.register_buffer("shift", torch.zeros(len(members)))
        self.register_buffer("scale", torch.ones(len(members)))
        self.register_buffer("gain", torch.ones(()))

    def __len__(self) -> int:
        return len(self.members)

    def each(self, obs: Tensor, actions: Tensor) -> Tensor:
        """Reward of each step, averaged over the normalised members, ``[B, T]``."""
        raw = torch.stack([member.each(obs, actions) for member in self.members], -1)
        return self.gain * ((raw - self.shift) / self.scale).mean(-1)

    def score(self, obs: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
        """Sum over each row's choices, ``[B]``."""
        return masked_sum(self.each(obs, actions), mask)

    def scores(self, choices: Choices) -> Tensor:
        """What every member says of whole rows, ``[members, B]``, not normalised: what was fitted to preferences."""
        rows = (choices.obs, choices.actions, choices.mask)
        return torch.stack([member.score(*rows) for member in self.members])

    @torch.no_grad()
    def normalise(self, choices: Choices, *, std: float = 1.0) -> None:
        """Give every member mean 0 and spread 1 over these choices, and their average the spread ``std``.

        A member that says the same of every step is only shifted.

        Raises:
            ValueError: ``std`` is not positive, or a member's reward is not finite.
        """
        in_range("StepEnsemble.normalise", "std", std, 0, float("inf"), open_low=True)
        raw = torch.stack([m.each(choices.obs, choices.actions)[choices.mask] for m in self.members])
        if not raw.isfinite().all():
            raise ValueError("StepEnsemble.normalise: a member's reward is not finite: its fit has diverged.")
        self.shift.copy_(raw.mean(1))
        self.scale.copy_(_or_one(raw.std(1, correction=0)))
        average = ((raw - self.shift[:, None]) / self.scale[:, None]).mean(0)
        self.gain.copy_(std / _or_one(average.std(correction=0)))

    @torch.no_grad()
    def disagreement(self, first: Choices, second: Choices) -> Tensor:
        """Variance over members of the predicted P(first is better), ``[B]``: at most 1/4, 0 where all agree."""
        return (self.scores(first) - self.scores(second)).sigmoid().var(0, correction=0)


def _or_one(spread: Tensor) -> Tensor:
    return torch.where(spread > 1e-6, spread, 1)
