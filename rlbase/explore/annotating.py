"""One annotator in hand: how they answer, what a reward model learns from 2,000 answers, and which policy follows."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from rlbase.data.shelf import FEATURES, Shelf, shelf
from rlbase.evaluate import outcome
from rlbase.exact import kl_optimum
from rlbase.explore.layout import roomy
from rlbase.explore.live import Explorable, explore, slider, toggle
from rlbase.explore.scene import Line, Mark, Panel, Points, Scene
from rlbase.feedback import Annotator, Questions, ask
from rlbase.train import linear_reward

WORTH = 4.0  # log-odds that one unit of appeal is worth to a careful annotator
GOLD = torch.tensor([WORTH / 2, WORTH / 2, 0.0])  # the gold preference as weights of `FEATURES`
BETA = 0.5  # price of leaving the uniform reference
WHAT = (*FEATURES, "left")
ANSWERS = 2000


def pairs_of(reviews: Shelf, left: Tensor, right: Tensor) -> Questions:
    """The questions whether the reviews ``left [N]`` are better than ``right [N]``; length in tens of words."""
    gap = reviews.features[left] - reviews.features[right]
    return Questions(gap @ GOLD, longer=gap[:, 2])


class Place(NamedTuple):
    """What a policy writes on average: its number of words, and its gold reward between 0 and 1."""

    words: float
    appeal: float


def policy_of(reviews: Shelf, weight: Tensor) -> Tensor:
    """The policy that a reward with these weights of `FEATURES` trains, ``[n]``, from a uniform reference.

    >>> found = policy_of(shelf(40), GOLD)
    >>> int(found.argmax()) == int(shelf(40).appeal.argmax())
    True
    """
    n = len(reviews.texts)
    return kl_optimum(torch.full((n,), 1 / n), reviews.features @ weight.to(reviews.features), beta=BETA)


def place_of(reviews: Shelf, policy: Tensor) -> Place:
    """Where a policy ``[n]`` stands: mean words, mean appeal."""
    return Place(*(float(policy @ each.to(policy)) for each in (reviews.words, reviews.appeal)))


def weights_panel(weight: Tensor, error: Tensor, title: str, label: str, *, weigh: float = 1.0) -> Panel:
    """Weights of `WHAT`, ``[4]``, with 95 % intervals, beside the gold preference's."""
    found, half = weight.tolist(), (1.96 * error).tolist()
    marks: list[Mark] = [Points([0, 1, 2, 3], [*GOLD.tolist(), 0.0], "truth", "gold", size=7, hollow=True)]
    for i, (w, h) in enumerate(zip(found, half, strict=True)):
        marks.append(Line([i, i], [w - h, w + h], "policy", "" if i else "95 % interval", width=4))
    marks.append(Points([0, 1, 2, 3], found, "policy", label, size=5))
    marks.append(Line([-0.5, 3.5], [0, 0], "reference", width=1))
    limits = roomy(-4, 6, [w + side * h for w, h in zip(found, half, strict=True) for side in (-1, 1)])
    return Panel(marks, title, "", "log-odds", (-0.5, 3.5), limits, categories=WHAT, weight=weigh)


def places_panel(reviews: Shelf, policy: Tensor, label: str, cloud: Tensor | None = None) -> Panel:
    """Words and appeal of the reference, of the policy that gold trains, and of ``policy``; more of them as a cloud."""
    n = len(reviews.texts)
    marks: list[Mark] = [Points(reviews.words, reviews.appeal, "reference", "a review", size=2.5)]
    if cloud is not None:
        words, worth = zip(*(place_of(reviews, policy_of(reviews, w)) for w in cloud), strict=True)
        marks.append(Points(words, worth, "policy", "as likely", size=2.5, hollow=True))
    each = {"before": torch.full((n,), 1 / n), "gold": policy_of(reviews, GOLD), label: policy}
    looks = zip(("reference", "truth", "policy"), each.items(), strict=True)
    for color, (name, law) in looks:
        words, worth = place_of(reviews, law)
        marks.append(Points([words], [worth], color, name, size=8, hollow=color != "policy"))
    return Panel(marks, "Where it leads", "words", "appeal", (10, 36), (0, 0.95))


@lru_cache
def _asked(seed: int = 0) -> tuple[Shelf, Tensor, Tensor]:
    reviews, draws = shelf(), torch.Generator().manual_seed(seed)
    left = torch.randint(40, (ANSWERS,), generator=draws)
    return reviews, left, (left + torch.randint(1, 40, (ANSWERS,), generator=draws)) % 40


def annotator_scene(
    temperature: float = 1.0,
    position: float = 0.0,
    length: float = 0.0,
    confusion: float = 0.0,
    spamming: float = 0.0,
    malice: float = 0.0,
    fatigue: float = 0.0,
    *,
    places: bool = True,
) -> Scene:
    """How this annotator answers, what a reward model makes of 2,000 answers, and the policy that it trains.

    With ``places`` the fit is told which review stood left; without, a liking for one side is noise to it.
    """
    mistakes = (confusion, confusion)
    who = Annotator(
        temperature, mistakes, position, length, spamming=spamming, malice=malice, fatigue=fatigue
    )
    reviews, one, two = _asked()
    said = ask([who], pairs_of(reviews, one, two), torch.Generator().manual_seed(1))
    assert said.shown_first is not None
    side = 2.0 * said.shown_first - 1 if places else None
    gap = reviews.features[one] - reviews.features[two]
    found = linear_reward(gap, said.label[:, 0], covariates=side, prior=1e-3)
    weight, error = (
        torch.cat([x, x.new_zeros(4 - len(x))]) for x in (torch.cat([found.weight, found.shift]), found.error)
    )
    policy, n = policy_of(reviews, found.weight), len(reviews.texts)
    got = outcome(found.score(reviews.features), WORTH * reviews.appeal, torch.full((n,), 1 / n), beta=BETA)
    why = who.reasons(Questions(torch.tensor([1.0]), longer=torch.tensor([-1.0])), 0)
    caption = (
        f"Asked about a better review (gold +1), ten words shorter, on the left: {why} A reward fitted to {ANSWERS:,} "
        f"answers ranks {got.accuracy:.0%} of all pairs as gold does. Its policy writes "
        f"{place_of(reviews, policy).words:.0f} words; its regret is {got.regret:.2f}."
    )
    panels = [
        curves_panel(who),
        weights_panel(weight, error, f"What {ANSWERS:,} answers teach", "learned", weigh=1.3),
        places_panel(reviews, policy, "learned"),
    ]
    return Scene(panels, caption, width=1080, height=360)


def curves_panel(who: Annotator) -> Panel:
    """How often ``who`` prefers a review that is ten words longer, against the gold log-odds, for both places."""
    gold = torch.linspace(-4, 4, 81)
    asked = Questions(gold, longer=torch.ones_like(gold))
    marks: list[Mark] = [Line(gold, gold.sigmoid(), "truth", "no fault", dashed=True, width=1.8)]
    for left, color, name in ((True, "policy", "shown left"), (False, "other", "shown right")):
        shown = torch.full_like(gold, left, dtype=torch.bool)
        marks.append(Line(gold, who.prob(asked, shown_first=shown), color, name))
    return Panel(
        marks, "Prefers one that is ten words longer", "gold log-odds", "probability", (-4, 4), (0, 1.02)
    )


def annotator_explorer() -> Explorable:
    """Seven faults in hand, two of them turned up; answers, reward model and policy are made anew at every move."""
    return explore(
        annotator_scene,
        {
            "temperature": slider(1.0, 0.2, 5.0, step=0.2, label="carelessness (temperature)", form=".1f"),
            "position": slider(2.0, -3.0, 3.0, step=0.25, label="likes the left place"),
            "length": slider(1.0, -2.0, 2.0, step=0.25, label="likes length (for ten words)"),
            "confusion": slider(0.0, 0.0, 0.5, step=0.05, label="mistakes", form=".0%"),
            "spamming": slider(0.0, 0.0, 1.0, step=0.1, label="does not look", form=".0%"),
            "malice": slider(0.0, 0.0, 1.0, step=0.1, label="malice", form=".0%"),
            "fatigue": slider(0.0, 0.0, 5.0, step=0.5, label="fatigue", form=".1f"),
            "places": toggle(True, label="the fit is told the places"),
        },
    )
