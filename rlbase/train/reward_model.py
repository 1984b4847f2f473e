"""Reward models from comparisons, and the loop that rankings and ratings share with them.

Read `reward_model`, then `learn`, the loop. The model is anything with ``score``: a table, a network over clips of
behaviour, a language model. Left out on purpose: the members of an ensemble are trained one by one, and gradients are
not accumulated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rlbase.losses import bradley_terry, centring, soft_bradley_terry
from rlbase.train import common
from rlbase.train.checkpoint import Checkpoint
from rlbase.train.epochs import Epochs, adamw, check_offline, learning_rate, lengths_of, run_settings
from rlbase.types import PreferencePairs, RewardModel
from rlbase.validate import finite, in_range, instance, one_of

# The mean loss of a batch, and what else to record of it.
LossOf = Callable[[Any, Any, "RewardModelConfig"], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True)
class RewardModelConfig:
    """Settings of `reward_model`, `reward_ranking` and `reward_regression`."""

    epochs: int = 1
    """Passes over the data; one is what Ouyang et al. (2022) found not to overfit."""
    updates: int | None = None
    """Gradient steps, whatever ``epochs`` says; None makes whole passes."""
    batch_size: int = 32
    """Comparisons (or prompts with their ranking, or ratings) in a gradient step."""
    learning_rate: float = 1e-4
    """AdamW's step size at its highest."""
    schedule: str = "cosine"
    """``constant``, or down to 0 along a ``linear`` or ``cosine`` line."""
    warmup: int = 0
    """Updates over which the learning rate rises to its highest."""
    weight_decay: float = 0.0
    """Pull of every weight towards 0, apart from the gradient."""
    max_grad_norm: float = 1.0
    """Gradients longer than this are shortened to it."""
    centring: float = 0.0
    """Weight of `rlbase.losses.centring`, which keeps the scores of pairs around zero; 0.01 is usual."""
    ranking: str = "k_wise"
    """``k_wise`` (all pairs of a prompt) or ``plackett_luce`` (the ranking as a whole), for `reward_ranking`."""
    group_by_length: bool = False
    """Batches of similar lengths: less padding, but each batch is a worse sample of all."""
    precision: str = "float32"
    """``bfloat16`` runs forwards under autocast."""
    eval_every: int | None = None
    """Updates between measurements on ``held_out``; None measures after each pass, and at the end in any case."""
    checkpoint_every: int = 1
    """Updates between checkpoints, when a path is given."""

    def __post_init__(self) -> None:
        check_offline("RewardModelConfig", self)
        in_range("RewardModelConfig", "centring", self.centring, 0, float("inf"), open_high=True)
        one_of("RewardModelConfig", "ranking", self.ranking, ("k_wise", "plackett_luce"))


DEFAULTS = RewardModelConfig()


def reward_model(
    model: RewardModel,
    pairs: PreferencePairs,
    config: RewardModelConfig = DEFAULTS,
    *,
    held_out: PreferencePairs | None = None,
    generator: torch.Generator | None = None,
    checkpoint: str | Path | None = None,
) -> Iterator[dict[str, float]]:
    r"""Fit ``model`` to comparisons, $-\log\sigma(r_w-r_l-m)$, yielding one record per gradient step.

    Christiano et al. (2017); Ouyang et al. (2022), eq. 1 with K = 2; the margin of Touvron et al. (2023), eq. 2, and
    soft labels where ``pairs`` have them. Chosen and rejected responses are read in one forward. Scores come out up
    to a constant for each prompt; of responses that no chain of wins connects in both directions, some grow without
    bound. Records hold ``accuracy``, ``margin`` (the mean gap between the scores) and ``confidence`` (the mean
    probability given to the better-scored one: above the accuracy means too sure), and the same with ``held_out_``
    in front, as measured last.

    Raises:
        ValueError: no comparisons, a margin that is not finite, or a checkpoint of another run.
        FloatingPointError: a score or the loss is no longer finite; the model is as it was before that step.

    >>> from rlbase.policies import TabularReward
    >>> from rlbase.types import Choices
    >>> arms = Choices(torch.zeros(2, 1).long(), torch.tensor([[1], [0]]), torch.ones(2, 1).bool())
    >>> pairs, model = PreferencePairs(arms[:1], arms[1:], prob=torch.tensor([0.75])), TabularReward(1, 2)
    >>> records = list(reward_model(model, pairs, RewardModelConfig(updates=200, learning_rate=0.1)))
    >>> round(records[-1]["margin"], 2), records[-1]["accuracy"]  # log(0.75 / 0.25); right three times in four
    (1.1, 0.75)
    """
    instance("reward_model", "pairs", pairs, PreferencePairs)
    instance("reward_model", "held_out", held_out, PreferencePairs, optional=True)
    for given in (pairs, held_out):
        if given is not None and given.margin is not None:
            finite("reward_model", margin=given.margin)
    yield from learn("reward_model", model, pairs, pair_loss, config, held_out, generator, checkpoint)


def learn(
    where: str,
    model: RewardModel,
    data: Any,
    loss_of: LossOf,
    config: RewardModelConfig,
    held_out: Any = None,
    generator: torch.Generator | None = None,
    checkpoint: str | Path | None = None,
) -> Iterator[dict[str, float]]:
    """The loop: draw rows of ``data``, take one step on their loss, record. ``loss_of`` tells the methods apart."""
    _check(where, model, config, generator)
    parameters = common.parameters_of(model)
    generator = generator or common.new_generator(parameters)
    epochs = Epochs(len(data), config.batch_size, lengths=_lengths(data) if config.group_by_length else None)
    updates, eval_every = epochs.plan(config)
    optimizer = adamw(parameters, config.learning_rate, config.weight_decay)
    settings = run_settings(config, updates, data if checkpoint else None)
    saved = Checkpoint(checkpoint, (model, optimizer, epochs, generator), config=settings)
    counters = saved.restore({"update": 0, "held_out": {}})
    while counters["update"] < updates:
        rate = learning_rate(config, counters["update"], updates)
        common.set_learning_rate(optimizer, rate)
        batch = data[epochs.next(generator)].to(parameters[0].device)
        loss, metrics = loss_of(model, batch, config)
        norm = _step(f"{where}, update {counters['update']}", loss, parameters, optimizer, config)
        counters["update"] += 1
        if held_out is not None and (counters["update"] % eval_every == 0 or counters["update"] == updates):
            counters["held_out"] = measure(model, held_out, loss_of, config)
        if counters["update"] % config.checkpoint_every == 0 or counters["update"] == updates:
            saved.save(counters)
        yield {
            "update": counters["update"],
            "epoch": counters["update"] / epochs.batches,
            "loss": loss.item(),
            **{name: value.item() for name, value in metrics.items()},
            **{f"held_out_{name}": counters["held_out"].get(name, math.nan) for name in ("loss", *metrics)},
            "grad_norm": norm.item(),
            "learning_rate": rate,
        }


def pair_loss(
    model: RewardModel, pairs: PreferencePairs, config: RewardModelConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean loss of a batch of comparisons, and its ``accuracy``, ``margin`` and ``confidence``."""
    chosen, rejected = pair_scores(model, pairs, config.precision)
    margin = 0.0 if pairs.margin is None else pairs.margin.to(chosen)
    if pairs.prob is None:
        each = bradley_terry(chosen, rejected, margin=margin)
    else:
        each = soft_bradley_terry(chosen, rejected, pairs.prob.to(chosen), margin=margin)
    if config.centring:
        each = each + config.centring * centring(chosen, rejected)
    with torch.no_grad():
        gap = chosen - rejected
        right = (gap > 0).to(gap) + 0.5 * (gap == 0).to(gap)  # equal scores know nothing
        if pairs.prob is not None:
            right = pairs.prob.to(gap) * right + (1 - pairs.prob.to(gap)) * (1 - right)
        metrics = {
            "accuracy": right.mean(),
            "margin": gap.mean(),
            "confidence": gap.abs().sigmoid().mean(),
            "reward_mean": (chosen + rejected).mean() / 2,
        }
    return each.mean(), metrics


def pair_scores(
    model: RewardModel, pairs: PreferencePairs, precision: str = "float32"
) -> tuple[Tensor, Tensor]:
    """Scores of both sides, ``[B]`` each, in one forward over all rows.

    >>> from rlbase.policies import TabularReward
    >>> from rlbase.types import Choices
    >>> arms = Choices(torch.zeros(2, 1).long(), torch.tensor([[1], [0]]), torch.ones(2, 1).bool())
    >>> [side.tolist() for side in pair_scores(TabularReward(1, 2), PreferencePairs(arms[:1], arms[1:]))]
    [[0.0], [0.0]]
    """
    both = pairs.joined().trimmed()
    with common.autocast(model, precision):
        scores = model.score(both.obs, both.actions, both.mask)
    return scores[: len(pairs)], scores[len(pairs) :]


@torch.no_grad()
def win_probability(model: RewardModel, pairs: PreferencePairs, *, batch_size: int = 64) -> Tensor:
    r"""The model's $\sigma(r_w-r_l)$ that each chosen response is the better one, ``[B]``: to be held against what was.

    >>> from rlbase.policies import TabularReward
    >>> from rlbase.types import Choices
    >>> arms = Choices(torch.zeros(2, 1).long(), torch.tensor([[1], [0]]), torch.ones(2, 1).bool())
    >>> win_probability(TabularReward(1, 2), PreferencePairs(arms[:1], arms[1:])).tolist()
    [0.5]
    """
    device, found = common.device_of(model), torch.zeros(len(pairs))
    for rows in _lengths(pairs).argsort(stable=True).split(batch_size):
        chosen, rejected = pair_scores(model, pairs[rows].to(device))
        found[rows] = (chosen - rejected).sigmoid().cpu().to(found)
    return found


@torch.no_grad()
def measure(model: RewardModel, data: Any, loss_of: LossOf, config: RewardModelConfig) -> dict[str, float]:
    """Loss and metrics over all of ``data``, each row counting the same, ``config.batch_size`` at a time."""
    device, totals = common.device_of(model), {}
    for rows in _lengths(data).argsort(stable=True).split(config.batch_size):
        loss, metrics = loss_of(model, data[rows].to(device), config)
        for name, value in {"loss": loss, **metrics}.items():
            totals[name] = totals.get(name, 0.0) + value.double().item() * len(rows) / len(data)
    return totals


def _lengths(data: Any) -> Tensor:
    """Columns that each row of ``data`` needs: as many as its longest response, prompt included."""
    if isinstance(data, PreferencePairs):
        return torch.maximum(lengths_of(data.chosen), lengths_of(data.rejected))
    return lengths_of(data.choices).view(len(data), -1).amax(1)


def _step(
    where: str,
    loss: Tensor,
    parameters: list[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    config: RewardModelConfig,
) -> Tensor:
    try:
        return common.gradient_step(where, loss, parameters, optimizer, config.max_grad_norm)
    except FloatingPointError:
        raise FloatingPointError(
            f"{where}: the model's scores or their gradient are not finite (the loss is {loss.item()}); "
            "the model is as it was before this step."
        ) from None


def _check(where: str, model: Any, config: Any, generator: Any) -> None:
    instance(where, "config", config, RewardModelConfig)
    instance(where, "generator", generator, torch.Generator, optional=True)
    if not isinstance(model, RewardModel):
        raise TypeError(f"{where}: model must have score, got {type(model).__name__}.")
    if hasattr(model, "members"):
        raise TypeError(f"{where}: the members of an ensemble learn one by one; pass each of model.members.")
    if not common.parameters_of(model):
        raise ValueError(f"{where}: the model has no parameter that trains; was it made by frozen_copy?")
