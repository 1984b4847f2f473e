"""Reward models from rankings of several responses, and from ratings of single ones: the loop of `reward_model`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlbase.losses import k_wise, plackett_luce, pointwise
from rlbase.train import common
from rlbase.train.reward_model import DEFAULTS, RewardModelConfig, learn
from rlbase.types import Choices, PreferencePairs, RewardModel
from rlbase.validate import finite, has_shape, instance


@dataclass(frozen=True)
class Rankings:
    """Rankings of ``K`` responses to each of ``N`` prompts: what `reward_ranking` learns from.

    ``choices`` has ``N * K`` rows, the responses to one prompt next to each other; ``ranks`` is ``[N, K]``, smallest
    best, equal for a tie; ``mask`` ``[N, K]`` is False where a row is only there to fill up (None: nowhere).

    Raises:
        ValueError: the numbers of rows do not fit.

    >>> arms = Choices(torch.zeros(6, 1).long(), torch.arange(3).repeat(2)[:, None], torch.ones(6, 1).bool())
    >>> rankings = Rankings(arms, torch.tensor([[1, 2, 3], [2, 1, 1]]))
    >>> len(rankings), rankings[[1]].choices.actions.flatten().tolist()
    (2, [0, 1, 2])
    """

    choices: Choices
    ranks: Tensor
    mask: Tensor | None = None

    def __post_init__(self) -> None:
        if self.ranks.ndim != 2 or self.ranks.numel() != len(self.choices):
            raise ValueError(
                f"Rankings: ranks must be [N, K] with a rank for each of the {len(self.choices)} rows of choices, "
                f"got {list(self.ranks.shape)}."
            )
        if self.mask is not None:
            has_shape("Rankings", "mask", self.mask, tuple(self.ranks.shape))

    def __len__(self) -> int:
        return len(self.ranks)

    def __getitem__(self, rows: Any) -> Rankings:
        numbers = torch.arange(self.ranks.numel()).view(self.ranks.shape)[rows].flatten()
        mask = None if self.mask is None else self.mask[rows]
        return Rankings(self.choices[numbers], self.ranks[rows], mask)

    def to(self, device: torch.device | str) -> Rankings:
        """The same on another device."""
        mask = None if self.mask is None else self.mask.to(device)
        return Rankings(self.choices.to(device), self.ranks.to(device), mask)

    def pairs(self) -> PreferencePairs:
        """The comparisons in it, better against worse, as if each had been asked for by itself; ties are left out.

        Learning from these reads every response ``K - 1`` times a pass, and counts prompts by their number of pairs.
        """
        rows = torch.arange(self.ranks.numel()).view(self.ranks.shape)
        i, j = torch.triu_indices(self.ranks.shape[1], self.ranks.shape[1], 1)
        ahead = (self.ranks[:, j] - self.ranks[:, i]).sign().cpu()
        if self.mask is not None:
            ahead = ahead * (self.mask[:, i] & self.mask[:, j]).cpu()
        first, second = (
            torch.where(ahead > 0, rows[:, i], rows[:, j]),
            torch.where(ahead > 0, rows[:, j], rows[:, i]),
        )
        return PreferencePairs(self.choices[first[ahead != 0]], self.choices[second[ahead != 0]])


@dataclass(frozen=True)
class Ratings:
    """Responses and the number that somebody gave to each, ``[B]``: what `reward_regression` learns from.

    Raises:
        ValueError: not one rating per row, or one that is not finite.

    >>> arms = Choices(torch.zeros(2, 1).long(), torch.tensor([[0], [1]]), torch.ones(2, 1).bool())
    >>> len(Ratings(arms, torch.tensor([3.0, 5.0])))
    2
    """

    choices: Choices
    ratings: Tensor

    def __post_init__(self) -> None:
        has_shape("Ratings", "ratings", self.ratings, (len(self.choices),))
        finite("Ratings", ratings=self.ratings)

    def __len__(self) -> int:
        return len(self.choices)

    def __getitem__(self, rows: Any) -> Ratings:
        return Ratings(self.choices[rows], self.ratings[rows])

    def to(self, device: torch.device | str) -> Ratings:
        """The same on another device."""
        return Ratings(self.choices.to(device), self.ratings.to(device))


def reward_ranking(
    model: RewardModel,
    rankings: Rankings,
    config: RewardModelConfig = DEFAULTS,
    *,
    held_out: Rankings | None = None,
    generator: torch.Generator | None = None,
    checkpoint: str | Path | None = None,
) -> Iterator[dict[str, float]]:
    r"""Fit ``model`` to rankings, all pairs of a prompt in one batch element, yielding one record per gradient step.

    Ouyang et al. (2022), eq. 1, or with ``ranking="plackett_luce"`` the likelihood of the ranking as a whole. Reads
    each response once where split pairs would read it K - 1 times. Records as `rlbase.train.reward_model`; accuracy,
    margin and confidence are over pairs, a tie counting half.

    Raises:
        ValueError: no rankings, a prompt with fewer than two responses, or ties or gaps with ``plackett_luce``.
        FloatingPointError: the loss is no longer finite; the model is as it was before that step.

    >>> from rlbase.policies import TabularReward
    >>> arms = Choices(torch.zeros(3, 1).long(), torch.arange(3)[:, None], torch.ones(3, 1).bool())
    >>> model = TabularReward(1, 3)
    >>> config = RewardModelConfig(updates=30, learning_rate=0.1)
    >>> records = list(reward_ranking(model, Rankings(arms, torch.tensor([[3, 1, 2]])), config))
    >>> model.table.argsort(descending=True).tolist(), records[-1]["accuracy"]
    ([[1, 2, 0]], 1.0)
    """
    where = "reward_ranking"
    instance(where, "rankings", rankings, Rankings)
    instance(where, "held_out", held_out, Rankings, optional=True)
    if config.ranking == "plackett_luce":
        for name, given in (("rankings", rankings), ("held_out", held_out)):
            if given is not None and not _strict(given):
                raise ValueError(f"{where}: plackett_luce needs {name} without ties and without mask.")
    yield from learn(where, model, rankings, ranking_loss, config, held_out, generator, checkpoint)


def ranking_loss(
    model: RewardModel, rankings: Rankings, config: RewardModelConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean loss of a batch of rankings, and the metrics of `rlbase.train.reward_model.pair_loss` over its pairs."""
    rows, ranks = rankings.choices.trimmed(), rankings.ranks
    with common.autocast(model, config.precision):
        rewards = model.score(rows.obs, rows.actions, rows.mask).view(ranks.shape)
    if config.ranking == "k_wise":
        each = k_wise(rewards, ranks, mask=rankings.mask)
    else:
        each = plackett_luce(rewards.gather(1, ranks.argsort(1)))
    with torch.no_grad():
        i, j = torch.triu_indices(ranks.shape[1], ranks.shape[1], 1, device=ranks.device)
        real = torch.ones_like(ranks, dtype=torch.bool) if rankings.mask is None else rankings.mask
        kept = real[:, i] & real[:, j]
        ahead = (ranks[:, j] - ranks[:, i]).sign()[kept]  # 1: i is the better; 0: a tie
        gap = (rewards[:, i] - rewards[:, j])[kept]
        metrics = {
            "accuracy": 0.5 + 0.5 * (ahead * gap.sign()).mean(),
            "margin": (ahead * gap).mean(),
            "confidence": gap.abs().sigmoid().mean(),
            "reward_mean": rewards[real].mean(),
        }
    return each.mean(), metrics


def reward_regression(
    model: RewardModel,
    ratings: Ratings,
    config: RewardModelConfig = DEFAULTS,
    *,
    held_out: Ratings | None = None,
    generator: torch.Generator | None = None,
    checkpoint: str | Path | None = None,
) -> Iterator[dict[str, float]]:
    r"""Fit ``model`` to ratings, $\tfrac12(r-y)^2$, yielding one record per gradient step.

    At rest a response's score is its mean rating, on the raters' own scale. Records hold ``squared_error`` and
    ``reward_mean``, and the same with ``held_out_`` in front, as measured last.

    Raises:
        ValueError: no ratings, or a checkpoint of another run.
        FloatingPointError: the loss is no longer finite; the model is as it was before that step.

    >>> from rlbase.policies import TabularReward
    >>> arms = Choices(torch.zeros(3, 1).long(), torch.tensor([[0], [1], [1]]), torch.ones(3, 1).bool())
    >>> model = TabularReward(1, 2)
    >>> config = RewardModelConfig(updates=300, learning_rate=0.1)
    >>> records = list(reward_regression(model, Ratings(arms, torch.tensor([4.0, 1.0, 2.0])), config))
    >>> [round(r, 2) for r in model.table[0].tolist()]
    [4.0, 1.5]
    """
    where = "reward_regression"
    instance(where, "ratings", ratings, Ratings)
    instance(where, "held_out", held_out, Ratings, optional=True)
    yield from learn(where, model, ratings, rating_loss, config, held_out, generator, checkpoint)


def rating_loss(
    model: RewardModel, ratings: Ratings, config: RewardModelConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean loss of a batch of ratings, its squared error and its mean score."""
    rows = ratings.choices.trimmed()
    with common.autocast(model, config.precision):
        rewards = model.score(rows.obs, rows.actions, rows.mask)
    each = pointwise(rewards, ratings.ratings.to(rewards))
    return each.mean(), {"squared_error": 2 * each.detach().mean(), "reward_mean": rewards.detach().mean()}


def _strict(rankings: Rankings) -> bool:
    """No two responses to one prompt share a rank, and none is missing."""
    ordered = rankings.ranks.sort(1).values
    return rankings.mask is None and bool((ordered[:, 1:] > ordered[:, :-1]).all())
