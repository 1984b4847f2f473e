"""A crowd at work: who answered what, what stood first on the screen, and in which order they went through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rlbase.feedback.annotators import Annotator, Questions
from rlbase.validate import a_tensor, boolean, in_range, instance, same_shape


@dataclass(frozen=True)
class Answers:
    """What ``M`` annotators said to ``N`` questions, ``[N, M]``.

    ``label`` is 1 for the first, 0 for the second, 1/2 for a tie and NaN where nothing was said; ``shown_first`` says
    whether the first stood in the first place; ``answered`` how many answers that annotator had given before.

    Raises:
        ValueError: a label that is none of these, or shapes that differ.

    >>> found = Answers(torch.tensor([[1.0, 0.0], [1.0, float("nan")]]))
    >>> found.given.sum(0).tolist(), found.share().tolist()
    ([2, 1], [0.5, 1.0])
    """

    label: Float[Tensor, "N M"]
    shown_first: Bool[Tensor, "N M"] | None = None
    answered: Int[Tensor, "N M"] | None = None

    def __post_init__(self) -> None:
        a_tensor("Answers", label=self.label)
        if not self.label.is_floating_point():
            object.__setattr__(self, "label", self.label.to(torch.get_default_dtype()))
        if self.label.ndim != 2:
            raise ValueError(f"Answers: label must be [questions, annotators], got {list(self.label.shape)}.")
        said = self.label[~self.label.isnan()]
        wrong = said[(said != 0) & (said != 1) & (said != 0.5)]
        if len(wrong):
            raise ValueError(
                f"Answers: a label is 1, 0, 1/2 or, where nothing was said, NaN; got {wrong[0].item()}."
            )
        if self.shown_first is not None:
            boolean("Answers", self.shown_first)
            same_shape("Answers", label=self.label, shown_first=self.shown_first)
        if self.answered is not None:
            same_shape("Answers", label=self.label, answered=self.answered)

    @property
    def given(self) -> Bool[Tensor, "N M"]:
        """Which questions each annotator answered."""
        return ~self.label.isnan()

    def __getitem__(self, rows: slice | Tensor) -> Answers:
        """The answers to some of the questions."""
        parts = (self.label, self.shown_first, self.answered)
        return Answers(*(None if part is None else part[rows] for part in parts))  # type: ignore[arg-type]

    def of(self, annotators: Sequence[int]) -> Answers:
        """The answers of some of the annotators."""
        chosen = list(annotators)
        parts = (self.label, self.shown_first, self.answered)
        return Answers(*(None if part is None else part[:, chosen] for part in parts))  # type: ignore[arg-type]

    def share(self) -> Float[Tensor, " N"]:
        """How many of those who answered prefer the first; NaN where nobody did."""
        return self.label.nanmean(1)


def ask(
    crowd: Sequence[Annotator],
    questions: Questions,
    generator: torch.Generator,
    *,
    swap: float = 0.5,
    shuffle: bool = True,
) -> Answers:
    """Let every annotator answer: in an order of their own, the two responses side by side in a random place.

    Args:
        swap: how often the second response stands first. At 0 a liking for the first place is a liking for the first
            response, and no number of annotators who share it will tell the two apart.
        shuffle: each annotator goes through the questions in a random order, so that fatigue and drift do not fall on
            the same questions for all of them.

    Raises:
        ValueError: nobody to ask, or ``swap`` outside [0, 1].

    >>> crowd = [Annotator(temperature=0), Annotator(temperature=0, malice=1.0)]
    >>> said = ask(crowd, Questions(torch.tensor([2.0, -1.0])), torch.Generator().manual_seed(0))
    >>> said.label
    tensor([[1., 0.],
            [0., 1.]])
    """
    instance("ask", "questions", questions, Questions)
    instance("ask", "generator", generator, torch.Generator)
    in_range("ask", "swap", swap, 0, 1)
    if not crowd:
        raise ValueError("ask: needs at least one annotator, got none.")
    n, columns = len(questions), []
    like = questions.gold
    for annotator in crowd:
        instance("ask", "annotator", annotator, Annotator)
        draw = torch.rand(3, n, generator=generator, device=generator.device).to(like.device)
        order = (
            torch.randperm(n, generator=generator, device=generator.device) if shuffle else torch.arange(n)
        )
        given = draw[0] < annotator.coverage
        answered = torch.empty(n, dtype=torch.long, device=like.device)
        order = order.to(like.device)
        answered[order] = given[order].long().cumsum(0) - given[order].long()  # only answers tire
        shown = draw[1] >= swap
        prob = annotator.prob(questions, shown_first=shown, answered=answered)
        label = (draw[2].to(prob) < prob).to(like)
        columns.append((torch.where(given, label, float("nan")), shown, answered))
    label, shown, answered = (torch.stack(parts, 1) for parts in zip(*columns, strict=True))
    return Answers(label, shown, answered)
