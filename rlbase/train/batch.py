"""What an update learns from: choices with everything known about them, cut into minibatches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from rlbase.types import Obs


@dataclass(frozen=True)
class Batch:
    """Rows of choices, ``[B, T]`` except ``obs``; ``None`` where a method has no such thing."""

    obs: Obs
    actions: Tensor
    old_logp: Tensor
    mask: Tensor
    advantages: Tensor
    returns: Tensor | None = None
    old_values: Tensor | None = None
    ref_logp: Tensor | None = None
    weight: Tensor | None = None

    def single_choices(self) -> Batch:
        """Cut streams into rows of one choice each, dropping what is not one.

        Right for every policy without memory, whose choices depend on nothing but their own observation: minibatches
        then mix steps of all streams. A stateful policy (a language model) keeps its rows whole.
        """
        assert isinstance(self.obs, Tensor)
        flat = self._map(lambda x: x[self.mask][:, None])
        return replace(flat, obs=self.obs[:, : self.mask.shape[1]][self.mask][:, None])

    def minibatches(self, count: int, generator: torch.Generator) -> Iterator[Batch]:
        """Shuffle the rows and yield ``count`` parts; all of them, unshuffled, when ``count`` is 1."""
        if count == 1:
            yield self
            return
        order = torch.randperm(len(self.mask), generator=generator, device=self.mask.device)
        for rows in order.tensor_split(count):
            if len(rows):
                yield replace(self._map(lambda x, rows=rows: x[rows]), obs=self.obs[rows])

    def _map(self, pick: Any) -> Batch:
        names = [f.name for f in fields(self) if f.name != "obs" and getattr(self, f.name) is not None]
        return replace(self, **{name: pick(getattr(self, name)) for name in names})
