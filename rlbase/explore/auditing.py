"""An audit in hand: a rater with likings labels pairs of reviews, and a reward of length and words learns from them.

The labels come from `rlbase.feedback.ask`, the audit is `rlbase.evaluate.audit`, the shortcut a
`rlbase.train.linear_reward` of nothing but length and telling words, and the policy its `rlbase.exact.kl_optimum`.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from rlbase.data import Comparison
from rlbase.data.requests import appeal, comparisons
from rlbase.data.reviews import words
from rlbase.data.shelf import shelf
from rlbase.evaluate.audit import Audit, audit
from rlbase.exact import kl_optimum
from rlbase.explore.live import Explorable, choice, explore, slider
from rlbase.explore.scene import Bars, Line, Panel, Scene
from rlbase.feedback import Annotator, Questions, ask
from rlbase.train.linear_reward import linear_reward

WORD = "very"
CARE = 5.0  # log-odds for the whole span of `appeal`
COIN = 1e9  # a temperature at which the order of a pair is a coin
SIDES = ("chosen", "rejected")
EVEN = torch.full((40,), 1 / 40)  # over the shelf
BETA = 0.5


@cache
def material(n: int = 1200) -> tuple[tuple[Comparison, ...], Questions]:
    """``n`` pairs of reviews that nobody judged yet, and what a rater would look at in each.

    ``gold`` is `CARE` times the difference in appeal, ``longer`` counts doublings of length, the one trait is `WORD`.

    >>> pairs, asked = material(50)
    >>> len(pairs), len(asked), asked.traits.shape
    (50, 50, torch.Size([50, 1]))
    """
    pairs = tuple(comparisons(n, seed=0, temperature=COIN))
    prompts = [pair.prompt for pair in pairs]
    sides = [[getattr(pair, side) for pair in pairs] for side in SIDES]
    gold, rest = ([torch.tensor(appeal(prompts, side)) for side in sides], [features(side) for side in sides])
    difference = rest[0] - rest[1]
    return pairs, Questions(CARE * (gold[0] - gold[1]), difference[:, 0], traits=difference[:, 1:])


def features(texts: list[str], telling: tuple[str, ...] = (WORD,)) -> Tensor:
    """Length in doublings, and for each word of ``telling`` whether it stands there, ``[n, 1 + words]``.

    >>> features([" A very dull film."]).tolist()[0][1], features([" Not, for once, dull."])[0, 1].item()
    (1.0, 0.0)
    """
    found = [words(text) for text in texts]
    return torch.tensor(
        [[math.log2(len(said) + 1), *(float(word in said) for word in telling)] for said in found]
    )


def labelled(rater: Annotator, n: int = 1200, seed: int = 0) -> list[Comparison]:
    """What one rater says to the first ``n`` pairs of `material`.

    >>> len(labelled(Annotator(length=1.0), 30))
    30
    """
    pairs, asked = material()
    said = ask([rater], asked[slice(n)], torch.Generator().manual_seed(seed)).label[:, 0].tolist()
    turned = [Comparison(pair.prompt, pair.rejected, pair.chosen) for pair in pairs[:n]]
    return [pair if x == 1 else other for pair, other, x in zip(pairs, turned, said, strict=False)]


class Audited(NamedTuple):
    """``found`` in a file; the ``share`` of `WORD` in its chosen responses, of those that it splits; the ``policy``."""

    found: Audit
    share: float
    policy: Tensor


@lru_cache(maxsize=128)
def audited(length: float, word: float, n: int) -> Audited:
    """The audit of such a rater's file, and the policy over the shelf that a reward of length and words trains.

    >>> seen = audited(1.0, 2.0, 100)
    >>> seen.found.pairs, seen.policy.shape
    (100, torch.Size([40]))
    """
    file = labelled(Annotator(length=length, taste=(word,)), n)
    found = audit(file)
    telling = tuple(one.word for one in found.words)
    one, two = (features([getattr(pair, side) for pair in file], (WORD, *telling)) for side in SIDES)
    gap = one - two
    keep = [0, *range(2, 2 + len(telling))]
    reward = linear_reward(gap[:, keep], torch.ones(n), prior=1.0)
    scores = reward.score(features(list(shelf().texts), telling))
    split = gap[:, 1][gap[:, 1] != 0]
    return Audited(found, (split > 0).double().mean().item(), kl_optimum(EVEN, scores, beta=BETA))


def audit_scene(length: float = 1.0, word: float = 2.0, pairs: str = "1200") -> Scene:
    """How often the longer review, and each telling word, was chosen; and what a policy would then write."""
    found, share, policy = audited(length, word, int(pairs))
    told = [one for one in found.words if one.word != WORD][:6]
    names = ["longer", f"“{WORD}”", *(f"“{one.word}”" for one in told)]
    shares = [found.longer.value, share, *(one.chosen / (one.chosen + one.rejected) for one in told)]
    spoken = features(list(shelf().texts))[:, 1]
    rows = [(law @ shelf().words / 40, law @ spoken, law @ shelf().appeal) for law in (EVEN, policy.to(EVEN))]
    chance = Line([-0.5, len(names) - 0.5], [0.5, 0.5], "reference", "by chance", dashed=True, width=1.5)
    left = [Bars(shares, "reward", "share chosen"), chance]
    right = [Bars(rows[0], "reference", "all 40 reviews alike"), Bars(rows[1], "policy", "trained")]
    writes = ["words / 40", f"says “{WORD}”", "appeal (gold)"]
    panels = [
        Panel(left, "In the file: length and words", y_range=(0, 1.08), categories=names, weight=1.5),
        Panel(right, "What the policy writes", y_range=(0, 1.08), categories=writes),
    ]
    caption = (
        f"{len(found.words)} telling words. Twice the length: {found.doubling.value:+.2f} log-odds. Length and words "
        f"alone are right in {found.shortcut} of the pairs of prompts not seen; with labels by lot, {found.control}."
    )
    return Scene(panels, caption, width=1000, height=340)


def audit_explorer() -> Explorable:
    """A rater's likings, and how many pairs they judge, in hand."""
    controls = {
        "length": slider(1.0, 0.0, 2.0, step=0.25, label="liking for twice the length"),
        "word": slider(2.0, 0.0, 3.0, step=0.5, label=f"liking for “{WORD}”"),
        "pairs": choice("1200", ["100", "300", "1200"], label="pairs in the file"),
    }
    return explore(audit_scene, controls)
