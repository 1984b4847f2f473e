"""The picture of the last stage draws what the mathematics says."""

from __future__ import annotations

import math
from typing import Any

import pytest

from rlbase.exact import kl, kl_optimum, total_variation
from rlbase.explore.kl import climb
from rlbase.explore.rlhf import CUT_OFF, MASK, PLACES, REF, SCORE, frontier, paid, rlhf_explorer, rlhf_scene


def test_the_reference_is_a_law_and_padding_pays_nobody() -> None:
    assert REF.sum().item() == pytest.approx(1)
    assert REF[CUT_OFF].sum().item() == pytest.approx(0.8**4)
    assert not paid(place="the last column, padding or not")[~MASK[:, -1]].any()
    assert (paid(penalty=2.0) - SCORE)[CUT_OFF].unique().tolist() == [-2.0]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("beta", [0.2, 0.5, 5.0])
def test_what_is_learned_is_the_optimum(beta: float, place: str) -> None:
    reward = paid(1.0, place)
    assert total_variation(climb(REF, reward, beta, 80), kl_optimum(REF, reward, beta=beta)) < 0.02


def best_at(nats: float) -> float:
    """The frontier at this distance, along the straight line between its points, which lies below it."""
    (x, y) = (list(reversed(values)) for values in frontier())
    i = next(i for i in range(1, len(x)) if x[i] >= min(nats, x[-1]))
    return y[i - 1] + (y[i] - y[i - 1]) * (min(nats, x[-1]) - x[i - 1]) / (x[i] - x[i - 1])


def test_only_the_right_place_lies_on_the_frontier() -> None:
    nats, score = frontier()
    assert nats == sorted(nats, reverse=True) and score == sorted(score, reverse=True)
    assert "mean score 1.69 at 1.11 nats, 30% cut off (reference 41%)" in rlhf_scene(0.5).alt
    for wrong in [*PLACES][1:]:
        optimum = kl_optimum(REF, paid(place=wrong), beta=0.5)
        assert (optimum @ SCORE).item() < best_at(kl(optimum, REF)) - 0.01
    assert [*rlhf_explorer().controls] == ["beta", "penalty", "place"]
    beta: Any = rlhf_explorer().controls["beta"]  # a browser moves a value that lies between two steps
    steps = (math.log10(beta.value) - beta.min) / beta.step
    assert beta.value == 0.5 and steps == pytest.approx(round(steps), abs=1e-9)
