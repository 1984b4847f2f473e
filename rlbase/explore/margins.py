"""SimPO's margin in hand: how far apart two responses come to rest, by γ, β and how often one of them wins."""

from __future__ import annotations

import torch

from rlbase import exact
from rlbase.explore.live import Explorable, explore, log_slider, slider, toggle
from rlbase.explore.scene import Bars, Line, Panel, Points, Scene, number
from rlbase.losses import simpo
from rlbase.policies import TabularPolicy


def learn_gap(prob: float, beta: float, gamma: float, steps: int = 80) -> float:
    """Train two responses of one token each, one winning with ``prob``, by SimPO; the gap of their log-probabilities.

    >>> round(learn_gap(0.75, 2.0, 1.0), 3)
    0.891
    """
    policy = TabularPolicy(1, 2).double()
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.3, betas=(0.8, 0.95), fused=True)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.3 * (1 - step / steps)
        a, b = policy.logits.log_softmax(-1)[0].split(1)
        loss = prob * simpo(a, b, beta=beta, gamma=gamma) + (1 - prob) * simpo(b, a, beta=beta, gamma=gamma)
        (policy.logits.grad,) = torch.autograd.grad(loss.sum(), policy.logits)
        optimizer.step()
    return (policy.logits[0, 0] - policy.logits[0, 1]).item()


def margin_scene(gamma: float = 1.0, beta: float = 2.0, prob: float = 0.75, as_ratio: bool = False) -> Scene:
    """The gap at rest against the share of wins, and the two responses trained just now."""
    meant, used = exact.simpo_gap(prob, beta=beta, gamma=gamma), beta * gamma if as_ratio else gamma
    found = learn_gap(prob, beta, used)
    shares = [0.5 + 0.01 * k for k in range(48)]
    plain, known = ([exact.simpo_gap(p, beta=beta, gamma=g) for p in shares] for g in (0.0, gamma))
    color = "wrong" if as_ratio else "policy"
    marks = [
        Line(shares, plain, "reference", "γ = 0", dashed=True, width=2),
        Line(shares, known, "truth", "γ as set, closed form"),
        Points([prob], [found], color, "trained just now", size=6),
    ]
    after = torch.tensor([[0.5, 0.5], [meant, -meant], [found, -found]]).double()
    after[1:] = after[1:].sigmoid()
    looks = (("reference", "before"), ("truth", "closed form"), (color, "trained"))
    bars = [Bars(row, *look) for row, look in zip(after, looks, strict=True)]
    caption = (
        f"One response wins {100 * prob:.0f} % of the time. Known gap {number(meant)} nats a token, trained "
        f"{number(found)}{': γ was passed as the ratio γ/β, so the margin is ' + number(used) if as_ratio else ''}."
    )
    gap = Panel(marks, "Gap at rest", "how often one wins", "nats a token", (0.5, 0.98), (0, 6.5), weight=1.2)
    who = Panel(bars, "The two", "", "probability", y_range=(0, 1.08), categories=["wins more", "wins less"])
    return Scene([gap, who], caption, width=900, height=350)


def margin_explorer() -> Explorable:
    """γ, β and the share of wins in hand, and whether γ lands where its ratio to β is expected."""
    controls = {
        "gamma": slider(1.0, 0.0, 3.0, step=0.1, label="margin γ", form=".1f"),
        "beta": log_slider(2.0, 1.0, 10.0, label="β", steps=10),
        "prob": slider(0.75, 0.5, 0.95, step=0.05, label="how often one wins"),
        "as_ratio": toggle(False, label="pass γ where γ/β is expected"),
    }
    return explore(margin_scene, controls)
