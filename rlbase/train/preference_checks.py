"""What must hold before anything is learned from preferences."""

from __future__ import annotations

from typing import Any

import torch

from rlbase.train import common
from rlbase.train.preference_terms import OF_PAIRS, OF_VERDICTS, asks_for_reference, name_of, needs
from rlbase.types import Labelled, PreferencePairs
from rlbase.validate import instance


def check(
    policy: Any,
    data: Any,
    loss: Any,
    config: Any,
    kind: type,
    reference: Any,
    kl: Any,
    held_out: Any,
    generator: Any,
) -> None:
    """Raise unless policy, data, loss and reference belong together."""
    where, names, name = "preference", needs(loss), name_of(loss)
    instance(where, "config", config, kind)
    instance(where, "generator", generator, torch.Generator, optional=True)
    if not hasattr(policy, "evaluate"):
        raise TypeError(f"{where}: policy must have evaluate, got {type(policy).__name__}.")
    if not common.parameters_of(policy):
        raise ValueError(f"{where}: the policy has no parameter that trains; was it made by frozen_copy?")
    if kl is not None and not ("kl" in names and callable(kl)):
        raise ValueError(f"{where}: kl must be a function without arguments, for a loss that takes kl.")
    common.check_reference(where, policy, reference)
    if reference is not None and not asks_for_reference(loss):
        raise ValueError(f"{where}: {name} knows no reference; leave reference out.")
    for what, given in (("data", data), ("held_out", held_out)):
        if given is not None or what == "data":
            check_data(f"{where}: {what}", given, loss, reference, kl)


def check_data(where: str, data: Any, loss: Any, reference: Any, kl: Any) -> None:
    """Raise unless ``loss`` can learn from ``data``, and just one of data and ``reference`` tells the distance."""
    if not isinstance(data, PreferencePairs | Labelled):
        raise TypeError(f"{where} must be PreferencePairs or Labelled, got {type(data).__name__}.")
    pairs = isinstance(data, PreferencePairs)
    names, name = needs(loss), name_of(loss)
    if not set(names) <= (OF_PAIRS if pairs else OF_VERDICTS):
        hint = (
            "data.unpaired() makes verdicts of them"
            if pairs
            else "it learns from comparisons, PreferencePairs"
        )
        raise ValueError(f"{where} are {type(data).__name__}, which {name} cannot learn from; {hint}.")
    asks, kept = asks_for_reference(loss), data.ref_logp
    if asks and reference is None and kept is None:
        raise ValueError(
            f"{where} need a reference for {name}: pass reference=frozen_copy(policy), or with_reference(policy, data)."
        )
    if asks and reference is not None and kept is not None:
        raise ValueError(
            f"{where} keep a reference's log-probabilities (ref_logp) already; leave reference out."
        )
    if asks and kept is not None and not bool(kept.isfinite().all()):
        raise ValueError(f"{where}: the reference's log-probabilities must be finite.")
    _check_rows(where, data, pairs)
    if not pairs and "kl" in names and kl is None:
        if reference is None and kept is None:
            raise ValueError(
                f"{where}: {name} takes kl and no reference; pass kl, a function without arguments."
            )
        _check_mismatched(where, data)


def _check_rows(where: str, data: Any, pairs: bool) -> None:
    """Raise for impossible numbers, and for rows from which nothing can be learned."""
    for name, x in (("prob", data.prob if pairs else None), ("weight", data.weight)):
        if x is not None and not bool(((x >= 0) & (x <= 1 if name == "prob" else x.isfinite())).all()):
            what = "probabilities, in [0, 1]" if name == "prob" else "finite numbers of at least 0"
            raise ValueError(f"{where}: {name} must be {what}.")
    for side in (data.chosen, data.rejected) if pairs else (data.choices,):
        empty = (~side.mask.any(1)).nonzero().flatten().tolist()
        if empty or not len(side):
            what = f"row {empty[0]} has a response without a choice" if empty else "there are no rows"
            raise ValueError(f"{where}: {what}.")
    if data.weight is not None and not data.weight.any():
        raise ValueError(f"{where}: every weight is 0, nothing would be learned.")


def _check_mismatched(where: str, data: Any) -> None:
    """Raise where the reference point cannot be told from mismatched responses."""
    if data.mismatched is None and data.ref_logp is not None:
        raise ValueError(
            f"{where} keep a reference's log-probabilities, but not of which mismatched responses; "
            "with_reference(policy, data) computes both."
        )
    if data.mismatched is not None and not bool(data.mismatched.mask.any(1).all()):
        row = int((~data.mismatched.mask.any(1)).nonzero()[0])
        raise ValueError(f"{where}: row {row} has a mismatched response without a choice.")
