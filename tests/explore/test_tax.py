"""The picture of the alignment tax draws what the mathematics says."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from rlbase.exact import kl_optimum, pretrain_optimum, total_variation
from rlbase.explore.kl import REF, REWARD
from rlbase.explore.tax import LAWS, PRETRAIN, climb_mixed, roads, tax_explorer, tax_scene


@pytest.mark.parametrize(("beta", "gamma"), [(0.5, 0.0), (0.5, 2.0), (0.1, 0.5), (10.0, 0.1)])
@pytest.mark.parametrize("law", LAWS)
def test_what_is_learned_is_the_optimum(beta: float, gamma: float, law: str) -> None:
    learned = climb_mixed(torch.tensor([beta]).double(), torch.tensor([gamma]).double(), LAWS[law])[0]
    optimum = pretrain_optimum(REF, REWARD, LAWS[law], beta=beta, gamma=gamma)
    assert total_variation(learned, optimum) < 0.01


def test_both_roads_begin_at_the_optimum_without_mixing() -> None:
    best = kl_optimum(REF, REWARD, beta=0.5)
    expected = (-(PRETRAIN @ best.log()).item(), (best @ REWARD).item())
    for surprise, reward in roads(0.5, "another law than the reference"):
        assert (surprise[0].item(), reward[0].item()) == pytest.approx(expected, abs=0.005)
    (mixed, _), (priced, _) = roads(0.5, "another law than the reference")
    assert mixed[-1] < 1.05 < 1.27 < priced[-1] < 1.29  # near the entropy of the text, and at the reference


def test_the_caption_says_where_you_are() -> None:
    assert "reward 1.394 (reference 0.600), surprise at pretraining text 2.112" in tax_scene(0.1).alt
    assert [*tax_explorer().controls] == ["gamma", "beta", "law"]
    beta: Any = tax_explorer().controls["beta"]  # a browser moves a value that lies between two steps
    steps = (math.log10(beta.value) - beta.min) / beta.step
    assert beta.value == 0.5 and steps == pytest.approx(round(steps), abs=1e-9)
