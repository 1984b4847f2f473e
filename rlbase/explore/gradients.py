"""The gradient cloud: what a baseline does to REINFORCE, drawn estimate by estimate.

Two prompts with three answers each, a uniform policy, and many batches of the same size. Every dot is the
gradient that one batch would step along; the exact gradient is known.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlbase.advantages import leave_one_out
from rlbase.explore.live import Explorable, buttons, explore, int_slider, slider
from rlbase.explore.scene import Bars, Line, Panel, Points, Scene, number
from rlbase.validate import one_of

ANSWERS = (0.0, 1.0, 2.0)  # what the answers to the first prompt pay; those to the second pay `gap` more
GROUP = 4  # answers to one prompt that leave-one-out compares
BASELINES = {"none": "none", "mean": "batch mean", "leave_one_out": "leave-one-out", "critic": "critic"}


def payments(gap: float) -> Tensor:
    """Reward of every answer to every prompt, ``[2, 3]``."""
    first = torch.tensor(ANSWERS, dtype=torch.float64)
    return torch.stack([first, first + gap])


def exact_gradient(rewards: Tensor) -> Tensor:
    r"""Gradient of the expected reward in the logits of a uniform policy, ``[P, A]`` for P equally likely prompts.

    $$\frac{\partial J}{\partial\theta_{sa}} = \tfrac1P\,\pi(a|s)\,(r(s,a)-V(s))$$

    >>> exact_gradient(torch.tensor([[0.0, 1.0, 2.0]]))
    tensor([[-0.3333,  0.0000,  0.3333]])
    """
    prompts, arms = rewards.shape
    return (rewards - rewards.mean(1, keepdim=True)) / (prompts * arms)


def draw(rewards: Tensor, rows: int, batches: int, seed: int) -> Tensor:
    """Answers of a uniform policy, ``[batches, P, rows / P]``: every prompt gets the same number."""
    prompts, arms = rewards.shape
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(arms, (batches, prompts, rows // prompts), generator=generator)


def pay(rewards: Tensor, answers: Tensor) -> Tensor:
    """What the drawn answers earn, in the shape of ``answers``."""
    return rewards.expand(len(answers), -1, -1).gather(2, answers)


def estimates(baseline: str, rewards: Tensor, rows: int, *, batches: int = 400, seed: int = 0) -> Tensor:
    r"""One REINFORCE gradient per batch, $\frac1n\sum_i A_i\nabla\log\pi(a_i|s_i)$: ``[batches, P, A]``.

    ``baseline`` is ``none``, ``mean`` (of the whole batch, the answer itself included), ``leave_one_out`` (the other
    answers of its group of four to the same prompt) or ``critic`` (the mean reward of each prompt in an
    earlier batch of the same size). All four see the same answers.

    >>> estimates("critic", payments(4.0), rows=16).shape
    torch.Size([400, 2, 3])
    """
    one_of("estimates", "baseline", baseline, tuple(BASELINES))
    answers = draw(rewards, rows, batches, seed)
    paid = pay(rewards, answers)
    if baseline == "mean":
        paid = paid - paid.mean((1, 2), keepdim=True)
    elif baseline == "leave_one_out":
        paid = leave_one_out(paid.reshape(-1, GROUP)).view_as(paid)
    elif baseline == "critic":
        earlier = pay(rewards, draw(rewards, rows, batches, seed + 1_000))
        paid = paid - earlier.mean(2, keepdim=True)
    # The gradient of log pi(answer) in the logits of a uniform policy.
    score = torch.eye(rewards.shape[1], dtype=rewards.dtype)[answers] - 1 / rewards.shape[1]
    return torch.einsum("bpn,bpna->bpa", paid, score) / rows


def noise(found: Tensor, exact: Tensor) -> float:
    """Root mean squared distance of the estimates from the exact gradient, in lengths of that gradient."""
    return ((found - exact).square().sum((1, 2)).mean().sqrt() / exact.norm()).item()


def cloud_scene(baseline: str = "none", gap: float = 4.0, rows: int = 32, seed: int = 0) -> Scene:
    """Four hundred gradient estimates around the exact one, and the noise of all four baselines."""
    rewards = payments(gap)
    exact = exact_gradient(rewards)
    sideways = torch.tensor([[0.0, 0, 0], [1, -2, 1]], dtype=torch.float64) / 6**0.5
    axes = torch.stack([exact / exact.norm(), sideways]).flatten(1).T / exact.norm()
    spread = {name: estimates(name, rewards, rows, seed=int(seed)) for name in BASELINES}
    noises = {name: noise(found, exact) for name, found in spread.items()}
    flat, plain = (spread[name].flatten(1) @ axes for name in (baseline, "none"))
    dots = [
        Points(flat[:, 0], flat[:, 1], "policy", "one batch", size=2.2),
        Line(*_ellipse(plain), "wrong", "without baseline", True, 1.8),
        Line(*_ellipse(flat), "policy", "95% of them", width=2),
        Line([0, 0], [-4, 4], "reference", width=1.2),
        Points([1], [0], "truth", "exact", size=6),
    ]
    along = "along the exact gradient (1: exact, below 0: downhill)"
    cloud = Panel(
        dots, "Each dot: the gradient of one batch", along, "sideways", (-3.5, 5.5), (-4, 4), weight=1.35
    )
    one = Line([0, 1], [1, 1], "reference", "as long as the gradient", dashed=True, width=1.8)
    heights, names, top = [*noises.values()], [*BASELINES.values()], max(1.2, 1.1 * max(noises.values()))
    bars = Panel(
        [Bars(heights, "other"), one], "Noise of one estimate", "", "RMS error, in gradient lengths",
        y_range=(0, top), categories=names,
    )  # fmt: skip
    more = number((noises["none"] / noises[baseline]) ** 2)
    gain = "" if baseline == "none" else f" Worth {more} times as many answers without a baseline."
    caption = (
        f"{rows} answers a batch, baseline {BASELINES[baseline]}: noise {noises[baseline]:.2f} gradient lengths; "
        f"{(flat[:, 0] < 0).double().mean().item():.0%} of the batches point the wrong way.{gain}"
    )
    return Scene([cloud, bars], caption, width=920, height=400)


def _ellipse(points: Tensor) -> tuple[Tensor, Tensor]:
    """The ellipse that holds 95% of a Gaussian with the mean and covariance of ``[n, 2]`` points."""
    angles = torch.linspace(0, 2 * torch.pi, 61, dtype=points.dtype)
    circle = torch.stack([angles.cos(), angles.sin()]) * 5.991**0.5
    values, vectors = torch.linalg.eigh(torch.cov(points.T))
    x, y = points.mean(0)[:, None] + vectors @ (values.clamp(min=0).sqrt()[:, None] * circle)
    return x, y


def gradient_explorer() -> Explorable:
    """Baseline, batch size and the difference between the prompts in hand: 400 batches drawn at every move."""
    controls = {
        "baseline": buttons("none", [(words, name) for name, words in BASELINES.items()], label="baseline"),
        "rows": int_slider(32, 8, 256, step=8, label="answers in a batch"),
        "gap": slider(4.0, 0.0, 10.0, step=0.5, label="second prompt pays more by", form=".1f"),
        "seed": int_slider(0, 0, 20, label="seed"),
    }
    return explore(cloud_scene, controls)
