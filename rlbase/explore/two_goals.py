"""Two goals in hand: which reward speaks for which response, what margins do to scores, where they help and harm."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from rlbase.data.encode import LARGE_MARGINS
from rlbase.exact import kl_optimum
from rlbase.explore.live import Explorable, choice, explore, log_slider, slider
from rlbase.explore.scene import Bars, Line, Panel, Points, Scene, number
from rlbase.rewards import logit, piecewise
from rlbase.train.reward_model import RewardModelConfig, reward_model
from rlbase.types import Choices, PreferencePairs

NAMES = "ABCDEF"
HELPFUL = torch.tensor([0.30, 0.50, 0.70, 0.80, 0.60, 0.95], dtype=torch.float64)
SAFE = torch.tensor([0.95, 0.80, 0.50, 0.20, 0.90, 0.05], dtype=torch.float64)
REF = torch.tensor([0.30, 0.25, 0.15, 0.10, 0.10, 0.10], dtype=torch.float64)
STRENGTHS = ("negligibly better", "slightly better", "better", "significantly better")


def combined(unsafe: bool, threshold: float = 0.15) -> Tensor:
    """What the six responses are paid, as probabilities, to a harmless request or to an unsafe one, ``[6]``.

    >>> combined(False).tolist()
    [0.3, 0.5, 0.7, 0.8, 0.6, 0.05]
    """
    return piecewise(HELPFUL, SAFE, torch.full((6,), unsafe), threshold=threshold)


def threshold_scene(threshold: float = 0.15, beta: float = 0.5) -> Scene:
    """Both models' opinions, the one that is paid, and the best policies for both kinds of request."""
    seen = {"harmless": combined(False, threshold), "unsafe": combined(True, threshold)}
    policy = {name: kl_optimum(REF, logit(paid), beta=beta) for name, paid in seen.items()}
    line = Line([-0.5, 5.5], [threshold] * 2, "wrong", "threshold", dashed=True, width=1.8)
    opinions = [Bars(HELPFUL, "reward", "helpful"), Bars(SAFE, "other", "safe"), line]
    guarded = threshold > SAFE
    paid = [Bars(torch.where(guarded, 0, HELPFUL), "reward", "helpfulness speaks")]
    paid.append(Bars(torch.where(guarded, SAFE, 0), "other", "safety speaks"))
    laws = [Bars(REF, "reference", "reference"), Bars(policy["harmless"], "truth", "harmless request")]
    laws.append(Bars(policy["unsafe"], "policy", "unsafe request"))
    panels = [
        Panel(opinions, "What the two models say", "", "probability", y_range=(0, 1.08), categories=NAMES),
        Panel(paid, "What a harmless request pays", "", "", y_range=(0, 1.08), categories=NAMES),
        Panel(laws, "The best policies", "", "probability", y_range=(0, 1.08), categories=NAMES, weight=1.2),
    ]
    helpful, safe = (policy["harmless"] @ HELPFUL).item(), (policy["harmless"] @ SAFE).item()
    silent = "".join(name for name, s in zip(NAMES, SAFE.tolist(), strict=True) if s < threshold) or "no one"
    caption = (
        f"Threshold {threshold:.2f}: to a harmless request safety speaks for {silent}; the best policy is "
        f"{helpful:.2f} helpful and {safe:.2f} safe. To an unsafe one: {(policy['unsafe'] @ HELPFUL).item():.2f} and "
        f"{(policy['unsafe'] @ SAFE).item():.2f}, whatever the threshold."
    )
    return Scene(panels, caption, width=1080, height=340)


def threshold_explorer() -> Explorable:
    """The safety threshold and the price of KL in hand; the best policies are exact."""
    threshold = slider(0.15, 0.0, 1.0, step=0.01, label="safety threshold")
    beta = log_slider(0.5, 0.05, 10.0, label="price of KL, β", steps=10)
    return explore(threshold_scene, {"threshold": threshold, "beta": beta})


def inflated_gap(prob: float, margin: float) -> float:
    r"""The gap at which two scores rest if one is preferred with ``prob`` and whoever wins must win by ``margin``.

    $\log\frac{b+\sqrt{b^2+4p(1-p)}}{2(1-p)}$ with $b=(2p-1)e^m$; without a margin the log-odds $\log\frac p{1-p}$.

    >>> round(inflated_gap(0.75, 0.0), 4), round(inflated_gap(0.75, 1.0), 4)
    (1.0986, 1.782)
    """
    b = (2 * prob - 1) * math.exp(margin)
    return math.log((b + math.sqrt(b * b + 4 * prob * (1 - prob))) / (2 * (1 - prob)))


def margin_scene(margin: float = 1.0, prob: float = 0.75) -> Scene:
    """The loss of one comparison with the margin, without, and with its sign flipped; and where scores come to rest."""
    gaps = torch.linspace(-3, 6, 91, dtype=torch.float64)
    shares = torch.linspace(0.5, 0.98, 49, dtype=torch.float64)
    losses: list[Line] = []
    rest: list[Line | Points] = []
    kinds = [
        ("no margin", 0.0, "reference"),
        ("margin", margin, "policy"),
        ("sign flipped", -margin, "wrong"),
    ]
    for name, m, color in kinds:
        losses.append(Line(gaps, torch.nn.functional.softplus(m - gaps), color, name, width=2))
        rest.append(Line(shares, [inflated_gap(p, m) for p in shares.tolist()], color, name, width=2))
        rest.append(Points([prob], [inflated_gap(prob, m)], color, size=6))
    loss = Panel(
        losses, "Loss of one comparison", "gap chosen - rejected", "nats", (-3, 6), (0, 6), weight=0.9
    )
    where = Panel(rest, "Where the scores rest", "how often it is preferred", "gap", (0.5, 1), (0, 7.5))
    plain, wide, narrow = (inflated_gap(prob, m) for _, m, _ in kinds)
    caption = f"Preferred {prob:.0%} of the time: without a margin the gap is {plain:.2f}, the log-odds; with a margin "
    caption += f"of {number(margin)} it is {wide:.2f}, with the sign flipped {narrow:.2f}."
    return Scene([loss, where], caption, width=900, height=340)


def margin_explorer() -> Explorable:
    """Margin and preference in hand: the loss, and the gap that is predicted exactly."""
    margin = slider(1.0, 0.0, 3.0, step=0.1, label="margin m", form=".1f")
    prob = slider(0.75, 0.5, 0.98, step=0.01, label="preferred how often")
    return explore(margin_scene, {"margin": margin, "prob": prob})


class _Straight(nn.Module):
    """As little as can be fitted: a straight line through a reward that has a step in it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))

    def score(self, obs: Any, actions: Tensor, mask: Tensor) -> Tensor:
        return obs[:, 0] @ self.weight


def judged(n: int, step_at: float, seed: int) -> tuple[PreferencePairs, Tensor]:
    r"""``n`` comparisons by $r(x)=4[x_1>step]-0.6x_1+0.5x_2$, and how strong each was: 0 (negligible) to 3.

    The quarter of all pairs that looks furthest apart is called significantly better, and so on. With the step at 0.8
    it parts many pairs, at 1.3 few, whose verdicts are as strong.

    >>> pairs, strength = judged(100, 0.8, seed=0)
    >>> len(pairs), strength.bincount().tolist()
    (100, [25, 25, 25, 25])
    """
    generator = torch.Generator().manual_seed(seed)
    items = torch.randn(2, n, 2, generator=generator)
    worth = 4 * (items[..., 0] > step_at).float() - 0.6 * items[..., 0] + 0.5 * items[..., 1]
    seen = worth[0] - worth[1] + 0.25 * torch.randn(n, generator=generator)
    first, zeros, ones = (seen > 0)[:, None], torch.zeros(n, 1).long(), torch.ones(n, 1).bool()
    sides = (torch.where(first, items[0], items[1]), torch.where(first, items[1], items[0]))
    chosen, rejected = (Choices(side[:, None], zeros, ones) for side in sides)
    strength = torch.bucketize(seen.abs(), seen.abs().quantile(torch.tensor([0.25, 0.5, 0.75])))
    return PreferencePairs(chosen, rejected), strength


@lru_cache(maxsize=64)
def accuracy_by_strength(step_at: float, factor: float = 0.0, n: int = 4000) -> tuple[list[float], float]:
    """Percent right on 20,000 fresh pairs of each strength, and the length of the fitted line.

    ``factor`` multiplies `rlbase.data.encode.LARGE_MARGINS`: 0 fits without margins, -1 with their sign flipped.

    >>> right, length = accuracy_by_strength(0.8, n=500)
    >>> len(right), length > 0
    (4, True)
    """
    pairs, strength = judged(n, step_at, seed=0)
    if factor:
        table = factor * torch.tensor([LARGE_MARGINS[name] for name in STRENGTHS])  # type: ignore[index]
        pairs = PreferencePairs(pairs.chosen, pairs.rejected, margin=table[strength])
    model = _Straight()
    config = RewardModelConfig(updates=120, batch_size=n, learning_rate=0.04, schedule="linear")
    list(reward_model(model, pairs, config))
    test, strength = judged(20_000, step_at, seed=1)
    both = [model.score(side.obs, side.actions, side.mask) for side in (test.chosen, test.rejected)]
    right = (both[0] > both[1]).float()
    return [100 * right[strength == level].mean().item() for level in range(4)], model.weight.norm().item()


def worlds_scene(factor: float = 1.0, step_at: float = 0.8) -> Scene:
    """What margins gain and lose, by how clear the verdict was: two fits to the same comparisons, made just now."""
    plain, length = accuracy_by_strength(step_at)
    found, longer = accuracy_by_strength(step_at, factor)
    names = [name.split()[0] if " " in name else name for name in STRENGTHS]
    right = [Bars(plain, "reference", "no margins"), Bars(found, "policy", "margins")]
    gain = [Bars([a - b for a, b in zip(found, plain, strict=True)], "policy" if factor > 0 else "wrong")]
    panels = [
        Panel(right, "Right on fresh pairs", "", "%", y_range=(0, 108), categories=names, weight=1.2),
        Panel(gain, "Gained by margins", "", "points", y_range=(-30, 30), categories=names),
    ]
    caption = (
        f"On verdicts called significantly better: {plain[3]:.1f} % without margins, {found[3]:.1f} % with. "
    )
    caption += f"The scores are {longer / length:.1f} times as far apart."
    return Scene(panels, caption, width=900, height=340)


def worlds_explorer() -> Explorable:
    """Size (and sign) of Llama 2's margins, and how common clear verdicts are; each setting is fitted anew."""
    worlds = choice(0.8, [("common", 0.8), ("rare", 1.3)], label="great differences are")
    factor = slider(1.0, -1.0, 1.0, step=0.25, label="margins times")
    return explore(worlds_scene, {"factor": factor, "step_at": worlds})
