"""The explorers of imitation and of comparisons, against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from rlbase.exact import kl, total_variation
from rlbase.explore.comparisons import FIRST, SECOND, WORTH, asked, comparison_explorer, comparison_scene, fit
from rlbase.explore.imitation import (
    BEFORE,
    CARELESS,
    demonstrations,
    demonstrator,
    imitate,
    imitation_explorer,
    imitation_scene,
)
from rlbase.explore.live import Explorable, to_json
from rlbase.losses import soft_bradley_terry


@pytest.mark.parametrize("make", [imitation_explorer, comparison_explorer], ids=lambda f: f.__name__)
def test_every_corner_of_every_control_draws(make) -> None:
    widget: Explorable = make()
    start = widget.values
    assert widget.scene.caption and len(widget.scene.alt) > len(widget.scene.caption)
    for name, control in widget.controls.items():
        sides = [control.min, control.max] if hasattr(control, "min") else control.options
        for end in (sides[0], sides[-1]):
            to_json(widget.compute(**{**start, name: end}))


@pytest.mark.parametrize("bad", [0.0, 0.3, 1.0])
def test_the_policy_becomes_the_demonstrators_whatever_they_are(bad: float) -> None:
    law = demonstrator(bad)
    assert law.sum().item() == pytest.approx(1)
    policy = imitate(demonstrations(bad, 100_000), updates=100)
    assert total_variation(policy, law) < 0.01
    assert kl(law, policy) < 0.001


def test_few_demonstrations_are_copied_with_their_luck() -> None:
    answers = torch.tensor([0, 0, 1, 3, 3])
    assert total_variation(imitate(answers, 100), torch.tensor([0.4, 0.2, 0.0, 0.4])) < 0.01


def test_without_a_step_the_policy_is_what_it_was() -> None:
    assert f"the policy {BEFORE[3]:.1%}" in imitation_scene(0.1, 100, 0).caption
    assert torch.equal(demonstrator(1.0), CARELESS)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_many_comparisons_find_the_worth_in_units_of_the_temperature(temperature: float) -> None:
    scores = fit(asked(1_000_000, temperature))
    assert (scores - (WORTH - WORTH.mean()) / temperature).abs().max() < 0.02
    assert (fit(asked(1_000_000, temperature), 1) - scores).abs().max() > 0.2, "one step is not enough"


def test_a_constant_changes_no_loss_and_the_caption_says_so() -> None:
    told = {comparison_scene(30, 1.0, constant).caption.split(" nats")[0] for constant in (-3.0, 0.0, 2.5)}
    assert len(told) == 1
    wins = asked(30, 1.0)
    scores = fit(wins)
    loss = soft_bradley_terry(scores[FIRST], scores[SECOND], wins).mean().item()
    assert f"{loss:.4f}" in told.pop()
    best = -(wins * wins.log() + (1 - wins) * (1 - wins).log()).mean().item()  # a score for each pair
    assert best <= loss < math.log(2)


def test_it_says_when_gaps_would_grow_for_ever() -> None:
    assert "wider the gaps" in comparison_scene(1).caption
    assert "wider the gaps" not in comparison_scene(1000).caption
