"""Reward hacking in hand: gold against proxy as the policy moves away, and what a committee of reward models sees."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rlbase.envs.hackable import Hackable, flawed_members, hackable
from rlbase.evaluate import Path, best_of_n_path, ensemble_scores, rl_path
from rlbase.exact import best_of_n, kl_optimum
from rlbase.explore.live import Explorable, buttons, explore, int_slider, log_slider, slider
from rlbase.explore.scene import Line, Panel, Points, Scene, number

BETAS = np.geomspace(20, 0.05, 50).tolist()
SIZES = sorted({round(n) for n in np.geomspace(1, 20_000, 40)})


def gains(path: Path, world: Hackable) -> tuple[list[float], list[float], list[float]]:
    """Distance, and what proxy and gold reward have gained over the reference, along a path.

    >>> world = hackable(100)
    >>> distance, proxy, gold = gains(rl_path(world.ref, world.proxy, world.gold, [1e9]), world)
    >>> [round(x[0], 3) + 0 for x in (distance, proxy, gold)]
    [0.0, 0.0, 0.0]
    """
    rewards = (path.proxy - world.proxy.mean(), path.gold - world.gold.mean())
    return path.distance.tolist(), rewards[0].tolist(), rewards[1].tolist()


def road(
    path: Path, world: Hackable, *, paid: str = "paid", meant: str = "meant", dashed: bool = False
) -> list[Line]:
    """Two lines along a path: what the proxy (amber) and the gold reward (green) have gained; an empty name leaves out.

    >>> world = hackable(100)
    >>> [line.label for line in road(rl_path(world.ref, world.proxy, world.gold, [1.0]), world, paid="")]
    ['meant']
    """
    distance, proxy, gold = gains(path, world)
    lines = [(proxy, "reward", paid), (gold, "truth", meant)]
    return [Line(distance, y, color, label, dashed=dashed) for y, color, label in lines if label]


def roads_panel(
    marks: list[Line | Points], title: str, d: float = 2.9, rewards: tuple[float, float] = (-5.5, 6)
) -> Panel:
    """A panel of gains against the distance from the reference, from 0 to ``d``.

    >>> roads_panel([Line([0, 1], [0, 1])], "Gained").x_label
    'distance √KL'
    """
    return Panel(marks, title, "distance √KL", "reward gained", (0, d), rewards)


def hacking_scene(beta: float = 1.2, n: int = 20, hack: float = 0.8, seed: int = 1) -> Scene:
    """Both rewards along both roads, and which responses get the probability where the controls stand."""
    world = hackable(hack=hack, seed=int(seed))
    rewards = (world.ref, world.proxy, world.gold)
    roads = {"RL": rl_path(*rewards, BETAS), "best of n": best_of_n_path(*rewards, SIZES)}
    here = {"RL": rl_path(*rewards, [beta]), "best of n": best_of_n_path(*rewards, [int(n)])}
    marks: list[Line | Points] = []
    for name, path in roads.items():
        marks += road(path, world, paid=f"paid, {name}", meant=f"meant, {name}", dashed=name != "RL")
    told = []
    for name, color in (("RL", "policy"), ("best of n", "other")):
        (distance,), (proxy,), (gold,) = gains(here[name], world)
        marks.append(Points([distance] * 2, [proxy, gold], color, f"{name}, here", size=6))
        told.append(f"at a KL of {number(distance**2)} nats paid {proxy:+.2f}, meant {gold:+.2f}")
    trade = Panel(
        marks, "Gained over the reference", "distance √KL", "reward", (0, 2.9), (-5.5, 6), weight=1.4
    )
    laws = {
        "reference": (world.ref, "reference"),
        "RL": (kl_optimum(world.ref, world.proxy, beta=beta), "policy"),
        "best of n": (best_of_n(world.ref, world.proxy, int(n)), "other"),
    }
    lines = [Line(*_spread(world.flaw, law), color, name, width=2) for name, (law, color) in laws.items()]
    who = Panel(lines, "Who gets the probability", "flaw h", "share of responses", (-3.5, 3.5), (0, 1))
    caption = f"RL with β = {number(beta)}: {told[0]}. Best of {int(n)}: {told[1]}."
    return Scene([trade, who], caption, width=960, height=370)


def hacking_explorer() -> Explorable:
    """β, n and the reward model's liking for a flaw in hand; every curve is exact, over 2,000 responses."""
    return explore(
        hacking_scene,
        {
            "beta": log_slider(1.2, 0.05, 20.0, label="price of KL, β", steps=10),
            "n": int_slider(20, 1, 400, label="best of n"),
            "hack": slider(0.8, 0.0, 1.6, step=0.1, label="liking for the flaw", form=".1f"),
            "seed": int_slider(1, 0, 20, label="seed"),
        },
    )


def ensemble_scene(
    rule: str = "variance", members: int = 5, shared: float = 0.0, spread: float = 1.0, seed: int = 7
) -> Scene:
    """Gold reward under single reward models and under the ensemble, and where the members disagree."""
    scores, world = flawed_members(members=int(members), shared=shared, spread=spread, seed=int(seed))
    together = ensemble_scores(scores, rule)
    marks: list[Line] = []
    for i, member in enumerate(scores):
        distance, _, gold = gains(rl_path(world.ref, member, world.gold, BETAS), world)
        marks.append(
            Line(distance, gold, "reference", "meant, one member alone" if i == 0 else "", width=1.2)
        )
    distance, _, gold = gains(rl_path(world.ref, together, world.gold, BETAS), world)
    marks.append(Line(distance, gold, "truth", "meant, the ensemble", width=3))
    trade = Panel(
        marks, "What the ensemble is worth", "distance √KL", "gold reward gained", (0, 2.9), (-5.5, 4.5)
    )
    bins, doubt = _means(world.flaw, scores.std(0, correction=0))
    _, error = _means(world.flaw, (world.proxy - world.gold).abs())
    seen = Panel(
        [Line(bins, error, "wrong", "error of the mean"), Line(bins, doubt, "policy", "disagreement")],
        "Does disagreement warn?", "flaw h", "reward", (-3.2, 3.2), (0, 4),
    )  # fmt: skip
    caption = (
        f"{int(members)} members, {rule}: the gold gain peaks at {max(gold):+.2f} and ends at {gold[-1]:+.2f}; "
        f"the best and worst single members peak at {_best(marks):+.2f} and {_worst(marks):+.2f}."
    )
    return Scene([trade, seen], caption, width=960, height=350)


def ensemble_explorer() -> Explorable:
    """Rule, size and the members' errors, shared and of their own, in hand."""
    return explore(
        ensemble_scene,
        {
            "rule": buttons("variance", ["mean", "min", "variance"], label="rule"),
            "members": int_slider(5, 1, 10, label="members"),
            "shared": slider(0.0, 0.0, 1.5, step=0.1, label="shared liking", form=".1f"),
            "spread": slider(1.0, 0.0, 1.5, step=0.1, label="liking of their own", form=".1f"),
            "seed": int_slider(7, 0, 19, label="seed"),
        },
    )


def _best(marks: list[Line]) -> float:
    return max(max(line.y) for line in marks[:-1])


def _worst(marks: list[Line]) -> float:
    return min(max(line.y) for line in marks[:-1])


EDGES = torch.linspace(-3.25, 3.25, 14, dtype=torch.float64)


def _spread(flaw: Tensor, law: Tensor) -> tuple[list[float], list[float]]:
    """The probability of each half unit of the flaw, the outer ones holding all beyond."""
    index = torch.bucketize(flaw, EDGES[1:-1])
    share = torch.zeros(len(EDGES) - 1, dtype=torch.float64).index_add(0, index, law.double())
    return ((EDGES[1:] + EDGES[:-1]) / 2).tolist(), share.tolist()


def _means(flaw: Tensor, values: Tensor) -> tuple[list[float], list[float]]:
    """The mean of ``values`` in each half unit of the flaw that has responses."""
    index = torch.bucketize(flaw, EDGES[1:-1])
    total = torch.zeros(len(EDGES) - 1, dtype=torch.float64).index_add(0, index, values.double())
    count = torch.bincount(index, minlength=len(EDGES) - 1)
    held = count > 0
    return ((EDGES[1:] + EDGES[:-1]) / 2)[held].tolist(), (total[held] / count[held]).tolist()
