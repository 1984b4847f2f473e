"""The explorers of choosing among draws, against closed forms."""

from __future__ import annotations

import pytest
import torch

from rlbase.exact import best_of_n, kl, kl_optimum
from rlbase.explore.choosing import (
    TIED,
    choosing_explorer,
    choosing_scene,
    optimum_at,
    rejection_explorer,
    rejection_scene,
)
from rlbase.explore.kl import REF, REWARD
from rlbase.explore.live import Explorable, to_json


@pytest.mark.parametrize("make", [choosing_explorer, rejection_explorer], ids=lambda f: f.__name__)
def test_every_corner_of_every_control_draws(make) -> None:
    widget: Explorable = make()
    start = widget.values
    for name, control in widget.controls.items():
        kind = type(control).__name__
        ends = (False, True) if kind == "Checkbox" else (control.min, control.max)
        for end in ends:
            to_json(widget.compute(**{**start, name: 10**end if kind == "FloatLogSlider" else end}))


@pytest.mark.parametrize("beta", [0.1, 0.5, 3.0])
def test_the_optimum_is_found_by_its_distance(beta: float) -> None:
    target = kl_optimum(REF, REWARD, beta=beta)
    found, price = optimum_at(REF, REWARD, kl(target, REF))
    assert price == pytest.approx(beta, rel=1e-6)
    torch.testing.assert_close(found, target)


def test_no_choice_among_draws_earns_more_than_the_optimum_at_its_distance() -> None:
    for reward in (REWARD, TIED):
        for n in (2, 4, 16):
            kept = best_of_n(REF, reward, n)
            optimum, _ = optimum_at(REF, reward, kl(kept, REF))
            assert kl(optimum, REF) == pytest.approx(kl(kept, REF), abs=1e-9)
            assert (optimum @ reward) > (kept @ reward)


def test_captions_say_the_known_numbers() -> None:
    told = choosing_scene(4).caption
    assert "earns 1.266 at a KL of 0.583 nats (the popular formula says 0.636)" in told
    assert "KL of 0.501" in choosing_scene(4, tied=True).caption
    told = rejection_scene(0.5, 4).caption
    assert "15.8% of all draws are kept, 0.000 from the optimum" in told and "49.1% are kept" in told
