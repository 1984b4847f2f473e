"""The clip explorer: PPO's surrogate for one choice, and an optimiser that walks on it.

Every number comes from `rlbase.losses.ppo_clip` and its gradient by autograd. The walker is a policy with
one parameter, the logit of the sampled action, which starts at ``OLD_PROB``.
"""

from __future__ import annotations

import torch
from torch.nn.functional import logsigmoid

from rlbase.explore.live import Explorable, explore, int_slider, slider
from rlbase.explore.scene import Band, Line, Mark, Note, Panel, Points, Scene, number
from rlbase.losses import ppo_clip, reinforce

OLD_PROB = 0.25
LARGEST = 2.5  # the ratio at the right end of the axis


def surrogate(ratio: torch.Tensor, advantage: float, clip: float) -> tuple[torch.Tensor, torch.Tensor]:
    r"""PPO's objective (to be maximised) at each ratio, and its slope with respect to the ratio.

    >>> value, slope = surrogate(torch.tensor([1.0, 1.5]), advantage=1.0, clip=0.25)
    >>> value.tolist(), slope.tolist()
    ([1.0, 1.25], [1.0, 0.0])
    """
    ratio = ratio.detach().double().requires_grad_()
    logp = ratio.log()[None]
    objective = -ppo_clip(logp, torch.zeros_like(logp), torch.full_like(logp, advantage), clip=clip)[0]
    (slope,) = torch.autograd.grad(objective.sum(), ratio)
    return objective.detach(), slope


def walk(clip: float | None, advantage: float, epochs: int, learning_rate: float) -> list[float]:
    """The ratio before and after each of ``epochs`` gradient steps; ``clip=None`` takes the clip away.

    Without the clip the loss is the same importance-weighted one, ``-ratio * advantage``.
    """
    start = torch.tensor([[OLD_PROB]], dtype=torch.float64)
    logit, old_logp, weight = start.logit().requires_grad_(), start.log(), torch.full_like(start, advantage)
    ratios = [1.0]
    for _ in range(epochs):
        logp = logsigmoid(logit)
        loss = (
            reinforce((logp - old_logp).exp(), weight)
            if clip is None
            else ppo_clip(logp, old_logp, weight, clip=clip)
        )
        (gradient,) = torch.autograd.grad(loss.sum(), logit)
        with torch.no_grad():
            logit -= learning_rate * gradient
            ratios.append((logsigmoid(logit) - old_logp).exp().item())
    return ratios


def clip_scene(
    clip: float = 0.2,
    advantage: float = 1.0,
    ratio: float = 1.5,
    epochs: int = 20,
    learning_rate: float = 0.15,
) -> Scene:
    """The surrogate with its two pieces, and the ratio of a policy that climbs it for some epochs."""
    with_clip = walk(clip, advantage, epochs, learning_rate)
    without = walk(None, advantage, epochs, learning_rate)
    spots = torch.tensor([ratio, with_clip[-1]], dtype=torch.float64)
    heights, slopes = (x.tolist() for x in surrogate(spots, advantage, clip))
    pull = "no slope: nothing pulls ρ any more" if slopes[0] == 0 else f"slope {number(slopes[0])}"
    inside = 1 - clip <= with_clip[-1] <= 1 + clip
    outside = "" if inside else " (outside 1 ± ε: the clip ends the pull, it does not hold the ratio)"
    caption = (
        f"At ρ = {number(ratio)} the objective is {number(heights[0])}, {pull}. "
        f"After {epochs} step{'s'[: epochs != 1]} ρ = {with_clip[-1]:.3f} with the clip{outside}, "
        f"{without[-1]:.3f} without."
    )
    tangent = [heights[0] + slopes[0] * run for run in (-0.22, 0.22)]
    pieces = _pieces(clip, advantage)
    pieces += [
        Line([ratio - 0.22, ratio + 0.22], tangent, "reward", "slope at ρ", width=3),
        Points([ratio], heights[:1], "reward", size=5.5),
        Points([min(with_clip[-1], LARGEST)], heights[1:], "policy", f"after {epochs} steps", size=7, hollow=True),
    ]  # fmt: skip
    axes = ("probability ratio ρ = π / π_old", "objective (higher is better)", (0, LARGEST), (-3, 3))
    objective = Panel(pieces, "PPO's objective for one choice", *axes)
    return Scene([objective, _climb(clip, with_clip, without)], caption, width=860, height=350)


def _pieces(clip: float, advantage: float) -> list[Mark]:
    """The two linear pieces and the smaller of them."""
    grid = torch.linspace(0.01, LARGEST, 250, dtype=torch.float64)
    corners = [0, 1 - clip, 1 + clip, LARGEST]
    flat = [advantage * min(max(r, 1 - clip), 1 + clip) for r in corners]
    return [
        Band(corners[1:3], [-3, -3], [3, 3], "other"),
        Line([0, LARGEST], [0, LARGEST * advantage], "reference", "ρA", dashed=True, width=1.8),
        Line(corners, flat, "other", "clip(ρ)A", True, 1.8),
        Line(grid, surrogate(grid, advantage, clip)[0], "policy", "PPO: the smaller", width=3),
    ]


def _climb(clip: float, with_clip: list[float], without: list[float]) -> Panel:
    """The ratio after each gradient step, with the clip and without."""
    steps = list(range(len(with_clip)))
    width = max(steps[-1], 1)
    marks = [
        Band([0, width], [1 - clip] * 2, [1 + clip] * 2, "other", "1 ± ε"),
        Line(steps, without, "wrong", "no clip", width=2),
        Line(steps, with_clip, "policy", "clip", width=2.5),
        Points(steps[-1:], without[-1:], "wrong", size=5),
        Points(steps[-1:], with_clip[-1:], "policy", size=5),
        Note(0, 4.25, f"ρ can reach {number(1 / OLD_PROB)} at most", "reference"),
    ]
    names = ("A policy climbing it", "gradient steps on the same choice", "probability ratio ρ")
    return Panel(marks, *names, (0, width), (0, 4.5), weight=0.8)


def clip_explorer() -> Explorable:
    """ε, advantage, ratio and epochs in hand: see the pieces, the slope, and where the optimiser stops."""
    controls = {
        "clip": slider(0.2, 0.0, 0.9, step=0.05, label="clip ε"),
        "advantage": slider(1.0, -2.0, 2.0, step=0.1, label="advantage A", form=".1f"),
        "ratio": slider(1.5, 0.05, 2.5, step=0.05, label="ratio ρ"),
        "epochs": int_slider(20, 0, 60, label="gradient steps"),
        "learning_rate": slider(0.15, 0.05, 2.0, step=0.05, label="learning rate"),
    }
    return explore(clip_scene, controls)
