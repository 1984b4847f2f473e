"""The explorers of labels, against closed forms: where each loss comes to rest, and which one never does."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from rlbase.exact import bt_projection, ipo_optimum, kl_optimum, total_variation
from rlbase.explore.kl import REF, REWARD
from rlbase.explore.labels import (
    agreed,
    certainty_explorer,
    certainty_scene,
    counted,
    fitted,
    flipped,
    noise_explorer,
    noise_scene,
)
from rlbase.explore.live import Explorable, to_json
from rlbase.losses import cdpo, dpo, ipo, rdpo

BT = (REWARD[:, None] - REWARD).sigmoid()


@pytest.mark.parametrize("make", [certainty_explorer, noise_explorer], ids=lambda f: f.__name__)
def test_every_corner_of_every_control_draws(make) -> None:
    widget: Explorable = make()
    start = widget.values
    for name, control in widget.controls.items():
        kind = type(control).__name__
        ends = [v for _, v in control.options] if kind == "Dropdown" else (control.min, control.max)
        for end in ends:
            to_json(widget.compute(**{**start, name: 10**end if kind == "FloatLogSlider" else end}))


def test_each_loss_comes_to_its_own_optimum() -> None:
    noisy = flipped(BT, 0.2)
    rests = {
        partial(dpo, beta=0.5): kl_optimum(REF, bt_projection(noisy), beta=0.5),
        partial(rdpo, beta=0.5, label_smoothing=0.2): kl_optimum(REF, REWARD, beta=0.5),
        partial(cdpo, beta=0.5, label_smoothing=0.2): kl_optimum(
            REF, bt_projection(flipped(noisy, 0.2)), beta=0.5
        ),
        partial(ipo, tau=0.1): ipo_optimum(REF, noisy, tau=0.1),
        partial(ipo, tau=0.06): ipo_optimum(REF, BT, tau=0.1),  # noise shrinks what IPO asks for by 1 - 2e
    }
    for loss, rest in rests.items():
        assert total_variation(fitted(loss, noisy, 300)[-1].exp(), rest) < 1e-3


def test_certainty_drives_dpo_on_and_leaves_ipo_where_it_is() -> None:
    for beta in (0.1, 0.5, 2.0):
        path = fitted(partial(dpo, beta=beta), agreed(1.0), 1000) - REF.log()
        assert path[1000, 3] - path[1000, 0] > 1.5 * (path[200, 3] - path[200, 0])
    path = fitted(partial(ipo, tau=0.1), agreed(1.0), 1000) - REF.log()
    assert (path[1000, 3] - path[1000, 0]).item() == pytest.approx(7.5, abs=1e-3)  # (7/8 - 1/8) / .1


def test_shares_are_probabilities_and_settle_on_the_truth() -> None:
    seen = counted(BT, 20_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(seen + seen.T, torch.ones_like(seen))
    torch.testing.assert_close(seen, BT, atol=0.02, rtol=0)
    assert torch.equal(flipped(BT, 0.0), BT) and torch.equal(flipped(BT, 0.5), torch.full_like(BT, 0.5))


def test_captions_say_the_known_numbers() -> None:
    told = certainty_scene(0.9, 0.5, 0.1).caption
    assert "on its way to 7.8" in told and "it rests at 6.0" in told and "1/τ = 10.0" in told
    assert "has nowhere to rest" in certainty_scene(1.0).caption
    assert "0.0 after 100" in certainty_scene(0.5).caption
    told = noise_scene(0.2, 0.2).caption
    assert "DPO 0.294" in told and "rDPO 0.001" in told and "20% flipped, 20% assumed" in told
