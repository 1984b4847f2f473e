"""Simulated raters: they know what the agent must not, and answer the way people do, with noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlbase.feedback.clips import Clips
from rlbase.types import Obs
from rlbase.validate import finite, in_range, same_shape

INFINITY = float("inf")

# Whoever compares clips: labels [n] that say how likely the first is the better one, 1/2 for a tie, NaN for a skip.
Ask: TypeAlias = Callable[[Clips, Clips, torch.Generator], Tensor]


@dataclass(frozen=True)
class Rater:
    r"""A rater who prefers what is worth more to them, the more surely the larger the difference.

    $$P(a\succ b)=(1-\epsilon)\,\sigma\Big(\frac{r_a-r_b}{\tau}\Big)+\frac\epsilon2$$

    Bradley & Terry (1952) with the uniform error of Christiano et al. (2017), section 2.2.3.

    Raises:
        ValueError: a negative ``temperature`` or ``tie``, or an ``error`` outside [0, 1].

    >>> Rater(error=0.1).prob(torch.tensor([2.0]), torch.tensor([0.0]))
    tensor([0.8427])
    """

    temperature: float = 1.0
    """Difference in reward that is preferred with odds of e; 0 sees every difference."""
    error: float = 0.0
    """How often the answer is a toss of a coin."""
    tie: float = 0.0
    """Differences up to this size are called equal."""

    def __post_init__(self) -> None:
        in_range("Rater", "temperature", self.temperature, 0, INFINITY, open_high=True)
        in_range("Rater", "error", self.error, 0, 1)
        in_range("Rater", "tie", self.tie, 0, INFINITY, open_high=True)

    def prob(self, reward_a: Float[Tensor, " B"], reward_b: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Probability that a is preferred to b; 1/2 on a tie.

        Raises:
            ValueError: the shapes differ, or a reward is not finite: nobody can prefer what is not a number.
        """
        same_shape("Rater.prob", reward_a=reward_a, reward_b=reward_b)
        finite("Rater.prob", reward_a=reward_a, reward_b=reward_b)
        ahead = reward_a - reward_b
        ahead = torch.where(ahead.abs() <= self.tie, 0, ahead)
        sure = (ahead / self.temperature).sigmoid() if self.temperature else (ahead.sign() + 1) / 2
        return (1 - self.error) * sure + self.error / 2

    def prefer(
        self, reward_a: Float[Tensor, " B"], reward_b: Float[Tensor, " B"], generator: torch.Generator
    ) -> Bool[Tensor, " B"]:
        """Draw the answers: True where a is preferred; a tie falls either way.

        >>> Rater(temperature=0).prefer(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.Generator())
        tensor([ True, False])
        """
        prob = self.prob(reward_a, reward_b)
        return torch.rand(prob.shape, generator=generator, device=prob.device, dtype=prob.dtype) < prob

    def label(
        self, reward_a: Float[Tensor, " B"], reward_b: Float[Tensor, " B"], generator: torch.Generator
    ) -> Float[Tensor, " B"]:
        """Draw the answers as labels: 1 for a, 0 for b, and 1/2 where the two are called equal.

        >>> Rater(temperature=0, tie=0.5).label(torch.tensor([1.0, 0.2]), torch.zeros(2), torch.Generator())
        tensor([1.0000, 0.5000])
        """
        drawn = self.prefer(reward_a, reward_b, generator).to(reward_a.dtype)
        return torch.where((reward_a - reward_b).abs() <= self.tie, 0.5, drawn)


def judge(rater: Rater, taste: Callable[[Obs, Tensor], Tensor] | None = None) -> Ask:
    """A simulated person to ask about clips: ``taste(obs, actions)`` says what they like, ``[n, T]`` a step.

    Without a ``taste`` they go by the world's own rewards, as the simulated raters of Christiano et al. (2017) did.

    >>> from rlbase.types import Choices
    >>> stood = Choices(torch.zeros(2, 6), torch.zeros(2, 5).long(), torch.ones(2, 5).bool())
    >>> clips = Clips(stood, paid=torch.tensor([1.0, 3.0]))
    >>> judge(Rater(temperature=0))(clips, clips[[1, 0]], torch.Generator())
    tensor([0., 1.])
    """

    def worth(clips: Clips) -> Tensor:
        if taste is None:
            return clips.paid
        seen, done = clips.choices.obs[:, : clips.choices.actions.shape[1]], clips.choices.actions
        return taste(seen, done).sum(1)

    def ask(first: Clips, second: Clips, generator: torch.Generator) -> Tensor:
        return rater.label(worth(first), worth(second), generator)

    return ask
