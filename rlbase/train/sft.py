"""Supervised fine-tuning: imitate what somebody demonstrated, prompt given, response learned.

Read `sft` top to bottom. Behaviour cloning is the same loop with a table or a small network for the policy. Left out
on purpose: packing several responses into one row (batches are trimmed and may be grouped by length instead) and
accumulating gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlbase.masked import masked_mean
from rlbase.train import common
from rlbase.train.checkpoint import Checkpoint
from rlbase.train.epochs import Epochs, adamw, check_offline, learning_rate, lengths_of, run_settings
from rlbase.types import Choices, Policy
from rlbase.validate import boolean, in_range, instance

INFINITY = float("inf")


@dataclass(frozen=True)
class SFTConfig:
    """Settings of `sft`."""

    epochs: int = 1
    """Passes over the demonstrations."""
    updates: int | None = None
    """Gradient steps, whatever ``epochs`` says; None makes whole passes."""
    batch_size: int = 32
    """Demonstrations in a gradient step; at least all of them makes every step an exact one."""
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
    reduce: str | float = "token"
    """The denominator, see `rlbase.masked.masked_mean`: ``token`` or a number fits the demonstrator's law, ``sequence``
    (each response's own mean first) one in which short responses weigh more."""
    group_by_length: bool = False
    """Batches of similar lengths: less padding, but each is a worse sample of all, and ``token`` favours short ones."""
    precision: str = "float32"
    """``bfloat16`` runs forwards under autocast."""
    eval_every: int | None = None
    """Updates between measurements on ``held_out``; None measures after each pass, and at the end in any case."""
    checkpoint_every: int = 1
    """Updates between checkpoints, when a path is given."""

    def __post_init__(self) -> None:
        where = "SFTConfig"
        check_offline(where, self)
        denominator: Any = 1 if self.reduce in ("token", "sequence") else self.reduce
        in_range(where, "reduce, if not 'token' or 'sequence',", denominator, 0, INFINITY, open_low=True)


def sft(
    policy: Policy,
    demonstrations: Choices,
    config: SFTConfig = SFTConfig(),
    *,
    held_out: Choices | None = None,
    generator: torch.Generator | None = None,
    checkpoint: str | Path | None = None,
) -> Iterator[dict[str, float]]:
    r"""Make demonstrated choices likely, $-\frac1N\sum_t\log\pi(y_t|x,y_{<t})$, yielding one record per gradient step.

    Only what ``demonstrations.mask`` marks as chosen is learned: no prompt, no padding, but the EOS if it was chosen.
    With all the demonstrations of the world the loss exceeds the demonstrator's own entropy by $KL(demo\|\pi)$, so
    that at best the policy does what was demonstrated: good and bad alike. ``weight`` multiplies what each choice
    counts. ``held_out_loss`` is the latest one measured, NaN before the first.

    Raises:
        ValueError: a row without anything to imitate, or a checkpoint of another run.
        FloatingPointError: the loss is no longer finite; the policy is as it was before that step.

    >>> from rlbase.policies import TabularPolicy
    >>> arms = Choices(torch.zeros(4, 1).long(), torch.tensor([[1], [1], [1], [0]]), torch.ones(4, 1).bool())
    >>> policy = TabularPolicy(1, 2)
    >>> records = list(sft(policy, arms, SFTConfig(updates=100, learning_rate=0.1)))
    >>> [round(p, 2) for p in policy.probs()[0].tolist()]  # three of four demonstrations pulled the second arm
    [0.25, 0.75]
    """
    _check(policy, demonstrations, config, held_out, generator)
    parameters = common.parameters_of(policy)
    generator = generator or common.new_generator(parameters)
    lengths = lengths_of(demonstrations) if config.group_by_length else None
    epochs = Epochs(len(demonstrations), config.batch_size, lengths=lengths)
    updates, eval_every = epochs.plan(config)
    optimizer = adamw(parameters, config.learning_rate, config.weight_decay)
    settings = run_settings(config, updates, demonstrations if checkpoint else None)
    saved = Checkpoint(checkpoint, (policy, optimizer, epochs, generator), config=settings)
    counters = saved.restore({"update": 0, "tokens": 0, "held_out_loss": float("nan")})
    while counters["update"] < updates:
        rate = learning_rate(config, counters["update"], updates)
        common.set_learning_rate(optimizer, rate)
        batch = demonstrations[epochs.next(generator)].trimmed().to(parameters[0].device)
        loss = sft_loss(policy, batch, config)
        where = f"sft, update {counters['update']}"
        norm = common.gradient_step(where, loss, parameters, optimizer, config.max_grad_norm)
        counters["update"] += 1
        counters["tokens"] += int(batch.mask.sum())
        if held_out is not None and (counters["update"] % eval_every == 0 or counters["update"] == updates):
            counters["held_out_loss"] = held_out_loss(policy, held_out, config)
        if counters["update"] % config.checkpoint_every == 0 or counters["update"] == updates:
            saved.save(counters)
        yield {
            **counters,
            "epoch": counters["update"] / epochs.batches,
            "loss": loss.item(),
            "grad_norm": norm.item(),
            "learning_rate": rate,
        }


def sft_loss(policy: Policy, batch: Choices, config: SFTConfig) -> Tensor:
    """The scalar loss of one batch: surprise at each choice, times its weight, over the configured denominator.

    >>> from rlbase.policies import TabularPolicy
    >>> arms = Choices(torch.zeros(1, 2).long(), torch.tensor([[0, 1]]), torch.tensor([[True, False]]))
    >>> round(sft_loss(TabularPolicy(1, 4), arms, SFTConfig()).item(), 4)  # log 4
    1.3863
    """
    with common.autocast(policy, config.precision):
        logp = common.logp_of(policy, batch)
    return masked_mean(
        -logp if batch.weight is None else -logp * batch.weight, batch.mask, reduce=config.reduce
    )


@torch.no_grad()
def held_out_loss(policy: Policy, choices: Choices, config: SFTConfig = SFTConfig()) -> float:
    """`sft_loss` of all ``choices`` together, in nats, read ``config.batch_size`` rows at a time without gradient.

    >>> from rlbase.policies import TabularPolicy
    >>> arms = Choices(torch.zeros(3, 1).long(), torch.tensor([[0], [1], [1]]), torch.ones(3, 1).bool())
    >>> round(held_out_loss(TabularPolicy(1, 4), arms, SFTConfig(batch_size=2)), 4)
    1.3863
    """
    device, total, counted = common.device_of(policy), 0.0, 0.0
    for rows in lengths_of(choices).argsort(stable=True).split(config.batch_size):
        batch = choices[rows].trimmed().to(device)
        chosen = batch.mask.sum(-1)
        # what masked_mean divides by: choices, rows that have any, or rows
        by = {"token": chosen.sum(), "sequence": (chosen > 0).sum()}.get(str(config.reduce), len(rows))
        total += float(sft_loss(policy, batch, config).double() * by)
        counted += float(by)
    return total / counted


def _check(
    policy: Policy, demonstrations: Choices, config: SFTConfig, held_out: Choices | None, generator: Any
) -> None:
    instance("sft", "demonstrations", demonstrations, Choices)
    instance("sft", "config", config, SFTConfig)
    instance("sft", "held_out", held_out, Choices, optional=True)
    instance("sft", "generator", generator, torch.Generator, optional=True)
    if not hasattr(policy, "evaluate"):
        raise TypeError(f"sft: policy must have evaluate, got {type(policy).__name__}.")
    if not common.parameters_of(policy):
        raise ValueError("sft: the policy has no parameter that trains; was it made by frozen_copy?")
    for name, choices in (("demonstrations", demonstrations), ("held_out", held_out)):
        if choices is None:
            continue
        boolean("sft", choices.mask)
        empty = (~choices.mask.any(1)).nonzero().flatten().tolist()
        if empty:
            raise ValueError(
                f"sft: every row of {name} needs a choice to imitate, got none in row {empty[0]}."
            )
