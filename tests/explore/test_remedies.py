"""Six remedies against what they must come to, over seeds: their effect, their price, and where they do harm."""

from __future__ import annotations

import pytest
import torch

from rlbase.exact import majority_accuracy, mixing_weight
from rlbase.explore.live import Explorable, to_json
from rlbase.explore.remedies import (
    BETA,
    FEATURES,
    GOLD,
    REF,
    calibrated,
    calibration_explorer,
    check_explorer,
    checked,
    compared,
    cost,
    vote_explorer,
    voted,
)
from rlbase.explore.sources import (
    EXAMS,
    best_mix,
    errors,
    group_explorer,
    grouped,
    mix_explorer,
    mix_scene,
    population,
    watch_explorer,
    watched,
)
from rlbase.feedback import detection_power, passing_score

SIX = (0.92, 0.85, 0.6, 0.55, 0.55, 0.25)
SEEDS = range(5)
EXPLORERS = [
    vote_explorer,
    check_explorer,
    calibration_explorer,
    group_explorer,
    mix_explorer,
    watch_explorer,
]


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


@pytest.mark.parametrize("make", EXPLORERS, ids=lambda f: f.__name__)
def test_every_end_of_every_control_draws(make) -> None:
    widget: Explorable = make()
    start = widget.values
    for name, control in widget.controls.items():
        kind = type(control).__name__
        ends = (
            [v[1] if isinstance(v, tuple) else v for v in control.options]
            if kind == "Dropdown"
            else (control.min, control.max)
        )
        for end in ends:
            to_json(widget.compute(**{**start, name: end}))


# consensus


@pytest.mark.parametrize(("p", "n"), [(0.7, 3), (0.7, 5), (0.7, 9), (0.4, 9)])
def test_majorities_meet_the_binomial_tail(p: float, n: int) -> None:
    expected = majority_accuracy(p, n)
    found = mean(voted((p,) * n, seed=seed).right["majority"] for seed in SEEDS)
    assert found == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 5000) ** 0.5)


@pytest.mark.parametrize("seed", SEEDS)
def test_dawid_skene_beats_the_vote_and_its_reward_costs_less(seed: int) -> None:
    got = voted(SIX, seed=seed)
    assert got.right["Dawid-Skene"] >= got.right["majority"] + 0.03
    assert got.found.tolist() == pytest.approx(SIX, abs=0.07)
    regret = {name: found.regret for name, found in got.outcome.items()}
    assert regret["joint fit"] < regret["majority"] / 3


@pytest.mark.parametrize("seed", SEEDS)
def test_a_majority_of_liars_turns_the_truth_round(seed: int) -> None:
    got = voted((0.85, 0.85, 0.15, 0.15, 0.15), seed=seed)
    assert got.right["Dawid-Skene"] < got.right["majority"] < got.right["one rater"]
    assert got.right["Dawid-Skene"] < 0.15 and got.found[0] < 0.3 < 0.7 < got.found[4]
    worst = max(got.outcome, key=lambda name: got.outcome[name].regret)
    assert worst in ("Dawid-Skene", "joint fit") and got.outcome[worst].regret > 1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_shared_bias_survives_every_vote(seed: int) -> None:
    one, few, many = (voted((0.8,) * n, length=1.0, seed=seed) for n in (1, 3, 15))
    lost = [found.outcome["majority"].regret for found in (one, few, many)]
    assert lost[0] < lost[1] < lost[2]  # a rater's own slips water the bias down, a vote takes the water out
    ceiling = voted((1 - 1e-9,), length=1.0, seed=seed).right["one rater"]
    for name in ("majority", "Dawid-Skene"):
        assert few.right[name] < many.right[name] < ceiling + 0.03 < 0.85
    honest = voted((0.8,) * 15, seed=seed)
    assert many.outcome["majority"].regret > 3 * honest.outcome["majority"].regret


# gold questions


@pytest.mark.parametrize("seed", SEEDS)
def test_gold_questions_find_spammers_and_save_the_reward(seed: int) -> None:
    found = checked(40, 8, "spammers", seed=seed)
    assert found.chart.flagged[12:].sum() == 8 and found.chart.flagged[:12].sum() <= 1
    assert found.passed.regret < found.all.regret / 4


def test_the_chart_keeps_its_promises_over_many_seeds() -> None:
    for n in (5, 10, 20):
        out = torch.stack([checked(n, 10, n=100, seed=seed).chart.flagged for seed in range(60)]).double()
        power = detection_power(n, 0.9, 0.5)
        assert out[:, 10:].mean().item() == pytest.approx(
            power, abs=4 * (power * (1 - power) / 600) ** 0.5 + 1e-9
        )
        assert out[:, :10].mean().item() <= 0.01 + 4 * (0.01 * 0.99 / 600) ** 0.5
    assert passing_score(5, 0.9) == 3


@pytest.mark.parametrize("seed", SEEDS)
def test_wrong_gold_questions_send_the_wrong_people_home(seed: int) -> None:
    contested = checked(20, 8, "spammers", "contested", seed=seed).chart.flagged
    assert contested[:12].sum() >= 6
    looks = checked(30, 8, "lovers of length", "keyed by length", seed=seed)
    assert looks.chart.flagged[:12].sum() >= 11 and looks.chart.flagged[12:].sum() <= 6
    assert looks.passed.regret > 2 * looks.all.regret


# calibration


@pytest.mark.parametrize("stretch", [0.5, 3.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_temperature_is_found_and_the_reward_keeps_its_scale(stretch: float, seed: int) -> None:
    found = calibrated(stretch, gold=2000, n=20_000, seed=seed)
    assert found.temperature == pytest.approx(stretch, rel=0.1)
    assert found.curve["after"].ece < found.curve["before"].ece / 5
    assert found.outcome["after"].regret < found.outcome["before"].regret / 20


@pytest.mark.parametrize("seed", SEEDS)
def test_no_temperature_repairs_a_bias_and_unanimous_gold_makes_it_worse(seed: int) -> None:
    biased = calibrated(3.0, length=1.0, gold=2000, seed=seed)
    before, after = biased.outcome["before"], biased.outcome["after"]
    assert after.accuracy == pytest.approx(before.accuracy, abs=0.005) and after.accuracy < 0.8
    assert biased.curve["after"].ece < 0.05 and after.regret > 0.1
    alone, panel = (calibrated(1.0, gold=2000, votes=votes, seed=seed) for votes in (1, 9))
    assert panel.temperature < 0.6 and panel.outcome["after"].regret > 0.05
    assert panel.curve["after"].ece > 2 * panel.curve["before"].ece
    assert alone.outcome["after"].regret < 0.01


# groups


def test_weights_bring_back_the_target_and_the_labels_alone_do_not() -> None:
    truth = population(0.5).weight
    near = far = 0
    for seed in range(20):
        found = grouped(0.9, 0.5, 20_000, seed=seed)
        near += bool(((found.weighed.weight - truth).abs() < 2 * found.weighed.error).all())
        far += bool((found.came.weight[1] - truth[1]).abs() > 5 * found.came.error[1])
        aim = population(0.9).weight[1]
        assert (found.came.weight[1] - aim).abs() < 4 * found.came.error[1]  # it learns the mixture that came
    assert near >= 15 and far == 20


def test_the_price_of_weights_is_the_closed_form() -> None:
    for share, target in ((0.9, 0.5), (0.8, 0.3), (0.5, 0.5)):
        exact = 2000 / (target**2 / share + (1 - target) ** 2 / (1 - share))
        assert grouped(share, target, 2000).effective == pytest.approx(exact, rel=1e-6)


def test_with_one_label_of_a_group_weights_do_harm() -> None:
    """One label in two hundred stands for a tenth of the people."""
    found = [grouped(0.995, 0.9, 200, seed=seed).cost for seed in range(60)]
    assert mean(c[1].regret for c in found) > 1.2 * mean(c[0].regret for c in found)
    assert mean(c[1].regret > c[0].regret for c in found) > 0.6


# sources


@pytest.mark.parametrize(
    ("human", "cheap", "length"), [(200, 2000, 0.3), (200, 2000, 0.0), (1000, 2000, 0.1)]
)
def test_the_best_mixture_is_where_the_formula_says(human: int, cheap: int, length: float) -> None:
    ours, theirs, v1, v2 = errors(human, cheap, length, 200)
    assert best_mix(ours, theirs) == pytest.approx(mixing_weight(v1, v2, length), abs=0.03)


def test_the_caption_names_the_formula_of_a_biased_source() -> None:
    _, _, v1, v2 = errors(100, 2000, 0.3)
    best, unbiased = mixing_weight(v1, v2, 0.3), mixing_weight(v1, v2, 0.0)
    caption = mix_scene(100, 2000, 0.3).caption
    assert f"{best:.3f} by the formula" in caption and best > unbiased + 0.05
    assert f"Pooling gives {100 / 2100:.3f}" in caption


def test_pooling_trusts_the_cheap_source_too_much() -> None:
    ours, theirs, v1, v2 = errors(1000, 5000, 0.5)
    truth = torch.tensor([1.0, 0.0, 0.0])

    def regret(w: float) -> float:
        return mean(cost(truth + w * a + (1 - w) * b).regret for a, b in zip(ours, theirs, strict=True))

    best = mixing_weight(v1, v2, 0.5)
    assert regret(best) < regret(1.0) * 1.05 and regret(1000 / 6000) > 3 * regret(1.0)


# the agent


@pytest.mark.parametrize("seed", range(20))
def test_the_alarm_is_raised_before_gold_is_below_its_start(seed: int) -> None:
    looks = watched(seed=seed)
    first = next(i for i, look in enumerate(looks) if look.gap.p < 0.01 / len(looks))
    assert min(look.gold for look in looks[: first + 1]) > 0 > looks[-1].gold


def test_on_familiar_tasks_there_is_no_alarm_and_many_looks_need_a_smaller_p() -> None:
    found = torch.tensor([[look.gap.p for look in watched(EXAMS[1], seed=seed)] for seed in range(60)])
    assert (found.min(1).values < 0.01 / 12).sum() <= 3
    assert (found < 0.05).double().mean().item() == pytest.approx(0.05, abs=0.035)
    assert (found.min(1).values < 0.05).double().mean() > 0.3  # one in twenty, twelve times


# the world


def test_the_world_is_what_it_says() -> None:
    assert torch.equal(GOLD, FEATURES[:, 0]) and REF.sum().item() == pytest.approx(1) and BETA == 0.5
    apart = compared(5000, torch.Generator().manual_seed(0))
    assert (apart.abs().sum(1) > 0).all() and apart.mean(0).abs().max() < 0.1
    assert cost(torch.tensor([2.0, 0.0, 0.0])).accuracy == 1.0
