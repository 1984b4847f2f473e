"""A judge that likes the first place: labels by their law, close pairs by count, rewards and policies over seeds."""

from __future__ import annotations

import pytest
import torch

from rlbase.exact import swap_averaged
from rlbase.explore.judging import ASKED, FIXED, GOLD, LOT, NEW, experiment, judging_scene, labels, right

HARD, SOFT, PROBABILITIES, LOG_ODDS = ASKED


def test_labels_by_their_law() -> None:
    d = torch.tensor([0.5, -1.5], dtype=torch.float64)
    places = torch.tensor([True, False])
    assert labels(d, 2.0, SOFT, places).tolist() == pytest.approx(
        [d.add(2).sigmoid()[0].item(), (d - 2).sigmoid()[1].item()]
    )
    assert labels(d, 2.0, HARD, places).tolist() == [1.0, 0.0]
    assert torch.equal(labels(d, 2.0, PROBABILITIES, places), swap_averaged(d, 2.0))
    assert torch.equal(labels(d, 2.0, LOG_ODDS, ~places), d.sigmoid())
    many = labels(torch.full((40_000,), 0.5), 2.0, SOFT, torch.rand(40_000) < 0.5)  # one order, places by lot
    assert many.mean().item() == pytest.approx(swap_averaged(torch.tensor([0.5]), 2.0).item(), abs=0.01)


def test_one_order_is_a_coin_on_close_pairs_and_both_orders_are_not() -> None:
    """No gap below 1 outweighs a first place worth 2: a hard label says who stood first, and nothing else."""
    assert right(0.0, HARD) == 1.0
    assert right(2.0, HARD) == pytest.approx(0.5, abs=0.02)  # it drops by far more than fifteen points
    for asked in (PROBABILITIES, LOG_ODDS):
        assert right(2.0, asked) >= 0.98
    # a place worth 0.6: gaps below it are a coin, the others right; half of 0.6 is lost
    assert right(0.6, HARD) == pytest.approx(0.7, abs=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_log_odds_give_the_reward_back_and_probabilities_shrink_it(seed: int) -> None:
    clean = experiment(3.0, LOG_ODDS, seed=seed)
    assert clean.outcome.error < 0.06 and clean.outcome.regret < 0.01
    shrunk = experiment(3.0, PROBABILITIES, seed=seed)
    slope = (shrunk.reward @ GOLD / (GOLD @ GOLD)).item()
    exact = swap_averaged(torch.tensor([0.01], dtype=torch.float64), 3.0).logit().item() / 0.01
    assert exact < slope < 3 * exact and slope < 0.35  # flat, and of the right order
    assert shrunk.outcome.accuracy > 0.99 and shrunk.outcome.regret > 20 * clean.outcome.regret


@pytest.mark.parametrize("seed", range(3))
def test_a_fixed_first_place_becomes_a_taste_for_the_new_model(seed: int) -> None:
    lot, fixed = (experiment(1.0, SOFT, first, seed=seed) for first in (LOT, FIXED))
    gap = [found.reward[NEW].mean().item() - found.reward[~NEW].mean().item() for found in (lot, fixed)]
    assert abs(gap[0]) < 0.1 and gap[1] == pytest.approx(1.0, abs=0.12)  # the whole of it
    assert fixed.outcome.regret > lot.outcome.regret
    both = experiment(1.0, PROBABILITIES, FIXED, seed=seed)
    assert abs(both.reward[NEW].mean() - both.reward[~NEW].mean()) < 0.02


def test_equal_calls_and_pictures() -> None:
    one, two = experiment(2.0, SOFT), experiment(2.0, LOG_ODDS)
    assert 1300 > len(two.pairs) > 1100 and 2500 > len(one.pairs) > 2300  # a fifth are ties and left out
    assert one.label.shape == one.pairs.shape[:1]
    assert judging_scene(2.0, HARD).caption != judging_scene(2.0, LOG_ODDS).caption
    assert "Right in 100% of the close pairs" in judging_scene(0.0, LOG_ODDS).caption


def test_only_a_mixed_pair_has_a_fixed_first_place() -> None:
    """Who always takes the first: of a mixed pair the new one, of two old or two new ones either."""
    found = experiment(40.0, SOFT, FIXED)
    new = NEW[found.pairs]
    mixed = new[:, 0] != new[:, 1]
    assert torch.equal(found.label[mixed].round(), new[mixed, 0].double())
    for same in (new.all(1), ~new.any(1)):
        assert found.label[same].mean().item() == pytest.approx(0.5, abs=0.1)
