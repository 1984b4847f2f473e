"""The explorer of DPO, against closed forms."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rlbase.exact import bt_projection, kl_optimum, total_variation
from rlbase.explore.kl import REF, REWARD
from rlbase.explore.live import to_json
from rlbase.explore.preferring import preferred, preferring_explorer, shares, taught, taught_explorer


@pytest.mark.parametrize("noise", [0.0, 0.25, 0.45])
@pytest.mark.parametrize("beta", [0.05, 0.5, 5.0])
def test_dpo_lands_where_its_labels_say(beta: float, noise: float) -> None:
    learned, loss = preferred(beta, noise)
    asked = kl_optimum(REF, bt_projection(shares(noise)), beta=beta)
    assert total_variation(learned, asked) < 0.005
    assert 0 < loss < 0.7
    if not noise:
        assert total_variation(learned, kl_optimum(REF, REWARD, beta=beta)) < 0.005


def test_without_a_step_it_is_the_reference_and_the_loss_is_log_2() -> None:
    learned, loss = preferred(steps=0)
    torch.testing.assert_close(learned, REF)
    assert loss == pytest.approx(0.6931472, abs=1e-6)


@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_only_its_own_draws_find_what_the_file_lacks(beta: float) -> None:
    optimum = kl_optimum(REF, REWARD, beta=beta)
    (_, offline), (shares_of_best, online) = (taught(beta, False, own) for own in (False, True))
    assert total_variation(online, optimum) < 0.05 < total_variation(offline, optimum)
    assert shares_of_best[-1] == pytest.approx(online[3].item(), abs=1e-6)
    seen = offline[:3] / offline[:3].sum()  # among the three it compared, it is right
    assert total_variation(seen, optimum[:3] / optimum[:3].sum()) < 0.01
    assert total_variation(taught(beta, True, False)[1], optimum) < 0.02


@pytest.mark.parametrize("make", [preferring_explorer, taught_explorer], ids=lambda f: f.__name__)
def test_every_corner_of_every_control_draws(make: Any) -> None:
    widget = make()
    controls: dict[str, Any] = dict(widget.controls)
    for name, control in controls.items():
        for end in (False, True) if name == "complete" else (control.min, control.max):
            to_json(widget.compute(**{**widget.values, name: 10**end if name == "beta" else end}))
