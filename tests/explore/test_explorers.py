"""What the explorers compute, against closed forms and brute force."""

from __future__ import annotations

import math

import pytest
import torch

from rlbase.exact import kl, kl_optimum, total_variation, value_iteration
from rlbase.explore.bandits import (
    BEST,
    MEANS,
    exploration_explorer,
    exploration_scene,
    simulate,
    softmax_explorer,
    softmax_scene,
)
from rlbase.explore.clipping import OLD_PROB, clip_explorer, clip_scene, surrogate, walk
from rlbase.explore.kl import (
    REF,
    REWARD,
    beta_explorer,
    beta_scene,
    climb,
    estimates,
    estimator_explorer,
    estimator_scene,
)
from rlbase.explore.live import Explorable, to_json
from rlbase.explore.scene import Bars, Cells, Line, Points, Scene
from rlbase.explore.values import FAR, MAP, gamma_explorer, gamma_scene, heads_for, world

EXPLORERS = [
    clip_explorer, beta_explorer, estimator_explorer, gamma_explorer, softmax_explorer, exploration_explorer,
]  # fmt: skip


def marked(scene: Scene, label: str) -> Line | Points | Bars:
    return next(m for p in scene.panels for m in p.marks if getattr(m, "label", "") == label)  # type: ignore[return-value]


@pytest.mark.parametrize("make", EXPLORERS, ids=lambda f: f.__name__)
def test_every_corner_of_every_control_draws(make) -> None:
    widget: Explorable = make()
    start = widget.values
    assert widget.scene.caption and len(widget.scene.alt) > len(widget.scene.caption)
    for name, control in widget.controls.items():
        ends = (
            [control.min, control.max] if hasattr(control, "min") else [value for _, value in control.options]
        )
        if type(control).__name__ == "FloatLogSlider":
            ends = [10**e for e in ends]
        for end in ends:
            to_json(widget.compute(**{**start, name: end}))


# Clipping -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "advantage", "value", "slope"),
    [
        (1.5, 1.0, 1.2, 0.0),  # clipped: 1.2 * 1
        (1.5, -1.0, -1.5, -1.0),  # the minimum keeps the worse one
        (0.5, 1.0, 0.5, 1.0),  # too small for a good action: still pulled back up
        (0.5, -1.0, -0.8, 0.0),
        (1.1, 2.0, 2.2, 2.0),
    ],
)
def test_surrogate_by_hand(ratio: float, advantage: float, value: float, slope: float) -> None:
    got, gradient = surrogate(torch.tensor([ratio], dtype=torch.float64), advantage, 0.2)
    assert got.item() == pytest.approx(value) and gradient.item() == pytest.approx(slope)


def test_the_walker_takes_the_steps_calculus_says() -> None:
    # d(ratio * A)/d(logit) = ratio * A * (1 - p) with p = ratio * OLD_PROB.
    logit, ratios = math.log(OLD_PROB / (1 - OLD_PROB)), [1.0]
    for _ in range(12):
        p = ratios[-1] * OLD_PROB
        logit += 0.3 * (ratios[-1] * 0.7 * (1 - p) if ratios[-1] <= 1.2 else 0.0)
        ratios.append(1 / (1 + math.exp(-logit)) / OLD_PROB)
    assert walk(0.2, 0.7, 12, 0.3) == pytest.approx(ratios)
    assert ratios[-1] > 1.2 and ratios[-1] == ratios[-2]  # it left the interval and rests there


def test_without_the_clip_the_walker_goes_on() -> None:
    with_clip, without = walk(0.2, 1.0, 40, 0.15), walk(None, 1.0, 40, 0.15)
    assert with_clip[-1] < 1.35 and without[-1] > 3 and max(without) < 1 / OLD_PROB
    assert walk(0.2, 0.0, 5, 0.5) == pytest.approx([1.0] * 6)
    assert with_clip[:3] == pytest.approx(without[:3])  # inside the interval both are the same


def test_clip_scene_draws_the_minimum() -> None:
    curve = marked(clip_scene(clip=0.3, advantage=-1.0), "PPO: the smaller")
    assert isinstance(curve, Line)
    for x, y in zip(curve.x, curve.y, strict=True):
        assert y == pytest.approx(min(-x, -min(max(x, 0.7), 1.3)))


# KL -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.02, 0.05, 0.1, 0.3, 0.5, 1.0, 3.0, 10.0])
def test_the_trained_policy_reaches_the_known_optimum(beta: float) -> None:
    assert total_variation(climb(REF, REWARD, beta, 60), kl_optimum(REF, REWARD, beta=beta)) < 0.005


def test_beta_scene_shows_reference_optimum_and_learned() -> None:
    scene = beta_scene(0.5)
    # Worked by hand: ref * exp(r / 0.5) = .4, .3 e^2, .2 e, .1 e^4, divided by their sum.
    weights = [0.4, 0.3 * math.e**2, 0.2 * math.e, 0.1 * math.e**4]
    optimum = marked(scene, "known optimum")
    assert isinstance(optimum, Bars) and optimum.heights == pytest.approx([w / sum(weights) for w in weights])
    learned = marked(scene, "learned, 60 steps")
    assert isinstance(learned, Bars) and learned.heights == pytest.approx(optimum.heights, abs=0.005)
    untrained = marked(beta_scene(0.5, 0), "learned, 0 steps")
    assert isinstance(untrained, Bars) and untrained.heights == pytest.approx(REF.tolist())


def test_nothing_lies_above_the_frontier() -> None:
    frontier = marked(beta_scene(), "best possible")
    assert isinstance(frontier, Line)
    generator = torch.Generator().manual_seed(1)
    for _ in range(200):
        p = (3 * torch.randn(4, generator=generator, dtype=torch.float64)).softmax(0)
        divergence, reward = kl(p, REF), (p @ REWARD).item()
        best = min((y for x, y in zip(frontier.x, frontier.y, strict=True) if x >= divergence), default=2.0)
        assert reward <= best + 1e-6


def test_estimators_against_their_closed_forms() -> None:
    # x ~ N(0, 1), logp - ref_logp = d^2/2 - d x: k1 has mean d^2/2 and deviation d; k2's mean is (d^2 + d^4/4)/2.
    d = 0.8
    exact, found = estimates(d, 64, repeats=4000)
    assert exact == pytest.approx(d**2 / 2)
    assert found["k1"].mean().item() == pytest.approx(exact, abs=0.01)
    assert found["k3"].mean().item() == pytest.approx(exact, abs=0.01)
    assert found["k2"].mean().item() == pytest.approx((d**2 + d**4 / 4) / 2, abs=0.01)
    assert found["k1"].std().item() == pytest.approx(d / 8, rel=0.05)
    assert (found["k3"] >= 0).all() and (found["k2"] >= 0).all()
    assert "k1 is below zero" in estimator_scene().caption


# Values ---------------------------------------------------------------------------------------------------


def test_gamma_heatmap_holds_the_optimal_values() -> None:
    transitions, rewards = world(0.1)
    values, _ = value_iteration(transitions, rewards, gamma=0.8)
    cells = gamma_scene(0.8, 0.1).panels[0].marks[0]
    assert isinstance(cells, Cells)
    signs = MAP.replace("\n", "")
    flat = [v for row in cells.values for v in row]
    for state, sign in enumerate(signs):
        if sign == "#":
            assert flat[state] is None
        elif sign in "S.":
            assert flat[state] == pytest.approx(values[state].item(), abs=1e-4)


def test_following_the_arrows_leads_to_the_goal() -> None:
    rows = MAP.split("\n")
    for gamma, goal, steps in ((0.5, (0, 0), 4), (0.95, (4, 6), 10)):
        cells = gamma_scene(gamma).panels[0].marks[0]
        assert isinstance(cells, Cells) and cells.arrows is not None
        row, column = 4, 0
        for _ in range(steps):
            arrow = cells.arrows[row][column]
            assert arrow is not None and rows[row][column] != "#"
            row, column = row + int(arrow[1]), column + int(arrow[0])
        assert (row, column) == goal


def test_the_discount_decides_between_the_goals() -> None:
    # Without slipping: 4 steps to the goal that pays 1, 10 to the one that pays 5: they break even at
    # gamma^3 = 5 gamma^k for the number k of steps before the far payment.
    transitions, rewards = world()
    start = MAP.replace("\n", "").index("S")
    assert signs_at(0) == "+" and signs_at(FAR) == "+"
    for gamma, goal in ((0.5, "nearby"), (0.6, "nearby"), (0.9, "far"), (0.99, "far")):
        values, q = value_iteration(transitions, rewards, gamma=gamma)
        assert goal in heads_for(transitions, q, start)
        assert values[start].item() == pytest.approx(max(gamma**3, 5 * gamma**9), abs=1e-6)
    assert heads_for(*_blind(), start) == ""
    assert "start is worth 0.000, and no way from there is better" in gamma_scene(0.0).caption


def signs_at(state: int) -> str:
    return MAP.replace("\n", "")[state]


def _blind() -> tuple[torch.Tensor, torch.Tensor]:
    transitions, rewards = world()
    return transitions, value_iteration(transitions, rewards, gamma=0.0).q


# Bandits --------------------------------------------------------------------------------------------------


def test_softmax_scene_by_hand() -> None:
    bars = softmax_scene(0.5).panels[0].marks[0]
    weights = [1, math.e, math.e**2, math.e**4]  # exp(preference / 0.5)
    assert isinstance(bars, Bars) and bars.heights == pytest.approx([w / sum(weights) for w in weights])
    cold, hot = softmax_scene(0.1), softmax_scene(10.0)
    assert "entropy 0.001" in cold.caption and "entropy 1.384" in hot.caption


def test_simulated_agents_explore_as_told() -> None:
    rewards, best = simulate("greedy", torch.ones(400), 100)
    assert rewards.mean().item() == pytest.approx(
        sum(MEANS) / len(MEANS), abs=0.03
    )  # always random: pure chance
    assert best.float().mean().item() == pytest.approx(0.1, abs=0.01)
    greedy, _ = simulate("greedy", torch.zeros(400), 100)
    curious, found = simulate("softmax", torch.full((400,), 0.3), 100)
    assert rewards.mean() < greedy.mean() < curious.mean() < MEANS[BEST]
    assert found[:, -1].float().mean() > 0.5
    with pytest.raises(ValueError, match="'softmax' or 'greedy', got 'ucb'"):
        simulate("ucb", torch.ones(1), 1)


def test_simulation_is_seeded() -> None:
    assert exploration_scene(seed=3).alt == exploration_scene(seed=3).alt != exploration_scene(seed=4).alt
