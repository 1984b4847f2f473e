r"""A constitution at work: a principle is drawn, a critic looks for what breaks it, a reviser says it differently.

The shape is that of Constitutional AI (Bai et al. 2022b): critique under a randomly drawn principle, revision, and
again; then preferences for the reply that keeps the drawn principle better. The critic and the reviser here go by
lists of phrases instead of a language model's judgement, so that what they overlook is known and can be turned up:
with recall $q$, one broken principle among $P$ is still broken after $k$ rounds with probability $(1-q/P)^k$
(`rlbase.exact.residual_harm`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rlbase.validate import in_range, instance, whole

INFINITY = float("inf")
ROUNDS = 10  # in which phrases are replaced, at most: some lists would go on for ever


@dataclass(frozen=True)
class Principle:
    """A rule for replies: phrases that break it, and what to say instead of each (nothing, to leave it out).

    Raises:
        ValueError: no name, no phrase, an empty phrase, or a replacement that breaks the principle itself.

    >>> fair = Principle("do not insult", {"a stupid idea": "an idea with risks"})
    >>> fair.broken_by("That is a stupid idea.")
    ['a stupid idea']
    >>> fair.keep("That is a stupid idea.")
    'That is an idea with risks.'
    """

    name: str
    instead: Mapping[str, str]

    def __post_init__(self) -> None:
        if not self.name or not self.instead or not all(self.instead):
            raise ValueError(
                "Principle: needs a name and at least one phrase that breaks it, none of them empty."
            )
        for phrase, other in self.instead.items():
            if self.broken_by(other):
                raise ValueError(
                    f"Principle: {other!r}, said instead of {phrase!r}, breaks {self.name!r} as well."
                )

    def broken_by(self, reply: str) -> list[str]:
        """The phrases in ``reply`` that break it, in the order of the list."""
        return [phrase for phrase in self.instead if phrase in reply]

    def keep(self, reply: str) -> str:
        """``reply`` with every such phrase replaced, and no blanks left over.

        What is left may meet in a new phrase ("or now else" without "now"), which is then replaced as well.
        """
        reply = " ".join(reply.split())
        for _ in range(ROUNDS):
            found = self.broken_by(reply)
            if not found:
                break
            for phrase in found:
                reply = reply.replace(phrase, self.instead[phrase])
            reply = " ".join(reply.split())
        return reply


class Critique(NamedTuple):
    """What the critic found under ``principle``: phrases that break it, none if it is kept or they were overlooked."""

    principle: Principle
    phrases: tuple[str, ...]

    def __str__(self) -> str:
        if not self.phrases:
            return f"Nothing speaks against the principle “{self.principle.name}”."
        named = ", ".join(phrase.rstrip(".!?") for phrase in self.phrases)
        return f"This breaks the principle “{self.principle.name}”: {named}."


class Draft(NamedTuple):
    """A reply on its way: the text, and the critique that it answers (None: as it was first written)."""

    reply: str
    critique: Critique | None


def critique(
    reply: str, constitution: Sequence[Principle], generator: torch.Generator, *, recall: float = 1.0
) -> Critique:
    """Draw a principle and look for what breaks it; a critic with ``recall`` below 1 overlooks it the more often.

    Raises:
        ValueError: no principle, or ``recall`` outside [0, 1].

    >>> rule = Principle("no threats", {"or else": ""})
    >>> print(critique("Stop, or else.", [rule], torch.Generator()))
    This breaks the principle “no threats”: or else.
    """
    in_range("critique", "recall", recall, 0, 1)
    at = generator.device
    drawn, looked = torch.rand(2, generator=generator, dtype=torch.float64, device=at).tolist()
    principle = _constitution("critique", constitution)[int(drawn * len(constitution))]
    found = principle.broken_by(reply) if looked < recall else []
    return Critique(principle, tuple(found))


def drafts(
    reply: str,
    constitution: Sequence[Principle],
    generator: torch.Generator,
    *,
    revisions: int = 4,
    recall: float = 1.0,
    otherwise: str = "",
) -> list[Draft]:
    """The first reply and ``revisions`` rounds of critique and revision, ``revisions + 1`` drafts in all.

    A round draws one principle only, so that what breaks another one waits: that is why Bai et al. (2022b) repeat it.

    Args:
        otherwise: what is said where a revision leaves nothing.

    Raises:
        ValueError: as `critique`, or a negative number of revisions.

    >>> rules = [Principle("no threats", {"or else": "please"})]
    >>> [draft.reply for draft in drafts("Stop or else", rules, torch.Generator(), revisions=2)]
    ['Stop or else', 'Stop please', 'Stop please']
    """
    whole("drafts", "revisions", revisions, 0)
    found = [Draft(reply, None)]
    for _ in range(revisions):
        said = critique(found[-1].reply, constitution, generator, recall=recall)
        better = said.principle.keep(found[-1].reply) or otherwise if said.phrases else found[-1].reply
        found.append(Draft(better, said))
    return found


def prefer_by_principle(
    firsts: Sequence[str],
    seconds: Sequence[str],
    constitution: Sequence[Principle],
    generator: torch.Generator,
    *,
    temperature: float = 1.0,
    confident: float = 1.0,
) -> Tensor:
    r"""Soft labels by a principle drawn for each pair: how probable it is that the first keeps it better, ``[N]``.

    $$\sigma\Big(\frac{v(y')-v(y)}{\tau}\Big)$$

    with $v$ the number of phrases that break the drawn principle. The mean over many draws follows the whole
    constitution; a single draw is a label about one principle and a coin about the others.

    Args:
        confident: labels are clamped to ``1 - confident`` ... ``confident``. A chain of thought makes a labeller far
            too sure; Bai et al. (2022b), section 4.1, clamp to 40-60 %.

    Raises:
        ValueError: lists of different lengths, no principle, a ``temperature`` that is not positive, or ``confident``
            outside [1/2, 1].

    >>> rule = Principle("no threats", {"or else": ""})
    >>> prefer_by_principle(["Stop."], ["Stop or else."], [rule], torch.Generator()).round(decimals=3)
    tensor([0.7310])
    """
    where = "prefer_by_principle"
    in_range(where, "temperature", temperature, 0, INFINITY, open_low=True)
    in_range(where, "confident", confident, 0.5, 1)
    if len(firsts) != len(seconds):
        raise ValueError(f"{where}: needs a second for every first, got {len(firsts)} and {len(seconds)}.")
    rules = _constitution(where, constitution)
    drawn = torch.randint(len(rules), (len(firsts),), generator=generator, device=generator.device).tolist()
    gaps = [
        len(rules[i].broken_by(second)) - len(rules[i].broken_by(first))
        for i, first, second in zip(drawn, firsts, seconds, strict=True)
    ]
    return (torch.tensor(gaps, dtype=torch.float32) / temperature).sigmoid().clamp(1 - confident, confident)


def _constitution(where: str, constitution: Sequence[Principle]) -> Sequence[Principle]:
    if not constitution:
        raise ValueError(f"{where}: a constitution needs at least one principle.")
    for principle in constitution:
        instance(where, "principle", principle, Principle)
    return constitution
