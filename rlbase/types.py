"""The words every room shares: observations, spaces, the rollout, choices and pairs of them, and the protocols.

One row is one stream of choices. Time runs over *actions* only: a prompt is an observation,
the padding after a finished response and the autoreset step of a vector environment are
columns in which the policy chose nothing, and the boolean ``mask`` says so.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

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


@dataclass(frozen=True)
class Choices:
    """Choices that somebody made, ``[B, T]``: demonstrations to imitate, responses to judge.

    What `Policy.evaluate` takes, and which of it counts. ``obs`` is a `Prompt` for text, ``[B, T, ...]`` or
    ``[B, T + 1, ...]`` for tensors; ``weight`` (None: 1 each) multiplies what each choice contributes.

    >>> arms = Choices(torch.zeros(2, 1).long(), torch.tensor([[0], [1]]), torch.ones(2, 1).bool())
    >>> len(arms), arms[:1].actions.tolist()
    (2, [[0]])
    """

    obs: Obs
    actions: Tensor
    mask: Tensor
    weight: Tensor | None = None

    def __len__(self) -> int:
        return len(self.actions)

    def __getitem__(self, rows: Any) -> Choices:
        weight = None if self.weight is None else self.weight[rows]
        return Choices(self.obs[rows], self.actions[rows], self.mask[rows], weight)

    def to(self, device: torch.device | str) -> Choices:
        weight = None if self.weight is None else self.weight.to(device)
        return Choices(self.obs.to(device), self.actions.to(device), self.mask.to(device), weight)

    def trimmed(self) -> Choices:
        """Without the columns that no row uses: prompt padding on the left, unchosen actions on the right.

        A batch picked from many rows is as wide as the widest of all; what is cut here is never computed.
        Which columns are used, the masks alone decide. One column always stays.

        >>> ids, real = torch.tensor([[0, 0, 7]]), torch.tensor([[False, True, True]])
        >>> row = Choices(Prompt(ids, real), torch.tensor([[5, 0, 0]]), torch.tensor([[True, True, False]]))
        >>> row.trimmed().actions.tolist(), row.trimmed().obs.ids.tolist()
        ([[5, 0]], [[0, 7]])
        """
        used = self.mask.any(0).nonzero()
        width = int(used[-1]) + 1 if len(used) else 1
        if isinstance(self.obs, Prompt):
            real = self.obs.mask.any(0).nonzero()
            obs: Obs = self.obs[:, int(real[0]) if len(real) else -1 :]
        else:  # one observation a choice, and perhaps the one after the last
            obs = self.obs[:, : width + self.obs.shape[1] - self.actions.shape[1]]
        weight = None if self.weight is None else self.weight[:, :width]
        return Choices(obs, self.actions[:, :width], self.mask[:, :width], weight)


@dataclass(frozen=True)
class PreferencePairs:
    """Row by row, ``chosen`` was preferred to ``rejected``: ``[B]`` comparisons of two streams of choices.

    ``prob`` is the probability that the chosen one is really the better (None: 1 each; 1/2 is a tie), ``margin``
    by how much its reward should at least be ahead (None: 0 each), both ``[B]``. The two sides of a pair begin at
    the same prompt; their widths may differ.

    Raises:
        ValueError: the two sides differ in their number of rows, or ``prob`` or ``margin`` is not ``[B]``.

    >>> arms = Choices(torch.zeros(2, 1).long(), torch.tensor([[0], [1]]), torch.ones(2, 1).bool())
    >>> pairs = PreferencePairs(arms[1:], arms[:1], prob=torch.tensor([0.9]))
    >>> len(pairs), pairs.joined().actions.tolist()
    (1, [[1], [0]])
    """

    chosen: Choices
    rejected: Choices
    prob: Tensor | None = None
    margin: Tensor | None = None

    def __post_init__(self) -> None:
        rows = len(self.chosen)
        if len(self.rejected) != rows:
            raise ValueError(
                f"PreferencePairs: as many rejected as chosen, got {rows} and {len(self.rejected)}."
            )
        for name, value in (("prob", self.prob), ("margin", self.margin)):
            if value is not None and tuple(value.shape) != (rows,):
                raise ValueError(
                    f"PreferencePairs: {name} must have shape [{rows}], got {list(value.shape)}."
                )

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, rows: Any) -> PreferencePairs:
        prob, margin = (None if x is None else x[rows] for x in (self.prob, self.margin))
        return PreferencePairs(self.chosen[rows], self.rejected[rows], prob, margin)

    def to(self, device: torch.device | str) -> PreferencePairs:
        prob, margin = (None if x is None else x.to(device) for x in (self.prob, self.margin))
        return PreferencePairs(self.chosen.to(device), self.rejected.to(device), prob, margin)

    def joined(self) -> Choices:
        """All ``2B`` rows as one batch, the chosen ones first: what one forward of a reward model reads.

        Prompts grow to one width on the left, everything else on the right; the new columns are not chosen.
        """
        one, two = self.chosen, self.rejected
        if isinstance(one.obs, Prompt) and isinstance(two.obs, Prompt):
            ids = _stacked(one.obs.ids, two.obs.ids, left=True)
            obs: Obs = Prompt(ids, _stacked(one.obs.mask, two.obs.mask, left=True))
        elif isinstance(one.obs, Tensor) and isinstance(two.obs, Tensor):
            obs = _stacked(one.obs, two.obs)
        else:
            raise TypeError("PreferencePairs: both sides must be text, or neither.")
        weight = None
        if one.weight is not None or two.weight is not None:
            weights = (
                torch.ones(x.mask.shape).to(x.mask.device) if x.weight is None else x.weight
                for x in (one, two)
            )
            weight = _stacked(*weights)
        return Choices(obs, _stacked(one.actions, two.actions), _stacked(one.mask, two.mask), weight)


def _stacked(top: Tensor, bottom: Tensor, *, left: bool = False) -> Tensor:
    """``top`` over ``bottom``, the narrower one filled up with zeros in its second dimension."""
    width = max(top.shape[1], bottom.shape[1])

    def widened(x: Tensor) -> Tensor:
        zeros = x.new_zeros(len(x), width - x.shape[1], *x.shape[2:])
        return torch.cat((zeros, x) if left else (x, zeros), 1)

    return torch.cat((widened(top), widened(bottom)))


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
