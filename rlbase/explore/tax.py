"""The alignment tax of a bandit: reward bought, surprise paid, and what mixing in pretraining gives back."""

from __future__ import annotations

from functools import lru_cache
from math import log10

import torch
from torch import Tensor

from rlbase.exact import pretrain_optimum, total_variation
from rlbase.explore.kl import REF, REWARD
from rlbase.explore.live import Explorable, choice, explore, log_slider, slider
from rlbase.explore.scene import Bars, Line, Panel, Points, Scene, number

PRETRAIN = torch.tensor([0.5, 0.05, 0.4, 0.05], dtype=torch.float64)
LAWS = {"another law than the reference": PRETRAIN, "the reference itself": REF}


def climb_mixed(beta: Tensor, gamma: Tensor, pretrain: Tensor, steps: int = 200) -> Tensor:
    r"""Policies ``[n, 4]`` learned by exact gradients of $E_\pi[r]-\beta\,KL(\pi\|ref)+\gamma E_p[\log\pi]$ (Adam).

    One for each pair of ``beta`` and ``gamma``, both ``[n]``, all from the reference at once.

    >>> at = torch.tensor([0.5]).double()
    >>> learned = climb_mixed(at, at, PRETRAIN)[0]
    >>> total_variation(learned, pretrain_optimum(REF, REWARD, PRETRAIN, beta=0.5, gamma=0.5)) < 0.002
    True
    """
    logits = REF.log().repeat(len(beta), 1).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.3, betas=(0.8, 0.95), fused=True)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.3 * (1 - step / steps)
        logp = logits.log_softmax(-1)
        earned = (logp.exp() * (REWARD - beta[:, None] * (logp - REF.log()))).sum(-1)
        objective = earned + gamma * (logp @ pretrain)
        (logits.grad,) = torch.autograd.grad(-objective.sum(), logits)
        optimizer.step()
    return logits.detach().softmax(-1)


def place(policies: Tensor, pretrain: Tensor) -> tuple[Tensor, Tensor]:
    """Surprise at the pretraining law, $-E_p[\\log\\pi]$ in nats, and expected reward of each policy."""
    return -(policies.log() @ pretrain), policies @ REWARD


@lru_cache(maxsize=64)
def roads(beta: float, law: str) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Where policies lie as gamma grows at this price of KL, and as the price of KL grows without mixing."""
    pretrain = LAWS[law]
    gamma = torch.cat((torch.zeros(1), torch.logspace(-2.5, 1.5, 32))).double()
    dearer = torch.logspace(log10(beta), 2, 32).double()
    mixed = climb_mixed(torch.full_like(gamma, beta), gamma, pretrain)
    priced = climb_mixed(dearer, torch.zeros_like(dearer), pretrain)
    return place(mixed, pretrain), place(priced, pretrain)


def tax_scene(gamma: float = 0.0, beta: float = 0.5, law: str = "another law than the reference") -> Scene:
    """Four responses under the reference, the pretraining law and the mixed objective, and the two ways to pay."""
    pretrain = LAWS[law]
    optimum = pretrain_optimum(REF, REWARD, pretrain, beta=beta, gamma=gamma)
    learned = climb_mixed(torch.tensor([beta]).double(), torch.tensor([gamma]).double(), pretrain)
    bars = [
        Bars(REF, "reference", "reference"),
        Bars(pretrain, "other", "pretraining"),
        Bars(optimum, "truth", "known optimum"),
        Bars(learned[0], "policy", "learned"),
    ]
    names = [f"reward {number(r)}" for r in REWARD.tolist()]
    left = Panel(bars, "Which response is written", "", "probability", y_range=(0, 1), categories=names)
    mixed, priced = roads(beta, law)
    surprise, reward = place(learned, pretrain)
    start = place(REF[None], pretrain)
    marks = [
        Line(*priced, "reference", "dearer KL, no mixing", width=2),
        Line(*mixed, "truth", "more pretraining in the mix", width=2.5),
        Points(*start, "reference", "reference", size=5),
        Points(surprise, reward, "policy", "you are here", size=7),
    ]
    axes = ("Reward against what is forgotten", "surprise at pretraining text, nats", "expected reward")
    right = Panel(marks, *axes, x_range=(0.9, 4.6), y_range=(0.2, 2.0))
    (nats,), (earned,) = surprise.tolist(), reward.tolist()
    caption = (
        f"γ = {number(gamma)}, β = {number(beta)}: reward {earned:.3f} (reference {float(start[1]):.3f}), surprise at "
        f"pretraining text {nats:.3f} nats (reference {float(start[0]):.3f}); "
        f"{total_variation(learned[0], optimum):.3f} from the known optimum."
    )
    return Scene([left, right], caption, width=900, height=350)


def tax_explorer() -> Explorable:
    """The weight of pretraining, the price of KL, and what pretraining text is like, in hand."""
    controls = {
        "gamma": slider(0.0, 0.0, 2.0, step=0.05, label="pretraining weight γ", form=".2f"),
        "beta": log_slider(0.5, 0.5 * 10**-0.7, 0.5 * 10**1.3, label="KL coefficient β", steps=10),
        "law": choice("another law than the reference", list(LAWS), label="pretraining text follows"),
    }
    return explore(tax_scene, controls)
