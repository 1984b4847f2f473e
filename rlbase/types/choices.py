"""Choices that somebody made, and what was said of them: comparisons of two, verdicts on one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlbase.types.streams import Obs, Prompt


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
    by how much its reward should at least be ahead (None: 0 each), ``weight`` how much the comparison counts (None: 1
    each), all ``[B]``. ``ref_logp`` ``[B, 2]`` keeps the reference's log-probability of either side, once computed
    (`rlbase.train.with_reference`). The two sides of a pair begin at the same prompt; their widths may differ.

    Raises:
        ValueError: the two sides differ in their number of rows, or one of the others has another shape.

    >>> arms = Choices(torch.zeros(2, 1).long(), torch.tensor([[0], [1]]), torch.ones(2, 1).bool())
    >>> pairs = PreferencePairs(arms[1:], arms[:1], prob=torch.tensor([0.9]))
    >>> len(pairs), pairs.joined().actions.tolist()
    (1, [[1], [0]])
    """

    chosen: Choices
    rejected: Choices
    prob: Tensor | None = None
    margin: Tensor | None = None
    weight: Tensor | None = None
    ref_logp: Tensor | None = None

    def __post_init__(self) -> None:
        rows = len(self.chosen)
        if len(self.rejected) != rows:
            raise ValueError(
                f"PreferencePairs: as many rejected as chosen, got {rows} and {len(self.rejected)}."
            )
        _check_rows("PreferencePairs", rows, prob=self.prob, margin=self.margin, weight=self.weight)
        _check_rows("PreferencePairs", rows, 2, ref_logp=self.ref_logp)

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, rows: Any) -> PreferencePairs:
        extras = (None if x is None else x[rows] for x in self._extras())
        return PreferencePairs(self.chosen[rows], self.rejected[rows], *extras)

    def to(self, device: torch.device | str) -> PreferencePairs:
        extras = (None if x is None else x.to(device) for x in self._extras())
        return PreferencePairs(self.chosen.to(device), self.rejected.to(device), *extras)

    def _extras(self) -> tuple[Tensor | None, ...]:
        return self.prob, self.margin, self.weight, self.ref_logp

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

    def unpaired(self) -> Labelled:
        """Each response by itself: the chosen ones desirable, the rejected ones not (``prob`` softens both).

        >>> arms = Choices(torch.zeros(2, 1).long(), torch.tensor([[0], [1]]), torch.ones(2, 1).bool())
        >>> PreferencePairs(arms[1:], arms[:1], prob=torch.tensor([0.75])).unpaired().desirable.tolist()
        [0.75, 0.25]
        """
        prob = torch.ones(len(self)) if self.prob is None else self.prob
        weight = None if self.weight is None else torch.cat((self.weight, self.weight))
        return Labelled(self.joined(), torch.cat((prob, 1 - prob)), weight)


@dataclass(frozen=True)
class Labelled:
    """Responses that somebody called desirable or not, one verdict each: what `rlbase.losses.kto` learns from.

    ``desirable`` ``[B]`` is boolean, or the share of people who would say so, in [0, 1]; ``weight`` ``[B]`` is how much
    a row counts (None: 1 each). ``mismatched`` are the same prompts with the response of another row, from which the
    distance to the reference is judged (`with_mismatched`); ``ref_logp`` ``[B, 2]`` keeps what the reference gives to
    the row's own response and to the mismatched one, once computed (`rlbase.train.with_reference`).

    Raises:
        ValueError: one of them has another number of rows, or ``desirable`` is outside [0, 1].

    >>> arms = Choices(torch.zeros(2, 1).long(), torch.tensor([[0], [1]]), torch.ones(2, 1).bool())
    >>> len(Labelled(arms, torch.tensor([False, True])))
    2
    """

    choices: Choices
    desirable: Tensor
    weight: Tensor | None = None
    mismatched: Choices | None = None
    ref_logp: Tensor | None = None

    def __post_init__(self) -> None:
        rows = len(self.choices)
        _check_rows("Labelled", rows, desirable=self.desirable, weight=self.weight)
        _check_rows("Labelled", rows, 2, ref_logp=self.ref_logp)
        if self.mismatched is not None and len(self.mismatched) != rows:
            raise ValueError(f"Labelled: mismatched must have {rows} rows, got {len(self.mismatched)}.")
        if not bool(((self.desirable >= 0) & (self.desirable <= 1)).all()):
            raise ValueError("Labelled: desirable must be True or False, or a share in [0, 1].")

    def __len__(self) -> int:
        return len(self.choices)

    def __getitem__(self, rows: Any) -> Labelled:
        weight, ref_logp = (None if x is None else x[rows] for x in (self.weight, self.ref_logp))
        mismatched = None if self.mismatched is None else self.mismatched[rows]
        return Labelled(self.choices[rows], self.desirable[rows], weight, mismatched, ref_logp)

    def to(self, device: torch.device | str) -> Labelled:
        weight, ref_logp = (None if x is None else x.to(device) for x in (self.weight, self.ref_logp))
        mismatched = None if self.mismatched is None else self.mismatched.to(device)
        return Labelled(self.choices.to(device), self.desirable.to(device), weight, mismatched, ref_logp)

    def with_mismatched(self) -> Labelled:
        """Each prompt beside the response of the row after it; the last meets the first's.

        Where neighbours share a prompt, as several responses to each do, it is a row further on that has another: as
        far as there is one. The response of a row's own prompt would tell of learning, not of the distance.

        Raises:
            ValueError: fewer than two rows, so that the mismatched response would be the row's own.

        >>> arms = Choices(torch.zeros(2, 1).long(), torch.tensor([[0], [1]]), torch.ones(2, 1).bool())
        >>> Labelled(arms, torch.tensor([False, True])).with_mismatched().mismatched.actions.tolist()
        [[1], [0]]
        """
        if len(self) < 2:
            raise ValueError("Labelled: mismatched responses come from other rows, and there is only one.")
        rows = _elsewhere(self.choices.obs)
        other = self.choices[rows]
        weight = None if self.weight is None else self.weight[rows][:, None].expand(other.mask.shape)
        mismatched = Choices(self.choices.obs, other.actions, other.mask, weight)
        return Labelled(self.choices, self.desirable, self.weight, mismatched, None)


def _elsewhere(obs: Obs) -> Tensor:
    """For each row another one: the next, or where neighbours begin alike, one that begins otherwise if any does."""
    if isinstance(obs, Prompt):
        begins = torch.cat((obs.ids * obs.mask, obs.mask), 1)
    else:
        begins = obs[:, :1].flatten(1)
    group = begins.unique(dim=0, return_inverse=True)[1]
    rows = torch.arange(len(group), device=group.device)
    most = int(group.bincount().max())
    if most == len(group) or not bool((group == group.roll(-1)).any()):
        return rows.roll(-1)
    order = group.argsort(stable=True)  # a group is never longer than the step, and so always left
    return rows.index_copy(0, order, order.roll(-most))


def _check_rows(where: str, rows: int, *more: int, **given: Tensor | None) -> None:
    for name, value in given.items():
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(f"{where}: {name} must be a tensor, got {type(value).__name__}.")
        if value is not None and tuple(value.shape) != (rows, *more):
            raise ValueError(f"{where}: {name} must have shape {[rows, *more]}, got {list(value.shape)}.")


def _stacked(top: Tensor, bottom: Tensor, *, left: bool = False) -> Tensor:
    """``top`` over ``bottom``, the narrower one filled up with zeros in its second dimension."""
    width = max(top.shape[1], bottom.shape[1])

    def widened(x: Tensor) -> Tensor:
        zeros = x.new_zeros(len(x), width - x.shape[1], *x.shape[2:])
        return torch.cat((zeros, x) if left else (x, zeros), 1)

    return torch.cat((widened(top), widened(bottom)))
