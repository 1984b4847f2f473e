"""KTO's explorer, against its closed form."""

from __future__ import annotations

import pytest

from rlbase.exact import kto_optimum, total_variation
from rlbase.explore.live import to_json
from rlbase.explore.verdicts import LIKED, REF, learn_verdicts, verdict_explorer, verdict_scene


def test_every_corner_of_every_control_draws() -> None:
    widget = verdict_explorer()
    for price in (0.25, 3.0):
        for heard in (0.1, 1.0):
            for own in (False, True):
                to_json(widget.compute(price=price, heard=heard, own_kl=own))


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("odds", [0.2, 0.5, 1.0, 2.0])
def test_what_is_learned_is_the_optimum(odds: float, own: bool) -> None:
    known, _ = kto_optimum(REF, LIKED, beta=0.5, undesirable_weight=odds, kl=None if own else 0.0)
    learned = learn_verdicts(REF, REF * LIKED, odds * REF * (1 - LIKED), 0.5, own)
    assert total_variation(learned, known) < 0.005


def test_captions_say_the_known_numbers() -> None:
    assert "more than 50.0 % survives: B D. Reference point 1.2;" in verdict_scene().caption
    assert "Reference point 0;" in verdict_scene(own_kl=False).caption
    assert "more than 33.3 % survives: B C D." in verdict_scene(0.5).caption
    assert verdict_scene(1.0, 0.5).caption == verdict_scene(0.5, 1.0).caption  # unheard is as good as free
