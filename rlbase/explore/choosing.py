"""Choosing among draws, in hand: best of n beside the best policy at the same KL, and what rejection sampling keeps."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from rlbase import exact
from rlbase.explore.kl import REF, REWARD
from rlbase.explore.live import Explorable, explore, int_slider, log_slider, toggle
from rlbase.explore.scene import Bars, Line, Panel, Points, Scene, number

TIED = torch.tensor([0.0, 1.0, 1.0, 2.0], dtype=torch.float64)


def optimum_at(ref: Tensor, reward: Tensor, divergence: float) -> tuple[Tensor, float]:
    r"""The `kl_optimum` whose KL to ``ref`` is ``divergence`` nats, and its price $\beta$, found by bisection.

    No other policy at that KL earns more. A ``divergence`` beyond every optimum gives the best responses alone.

    >>> policy, beta = optimum_at(REF, REWARD, exact.kl(exact.kl_optimum(REF, REWARD, beta=0.5), REF))
    >>> round(beta, 3)
    0.5
    """
    low, high = 1e-3, 1e4
    for _ in range(50):
        beta = (low * high) ** 0.5
        too_far = exact.kl(exact.kl_optimum(ref, reward, beta=beta), ref) > divergence
        low, high = (beta, high) if too_far else (low, beta)
    return exact.kl_optimum(ref, reward, beta=high), high


@lru_cache
def _roads(tied: bool) -> list[tuple[list[float], list[float]]]:
    """KL and reward along the optima and along the best of 1, 2, ... 64."""
    reward = TIED if tied else REWARD
    optima = [exact.kl_optimum(REF, reward, beta=b) for b in np.geomspace(0.05, 50, 60).tolist()]
    chosen = [exact.best_of_n(REF, reward, n) for n in range(1, 65)]
    return [
        ([exact.kl(p, REF) for p in road], [(p @ reward).item() for p in road]) for road in (optima, chosen)
    ]


def choosing_scene(n: int = 4, tied: bool = False) -> Scene:
    """Reference, best of n, and the optimum at the same KL; what each nat of KL buys on both roads."""
    reward = TIED if tied else REWARD
    chosen = exact.best_of_n(REF, reward, int(n))
    divergence = exact.kl(chosen, REF)
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
        Line(*_roads(bool(tied))[0], "truth", "best possible", width=2),
        Line(*_roads(bool(tied))[1], "other", "best of n", width=2, dashed=True),
        Points([divergence], [earned], "other", size=6),
        Points([divergence], [best], "truth", size=6, hollow=True),
    ]
    trade = Panel(marks, "What reward costs", "KL(π‖ref), nats", "expected reward", (-0.05, 2.4), (0.5, 2.1))
    caption = (
        f"Best of {int(n)} earns {earned:.3f} at a KL of {divergence:.3f} nats (the popular formula says "
        f"{exact.best_of_n_kl_bound(int(n)):.3f}); the optimum at that KL earns {best:.3f}."
    )
    return Scene([who, trade], caption, width=900, height=350)


def choosing_explorer() -> Explorable:
    """The number of draws in hand, with and without ties among the rewards; everything is exact."""
    n, tied = int_slider(4, 1, 64, label="draws n"), toggle(False, label="let two answers pay alike")
    return explore(choosing_scene, {"n": n, "tied": tied})


def rejection_scene(beta: float = 0.5, draws: int = 4) -> Scene:
    """What rejection sampling keeps, and how much: the maximum known, and taken from the draws themselves."""
    optimum = exact.kl_optimum(REF, REWARD, beta=beta)
    law = exact.rejection_law(REF, REWARD, beta=beta)
    rough = exact.rejection_law(REF, REWARD, beta=beta, draws=int(draws))
    off, rough_off = (exact.total_variation(p, optimum) for p in (law, rough))
    bars = [Bars(REF, "reference", "reference"), Bars(law, "policy", "maximum known")]
    bars.append(Bars(rough, "wrong", "estimated"))
    names = [f"pays {number(r)}" for r in REWARD.tolist()]
    who = Panel(
        bars, "Law of what is kept", "", "probability", y_range=(0, 1.08), categories=names, weight=1.4
    )
    sizes = list(range(1, 65))
    estimated = [exact.acceptance_rate(REF, REWARD, beta=beta, draws=k) for k in sizes]
    known = exact.acceptance_rate(REF, REWARD, beta=beta)
    marks = [
        Line(sizes, [100 * x for x in estimated], "wrong", "maximum estimated", width=2),
        Line([1, 64], [100 * known] * 2, "policy", "maximum known", width=2),
        Points([int(draws)], [100 * estimated[int(draws) - 1]], "wrong", size=6),
    ]
    share = Panel(marks, "How much is kept", "draws per prompt", "% of draws", (1, 64), (0, 104), x_log=True)
    caption = (
        f"β = {number(beta)}. Maximum known: {known:.1%} of all draws are kept, {off:.3f} from the "
        f"optimum (total variation). Largest of {int(draws)} instead: {estimated[int(draws) - 1]:.1%} are kept, "
        f"{rough_off:.3f} from it."
    )
    return Scene([who, share], caption, width=900, height=350)


def rejection_explorer() -> Explorable:
    """The price β and the number of draws in hand: exact acceptance, and what is kept."""
    beta = log_slider(0.5, 0.05, 10.0, label="price of KL, β", steps=10)
    return explore(rejection_scene, {"beta": beta, "draws": int_slider(4, 1, 64, label="draws per prompt")})
