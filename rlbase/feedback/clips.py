"""Behaviour clips: short stretches of what an agent did, two of which a person compares at a glance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlbase.types import Choices, Rollout
from rlbase.validate import has_shape, instance, whole


@dataclass(frozen=True)
class Clips:
    """Stretches of equal length: ``choices`` are ``[n, T]``, their observations ``[n, T + 1, ...]``.

    ``paid`` ``[n]`` is the sum of the world's own rewards. Only a simulated rater may look at it; the agent and
    its reward model never do.
    """

    choices: Choices
    paid: Tensor

    def __len__(self) -> int:
        return len(self.choices)

    def __getitem__(self, rows: Any) -> Clips:
        return Clips(self.choices[rows], self.paid[rows])


def cut(batch: Rollout, length: int, n: int, *, generator: torch.Generator) -> Clips:
    """Draw ``n`` clips of ``length`` choices from a rollout, each place equally likely; none runs across a reset.

    An episode may end on a clip's last choice: the last observation then shows how.

    Raises:
        TypeError: the rollout is of text, whose rows are compared whole.
        ValueError: ``length`` or ``n`` below 1, or no episode lasts for ``length`` choices.

    >>> from rlbase.envs import chain
    >>> from rlbase.policies import TabularPolicy
    >>> from rlbase.rollout import rollout
    >>> generator = torch.Generator().manual_seed(0)
    >>> batch = rollout(TabularPolicy(9, 2), chain(9), steps=20, generator=generator)
    >>> clips = cut(batch, 4, 3, generator=generator)
    >>> clips.choices.actions.shape, clips.choices.obs.shape
    (torch.Size([3, 4]), torch.Size([3, 5]))
    """
    whole("cut", "length", length, 1)
    whole("cut", "n", n, 1)
    if not isinstance(batch.obs, Tensor):
        raise TypeError("cut: a rollout of text has no clips; compare whole responses.")
    columns = batch.mask.shape[1]
    together = batch.mask.unfold(1, length, 1).all(-1) if length <= columns else batch.mask[:, :0]
    places = together.nonzero()
    if not len(places):
        raise ValueError(
            f"cut: no episode in this rollout lasts for {length} choices; take shorter clips or longer rollouts."
        )
    drawn = torch.randint(len(places), (n,), generator=generator, device=generator.device)
    row, first = places[drawn.to(places.device)].T[:, :, None]
    time = first + torch.arange(length + 1, device=first.device)
    kept = time[:, :-1]
    choices = Choices(batch.obs[row, time], batch.actions[row, kept], batch.mask[row, kept])
    return Clips(choices, batch.rewards[row, kept].sum(1))


class Comparisons:
    """Labelled pairs of clips as they come in: ``first`` and ``second`` are `Choices`, ``prob`` ``[n]`` the labels.

    ``counts`` ``[n, members]`` says how often each member of an ensemble learns from each pair. Drawn from a Poisson
    law of mean 1 when the pair arrives, that is the bootstrap, and a pair of count 0 (one in e) is held out from
    that member for good.

    >>> two = Choices(torch.zeros(2, 4).long(), torch.zeros(2, 3).long(), torch.ones(2, 3).bool())
    >>> told = Comparisons(members=3)
    >>> told.add(two, two, torch.tensor([1.0, 0.5]), generator=torch.Generator())
    >>> len(told), told.counts.shape
    (2, torch.Size([2, 3]))
    """

    def __init__(self, members: int = 1, *, bootstrap: bool = True) -> None:
        whole("Comparisons", "members", members, 1)
        self.members, self.bootstrap = members, bootstrap
        self._parts: dict[str, Tensor] = {}

    def add(self, first: Choices, second: Choices, prob: Tensor, *, generator: torch.Generator) -> None:
        """Add labelled pairs; those whose label is NaN (skipped: cannot be compared) are left out.

        Raises:
            TypeError: clips that are no `Choices`.
            ValueError: numbers of clips and labels that differ, or a label outside [0, 1].
        """
        instance("Comparisons.add", "first", first, Choices)
        instance("Comparisons.add", "second", second, Choices)
        has_shape("Comparisons.add", "prob", prob, (len(first),))
        if first.actions.shape != second.actions.shape:
            raise ValueError(
                f"Comparisons.add: clips of one length are compared, got {list(first.actions.shape)} and "
                f"{list(second.actions.shape)}; between unequal ones a constant per step would count."
            )
        said = ~prob.isnan()
        if ((prob < 0) | (prob > 1)).any():
            raise ValueError(f"Comparisons.add: labels must lie in [0, 1] or be NaN, got {prob.tolist()}.")
        counts = torch.ones(len(prob), self.members)
        if self.bootstrap:
            rates = torch.ones(len(prob), self.members, device=generator.device)
            counts = torch.poisson(rates, generator=generator).cpu()
        new = {"prob": prob, "counts": counts.to(prob.device)}
        for name, clips in (("first", first), ("second", second)):
            new |= {f"{name}.{k}": getattr(clips, k) for k in ("obs", "actions", "mask")}
        new = {name: part[said] for name, part in new.items()}
        old = self._parts or {name: part[:0] for name, part in new.items()}
        self._parts = {name: torch.cat([old[name], part]) for name, part in new.items()}

    def __len__(self) -> int:
        return len(self._parts["prob"]) if self._parts else 0

    @property
    def prob(self) -> Tensor:
        """Probability that the first is the better one, ``[n]``."""
        return self._parts["prob"]

    @property
    def counts(self) -> Tensor:
        """How often each member learns from each pair, ``[n, members]``."""
        return self._parts["counts"]

    @property
    def first(self) -> Choices:
        """The clips shown first."""
        return self._choices("first")

    @property
    def second(self) -> Choices:
        """The clips shown second."""
        return self._choices("second")

    def _choices(self, name: str) -> Choices:
        obs, actions, mask = (self._parts[f"{name}.{k}"] for k in ("obs", "actions", "mask"))
        return Choices(obs, actions, mask)

    def state(self) -> dict[str, Any]:
        """Everything, for a checkpoint."""
        return {"members": self.members, "parts": self._parts}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave.

        Raises:
            ValueError: the state belongs to an ensemble of another size.
        """
        if state["members"] != self.members:
            raise ValueError(
                f"Comparisons: the saved state belongs to {state['members']} members, here are {self.members}."
            )
        self._parts = dict(state["parts"])
