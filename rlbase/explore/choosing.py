"""Choosing among draws, in hand: best of n beside the best policy at the same KL, and what rejection sampling keeps."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from rlbase.exact import (
    acceptance_rate,
    best_of_n,
    best_of_n_kl_bound,
    kl,
    kl_optimum,
    rejection_law,
    total_variation,
)
from rlbase.explore.kl import REF, REWARD
from rlbase.explore.live import Explorable, explore, int_slider, log_slider, toggle
from rlbase.explore.scene import Bars, Line, Panel, Points, Scene, number

TIED = torch.tensor([0.0, 1.0, 1.0, 2.0], dtype=torch.float64)


def optimum_at(ref: Tensor, reward: Tensor, divergence: float) -> tuple[Tensor, float]:
    r"""The `kl_optimum` whose KL to ``ref`` is ``divergence`` nats, and its price $\beta$, found by bisection.

    No other policy at that KL earns more. A ``divergence`` beyond every optimum gives the best responses alone.

    >>> policy, beta = optimum_at(REF, REWARD, kl(kl_optimum(REF, REWARD, beta=0.5), REF))
    >>> round(beta, 3)
    0.5
    """
    low, high = 1e-3, 1e4
    for _ in range(50):
        beta = (low * high) ** 0.5
        low, high = (beta, high) if kl(kl_optimum(ref, reward, beta=beta), ref) > divergence else (low, beta)
    return kl_optimum(ref, reward, beta=high), high


@lru_cache
def _frontier(tied: bool) -> tuple[list[float], list[float]]:
    reward = TIED if tied else REWARD
    policies = [kl_optimum(REF, reward, beta=b) for b in np.geomspace(0.05, 50, 60).tolist()]
    return [kl(p, REF) for p in policies], [(p @ reward).item() for p in policies]


@lru_cache
def _road(tied: bool) -> tuple[list[float], list[float]]:
    reward = TIED if tied else REWARD
    policies = [best_of_n(REF, reward, n) for n in range(1, 65)]
    return [kl(p, REF) for p in policies], [(p @ reward).item() for p in policies]


def choosing_scene(n: int = 4, tied: bool = False) -> Scene:
    """Reference, best of n, and the optimum at the same KL; what each nat of KL buys on both roads."""
    reward = TIED if tied else REWARD
    chosen = best_of_n(REF, reward, int(n))
    divergence = kl(chosen, REF)
    optimum, _ = optimum_at(REF, reward, divergence)
    bars = [
        Bars(REF, "reference", "reference"),
        Bars(chosen, "other", f"best of {int(n)}"),
        Bars(optimum, "truth", "optimum, same KL"),
    ]
    names = [f"pays {number(r)}" for r in reward.tolist()]
    who = Panel(
        bars, "Which answer comes", "", "probability", y_range=(0, 1.08), categories=names, weight=1.25
    )
    earned, best = (chosen @ reward).item(), (optimum @ reward).item()
    marks = [
        Line(*_frontier(bool(tied)), "truth", "best possible", width=2),
        Line(*_road(bool(tied)), "other", "best of n", width=2, dashed=True),
        Points([divergence], [earned], "other", size=6),
        Points([divergence], [best], "truth", size=6, hollow=True),
    ]
    trade = Panel(marks, "What reward costs", "KL(π‖ref), nats", "expected reward", (-0.05, 2.4), (0.5, 2.1))
    caption = (
        f"Best of {int(n)} earns {earned:.3f} at a KL of {divergence:.3f} nats (the popular formula says "
        f"{best_of_n_kl_bound(int(n)):.3f}); the optimum at that KL earns {best:.3f}."
    )
    return Scene([who, trade], caption, width=900, height=350)


def choosing_explorer() -> Explorable:
    """The number of draws in hand, with and without ties among the rewards; everything is exact."""
    controls = {
        "n": int_slider(4, 1, 64, label="draws n"),
        "tied": toggle(False, label="let two answers pay alike"),
    }
    return explore(choosing_scene, controls)


def rejection_scene(beta: float = 0.5, draws: int = 4) -> Scene:
    """What rejection sampling keeps, and how much: the maximum known, and taken from the draws themselves."""
    optimum = kl_optimum(REF, REWARD, beta=beta)
    laws = {
        "maximum known": rejection_law(REF, REWARD, beta=beta),
        "maximum estimated": rejection_law(REF, REWARD, beta=beta, draws=int(draws)),
    }
    apart = {name: total_variation(law, optimum) for name, law in laws.items()}
    bars = [
        Bars(REF, "reference", "reference"),
        Bars(laws["maximum known"], "policy", "maximum known"),
        Bars(laws["maximum estimated"], "wrong", "estimated"),
    ]
    names = [f"pays {number(r)}" for r in REWARD.tolist()]
    who = Panel(
        bars, "Law of what is kept", "", "probability", y_range=(0, 1.08), categories=names, weight=1.4
    )
    sizes = list(range(1, 65))
    estimated = [acceptance_rate(REF, REWARD, beta=beta, draws=k) for k in sizes]
    known = acceptance_rate(REF, REWARD, beta=beta)
    marks = [
        Line(sizes, [100 * x for x in estimated], "wrong", "maximum estimated", width=2),
        Line([1, 64], [100 * known] * 2, "policy", "maximum known", width=2),
        Points([int(draws)], [100 * estimated[int(draws) - 1]], "wrong", size=6),
    ]
    share = Panel(marks, "How much is kept", "draws per prompt", "% of draws", (1, 64), (0, 104), x_log=True)
    caption = (
        f"β = {number(beta)}. Maximum known: {known:.1%} of all draws are kept, {apart['maximum known']:.3f} from the "
        f"optimum (total variation). Largest of {int(draws)} instead: {estimated[int(draws) - 1]:.1%} are kept, "
        f"{apart['maximum estimated']:.3f} from it."
    )
    return Scene([who, share], caption, width=900, height=350)


def rejection_explorer() -> Explorable:
    """The price β and the number of draws in hand: exact acceptance, and what is kept."""
    controls = {
        "beta": log_slider(0.5, 0.05, 10.0, label="price of KL, β", steps=10),
        "draws": int_slider(4, 1, 64, label="draws per prompt"),
    }
    return explore(rejection_scene, controls)
