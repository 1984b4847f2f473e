"""The four biases in hand: one slider each, from which labels, reward model and policy are computed anew."""

from __future__ import annotations

import math
from functools import lru_cache

from rlbase.exact import kl_optimum
from rlbase.explore.biases import (
    BETA,
    CURVE,
    ERRORS,
    GOLD,
    LENGTHS,
    REF,
    Trial,
    confirmation,
    disagreement,
    judged,
    limited,
    selection,
)
from rlbase.explore.live import Explorable, explore, int_slider, slider, toggle
from rlbase.explore.scene import Bars, Line, Panel, Scene

COLORS = {"no bias": "reference", "biased": "wrong", "remedied": "policy"}
PARTS = {
    "short": CURVE[:, 0] < -1 / 3,
    "middle": CURVE[:, 0].abs() <= 1 / 3,
    "long": CURVE[:, 0] > 1 / 3,
    "by the house": CURVE[:, 2] == 1,
}
experiments = {
    e.__name__: lru_cache(maxsize=256)(e) for e in (selection, confirmation, disagreement, limited)
}


def bias_scene(trial: Trial, caption: str) -> Scene:
    """Rewards over lengths, what they cost, and whom the policies let answer; a house's reward is dashed.

    >>> bias_scene(limited(0.5), "Half of the answers are never rated.")
    Scene('Reward learned', 'What it costs', 'The policy that follows')
    """
    curves, costs, who = [], [], []
    shown = {"gold": judged(GOLD), **{name: trial.arms[name] for name in ("biased", "remedied")}}
    for name, arm in shown.items():
        color = COLORS.get(name, "truth")
        curves.append(Line(LENGTHS, arm.reward[:21], color, name, width=5 if name == "gold" else 2.5))
        curves.append(
            Line(LENGTHS, arm.reward[21:], color, dashed=True, width=3.5 if name == "gold" else 1.5)
        )
        policy = kl_optimum(REF, arm.reward, beta=BETA)
        who.append(Bars([policy[part].sum() for part in PARTS.values()], color, name))
    for name, color in COLORS.items():
        error, accuracy, regret = trial.arms[name].outcome
        costs.append(Bars([error, 1 - accuracy, regret], color, name))
    panels = [
        Panel(curves, "Reward learned", "length; dashed: by the house", "reward, mean 0", (-1, 1), (-5, 5)),
        Panel(
            costs,
            "What it costs",
            y_label="nats, share, nats",
            y_range=(0, 2.4),
            categories=("error", "wrong pairs", "regret"),
            weight=1.2,
        ),
        Panel(
            who,
            "The policy that follows",
            y_label="probability",
            y_range=(0, 1.08),
            categories=list(PARTS),
            weight=1.5,
        ),
    ]
    return Scene(panels, caption, width=1180, height=340)


def _regret(trial: Trial) -> str:
    regret = {name: trial.arms[name].outcome.regret for name in COLORS}
    return ", ".join(f"{name} {value:.2f}" for name, value in regret.items())


def selection_scene(strength: float = 2.0, cut: bool = False, seed: int = 0) -> Scene:
    """Whom one shows: short answers more often than long ones, or those alone."""
    trial = experiments["selection"](strength, int(seed), longest=0.0 if cut else 1.0)
    times, last = (
        math.exp(strength if cut else 2 * strength),
        "the middle, and longer ones never" if cut else "the longest",
    )
    caption = (
        f"The shortest answers are shown {times:,.0f} times as often as {last}. Regret: {_regret(trial)}. "
    )
    left = trial.facts["effective"]
    return bias_scene(trial, f"{caption}The weights leave the worth of {left:.0%} of the labels.")


def selection_explorer() -> Explorable:
    """How unevenly answers are shown, and whether long ones are shown at all."""
    controls = {
        "strength": slider(2.0, 0.0, 3.0, step=0.25, label="how unevenly"),
        "cut": toggle(False, label="never show the longer half"),
        "seed": int_slider(0, 0, 9, label="draw"),
    }
    return explore(selection_scene, controls)


def confirmation_scene(strength: float = 1.5, seed: int = 0) -> Scene:
    """What raters believe of the house's answers before they read them."""
    trial = experiments["confirmation"](strength, int(seed))
    found, error = trial.facts["belief"], trial.facts["error"]
    caption = (
        f"The house is worth -0.40 by gold, {trial.facts['house']:+.2f} to raters who see names. "
        f"Names drawn at random: the belief is found as {found:.2f} ± {2 * error:.2f}, and taken out. "
        f"Regret: {_regret(trial)}."
    )
    return bias_scene(trial, caption)


def confirmation_explorer() -> Explorable:
    """How strongly raters believe in the house."""
    controls = {
        "strength": slider(1.5, 0.0, 3.0, step=0.25, label="belief in the house, c"),
        "seed": int_slider(0, 0, 9, label="draw"),
    }
    return explore(confirmation_scene, controls)


def disagreement_scene(strength: float = 1.0, seed: int = 0) -> Scene:
    """How far six raters are from one another."""
    trial = experiments["disagreement"](strength, int(seed))
    right = [1 - strength * e for e in (*ERRORS, 0.5, 0.8)]
    caption = (
        f"Six raters, right in {', '.join(f'{r:.0%}' for r in right)}; alpha {trial.facts['alpha']:.2f}. "
        f"A vote is right in {trial.facts['vote']:.0%}, the consensus in {trial.facts['consensus']:.0%}. "
        f"Regret: {_regret(trial)}; votes {trial.arms['vote'].outcome.regret:.2f}."
    )
    return bias_scene(trial, caption)


def disagreement_explorer() -> Explorable:
    """How much raters differ: from six good ones to a crowd with a spammer and an adversary."""
    controls = {
        "strength": slider(1.0, 0.0, 1.0, step=0.1, label="how different raters are"),
        "seed": int_slider(0, 0, 9, label="draw"),
    }
    return explore(disagreement_scene, controls)


def limited_scene(strength: float = 0.5, seed: int = 0) -> Scene:
    """How many of the answers are never rated."""
    trial = experiments["limited"](strength, int(seed))
    caption = (
        f"{strength:.0%} of the answers are never rated. There the table is off by {trial.facts['unrated']:.2f}, "
        f"the prior by {trial.facts['prior']:.2f}. Regret: {_regret(trial)}."
    )
    return bias_scene(trial, caption)


def limited_explorer() -> Explorable:
    """Which share of the answers is never rated."""
    controls = {
        "strength": slider(0.5, 0.0, 0.9, step=0.1, label="never rated"),
        "seed": int_slider(0, 0, 9, label="draw"),
    }
    return explore(limited_scene, controls)
