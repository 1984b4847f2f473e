r"""Annotators with faults: each can be turned up by itself, and every answer can be asked for its reasons.

What an annotator is asked is a pair: is the first response better than the second? Behind it stands a gold preference
that no annotator sees directly, and beside it what may lead them astray: which response is longer, which flatters the
asker, which they believed to be the better one before they looked, and traits on which tastes differ. The faults act
one after another, the way they do in people:

    pull  = gold + taste . traits + length longer + sycophancy flattering + belief believed  (+ or -) position
    p     = sigma(pull / temperature)                                     care
    p     = p (1 - confusion[0]) + (1 - p) confusion[1]                   mistakes
    p     = p (1 - malice) + (1 - p) malice                               answers turned round on purpose
    p     = p (1 - spamming) + h spamming                                 answers given without looking

with $h$ the chance that a habit falls on the first. Over a session the temperature grows (fatigue) and so does the
liking for length (drift). `Annotator.coverage` says how many questions are answered at all.

A single temperature divides every part of the pull. Thurstone's picture of it: whoever is careless adds noise to the
whole impression, to what is right about it and to what is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rlbase.validate import a_tensor, boolean, finite, has_shape, in_range, whole

INFINITY = float("inf")
SESSION = 1000  # answers after which fatigue and drift have their full size


@dataclass(frozen=True)
class Questions:
    r"""Pairs to be judged, ``[N]``, each number said of the first response less the second.

    ``gold`` is the log-odds with which a careful annotator without faults prefers the first; ``longer`` the
    difference in length, in any unit; ``flattering`` how much more the first agrees with the asker; ``believed`` is
    what one thought before looking (1: the first is better, -1: the second); ``traits [N, K]`` what tastes differ on.
    Whatever is left out is 0.

    Raises:
        ValueError: the shapes differ, or a number is not finite.

    >>> asked = Questions(torch.tensor([1.0, -0.5]), longer=torch.tensor([0.0, 3.0]))
    >>> len(asked), asked.turned().gold.tolist(), asked[1:].longer.tolist()
    (2, [-1.0, 0.5], [3.0])
    """

    gold: Float[Tensor, " N"]
    longer: Float[Tensor, " N"] | None = None
    flattering: Float[Tensor, " N"] | None = None
    believed: Float[Tensor, " N"] | None = None
    traits: Float[Tensor, "N K"] | None = None

    def __post_init__(self) -> None:
        a_tensor("Questions", gold=self.gold)
        n = self.gold.shape[0] if self.gold.ndim else 0
        for field in fields(self):
            given = getattr(self, field.name)
            if given is None:
                continue
            a_tensor("Questions", **{field.name: given})
            wide = (given.shape[-1] if given.ndim else 1,) if field.name == "traits" else ()
            has_shape("Questions", field.name, given, (n, *wide))
            finite("Questions", **{field.name: given})
            if not given.is_floating_point():  # a liking of 0.5 would be 0 among whole numbers
                object.__setattr__(self, field.name, given.to(torch.get_default_dtype()))

    def __len__(self) -> int:
        return len(self.gold)

    def __getitem__(self, rows: slice | Tensor) -> Questions:
        return self._each(lambda given: given[rows])

    def turned(self) -> Questions:
        """The same pairs, the other way round."""
        return self._each(lambda given: -given)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Questions:
        rest = (getattr(self, field.name) for field in fields(self)[1:])
        return Questions(change(self.gold), *(None if given is None else change(given) for given in rest))


class Reasons(NamedTuple):
    """Why an annotator answers a question as they do; as text, one sentence.

    ``parts`` are their pulls towards the first in log-odds, before ``temperature`` divides the sum of them; ``faults``
    the shares of answers that something else than the pull decides; ``prob`` the probability of the first after all.
    """

    parts: dict[str, float]
    temperature: float
    faults: dict[str, float]
    prob: float

    def __str__(self) -> str:
        leading = sorted(self.parts.items(), key=lambda part: -abs(part[1]))
        told = ", ".join(f"{name} {pull:+.2f}" for name, pull in leading) or "nothing speaks for either"
        told += "" if self.temperature == 1 else f", over a temperature of {self.temperature:.2g}"
        told += "".join(f"; {name} in {share:.0%} of the answers" for name, share in self.faults.items())
        return f"Prefers the first with probability {self.prob:.2f}: {told}."


@dataclass(frozen=True)
class Annotator:
    r"""Someone who compares two responses, with any mixture of faults; all off, they answer by the gold preference.

    $$P(\text{first})=\sigma\Big(\frac{g+t\cdot x+\ell\,\Delta_\text{length}+s\,\Delta_\text{flattery}
    +c\,\text{belief}\pm b}{\tau}\Big)$$

    and then mistakes, malice and spamming, as in the module's first lines. Position and belief
    are additive in log-odds, so that the answers in both orders cancel the first and a covariate can take out the
    second. Confusion is Dawid & Skene's (1979), for two classes.

    Raises:
        ValueError: a share outside [0, 1], a negative temperature or fatigue, or a number that is not finite.

    >>> likes_length = Annotator(length=0.5)
    >>> pairs = Questions(torch.tensor([1.0, -0.5]), longer=torch.tensor([0.0, 3.0]))
    >>> likes_length.prob(pairs)
    tensor([0.7311, 0.7311])
    >>> print(likes_length.reasons(pairs, 1))
    Prefers the first with probability 0.73: length +1.50, gold -0.50.
    """

    temperature: float = 1.0
    """What the pull is divided by: 1 is the gold preference's own scale, 0 sees every difference."""
    confusion: tuple[float, float] = (0.0, 0.0)
    """How often they say second where they meant first, and first where they meant second."""
    position: float = 0.0
    """Log-odds for whichever response is shown first."""
    length: float = 0.0
    """Log-odds for each unit by which a response is longer."""
    sycophancy: float = 0.0
    """Log-odds for each unit by which a response flatters more."""
    belief: float = 0.0
    """Log-odds for the response they believed to be the better one before they looked."""
    taste: tuple[float, ...] = ()
    """Log-odds for each unit of each trait: what their group likes."""
    coverage: float = 1.0
    """How many of the questions they answer."""
    drift: float = 0.0
    """What is added to ``length`` for every 1,000 answers: standards slide."""
    fatigue: float = 0.0
    """By which share the temperature has grown after 1,000 answers."""
    spamming: float = 0.0
    """How many answers are given without looking."""
    habit: float = 0.5
    """How many of those fall on the response that is shown first."""
    malice: float = 0.0
    """How many answers are turned round on purpose."""

    def __post_init__(self) -> None:
        for name in ("coverage", "spamming", "habit", "malice"):
            in_range("Annotator", name, getattr(self, name), 0, 1)
        for name in ("temperature", "fatigue"):
            in_range("Annotator", name, getattr(self, name), 0, INFINITY, open_high=True)
        for name in ("position", "length", "sycophancy", "belief", "drift"):
            in_range(
                "Annotator", name, getattr(self, name), -INFINITY, INFINITY, open_low=True, open_high=True
            )
        if not isinstance(self.confusion, tuple) or len(self.confusion) != 2:
            raise TypeError(f"Annotator: confusion must be two shares of answers, got {self.confusion!r}.")
        for share in self.confusion:
            in_range("Annotator", "confusion", share, 0, 1)
        for liking in self.taste:
            in_range("Annotator", "taste", liking, -INFINITY, INFINITY, open_low=True, open_high=True)

    def prob(
        self,
        questions: Questions,
        *,
        shown_first: Bool[Tensor, " N"] | None = None,
        answered: Int[Tensor, " N"] | None = None,
    ) -> Float[Tensor, " N"]:
        """Probability of preferring the first of each pair, if they answer it.

        Args:
            shown_first: whether the first stood in the first place; None: always.
            answered: how many answers they had given before; None: none, they are fresh.

        Raises:
            ValueError: another shape than the questions', fewer than no answers, or a taste for other traits than
                theirs.
        """
        shown, before = self._seen(questions, shown_first, answered)
        parts, hot = self._pulls(questions, shown, before)
        pull = torch.stack(list(parts.values())).sum(0)
        p = torch.where(hot > 0, (pull / hot).sigmoid(), (pull.sign() + 1) / 2)
        p = p * (1 - self.confusion[0]) + (1 - p) * self.confusion[1]
        p = p * (1 - self.malice) + (1 - p) * self.malice
        habit = 0.5 + (self.habit - 0.5) * _side(shown, p)
        return p * (1 - self.spamming) + habit * self.spamming

    def reasons(
        self, questions: Questions, row: int, *, shown_first: bool = True, answered: int = 0
    ) -> Reasons:
        """What pulls them in question ``row``, part by part.

        Raises:
            ValueError: no such question.
        """
        whole("Annotator.reasons", "row", row, 0)
        if row >= len(questions):
            raise ValueError(f"Annotator.reasons: row must be below {len(questions)}, got {row}.")
        one = questions[row : row + 1]
        shown, before = torch.tensor([shown_first]), torch.tensor([answered])
        parts, hot = self._pulls(one, shown, before)
        pulls = {name: pull.item() for name, pull in parts.items() if pull.item()}
        shares = {"mistakes": max(self.confusion), "malice": self.malice, "spamming": self.spamming}
        faults = {name: share for name, share in shares.items() if share}
        prob = self.prob(one, shown_first=shown, answered=before)
        return Reasons(pulls, hot.item(), faults, prob.item())

    def _seen(
        self, questions: Questions, shown: Tensor | None, before: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        n, device = len(questions), questions.gold.device
        shown = torch.ones(n, dtype=torch.bool, device=device) if shown is None else shown
        before = torch.zeros(n, dtype=torch.long, device=device) if before is None else before
        boolean("Annotator.prob", shown)
        has_shape("Annotator.prob", "shown_first", shown, (n,))
        has_shape("Annotator.prob", "answered", before, (n,))
        if (before < 0).any():
            raise ValueError(f"Annotator.prob: answered must be 0 or more, got {before.min().item()}.")
        return shown, before

    def _pulls(self, asked: Questions, shown: Tensor, before: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Each part of the pull, before it is divided by the temperature, and the temperature, ``[N]`` each."""
        gone = (before / SESSION).to(asked.gold)
        parts = {
            "gold": asked.gold,
            "position": self.position * _side(shown, asked.gold),
        }
        if asked.longer is not None:
            parts["length"] = (self.length + self.drift * gone) * asked.longer
        if asked.flattering is not None:
            parts["sycophancy"] = self.sycophancy * asked.flattering
        if asked.believed is not None:
            parts["belief"] = self.belief * asked.believed
        if self.taste:
            traits = asked.traits
            if traits is None or traits.shape[1] != len(self.taste):
                found = 0 if traits is None else traits.shape[1]
                raise ValueError(
                    f"Annotator: a taste for {len(self.taste)} traits needs questions with as many, got {found}."
                )
            parts["taste"] = traits @ torch.tensor(self.taste, dtype=traits.dtype, device=traits.device)
        return parts, self.temperature * (1 + self.fatigue * gone)


def _side(shown: Tensor, like: Tensor) -> Tensor:
    """1 where the first is in the first place, -1 where it is not: times a number, in ``like``'s own precision."""
    return 2 * shown.to(like) - 1
