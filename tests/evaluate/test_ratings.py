"""Ratings: closed forms, the likelihood's stationary point, order, ties, and players whom the data cannot place."""

from __future__ import annotations

import math
import random
import sys

import pytest
import torch

from rlbase.evaluate import Match, bradley_terry_strengths, elo_from_strengths, elo_intervals, online_elo

THREE_TO_ONE: list[Match] = [("a", "b", 1.0)] * 3 + [("a", "b", 0.0)]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def round_robin(strengths: dict[str, float]) -> list[Match]:
    """Every pair once, the first one's share being exactly its chance: the likelihood peaks at the truth."""
    names = list(strengths)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    return [(a, b, sigmoid(strengths[a] - strengths[b])) for a, b in pairs]


def simulated(games: int, seed: int) -> list[Match]:
    truth, rng = {"a": 1.0, "b": 0.3, "c": 0.0, "d": -1.3}, random.Random(seed)
    found: list[Match] = []
    for _ in range(games):
        x, y = rng.sample(sorted(truth), 2)
        found.append((x, y, float(rng.random() < sigmoid(truth[x] - truth[y]))))
    return found


def test_odds_of_three_to_one_are_190_8_points() -> None:
    strengths = bradley_terry_strengths(THREE_TO_ONE)
    assert strengths["a"] - strengths["b"] == pytest.approx(math.log(3), rel=1e-8)
    elo = elo_from_strengths(strengths)
    assert elo["a"] - elo["b"] == pytest.approx(400 * math.log10(3))
    assert round(elo["a"] - elo["b"], 1) == 190.8
    assert sum(elo.values()) / 2 == pytest.approx(1000)


def test_recovers_known_strengths() -> None:
    truth = {"a": 1.2, "b": 0.1, "c": -0.4, "d": -0.9}
    assert bradley_terry_strengths(round_robin(truth)) == pytest.approx(truth, abs=1e-6)


def test_every_player_wins_as_often_as_expected() -> None:
    """The likelihood's gradient is zero: wins minus the sum of sigma over a player's matches."""
    matches = simulated(300, seed=0)
    strengths = bradley_terry_strengths(matches)
    surplus = dict.fromkeys(strengths, 0.0)
    for a, b, share in matches:
        surplus[a] += share - sigmoid(strengths[a] - strengths[b])
        surplus[b] -= share - sigmoid(strengths[a] - strengths[b])
    assert max(map(abs, surplus.values())) < 1e-6
    assert sum(strengths.values()) == pytest.approx(0, abs=1e-9)


def test_order_moves_online_elo_and_not_bradley_terry() -> None:
    matches = simulated(200, seed=1)
    shuffled = random.Random(5).sample(matches, len(matches))
    assert bradley_terry_strengths(shuffled) == pytest.approx(bradley_terry_strengths(matches), abs=1e-7)
    one, two = online_elo(matches), online_elo(shuffled)
    assert max(abs(one[name] - two[name]) for name in one) > 20


def test_who_is_named_first_does_not_matter() -> None:
    matches = simulated(200, seed=2)
    turned: list[Match] = [(b, a, 1 - share) for a, b, share in matches]
    assert bradley_terry_strengths(turned) == pytest.approx(bradley_terry_strengths(matches), abs=1e-7)
    assert online_elo(turned) == pytest.approx(online_elo(matches))


def test_online_elo_by_hand() -> None:
    # Even players: expected 1/2, so the winner gains 32 / 2 = 16. Then 1016 against 984 and a loses: it was expected to
    # win with 1 / (1 + 10^(-32 / 400)) = .54592, so it falls by 32 * .54592 = 17.47.
    found = online_elo([("a", "b", 1.0), ("a", "b", 0.0)])
    assert found["a"] == pytest.approx(1016 - 17.4695, abs=1e-3)
    assert sum(found.values()) == pytest.approx(2000)


def test_a_tie_is_half_a_win_to_both() -> None:
    halves: list[Match] = [("a", "b", 0.5)] * 2 + [("a", "b", 1.0)]  # 2 to 1
    strengths = bradley_terry_strengths(halves)
    assert strengths["a"] - strengths["b"] == pytest.approx(math.log(2), rel=1e-7)


@pytest.mark.parametrize(
    "matches",
    [
        [("a", "b", 1.0)] * 3,
        [("a", "b", 1.0), ("b", "a", 1.0), ("a", "c", 1.0), ("b", "c", 1.0)],
        [("a", "b", 0.5), ("c", "d", 0.5)],
    ],
    ids=["undefeated", "winless", "two groups that never met"],
)
def test_a_maximum_at_infinity_is_said_and_a_prior_brings_it_back(matches: list[Match]) -> None:
    with pytest.raises(ValueError, match=r"no finite maximum.*pass prior=0.1"):
        bradley_terry_strengths(matches)
    assert all(map(math.isfinite, bradley_terry_strengths(matches, prior=0.1).values()))


def test_prior_is_that_many_imagined_ties() -> None:
    # 3 wins, none lost, 2 imagined ties: 4 to 1
    strengths = bradley_terry_strengths([("a", "b", 1.0)] * 3, prior=2.0)
    assert strengths["a"] - strengths["b"] == pytest.approx(math.log(4), rel=1e-7)


def test_intervals_hold_the_truth_and_shrink_with_the_matches() -> None:
    truth = elo_from_strengths({"a": 1.0, "b": 0.3, "c": 0.0, "d": -1.3})
    few, many = elo_intervals(simulated(80, seed=3)), elo_intervals(simulated(1280, seed=3))
    assert list(many) == ["a", "b", "c", "d"]
    assert all(many[name].low < truth[name] < many[name].high for name in truth)
    for name in truth:
        assert few[name].low < few[name].value < few[name].high
        # sixteen times the matches, a quarter of the width
        width = (many[name].high - many[name].low) / (few[name].high - few[name].low)
        assert 0.15 < width < 0.4
    assert sum(e.n for e in many.values()) == 2 * 1280


def test_intervals_repeat_with_the_seed() -> None:
    matches = simulated(60, seed=4)
    same = [elo_intervals(matches, generator=torch.Generator().manual_seed(7)) for _ in range(2)]
    assert same[0] == same[1]


def test_without_choix_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "choix", None)
    with pytest.raises(ImportError, match=r"needs choix, `pip install rlbase\[eval\]`"):
        bradley_terry_strengths(THREE_TO_ONE)
    assert online_elo(THREE_TO_ONE)["a"] > 1000, "the running update needs no library"
