"""A rollout as it lies in memory: rows of choices, time to the right, and what was no choice left grey."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from rlbase.explore.scene import Cells, Panel, Scene
from rlbase.types import Rollout
from rlbase.validate import has_shape


def rollout_scene(
    batch: Rollout,
    texts: Sequence[Sequence[str]],
    *,
    shade: Tensor | None = None,
    label: str = "reward",
    rows: str = "one copy of the world",
) -> Scene:
    """The ``[B, T]`` picture of a rollout with ``texts[b][t]`` written on each choice.

    ``■`` follows a choice that terminated its episode, ``✂`` one after which it was truncated; steps outside the mask
    are grey. Shades are the rewards, or ``shade`` (``[B, T]``), described by ``label``.

    Raises:
        ValueError: ``shade`` has another shape than the rollout.

    >>> import torch
    >>> from rlbase.envs import chain
    >>> from rlbase.policies import TabularPolicy
    >>> from rlbase.rollout import rollout
    >>> world = chain(3, batch_size=2)
    >>> batch = rollout(TabularPolicy(3, 2), world, steps=3, generator=torch.Generator().manual_seed(0))
    >>> rollout_scene(batch, [["left" if a == 0 else "right" for a in row] for row in batch.actions]).caption
    '4 of 6 columns are choices; episodes that ended (■): 4, that were cut off (✂): 0.'
    """
    colours = batch.rewards if shade is None else shade
    has_shape("rollout_scene", "shade", colours, tuple(batch.mask.shape))
    mask, columns = batch.mask.tolist(), range(batch.mask.shape[1])
    values = [
        [v if kept else None for v, kept in zip(*row, strict=True)]
        for row in zip(colours.tolist(), mask, strict=True)
    ]
    ends = (batch.terminated.long() + 2 * (batch.truncated & ~batch.terminated).long()).tolist()
    written = [[texts[b][t] + ("", " ■", " ✂")[end[t]] for t in columns] for b, end in enumerate(ends)]
    caption = (
        f"{int(batch.mask.sum())} of {batch.mask.numel()} columns are choices; "
        f"episodes that ended (■): {int(batch.terminated.sum())}, that were cut off (✂): {int(batch.truncated.sum())}."
    )
    panel = Panel([Cells(values, texts=written, label=label)], f"Each row is {rows}; time runs to the right")
    side = min(64, 960 // len(columns))
    return Scene([panel], caption, width=max(400, 28 + side * len(columns)), height=68 + side * len(mask))
