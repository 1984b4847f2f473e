"""KL explorers: the β of a bandit whose optimum is known, and the three estimators of one KL."""

from __future__ import annotations

from functools import lru_cache
from math import log10

import torch
from torch import Tensor

from rlbase.exact import best_of_n, kl, kl_optimum, total_variation
from rlbase.explore.live import Explorable, explore, int_slider, log_slider, slider
from rlbase.explore.scene import Bars, Line, Panel, Points, Scene, number
from rlbase.losses import exact_kl, k1, k2, k3
from rlbase.policies import TabularPolicy

REF = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
REWARD = torch.tensor([0.0, 1.0, 0.5, 2.0], dtype=torch.float64)


def climb(ref: Tensor, reward: Tensor, beta: float, steps: int, learning_rate: float = 0.5) -> Tensor:
    r"""Train a tabular policy from ``ref`` by ``steps`` exact gradients of $E_\pi[r]-\beta\,KL(\pi\|ref)$ (Adam).

    >>> climb(REF, REWARD, beta=0.5, steps=60).round(decimals=2).tolist()
    [0.05, 0.26, 0.06, 0.63]
    """
    policy = TabularPolicy(1, len(ref)).double()
    policy.logits.data.copy_(ref.log())
    optimizer = torch.optim.Adam(policy.parameters(), lr=learning_rate, betas=(0.8, 0.95), fused=True)
    ref_logp = ref.log()[None]
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate * (1 - step / steps)
        logp = policy.logits.log_softmax(-1)
        loss = beta * exact_kl(logp, ref_logp).sum() - (logp.exp() * reward).sum()
        (policy.logits.grad,) = torch.autograd.grad(loss, policy.logits)
        optimizer.step()
    return policy.logits.detach().softmax(-1)[0]


def places(*policies: Tensor) -> tuple[list[float], list[float]]:
    """KL to the reference and expected reward of each policy: where it lies in the right panel."""
    return [kl(p, REF) for p in policies], [(p @ REWARD).item() for p in policies]


@lru_cache
def frontier(low: float = 0.02, high: float = 10.0, count: int = 60) -> tuple[list[float], list[float]]:
    """The places of the optimum for ``count`` values of β between ``low`` and ``high``."""
    betas = torch.logspace(log10(low), log10(high), count)
    return places(*(kl_optimum(REF, REWARD, beta=b) for b in betas.tolist()))


def beta_scene(beta: float = 0.5, steps: int = 60) -> Scene:
    """Reference, known optimum and a policy trained just now, and where they lie between reward and KL."""
    optimum, learned = kl_optimum(REF, REWARD, beta=beta), climb(REF, REWARD, beta, steps)
    bars = [
        Bars(REF, "reference", "reference"),
        Bars(optimum, "truth", "known optimum"),
        Bars(learned, "policy", f"learned, {steps} steps"),
    ]
    names = [f"reward {number(r)}" for r in REWARD.tolist()]
    arms = Panel(
        bars, "Which arm is chosen", "", "probability", y_range=(0, 1.08), categories=names, weight=1.25
    )
    marks = [
        Line(*frontier(), "truth", "best possible", width=2),
        Points(*places(*(best_of_n(REF, REWARD, n) for n in (2, 4, 8, 16))), "other", "best of 2, 4, 8, 16", 3.5),
        Points(*places(REF), "reference", "reference", size=5),
        Points(*places(optimum), "truth", size=8, hollow=True),
        Points(*places(learned), "policy", "learned", size=5),
    ]  # fmt: skip
    axes = ("What reward costs", "KL(π‖ref), nats", "expected reward", (-0.05, 2.4), (0.5, 2.1))
    (divergence,), (reward,) = places(learned)
    caption = (
        f"β = {number(beta)}: the learned policy earns {reward:.3f} at a KL of {divergence:.3f} nats, objective "
        f"{reward - beta * divergence:.3f}; it is {total_variation(learned, optimum):.3f} (total variation) from "
        "the optimum."
    )
    return Scene([arms, Panel(marks, *axes)], caption, width=900, height=350)


def beta_explorer() -> Explorable:
    """β in hand: between the reference (large β) and the best arm alone (small β)."""
    beta = log_slider(0.5, 0.02, 10.0, label="KL coefficient β", steps=10)
    return explore(
        beta_scene, {"beta": beta, "steps": int_slider(60, 0, 200, step=5, label="gradient steps")}
    )


def estimates(
    shift: float, samples: int, seed: int = 0, repeats: int = 400
) -> tuple[float, dict[str, Tensor]]:
    r"""The exact $KL(\pi\|ref)$ of two unit Gaussians ``shift`` apart, and ``[repeats]`` estimates by k1, k2 and k3.

    Each estimate is the mean over ``samples`` draws from the policy; the exact value is $shift^2/2$.
    """
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(repeats, samples, generator=generator, dtype=torch.float64)
    logp, ref_logp = -0.5 * draws.square(), -0.5 * (draws - shift).square()
    return shift**2 / 2, {f.__name__: f(logp, ref_logp).mean(1) for f in (k1, k2, k3)}


def estimator_scene(shift: float = 0.5, samples: int = 16, seed: int = 0) -> Scene:
    """Mean and spread of k1, k2 and k3 over 400 repeated batches, beside the exact KL."""
    exact, found = estimates(shift, samples, int(seed))
    batches = torch.stack([*found.values()])
    means, spreads, negative = batches.mean(1), batches.std(1), (batches < 0).double().mean(1)
    truth = Line([0, 1], [exact, exact], "truth", f"exact KL {number(exact)}", dashed=True, width=2)
    names, mean = [*found], [Bars(means, "policy"), truth]
    share, spread = [Bars(100 * negative, "wrong")], [Bars(spreads, "other")]
    panels = [
        Panel(mean, "Is it right on average?", "", "mean estimate, nats", categories=names),
        Panel(spread, "How noisy is one batch?", "", "standard deviation, nats", categories=names),
        Panel(share, "How often is it negative?", "", "% of batches", y_range=(0, 100), categories=names),
    ]
    caption = f"{samples} draws a batch, 400 batches. k1 is below zero in {negative[0]:.0%} of them"
    if shift > 0:
        bias, noise = number(means[1].item() - exact), number((spreads[2] / spreads[0]).item())
        caption += f"; k2 is off by {bias} nats; the noise of k3 is {noise} times that of k1"
    return Scene(panels, f"{caption}.", width=900, height=300)


def estimator_explorer() -> Explorable:
    """Distance of the policies and size of a batch in hand: bias, noise and sign of the three estimators."""
    controls = {
        "shift": slider(0.5, 0.0, 3.0, step=0.1, label="distance of the policies", form=".1f"),
        "samples": int_slider(16, 1, 128, label="draws in a batch"),
        "seed": int_slider(0, 0, 20, label="seed"),
    }
    return explore(estimator_scene, controls)
