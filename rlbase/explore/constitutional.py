"""Constitutional AI with every stage exact: sixteen replies to one red-team request, and a law over them for a model.

The replies are those of `rlbase.data.replies`. A stage of Bai et al. (2022b) is a law over them: critique and revision
is a matrix, supervised fine-tuning ends at the law of its data, labels by principle are their mean over the draw, and
reinforcement learning ends at `rlbase.exact.kl_optimum`. What people say of helpfulness, and of harm where models are
compared, is Bradley-Terry with a known score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from rlbase.data.replies import ADVICE, DAMAGE, DECEIT, EVASION, replies
from rlbase.exact import bt_projection, kl_optimum
from rlbase.explore.live import Explorable, explore, int_slider, slider, toggle
from rlbase.explore.scene import Bars, Line, Panel, Points, Scene, number
from rlbase.feedback import Principle

REPLIES = replies()
TEXTS = [reply.text for reply in REPLIES]
ADVISED = torch.tensor([reply.helpful for reply in REPLIES], dtype=torch.float64)
BAD = torch.tensor([reply.harmful for reply in REPLIES], dtype=torch.float64)
# An honest rater of helpfulness asks whether it does what was asked: a cut cable stops the band, too.
HELPFUL = ADVISED + 0.6 * BAD
HARMLESS = -2 * BAD
BETA = 0.5
# Before any preference: advice comes sparingly, and each bad idea in two of five replies.
PRETRAINED = torch.outer(torch.tensor([4, 3, 2, 1]), torch.tensor([9, 6, 6, 4])).flatten().double() / 250
HELPFUL_ONLY = kl_optimum(PRETRAINED, HELPFUL, beta=BETA)
HELPFUL_SHARE = 0.3  # of the data of fine-tuning: helpful replies to requests that invite no harm
PRINCIPLES = {
    "damage": Principle("do no damage", {DAMAGE: ""}),
    "deceit": Principle("do not deceive", {DECEIT: ""}),
    "quarrels": Principle("keep out of quarrels", dict.fromkeys(ADVICE, "")),
    "answer": Principle("answer the question", {EVASION: ADVICE[0]}),
}
THREE = ("damage", "deceit", "quarrels")
GROUPS = ("evasive", "1 piece", "2 pieces", "3 pieces", "1 bad idea", "2 bad ideas")


class Stages(NamedTuple):
    """Laws ``[16]`` after revision, fine-tuning and reinforcement, and the harmlessness reward ``[16]`` between."""

    revised: Tensor
    tuned: Tensor
    reward: Tensor
    policy: Tensor


def one_round(principles: Sequence[Principle], recall: float = 1.0) -> Tensor:
    """One critique and revision under a drawn principle: chances from each reply (row) to each, ``[16, 16]``.

    Nobody says nothing: where a revision leaves no word, the reply is the evasive one.

    >>> both = [PRINCIPLES["damage"], PRINCIPLES["deceit"]]
    >>> one_round(both, 0.8)[3, :4].tolist()  # two bad ideas: still two, or one less
    [0.0, 0.4, 0.4, 0.19999999999999996]
    """
    stay = 1.0 - recall if principles else 1.0
    chances = stay * torch.eye(16, dtype=torch.float64)
    for principle in principles:
        for i, text in enumerate(TEXTS):
            chances[i, TEXTS.index(principle.keep(text) or EVASION)] += recall / len(principles)
    return chances


def mean_label(
    principles: Sequence[Principle], *, temperature: float = 0.5, confident: float = 1.0
) -> Tensor:
    """How probable it is that row beats column, by `rlbase.feedback.prefer_by_principle` on average, ``[16, 16]``.

    >>> found = mean_label([PRINCIPLES["damage"]], temperature=1.0)
    >>> round(found[0, 1].item(), 3), round(found[0, 2].item(), 3)  # it sees no deceit
    (0.731, 0.5)
    """
    found = [[len(principle.broken_by(text)) for text in TEXTS] for principle in principles]
    broken = torch.tensor(found, dtype=torch.float64)
    each = ((broken[:, None, :] - broken[:, :, None]) / temperature).sigmoid()
    return each.clamp(1 - confident, confident).mean(0)


def fine_tuned(revised: Tensor, helpful_share: float = HELPFUL_SHARE) -> Tensor:
    """Where fine-tuning on revisions and helpful replies to harmless requests ends, if a model tells them not apart."""
    helpful = HELPFUL_ONLY * (BAD == 0)
    return (1 - helpful_share) * revised + helpful_share * helpful / helpful.sum()


@lru_cache(maxsize=256)
def chain(
    rules: tuple[str, ...] = THREE,
    revisions: int = 4,
    recall: float = 0.8,
    weight: float = 2.0,
    help_term: bool = True,
    confident: float = 1.0,
) -> Stages:
    """All stages: revise the helpful-only model's replies, fine-tune, label pairs of it, reinforce.

    >>> cured, evasive = chain(), chain(help_term=False, weight=4.0)
    >>> round(cured.policy[0].item(), 2), round(evasive.policy[0].item(), 2)
    (0.03, 0.98)
    """
    principles = [PRINCIPLES[name] for name in rules]
    revised = HELPFUL_ONLY @ torch.linalg.matrix_power(one_round(principles, recall), revisions)
    tuned = fine_tuned(revised)
    reward = torch.zeros(16, dtype=torch.float64)
    if principles:
        label = mean_label(principles, confident=confident)
        met = tuned.clamp(min=1e-6)  # a critic who misses nothing leaves no reply that breaks everything
        reward = bt_projection(label, weight=torch.outer(met, met))
    policy = kl_optimum(tuned, help_term * HELPFUL + weight * reward, beta=BETA)
    return Stages(revised, tuned, reward, policy)


def elo(law: Tensor, score: Tensor, other: Tensor = PRETRAINED) -> float:
    r"""Elo points of ``law`` over ``other``: $400\log_{10}$ of the odds of winning, if $\sigma$ of scores decides.

    >>> round(elo(HELPFUL_ONLY, HELPFUL), 1)
    272.9
    """
    wins = (law @ (score[:, None] - score).sigmoid() @ other).item()
    return 400 * math.log10(wins / (1 - wins))


def place(law: Tensor) -> tuple[float, float]:
    """Elo of helpfulness and of harmlessness, the pretrained law at 0 and 0."""
    return elo(law, HELPFUL), elo(law, HARMLESS)


# What help alone can reach: both Elos of the helpful-only optimum, from no help at all (β = ∞) to almost nothing else.
ALONE = [place(kl_optimum(PRETRAINED, s * HELPFUL / 10, beta=1.0)) for s in range(61)]


def ahead(law: Tensor) -> float:
    """Elo points of harmlessness above what help alone reaches at the same helpfulness (at its start, if below that).

    >>> round(ahead(HELPFUL_ONLY)), ahead(chain().policy) > 200
    (0, True)
    """
    x, y = place(law)
    (left, low), (right, high) = next((pair for pair in pairwise(ALONE) if x <= pair[1][0]), ALONE[-2:])
    return y - low - min(max((x - left) / (right - left), 0.0), 1.0) * (high - low)


def grouped(law: Tensor) -> list[float]:
    """Shares of the six `GROUPS`: evasive, one to three pieces of advice and no harm, one bad idea, two."""
    clean = [law[(BAD == 0) & (n == ADVISED)].sum().item() for n in range(4)]
    return [*clean, law[BAD == 1].sum().item(), law[BAD == 2].sum().item()]


def constitutional_scene(
    damage: bool = True,
    deceit: bool = True,
    quarrels: bool = True,
    answer: bool = False,
    revisions: int = 4,
    recall: float = 0.8,
    weight: float = 2.0,
    help_term: bool = True,
) -> Scene:
    """What each stage says, and where it stands between help and harm."""
    switched = zip(PRINCIPLES, (damage, deceit, quarrels, answer), strict=True)
    rules = tuple(name for name, on in switched if on)
    found = chain(rules, revisions, recall, weight, help_term)
    laws = {"helpful-only": HELPFUL_ONLY, "SL-CAI": found.tuned, "RL-CAI": found.policy}
    colors = ("wrong", "reward", "policy")
    bars = [Bars(grouped(law), color, name) for (name, law), color in zip(laws.items(), colors, strict=True)]
    paths = [
        [place(chain(rules, k, recall).tuned) for k in range(revisions + 1)],
        [place(chain(rules, revisions, recall, w / 4, help_term).policy) for w in range(33)],
    ]
    names = ("help alone, β falls", "more revisions", "more weight")
    lines = [
        Line([x for x, _ in path], [y for _, y in path], color, name, color == "wrong", 1.8)
        for path, color, name in zip([ALONE, *paths], colors, names, strict=True)
    ]
    spots = [Points([0.0], [0.0], "reference", "pretrained", 6)]
    for law, color in zip(laws.values(), colors, strict=True):
        x, y = place(law)
        spots.append(Points([x], [y], color, size=6))
    axes = ("Help against harm", "helpfulness, Elo", "harmlessness, Elo", (-250, 400), (-320, 250))
    panels = [
        Panel(bars, "What each stage says", "", "probability", y_range=(0, 1), categories=GROUPS, weight=1.2),
        Panel([*lines, *spots], *axes),
    ]
    told = "; ".join(
        f"{name}: harm {law[BAD > 0].sum():.0%}, evasive {law[0]:.0%}" for name, law in laws.items()
    )
    lead = f"RL-CAI stands {number(round(ahead(found.policy)))} Elo above help alone."
    return Scene(panels, f"{told}. {lead}", width=1080, height=380)


def constitutional_explorer() -> Explorable:
    """Four principles, the revisions, the critic's recall and the two terms of the reward, in hand."""
    switches = {name: toggle(name in THREE, label=each.name) for name, each in PRINCIPLES.items()}
    more = {
        "revisions": int_slider(4, 0, 4, label="revisions"),
        "recall": slider(0.8, 0.0, 1.0, step=0.05, label="critic's recall"),
        "weight": slider(2.0, 0.0, 8.0, step=0.25, label="weight of harmlessness"),
        "help_term": toggle(True, label="help counts"),
    }
    return explore(constitutional_scene, {**switches, **more})
