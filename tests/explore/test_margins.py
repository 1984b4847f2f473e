"""SimPO's explorer, against its closed form."""

from __future__ import annotations

import pytest

from rlbase.exact import simpo_gap
from rlbase.explore.live import to_json
from rlbase.explore.margins import learn_gap, margin_explorer, margin_scene


def test_every_corner_of_every_control_draws() -> None:
    widget = margin_explorer()
    for gamma in (0.0, 3.0):
        for beta in (1.0, 10.0):
            for prob in (0.5, 0.95):
                for as_ratio in (False, True):
                    to_json(widget.compute(gamma=gamma, beta=beta, prob=prob, as_ratio=as_ratio))


@pytest.mark.parametrize("prob", [0.5, 0.6, 0.75, 0.9])
@pytest.mark.parametrize(("beta", "gamma"), [(1.0, 0.0), (2.0, 1.0), (10.0, 3.0)])
def test_the_gap_that_is_learned_is_the_known_one(prob: float, beta: float, gamma: float) -> None:
    assert learn_gap(prob, beta, gamma) == pytest.approx(simpo_gap(prob, beta=beta, gamma=gamma), abs=1e-3)


def test_captions_say_the_known_numbers() -> None:
    assert "Known gap 0.891 nats a token, trained 0.891." in margin_scene().caption
    told = margin_scene(gamma=1.0, beta=2.0, as_ratio=True).caption
    assert told.endswith("γ was passed as the ratio γ/β, so the margin is 2.") and "trained 1.35" in told
