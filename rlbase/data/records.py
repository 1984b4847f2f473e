"""What people leave behind, as plain records: demonstrations, comparisons, ratings, and a report of what was kept.

Records hold text alone, so that they can be read, printed, counted and thrown away before any tokenizer is known;
`rlbase.data.encode` turns them into tensors.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from rlbase.validate import in_range, instance


@dataclass(frozen=True)
class Demonstration:
    """A prompt and the response that somebody wrote to it.

    >>> Demonstration("Review this film:", " It is a joy.").response
    ' It is a joy.'
    """

    prompt: str
    response: str

    def __post_init__(self) -> None:
        _strings(self, "prompt", "response")


@dataclass(frozen=True)
class Comparison:
    """Two responses to one prompt, of which somebody preferred ``chosen``.

    ``prob`` is the probability that the preference is right (1/2: a tie); ``strength`` is how much better it was
    said to be, in the data's own words or numbers (None: not said).

    Raises:
        ValueError: ``prob`` is no probability.
        TypeError: a text is not a string.

    >>> Comparison("Review this film:", " A joy.", " A bore.", strength="slightly better").prob
    1.0
    """

    prompt: str
    chosen: str
    rejected: str
    prob: float = 1.0
    strength: str | float | None = None

    def __post_init__(self) -> None:
        _strings(self, "prompt", "chosen", "rejected")
        in_range("Comparison", "prob", self.prob, 0, 1)


@dataclass(frozen=True)
class Rating:
    """A response and the number that somebody gave it, on whatever scale; higher is better.

    Raises:
        ValueError: the score is not finite.
        TypeError: a text is not a string, or the score is no number.

    >>> Rating("Review this film:", " A joy.", 4.5).score
    4.5
    """

    prompt: str
    response: str
    score: float

    def __post_init__(self) -> None:
        _strings(self, "prompt", "response")
        in_range("Rating", "score", self.score, -math.inf, math.inf, open_low=True, open_high=True)


def _strings(record: object, *names: str) -> None:
    for name in names:
        instance(type(record).__name__, name, getattr(record, name), str)


@dataclass
class Report:
    """What became of the rows of a source: how many were kept, how many dropped for which reason, and the first places.

    Prints as text, and as a table in a notebook.

    >>> report = Report("pairs.jsonl", kept=2)
    >>> report.drop("empty", "line 3")
    >>> print(report)
    pairs.jsonl: kept 2 of 3
      1 empty (line 3)
    """

    source: str
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[str]] = field(
        default_factory=dict
    )  # per reason the first few, for looking them up

    def drop(self, reason: str, place: str) -> None:
        """Count one dropped row, and remember where it was if it is among the first three of its kind."""
        self.dropped[reason] += 1
        if self.dropped[reason] <= 3:
            self.places.setdefault(reason, []).append(place)

    @property
    def total(self) -> int:
        """How many rows were looked at."""
        return self.kept + self.dropped.total()

    def _rows(self) -> list[tuple[int, str, str]]:
        dots = {reason: ", ..." if n > 3 else "" for reason, n in self.dropped.items()}
        return [(n, r, ", ".join(self.places[r]) + dots[r]) for r, n in self.dropped.most_common()]

    def __str__(self) -> str:
        lines = [f"{self.source}: kept {self.kept:,} of {self.total:,}"]
        return "\n".join(lines + [f"  {n:,} {reason} ({places})" for n, reason, places in self._rows()])

    def _repr_markdown_(self) -> str:
        head = f"**{self.source}**: kept {self.kept:,} of {self.total:,}"
        rows = [f"| {reason} | {n:,} | {places} |" for n, reason, places in self._rows()]
        table = ["", "| dropped because | rows | where |", "| --- | ---: | --- |", *rows] if rows else []
        return "\n".join([head, *table])
