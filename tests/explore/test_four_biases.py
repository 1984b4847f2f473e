"""The four biases against their predictions: what each costs, what its remedy gives back, and what no remedy can."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rlbase.explore import bias_scenes
from rlbase.explore.biases import (
    CURVE,
    EXPERIMENTS,
    GOLD,
    LINE,
    PAIRS,
    REF,
    answered,
    confirmation,
    disagreement,
    drawn,
    judged,
    limited,
    queried,
    repeated,
    selected,
    selection,
    unrated,
)
from rlbase.explore.live import Explorable, to_json
from rlbase.feedback import importance_weights
from rlbase.losses import soft_bradley_terry
from rlbase.train import linear_reward

STRENGTHS = {"selection": 2.0, "confirmation": 1.5, "disagreement": 1.0, "limited": 0.5}
TRUTH = (GOLD[PAIRS[0]] - GOLD[PAIRS[1]]).sigmoid()  # of all pairs


def population(features: Tensor, weight: Tensor | None = None, prob: Tensor = TRUTH) -> Tensor:
    """The reward that endlessly many labels teach."""
    fit = linear_reward(features[PAIRS[0]] - features[PAIRS[1]], prob, weight=weight)
    return judged(fit.score(features)).reward


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_each_bias_costs_and_its_remedy_gives_back(name: str) -> None:
    """Over five seeds, in mean and far beyond the spread: error and regret, and wrong pairs where the ranking moves."""
    found = repeated(EXPERIMENTS[name], STRENGTHS[name])
    mean = {arm: values.mean(0) for arm, values in found.items()}
    spread = {arm: values.std(0) for arm, values in found.items()}
    for k in (0, 2):
        lost = mean["biased"][k] - mean["no bias"][k]
        assert lost > 3 * (spread["biased"][k] + spread["no bias"][k]) / math.sqrt(5) > 0
        assert mean["remedied"][k] - mean["no bias"][k] < 0.2 * lost
    assert mean["biased"][1] <= mean["no bias"][1] + 0.01


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_without_the_bias_nothing_is_lost(name: str) -> None:
    found = repeated(EXPERIMENTS[name], 0.0)
    assert (found["biased"] - found["no bias"]).mean(0).abs().max() < 0.05


def test_weighted_risk_is_that_of_full_coverage_and_the_plain_one_is_not() -> None:
    """A fixed reward, the best line; its exact risk over all pairs against estimates from those that were shown."""
    line = population(LINE)
    one, other = torch.cartesian_prod(torch.arange(42), torch.arange(42)).T
    fair = (GOLD[one] - GOLD[other]).sigmoid()

    def risk(pairs: tuple[Tensor, Tensor], label: Tensor) -> Tensor:
        return soft_bradley_terry(line[pairs[0]], line[pairs[1]], label)

    exact = risk((one, other), fair).mean()
    law = selected(1.0)
    each = importance_weights(REF, law)
    within = []
    for seed in range(20):
        draws = torch.Generator().manual_seed(seed)
        pairs = drawn(law, 20_000, draws)
        losses = risk(pairs, answered(*pairs, draws))
        weighted = each[pairs[0]] * each[pairs[1]] * losses
        errors = [x.std() / math.sqrt(len(x)) for x in (losses, weighted)]
        assert abs(losses.mean() - exact) > 5 * errors[0]
        within.append(abs(weighted.mean() - exact) < 2 * errors[1])
    assert sum(within) >= 17  # 95 % of 20, less chance


def test_where_nothing_is_shown_no_weight_helps_and_the_effective_size_does_not_warn() -> None:
    with pytest.raises(ValueError, match="is never drawn"):
        importance_weights(REF, selected(0.0, 0.0))
    open_, cut = (selection(0.0, 0, longest=longest) for longest in (1.0, 0.0))
    assert cut.facts["effective"] == pytest.approx(1.0)
    assert cut.arms["remedied"].outcome.regret > 2 * open_.arms["remedied"].outcome.regret


def test_the_effective_size_is_the_exact_one() -> None:
    found = [selection(1.0, seed, 20_000).facts for seed in range(3)]
    for facts in found:
        assert facts["effective"] == pytest.approx(facts["expected"], rel=0.1)
    law = (-CURVE[:21, 0]).softmax(0)
    assert found[0]["expected"] == pytest.approx((1 / (1 / 21**2 / law).sum().item()) ** 2)


def test_a_model_that_holds_gold_needs_no_weights() -> None:
    arms = repeated(selection, 2.0)
    assert arms["better model"][:, 2].max() < 0.05 < arms["no bias"][:, 2].min()
    assert arms["upside down"][:, 2].min() > arms["biased"][:, 2].max()


def test_belief_is_found_and_shifts_the_reward_by_itself() -> None:
    """Known exactly: with names, the house is worth c more, however many are asked; blind, it is not."""
    off, crowd, blind = [], [], []
    for seed in range(20):
        trial = confirmation(1.5, seed)
        off.append((trial.facts["belief"] - 1.5) / trial.facts["error"])
        house = {name: (arm.reward[21:] - arm.reward[:21]).mean() + 0.4 for name, arm in trial.arms.items()}
        crowd.append(house["crowd"].item())
        blind.append(house["no bias"].item())
        assert house["biased"].item() == pytest.approx(1.5, abs=0.25)
        assert abs(house["remedied"]) < 0.25
    assert sum(abs(z) < 2 for z in off) >= 17
    assert torch.tensor(crowd).mean().item() == pytest.approx(1.5, abs=0.03)
    assert torch.tensor(crowd).std() < 0.06
    assert abs(sum(blind) / 20) < 0.1 * 1.5


def test_a_crowd_that_is_pooled_shrinks_as_turned_labels_do() -> None:
    wrong = sum((0.05, 0.15, 0.3, 0.4, 0.5, 0.8)) / 6
    exact = population(CURVE, prob=wrong + (1 - 2 * wrong) * TRUTH)
    pooled = torch.stack([disagreement(1.0, seed, 6000).arms["biased"].reward for seed in range(3)]).mean(0)
    assert (pooled - exact).abs().max() < 0.08
    for seed in range(5):
        facts = disagreement(1.0, seed).facts
        assert facts["consensus"] > facts["vote"] + 0.1
        assert facts["alpha"] < 0.1
    assert disagreement(0.0).facts["alpha"] == pytest.approx(1.0)


def test_answers_that_nobody_rated_stay_with_the_prior() -> None:
    for seed in range(3):
        trial = limited(0.5, seed)
        assert trial.facts["unrated"] == pytest.approx(trial.facts["prior"], abs=1e-6)
        never = unrated(0.5, seed)
        alone = (
            (GOLD[never] - GOLD[~never].mean()).square().mean().sqrt().item()
        )  # the mean of the rated for all
        assert trial.facts["prior"] == pytest.approx(alone)
        assert trial.arms["biased"].reward[never].std() < 1e-9
        rated = (trial.arms["biased"].reward - GOLD)[~never]
        assert rated.std() < 0.3


def test_chosen_comparisons_need_a_quarter_less_labels_and_the_error_is_foretold() -> None:
    errors = {
        (actively, n): torch.tensor(
            [queried(n, seed, actively=actively).arms["learned"].outcome.error ** 2 for seed in range(60)]
        )
        for actively, n in ((False, 800), (True, 600))
    }
    assert errors[True, 600].mean() < errors[False, 800].mean()  # a quarter less, and not worse
    for (actively, n), squared in errors.items():
        predicted = (
            sum(queried(n, seed, actively=actively).facts["predicted"] ** 2 for seed in range(10)) / 10
        )
        assert squared.mean().item() == pytest.approx(predicted, rel=0.15)


def test_choosing_aims_at_the_error_of_the_reward() -> None:
    """An even label is worth 10.8 of squared error over n; the largest log det would give 7.3, our aim 6.4."""
    left = [1600 * queried(1600, seed, actively=True).facts["predicted"] ** 2 for seed in range(3)]
    assert max(left) < 6.8


def test_choosing_by_a_wrong_model_learns_the_wrong_thing_well() -> None:
    """A line asks for the longest and the shortest answers, and never hears of the best ones between."""
    even, chosen = (
        [queried(2000, seed, actively=actively, features=LINE) for seed in range(5)]
        for actively in (False, True)
    )
    regret = [[trial.arms["learned"].outcome.regret for trial in trials] for trials in (even, chosen)]
    assert min(regret[1]) > 1.3 * max(regret[0])
    for trial in (*even, *chosen):  # and neither is any less sure of itself
        assert trial.facts["predicted"] < 0.1 * trial.arms["learned"].outcome.error


@pytest.mark.parametrize("name", ["confirmation", "disagreement", "limited"])
def test_more_labels_do_not_cure_a_bias(name: str) -> None:
    few, many = (repeated(EXPERIMENTS[name], STRENGTHS[name], n=n) for n in (1000, 16_000))
    few, many = ({arm: values[:, 0].mean().item() for arm, values in x.items()} for x in (few, many))
    assert many["no bias"] < 0.45 * few["no bias"]
    assert many["remedied"] < 0.45 * few["remedied"]
    assert many["biased"] > 0.85 * few["biased"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_end_of_every_control_draws(name: str) -> None:
    widget: Explorable = getattr(bias_scenes, f"{name}_explorer")()
    start = widget.values
    for control, box in widget.controls.items():
        ends = (True, False) if isinstance(start[control], bool) else (box.min, box.max)
        for end in ends:
            to_json(widget.compute(**{**start, control: end}))


def test_captions_say_what_was_found() -> None:
    assert "55 times as often" in bias_scenes.selection_scene(2.0).caption
    assert (
        "7 times as often as the middle, and longer ones never"
        in bias_scenes.selection_scene(2.0, True).caption
    )
    trial = confirmation(1.5)
    assert f"{trial.facts['belief']:.2f} ±" in bias_scenes.confirmation_scene(1.5).caption
    assert "right in 95%, 85%, 70%, 60%, 50%, 20%" in bias_scenes.disagreement_scene(1.0).caption
    assert "50% of the answers are never rated" in bias_scenes.limited_scene(0.5).caption


def test_names_by_lot_are_another_remedy_than_no_names() -> None:
    """Both take the belief out of the reward; the lots let it into the labels first, and say how large it is."""
    trial = EXPERIMENTS["confirmation"](3.0)
    assert (trial.arms["remedied"].reward - trial.arms["no bias"].reward).abs().max() > 0.01
    assert trial.arms["remedied"].outcome.error < trial.arms["biased"].outcome.error / 3
