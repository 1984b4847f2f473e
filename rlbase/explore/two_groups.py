"""Two groups in hand: one reward for both, who wins when the larger group trains the model, and majorities in a circle.

Eight answers differ in how good they are, which both groups like, and in how much they explain, which one group likes
as much as the other dislikes it. Labels come from `rlbase.feedback.ask`, one reward is fitted to all of them by
`rlbase.train.linear_reward`, and the policy is that reward's `rlbase.exact.kl_optimum`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from rlbase.exact import intransitivity, kl, kl_optimum, mixed_preference
from rlbase.explore.live import Explorable, choice, explore, slider
from rlbase.explore.scene import Bars, Cells, Line, Panel, Points, Scene, number
from rlbase.feedback import Annotator, Questions, ask, effective_sample_size
from rlbase.train.linear_reward import linear_reward

QUALITY = torch.tensor([-1.5, -0.5, 0.0, 0.5, 1.0, -0.5, 0.5, 0.5], dtype=torch.float64)
DETAIL = torch.tensor([0.0, -1.5, 1.0, -1.0, 0.0, 1.5, 1.2, -1.2], dtype=torch.float64)
NAMES = "ABCDEFGH"
REF = torch.full((8,), 1 / 8, dtype=torch.float64)
BETA = 0.5
FEATURES = torch.stack([QUALITY, DETAIL], 1)
# Two groups that are each of one mind, 60 % and 40 %, and a majority that is not: A over B over C over A.
RING = torch.tensor([[0.0, 1.0, 2.0], [4.0, 2.0, 0.0]], dtype=torch.float64)
RING_SHARE = torch.tensor([0.6, 0.4], dtype=torch.float64)

REMEDIES = (
    "one reward, labels as they come",
    "one reward, groups weighted evenly",
    "a reward for each group",
)


class Served(NamedTuple):
    """What each group gets from a policy, and at best could: ``value [2]`` and ``best [2]`` are E[r] - beta KL.

    ``weight`` are the fitted weights of quality and detail, one row for each reward; ``heard`` is the effective number
    of labels behind each row.
    """

    value: Tensor
    best: Tensor
    weight: Tensor
    heard: Tensor

    @property
    def regret(self) -> Tensor:
        """What each group lost against its own best policy, ``[2]``."""
        return self.best - self.value


def rewards(conflict: float) -> Tensor:
    """What the answers are worth to the lovers of detail and to those who want it short, ``[2, 8]``.

    >>> [round(x, 1) for x in rewards(1.0)[:, 2].tolist()]  # nothing special, but detailed
    [1.0, -1.0]
    """
    return torch.stack([QUALITY + conflict * DETAIL, QUALITY - conflict * DETAIL])


@lru_cache(maxsize=256)
def experiment(
    share: float, conflict: float, remedy: str = REMEDIES[0], labels: int = 2000, seed: int = 0
) -> Served:
    """From the labels of both groups to a reward, a policy, and what each group has of it.

    Args:
        share: how many of the labels come from the lovers of detail.
        conflict: how much detail matters, to either group.

    >>> alone, mixed = experiment(1.0, 1.0), experiment(0.5, 1.0)
    >>> bool(alone.regret[0] < 0.05), bool(mixed.regret.min() > 0.3)
    (True, True)
    """
    draws = torch.Generator().manual_seed(seed)
    pairs = torch.randint(8, (labels, 2), generator=draws)
    gap = FEATURES[pairs[:, 0]] - FEATURES[pairs[:, 1]]
    lovers = torch.arange(labels) < round(share * labels)
    asked = Questions(gap[:, 0], traits=gap[:, 1:])
    group = [Annotator(taste=(conflict,)), Annotator(taste=(-conflict,))]
    label = torch.where(lovers[:, None], *(ask([one], asked, draws).label for one in group))[:, 0]
    sizes = torch.tensor([lovers.sum(), (~lovers).sum()])
    rows = [torch.ones(labels, dtype=torch.float64)]
    if remedy == REMEDIES[1] and sizes.min():
        rows = [torch.where(lovers, labels / (2 * sizes[0]), labels / (2 * sizes[1])).double()]
    if remedy == REMEDIES[2]:
        rows = [
            mask.double() if mask.any() else torch.ones(labels, dtype=torch.float64)
            for mask in (lovers, ~lovers)
        ]
    fits = torch.stack([linear_reward(gap, label, weight=row, prior=0.5).weight for row in rows])
    heard = torch.tensor([effective_sample_size(row) for row in rows], dtype=torch.float64)
    policies = [kl_optimum(REF, FEATURES @ weight, beta=BETA) for weight in fits]
    each = policies if len(policies) == 2 else policies * 2
    truth = rewards(conflict)
    value = torch.stack([policy @ r - BETA * kl(policy, REF) for policy, r in zip(each, truth, strict=True)])
    best = torch.stack([BETA * torch.logsumexp(REF.log() + r / BETA, 0) for r in truth])
    return Served(value, best, fits, heard)


def served_scene(share: float = 0.7, conflict: float = 1.0, remedy: str = REMEDIES[0]) -> Scene:
    """The policies, what each group loses, and the same for every share of the labels."""
    found = experiment(share, conflict, remedy)
    colors, words = ("policy", "other"), ("lovers of detail", "those who want it short")
    best = [kl_optimum(REF, r, beta=BETA) for r in rewards(conflict)]
    trained = [kl_optimum(REF, FEATURES @ weight, beta=BETA) for weight in found.weight]
    told = ("served to both",) if len(trained) == 1 else ("served to the first", "served to the second")
    laws = [
        Bars(best[0], "policy", "best for the first group"),
        Bars(best[1], "other", "best for the second"),
    ]
    laws += [
        Bars(law, color, name) for law, color, name in zip(trained, ("truth", "reward"), told, strict=False)
    ]
    shares = [x / 20 for x in range(1, 20)]
    lost = torch.stack([experiment(x, conflict, remedy).regret for x in shares], 1)
    lines = [Line(shares, row, color, name) for row, color, name in zip(lost, colors, words, strict=True)]
    dots = [Points([share], [x], color) for x, color in zip(found.regret.tolist(), colors, strict=True)]
    names = (
        "What each group loses",
        "share of labels from lovers of detail",
        "regret against their own best policy",
    )
    panels = [
        Panel(laws, "Policies", "answer", "probability", y_range=(0, 1.08), categories=NAMES, weight=1.5),
        Panel([*lines, *dots], *names, (0, 1), (0, 5)),
    ]
    lost = " and ".join(number(x) for x in found.regret.tolist())
    weights = "; ".join(f"quality {number(q)}, detail {number(d)}" for q, d in found.weight.tolist())
    heard = " and ".join(f"{n:,.0f}" for n in found.heard.tolist())
    caption = f"Learned: {weights}, as sure as {heard} labels make it. The groups lose {lost}."
    return Scene(panels, caption, width=1080, height=340)


def served_explorer() -> Explorable:
    """The share of labels, the conflict, and what is done about it, in hand."""
    controls = {
        "share": slider(0.7, 0.05, 0.95, step=0.05, label="labels from lovers of detail"),
        "conflict": slider(1.0, 0.0, 2.0, step=0.1, label="conflict over detail"),
        "remedy": choice(REMEDIES[0], list(REMEDIES), label="what is trained"),
    }
    return explore(served_scene, controls)


def ring_scene(share: float = 0.6) -> Scene:
    """Two consistent groups: how often the row beats the column among all, and what no score can explain of it."""
    mixture = torch.tensor([share, 1 - share], dtype=torch.float64)
    wins = mixed_preference(RING, mixture)
    rest = intransitivity(wins)
    over = [(i, j) for i, j in ((0, 1), (1, 2), (2, 0)) if wins[i, j] > 0.5]
    told = "The majority runs in a circle: A over B, B over C, C over A." if len(over) == 3 else _order(wins)
    left = Cells(wins.tolist(), low=0, high=1, label="row beats column", rows="ABC")
    right = Cells(rest.tolist(), low=-0.5, high=0.5, label="log-odds left over", rows="ABC")
    panels = [
        Panel([left], "How often the row wins", categories="ABC"),
        Panel([right], "What no score explains", categories="ABC"),
    ]
    around = number(rest[0, 1].item())
    return Scene(
        panels, f"{told} Left over on each step of the circle: {around} log-odds.", width=760, height=330
    )


def ring_explorer() -> Explorable:
    """The size of the first group in hand."""
    return explore(ring_scene, {"share": slider(0.6, 0.0, 1.0, step=0.01, label="share of the first group")})


def _order(wins: Tensor) -> str:
    beaten = (wins > 0.5).sum(1)
    return "The majority orders them: " + ", ".join("ABC"[i] for i in beaten.argsort(descending=True)) + "."
