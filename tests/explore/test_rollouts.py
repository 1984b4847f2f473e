"""The picture of a rollout: what is no choice is grey, ends and cuts are told apart."""

from __future__ import annotations

import pytest
import torch

from rlbase.explore.rollouts import rollout_scene
from rlbase.explore.scene import Cells, Scene
from rlbase.types import Rollout


def batch() -> Rollout:
    """Two rows of three columns: the first ends, resets, goes on; the second is cut off, then resets."""
    mask = torch.tensor([[True, False, True], [True, True, False]])
    zeros = torch.zeros(2, 3)
    terminated = torch.tensor([[True, False, False], [False, False, False]])
    truncated = torch.tensor([[False, False, False], [False, True, False]])
    rewards = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    return Rollout(zeros, zeros.long(), zeros, rewards, terminated, truncated, mask)


def cells(scene: Scene) -> Cells:
    (mark,) = scene.panels[0].marks
    assert isinstance(mark, Cells)
    return mark


def test_marks_ends_and_cuts_and_greys_what_was_no_choice() -> None:
    drawn = cells(rollout_scene(batch(), [["a", "b", "c"], ["d", "e", "f"]]))
    assert drawn.values == ((1.0, None, 0.0), (0.0, 2.0, None))
    assert drawn.texts == [["a ■", "b", "c"], ["d", "e ✂", "f"]]


def test_counts_choices_ends_and_cuts() -> None:
    caption = rollout_scene(batch(), [["", "", ""]] * 2).caption
    assert caption == "4 of 6 columns are choices; episodes that ended (■): 1, that were cut off (✂): 1."


def test_shades_can_be_something_else() -> None:
    drawn = cells(rollout_scene(batch(), [["", "", ""]] * 2, shade=torch.full((2, 3), 7.0), label="state"))
    assert drawn.values == ((7.0, None, 7.0), (7.0, 7.0, None)) and drawn.label == "state"
    with pytest.raises(ValueError, match="shade must"):
        rollout_scene(batch(), [["", "", ""]] * 2, shade=torch.zeros(2))
