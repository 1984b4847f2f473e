"""Learning a policy from preferences directly: DPO and its relatives, one loop for all of them.

Read `preference` top to bottom; what a loss is given is in `rlbase.train.preference_terms`. The loss is an argument:
the trainer reads the names of its parameters and computes those, no more. So a loss without ``ref_logp`` never runs a
reference, and one of yours needs no registration. Left out on purpose: gradients are not accumulated, several losses
are not mixed (write the sum as a function of your own), and what data say of margins or of single choices' weights is
not used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from rlbase.train import common
from rlbase.train.checkpoint import Checkpoint
from rlbase.train.epochs import Epochs, adamw, check_offline, learning_rate, lengths_of, run_settings
from rlbase.train.preference_checks import check, check_data
from rlbase.train.preference_terms import (
    Data,
    Loss,
    ReferencePoint,
    described,
    prepared,
    terms,
)
from rlbase.types import Labelled, Policy
from rlbase.validate import in_range

INFINITY = float("inf")


@dataclass(frozen=True)
class PreferenceConfig:
    """Settings of `preference`; those of the loss are bound to the loss."""

    epochs: int = 1
    """Passes over the data."""
    updates: int | None = None
    """Gradient steps, whatever ``epochs`` says; None makes whole passes."""
    batch_size: int = 32
    """Comparisons (or verdicts) in a gradient step; at least all of them makes every step an exact one."""
    learning_rate: float = 1e-5
    """AdamW's step size at its highest; what a policy bears here is far below what imitation bears."""
    schedule: str = "cosine"
    """``constant``, or down to 0 along a ``linear`` or ``cosine`` line."""
    warmup: int = 0
    """Updates over which the learning rate rises to its highest."""
    weight_decay: float = 0.0
    """Pull of every weight towards 0, apart from the gradient."""
    max_grad_norm: float = 1.0
    """Gradients longer than this are shortened to it."""
    average: bool = False
    """Divide every log-probability that a loss calls ``logp`` by the response's length: IPO as libraries have it."""
    likelihood: float = 0.0
    """Weight of the chosen response's surprise per token, added to the loss; 1 for ORPO and SLiC-HF."""
    group_by_length: bool = False
    """Batches of similar lengths: less padding, but each batch is a worse sample of all."""
    precision: str = "float32"
    """``bfloat16`` runs forwards under autocast."""
    eval_every: int | None = None
    """Updates between measurements on ``held_out``; None measures after each pass, and at the end in any case."""
    checkpoint_every: int = 1
    """Updates between checkpoints, when a path is given."""

    def __post_init__(self) -> None:
        check_offline("PreferenceConfig", self)
        in_range("PreferenceConfig", "likelihood", self.likelihood, 0, INFINITY, open_high=True)


def preference(
    policy: Policy,
    data: Data,
    loss: Loss,
    config: PreferenceConfig = PreferenceConfig(),
    *,
    reference: Policy | None = None,
    kl: ReferencePoint | None = None,
    held_out: Data | None = None,
    generator: torch.Generator | None = None,
    checkpoint: str | Path | None = None,
) -> Iterator[dict[str, float]]:
    r"""Make what was preferred likelier than what was not, by any loss of preferences; one record per gradient step.

    ``loss`` is a function of `rlbase.losses` with its settings bound, ``functools.partial(dpo, beta=0.1)``, or one of
    your own with parameters of the same names. Pairs suit ``chosen_logp``, ``chosen_ref_logp``, ``chosen_avg_logp`` and
    the same with ``rejected_``; verdicts (`Labelled`) suit ``logp``, ``ref_logp``, ``avg_logp``, ``desirable`` and
    ``kl``. A comparison with ``prob`` p costs p times its loss and, sides exchanged, 1 - p times the other.

    ``reference`` is a frozen copy, the policy under its adapters (`rlbase.policies.adapters_off`), or None for a loss
    without one and for data that went through `with_reference`, which know their own. ``kl``, called once a step,
    replaces KTO's estimate of the reference point where the distance to the reference is known.

    Records hold ``accuracy``, ``margin``, and the implicit rewards ``chosen_reward`` and ``rejected_reward`` (the
    log-ratio to the reference, or without one the mean log-probability, times the loss's ``beta`` or ``tau``; of
    verdicts, the means over desirable and undesirable responses, and ``reference_point``); ``chosen_nll``, nats per
    token of what was chosen; and the same with ``held_out_`` in front, as measured last. Before the first step a policy
    equals its reference, and DPO's first ``loss`` is log 2. What no offline data tell, the KL to the reference and what
    is written, comes from `rlbase.evaluate.metered` around the run.

    Raises:
        ValueError: data that do not suit the loss, no reference where one is needed, or a checkpoint of another run.
        FloatingPointError: the loss is no longer finite; the policy is as it was before that step.

    >>> from functools import partial
    >>> from rlbase.losses import dpo
    >>> from rlbase.policies import TabularPolicy, frozen_copy
    >>> from rlbase.types import Choices, PreferencePairs
    >>> arms = Choices(torch.zeros(2, 1).long(), torch.tensor([[1], [0]]), torch.ones(2, 1).bool())
    >>> pairs, policy = PreferencePairs(arms[:1], arms[1:], prob=torch.tensor([0.75])), TabularPolicy(1, 2)
    >>> config = PreferenceConfig(updates=200, learning_rate=0.1)
    >>> records = list(preference(policy, pairs, partial(dpo, beta=0.5), config, reference=frozen_copy(policy)))
    >>> [round(p, 3) for p in policy.probs()[0].tolist()]  # odds of (0.75 / 0.25) ** (1 / 0.5)
    [0.1, 0.9]
    """
    check(policy, data, loss, config, PreferenceConfig, reference, kl, held_out, generator)
    data, held_out = prepared(data, loss, kl), None if held_out is None else prepared(held_out, loss, kl)
    parameters = common.parameters_of(policy)
    generator = generator or common.new_generator(parameters)
    epochs = Epochs(len(data), config.batch_size, lengths=lengths(data) if config.group_by_length else None)
    updates, eval_every = epochs.plan(config)
    optimizer = adamw(parameters, config.learning_rate, config.weight_decay)
    settings = run_settings(config, updates, data if checkpoint else None) | {"loss": described(loss)}
    saved = Checkpoint(checkpoint, (policy, optimizer, epochs, generator), config=settings)
    counters = saved.restore({"update": 0, "held_out": {}})
    while counters["update"] < updates:
        rate = learning_rate(config, counters["update"], updates)
        common.set_learning_rate(optimizer, rate)
        rows = epochs.next(generator)
        batch = (data if len(rows) == len(data) else data[rows]).to(parameters[0].device)
        objective, metrics = terms(policy, batch, loss, config, reference, kl)
        where = f"preference, update {counters['update']}"
        norm = common.gradient_step(where, objective, parameters, optimizer, config.max_grad_norm)
        counters["update"] += 1
        if held_out is not None and (counters["update"] % eval_every == 0 or counters["update"] == updates):
            counters["held_out"] = measure(policy, held_out, loss, config, reference=reference, kl=kl)
        if counters["update"] % config.checkpoint_every == 0 or counters["update"] == updates:
            saved.save(counters)
        yield {
            "update": counters["update"],
            "epoch": counters["update"] / epochs.batches,
            "loss": objective.item(),
            **{name: value.item() for name, value in metrics.items()},
            **{f"held_out_{name}": counters["held_out"].get(name, math.nan) for name in ("loss", *metrics)},
            "grad_norm": norm.item(),
            "learning_rate": rate,
        }


@torch.no_grad()
def measure(
    policy: Policy,
    data: Data,
    loss: Loss,
    config: PreferenceConfig = PreferenceConfig(),
    *,
    reference: Policy | None = None,
    kl: ReferencePoint | None = None,
) -> dict[str, float]:
    """Loss and metrics of `preference` over all of ``data``, a batch at a time: the batches do not show in the means.

    >>> from functools import partial
    >>> from rlbase.losses import slic
    >>> from rlbase.policies import TabularPolicy
    >>> from rlbase.types import Choices, PreferencePairs
    >>> arms = Choices(torch.zeros(2, 1).long(), torch.tensor([[1], [0]]), torch.ones(2, 1).bool())
    >>> found = measure(TabularPolicy(1, 2), PreferencePairs(arms[:1], arms[1:]), partial(slic, delta=2.0))
    >>> found["loss"], found["accuracy"]
    (2.0, 0.5)
    """
    check_data("measure: data", data, loss, reference, kl)
    data, device = prepared(data, loss, kl), common.device_of(policy)
    sums: dict[str, float] = {}
    counts: dict[str, float] = {}
    for rows in lengths(data).argsort(stable=True).split(config.batch_size):
        value, metrics = terms(policy, data[rows].to(device), loss, config, reference, kl)
        every, by_name = _counts(data[rows])
        for name, x in {"loss": value, **metrics}.items():
            count = by_name.get(name, every)
            counts[name] = counts.get(name, 0.0) + count
            sums[name] = sums.get(name, 0.0) + (x.double().item() * count if count else 0.0)
    means = {name: sums[name] / counts[name] if counts[name] else math.nan for name in sums}
    if isinstance(data, Labelled):
        means["margin"] = means["chosen_reward"] - means["rejected_reward"]
    return means


def _counts(data: Data) -> tuple[float, dict[str, float]]:
    """How much a batch counts; and where only its desirable or its undesirable rows do, how much those."""
    every = torch.ones(len(data)) if data.weight is None else data.weight
    if not isinstance(data, Labelled):
        return every.sum().item(), {}
    share = data.desirable.to(every)
    good, bad = (every * share).sum().item(), (every * (1 - share)).sum().item()
    return every.sum().item(), {"chosen_reward": good, "chosen_nll": good, "rejected_reward": bad}


def lengths(data: Data) -> Tensor:
    """Columns that each row of ``data`` needs: as many as its longest response, prompt included."""
    if isinstance(data, Labelled):
        return lengths_of(data.choices)
    return torch.maximum(lengths_of(data.chosen), lengths_of(data.rejected))
