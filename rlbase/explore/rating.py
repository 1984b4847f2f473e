"""Be the rater: twenty pairs of reviews, what twenty answers say about whoever gave them, and the policy they train."""

from __future__ import annotations

import html
from functools import cache
from typing import Any, NamedTuple

import ipywidgets as W
import torch
from torch import Tensor

from rlbase.data.shelf import Shelf, shelf
from rlbase.evaluate import win_rate
from rlbase.evaluate.intervals import Estimate
from rlbase.explore.annotating import pairs_of, place_of, places_panel, policy_of, weights_panel
from rlbase.explore.live import LiveFigure, presses, with_picture
from rlbase.explore.scene import Bars, Line, Mark, Panel, Scene
from rlbase.feedback import Annotator, Answers, Questions, against_the_others, ask, krippendorff_alpha
from rlbase.feedback.pairs import balanced_pairs
from rlbase.train import linear_reward
from rlbase.validate import one_of, whole

NEW, AGAIN = 16, 4
PRIOR = 0.25  # precision of each weight before the first answer: two log-odds either way are nothing unusual
KEYS = ("left", "right", "take back", "what it says so far")
# Three careful raters, one who likes length, one who likes the left place.
CROWD = {
    "A": Annotator(),
    "B": Annotator(),
    "C": Annotator(),
    "long": Annotator(length=1.5),
    "left": Annotator(position=2.0),
}


class Deck(NamedTuple):
    """Twenty questions about the reviews of a shelf: the ones shown ``left`` and ``right``, ``[20]``.

    The last four are the first four with the places swapped.
    """

    reviews: Shelf
    left: Tensor
    right: Tensor

    @property
    def questions(self) -> Questions:
        """Is the left one better?"""
        return pairs_of(self.reviews, self.left, self.right)

    @property
    def design(self) -> Tensor:
        """What an answer is explained by, ``[20, 4]``: the left review's features less the right one's, and a 1."""
        gap = self.reviews.features[self.left] - self.reviews.features[self.right]
        return torch.cat([gap, torch.ones(len(gap), 1)], 1)


@cache
def deck(seed: int = 0) -> Deck:
    """Sixteen balanced pairs (see `balanced_pairs`), and the first four of them again.

    >>> found = deck()
    >>> bool((found.left[:4] == found.right[16:]).all()), len(found.left)
    (True, 20)
    """
    reviews, draws = shelf(), torch.Generator().manual_seed(seed)
    new = balanced_pairs(reviews.appeal, reviews.features[:, 2], NEW, draws, apart=(0.1, 0.5))
    left, right = torch.cat([new, new[:AGAIN].flip(1)]).unbind(1)
    return Deck(reviews, left, right)


def answers_of(annotator: Annotator, cards: Deck, generator: torch.Generator) -> str:
    """What an annotator says to the questions of a deck, one letter each: L or R.

    >>> answers_of(Annotator(position=50.0), deck(), torch.Generator())
    'LLLLLLLLLLLLLLLLLLLL'
    """
    prob = annotator.prob(cards.questions, answered=torch.arange(NEW + AGAIN))
    draw = torch.rand(len(prob), generator=generator)
    return "".join("L" if first else "R" for first in (draw < prob).tolist())


class Reading(NamedTuple):
    """What answers say about a rater: ``weight [4]`` and ``error [4]`` of `annotating.WHAT`, and who they agree with.

    ``same`` is how often they named the same review again; ``agreement [M + 1]`` how often they, and then everybody in
    `CROWD`, say what most of the others say; ``alpha`` Krippendorff's, of them all; ``cloud [60, 3]`` weights of the
    features that explain the answers about as well.
    """

    weight: Tensor
    error: Tensor
    cloud: Tensor
    same: Estimate
    agreement: Tensor
    alpha: float


def fit_rater(design: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
    r"""Weights ``[4]`` of what an answer is explained by, and their covariance: a reward model with a prior.

    $$P(\text{left})=\sigma(w\cdot[\phi(\text{left})-\phi(\text{right})]+b),\qquad w,b\sim N(0,1/\lambda)$$

    The place has the prior, too: whoever always says left would be assigned an infinite liking for it otherwise. The
    covariance is the inverse information at the optimum (Laplace's approximation of the posterior), since with twenty
    rows the sandwich of `linear_reward` is too sure. Measured: 95 % intervals hold likings of up to 2 in 95 to 98 % of
    all cases, those drawn from the prior in about 92 %; the sandwich's only in 75 to 90 %.
    """
    # A row without differences says nothing; with it the fit of no answers is the prior.
    rows, said = torch.cat([design, design.new_zeros(1, 4)]), torch.cat([left, left.new_tensor([0.5])])
    found = linear_reward(rows, said, prior=PRIOR)
    return found.weight, found.information.inverse()


def read(answers: str, cards: Deck) -> Reading:
    """What the letters L, R and - (not answered) say about whoever wrote them.

    >>> found = read("L" * 20, deck())
    >>> found.same.value, bool(found.weight[3] > 1.5)  # never the same review; a liking for the left
    (0.0, True)
    """
    said = torch.tensor([{"L": 1.0, "R": 0.0}.get(letter, float("nan")) for letter in answers])
    given = ~said.isnan()
    weight, covariance = fit_rater(cards.design[given], said[given])
    draws = torch.randn(60, 4, generator=torch.Generator().manual_seed(0), dtype=weight.dtype)
    cloud = weight + draws @ torch.linalg.cholesky(covariance).T
    there, back = said[:AGAIN], 1 - said[NEW:]
    twice = ~(there.isnan() | back.isnan())
    same = int((there == back)[twice].sum())
    others = ask([*CROWD.values()], cards.questions[:NEW], torch.Generator().manual_seed(3))
    everybody = Answers(torch.cat([said[:NEW, None], others.label], 1))
    return Reading(
        weight,
        covariance.diagonal().sqrt(),
        cloud[:, :3],
        win_rate(same, int(twice.sum()) - same),
        against_the_others(everybody),
        krippendorff_alpha(everybody),
    )


def rating_scene(answers: str, cards: Deck) -> Scene:
    """What these answers paid for, with 95 % intervals, where they would lead a policy, and who agrees."""
    found, n = read(answers, cards), len(answers.replace("-", ""))
    names = ["you", *CROWD]
    agreed = [share if share == share else 0.0 for share in found.agreement.tolist()]
    bars: list[Mark] = [
        Bars(agreed, "policy"),
        Line([0, 1], [0.5, 0.5], "reference", "chance", dashed=True, width=1.5),
    ]
    policy = policy_of(cards.reviews, found.weight[:3])
    panels = [
        weights_panel(found.weight, found.error, f"What {n} answers paid for", "estimate", weigh=1.3),
        places_panel(cards.reviews, policy, "yours", found.cloud),
        Panel(bars, "Says what most others say", "", "share", y_range=(0, 1.1), categories=names, weight=1.4),
    ]
    (left, longer), half = found.weight[[3, 2]].tolist(), (1.96 * found.error)[[3, 2]].tolist()
    told = (
        f"Alpha of you and five simulated raters {found.alpha:.2f}."
        if n
        else "This is what was believed before."
    )
    again = f", {found.same.value:.0%} of {found.same.n} repeated pairs alike" if found.same.n else ""
    caption = (
        f"{n} of 20 answered{again}. In log-odds, with 95 % intervals: the left place {left:+.1f} ± {half[0]:.1f}, "
        f"ten words more {longer:+.1f} ± {half[1]:.1f}. {told} A policy trained on this writes "
        f"{place_of(cards.reviews, policy).words:.0f} words."
    )
    return Scene(panels, caption, width=1180, height=360)


class RaterPanel(W.VBox):
    """Twenty pairs to be compared, by mouse or by key, and what the answers say (shown after the last, or on demand).

    Left or 1, right or 2; 3 takes the last answer back, 4 shows the result so far. The answers live in this object:
    show it again and nothing is lost, and `answers` can be written down and passed in again.

    Args:
        answers: a letter for each question in turn, L, R or - for not answered; shorter is filled up with -.
        seed: which pairs.

    Raises:
        ValueError: more than 20 letters, or others.

    >>> panel = RaterPanel("LR")
    >>> panel.answer(2, "left"); panel.answers
    'LRL-----------------'
    """

    def __init__(self, answers: str = "", *, seed: int = 0) -> None:
        if len(answers) > NEW + AGAIN or set(answers) - set("LR-"):
            raise ValueError(f"RaterPanel: answers must be up to 20 letters L, R or -, got {answers!r:.40}.")
        self.deck = deck(seed)
        self._said = list(answers.ljust(NEW + AGAIN, "-"))
        self._head, self._cards, self._foot = W.HTML(), W.HTML(), W.HTML()
        self._figure = LiveFigure(self.scene)
        self.buttons = presses(KEYS, label="Better:")
        self.buttons.observe(lambda change: self._pressed(change["new"][-1]), names="value")
        super().__init__([self._head, self._cards, self.buttons, self._figure, self._foot])
        self.add_class("rlbase-explorable").add_class("rlbase-rater")
        self._show()

    @property
    def answers(self) -> str:
        """All answers, a letter each."""
        return "".join(self._said)

    @property
    def scene(self) -> Scene:
        """What the answers say so far."""
        return rating_scene(self.answers, self.deck)

    @property
    def favourites(self) -> list[tuple[float, str]]:
        """The three reviews that a policy trained on these answers writes most, each after its probability."""
        policy = policy_of(self.deck.reviews, read(self.answers, self.deck).weight[:3])
        best = policy.topk(3).indices.tolist()
        return [(policy[i].item(), self.deck.reviews.texts[i]) for i in best]

    @property
    def asking(self) -> int | None:
        """Which question is shown, counted from 0; None once all are answered."""
        return self.answers.find("-") if "-" in self._said else None

    def answer(self, i: int, side: str) -> None:
        """Answer question ``i`` (from 0), or change the answer: "left", "right", or "" for none.

        Raises:
            ValueError: no such question or side.
        """
        whole("RaterPanel.answer", "i", i, 0)
        one_of("RaterPanel.answer", "side", side, ("left", "right", ""))
        if i >= len(self._said):
            raise ValueError(
                f"RaterPanel.answer: questions are numbered 0 to {len(self._said) - 1}, got {i}."
            )
        self._said[i] = {"left": "L", "right": "R"}.get(side, "-")  # kept before anything is drawn
        self._show()

    def let(self, annotator: Annotator, *, seed: int = 0) -> RaterPanel:
        """Have a simulated annotator answer whatever is still open."""
        drawn = answers_of(annotator, self.deck, torch.Generator().manual_seed(seed))
        self._said = [mine if mine != "-" else theirs for mine, theirs in zip(self._said, drawn, strict=True)]
        self._show()
        return self

    def _pressed(self, key: str) -> None:
        at, given = self.asking, [i for i, letter in enumerate(self._said) if letter != "-"]
        if key in KEYS[:2] and at is not None:
            self.answer(at, key)
        elif key == KEYS[2] and given:
            self.answer(given[-1], "")
        elif key == KEYS[3]:
            self._show(result=True)

    def _show(self, *, result: bool = False) -> None:
        at, reviews = self.asking, self.deck.reviews
        told = "All twenty are answered. Thank you!" if at is None else f"Pair {at + 1} of {NEW + AGAIN}"
        self._head.value = f'<div role="status"><b>{told}</b> · {html.escape(reviews.prompt)}</div>'
        self._cards.value = "" if at is None else self._pair(at)
        seen = result or at is None  # who sees the result while rating, rates to please it
        self._figure.layout.display = self._foot.layout.display = "" if seen else "none"
        if seen:
            self._figure.show(self.scene)
            items = (f"<li>{share:.0%}: {html.escape(text)}</li>" for share, text in self.favourites)
            self._foot.value = f"<b>Its favourites:</b><ol>{''.join(items)}</ol>"

    def _pair(self, at: int) -> str:
        sides = zip(KEYS, (self.deck.left, self.deck.right), strict=False)
        texts = ((side, html.escape(self.deck.reviews.texts[rows[at]])) for side, rows in sides)
        cards = (f'<div role="group" aria-label="{side} review">{text}</div>' for side, text in texts)
        return f'<div class="rlbase-cards">{"".join(cards)}</div>'

    def __repr__(self) -> str:
        return f"RaterPanel({self.answers!r})"

    def _repr_mimebundle_(self, **arguments: Any) -> Any:
        return with_picture(super()._repr_mimebundle_(**arguments), self.scene, repr(self))
