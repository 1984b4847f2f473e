"""The gradient cloud: its estimates are the package's loss differentiated, and its biases are the predicted ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rlbase.advantages import leave_one_out
from rlbase.explore.geometry import Words
from rlbase.explore.gradients import (
    BASELINES,
    GROUP,
    cloud_scene,
    draw,
    estimates,
    exact_gradient,
    gradient_explorer,
    pay,
    payments,
)
from rlbase.explore.layout import layout
from rlbase.explore.live import to_json
from rlbase.losses import reinforce
from rlbase.policies import TabularPolicy


def test_exact_gradient_is_that_of_the_expected_reward() -> None:
    rewards, policy = payments(3.0), TabularPolicy(2, 3).double()
    (gradient,) = torch.autograd.grad((policy.probs() * rewards).sum(1).mean(), policy.logits)
    assert torch.allclose(exact_gradient(rewards), gradient)


@pytest.mark.parametrize("baseline", ["none", "leave_one_out"])
def test_an_estimate_is_the_reinforce_loss_differentiated(baseline: str) -> None:
    rewards, policy = payments(3.0), TabularPolicy(2, 3).double()
    answers = draw(rewards, 16, 1, seed=4)
    paid = pay(rewards, answers)[0]
    advantages = paid if baseline == "none" else leave_one_out(paid.reshape(-1, GROUP)).view_as(paid)
    logp, _ = policy.evaluate(torch.tensor([0, 1])[:, None].expand(2, 8), answers[0])
    (gradient,) = torch.autograd.grad(-reinforce(logp, advantages).mean(), policy.logits)
    assert torch.allclose(estimates(baseline, rewards, 16, batches=1, seed=4)[0], gradient)


@pytest.mark.parametrize(
    ("baseline", "shrink"), [("none", 1.0), ("mean", 1 - 1 / 8), ("leave_one_out", 1.0), ("critic", 1.0)]
)
def test_only_the_baseline_that_includes_the_answer_itself_is_biased(baseline: str, shrink: float) -> None:
    rewards = payments(0.5)
    found = estimates(baseline, rewards, 8, batches=40_000, seed=1).mean(0)
    # The spread of one estimate is below 0.5 a coordinate, so that of this mean is below 0.0025.
    assert torch.allclose(found, shrink * exact_gradient(rewards), atol=0.01)


def test_a_constant_added_to_one_prompt_hurts_only_baselines_that_do_not_know_the_prompt() -> None:
    near, far = payments(0.0), payments(8.0)
    for baseline in ("leave_one_out", "critic"):
        assert torch.allclose(estimates(baseline, near, 16), estimates(baseline, far, 16))
    for baseline in ("none", "mean"):
        assert estimates(baseline, far, 16).std(0).sum() > 2 * estimates(baseline, near, 16).std(0).sum()


def test_unknown_baseline() -> None:
    with pytest.raises(ValueError, match="baseline"):
        estimates("median", payments(1.0), 16)


def test_every_corner_of_every_control_draws() -> None:
    widget = gradient_explorer()
    for baseline in BASELINES:
        to_json(widget.compute(**{**widget.values, "baseline": baseline}))
    for name in ("rows", "gap", "seed"):
        for end in (widget.controls[name].min, widget.controls[name].max):  # type: ignore[attr-defined]
            to_json(widget.compute(**{**widget.values, name: end}))
    assert "wrong way" in cloud_scene().caption


def test_no_legend_row_falls_on_the_name_of_its_axis() -> None:
    for width in range(760, 940, 20):  # whichever label is the first to need another row
        shapes = layout(replace(cloud_scene(), width=width))
        words = {shape.text: shape.y for shape in shapes if isinstance(shape, Words)}
        assert words["sideways"] - words["exact"] >= 15
