"""A judge with a liking for the first place, in hand: one order or both, hard labels or soft, down to the policy.

Ten answers, five by an old model and five by a new one. The judge's own opinion is gold; what it adds for whichever
answer stands first is the only fault. Labels train one score for each answer (`rlbase.train.linear_reward` of which
answers were compared), and the policy is that reward's `rlbase.exact.kl_optimum`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from rlbase.evaluate import Outcome, outcome
from rlbase.exact import kl_optimum, swap_averaged
from rlbase.explore.live import Explorable, choice, explore, slider
from rlbase.explore.scene import Bars, Line, Panel, Scene, number
from rlbase.feedback import Annotator, Questions
from rlbase.train.linear_reward import linear_reward

# Old and new models write equally well; their answers are mixed.
GOLD = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0, -1.0, -0.5, 0.0, 0.5, 1.0], dtype=torch.float64)
NEW = torch.arange(10) >= 5
REF = torch.full((10,), 0.1, dtype=torch.float64)
BETA = 0.3
NAMES = ["o1", "o2", "o3", "o4", "o5", "n1", "n2", "n3", "n4", "n5"]
LOT, FIXED = "drawn by lot", "the new model's answer"
ASKED = ("one order, hard", "one order, soft", "both orders, mean probability", "both orders, mean log-odds")


class Judged(NamedTuple):
    """Labels ``[N]`` of ``pairs [N, 2]``, the reward ``[10]`` they make, and what it is worth."""

    pairs: Tensor
    label: Tensor
    reward: Tensor
    outcome: Outcome


def labels(logit: Tensor, position: float, asked: str, shown_first: Tensor) -> Tensor:
    """What the judge says of pairs whose gold log-odds are ``logit``: probabilities of the first, ``[N]``.

    >>> half = torch.tensor([0.5, 0.5])
    >>> labels(half, 2.0, ASKED[0], torch.tensor([True, False])).tolist()  # whichever stands first
    [1.0, 0.0]
    >>> labels(half, 2.0, ASKED[2], torch.tensor([True, False]))  # who stands where is all one
    tensor([0.5533, 0.5533])
    """
    if asked in ASKED[2:]:
        return swap_averaged(logit, position, logits=asked == ASKED[3])
    prob = Annotator(position=position).prob(Questions(logit), shown_first=shown_first)
    return (prob > 0.5).to(prob) if asked == ASKED[0] else prob


@lru_cache(maxsize=256)
def experiment(
    position: float, asked: str = ASKED[0], first: str = LOT, calls: int = 3000, seed: int = 0
) -> Judged:
    """From ``calls`` of the judge to a reward and its policy; both orders cost two calls a pair.

    >>> experiment(2.0, ASKED[3]).outcome.regret < experiment(2.0, ASKED[0]).outcome.regret
    True
    """
    draws = torch.Generator().manual_seed(seed)
    n = calls // 2 if asked in ASKED[2:] else calls
    pairs = torch.randint(10, (n, 2), generator=draws)
    pairs = pairs[GOLD[pairs[:, 0]] != GOLD[pairs[:, 1]]]
    shown = torch.rand(len(pairs), generator=draws) < 0.5
    if first == FIXED:  # where only one of two answers is new, it stands first
        new = NEW[pairs]
        shown = torch.where(new[:, 0] == new[:, 1], shown, new[:, 0])
    label = labels(GOLD[pairs[:, 0]] - GOLD[pairs[:, 1]], position, asked, shown)
    which = torch.nn.functional.one_hot(pairs, 10).double()
    reward = linear_reward(which[:, 0] - which[:, 1], label, prior=0.1).weight
    return Judged(pairs, label, reward, outcome(reward, GOLD, REF, beta=BETA))


def right(position: float, asked: str, *, below: float = 1.0, seed: int = 0, n: int = 20_000) -> float:
    """How often a label falls on the better side, in pairs whose log-odds lie within ``below``; 1/2 counts half."""
    draws = torch.Generator().manual_seed(seed)
    logit = below * (2 * torch.rand(n, generator=draws, dtype=torch.float64) - 1)
    shown = torch.rand(n, generator=draws) < 0.5
    said = labels(logit, position, asked, shown) - 0.5
    return ((said * logit).sign() + 1).div(2).mean().item()


def judging_scene(position: float = 2.0, asked: str = ASKED[0], first: str = LOT) -> Scene:
    """What labels say of each gap, the reward they make, and the policy."""
    found = experiment(position, asked, first)
    gaps = torch.linspace(-3, 3, 61, dtype=torch.float64)
    both = [labels(gaps, position, asked, torch.full((61,), place)) for place in (True, False)]
    curves = [Line(gaps, gaps.sigmoid(), "truth", "its opinion", dashed=True, width=1.8)]
    curves.append(Line(gaps, both[0], "policy", "label, shown first"))
    if not torch.equal(*both):
        curves.append(Line(gaps, both[1], "wrong", "label, shown second"))
    scores = [Bars(GOLD, "truth", "gold"), Bars(found.reward - found.reward.mean(), "reward", "learned")]
    policy, best = (kl_optimum(REF, r, beta=BETA) for r in (found.reward, GOLD))
    laws = [Bars(best, "truth", "the best"), Bars(policy, "policy", "trained by the judge")]
    most = max(2.5, 1.1 * max(abs(score) for score in scores[1].heights))
    panels = [
        Panel(curves, "What a label says", "gap, log-odds", "P(first is better)", (-3, 3), (0, 1)),
        Panel(scores, "Reward, mean 0", "", "log-odds", y_range=(-most, most), categories=NAMES, weight=1.3),
        Panel(laws, "Policy", "", "probability", y_range=(0, 1), categories=NAMES, weight=1.3),
    ]
    close = right(position, asked)
    new = policy[NEW].sum().item()
    caption = (
        f"Right in {close:.0%} of the close pairs (gaps below 1). Regret {number(found.outcome.regret)} nats; the new "
        f"model's answers, no better than the old one's, get {new:.0%} of the policy."
    )
    return Scene(panels, caption, width=1080, height=340)


def judging_explorer() -> Explorable:
    """The liking for the first place, how one asks, and who stands first, in hand."""
    controls = {
        "position": slider(2.0, 0.0, 4.0, step=0.25, label="log-odds of the first place"),
        "asked": choice(ASKED[0], list(ASKED), label="how one asks"),
        "first": choice(LOT, [LOT, FIXED], label="who stands first"),
    }
    return explore(judging_scene, controls)
