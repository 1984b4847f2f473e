"""What a loss of preferences is given: the names of its parameters say which log-probabilities to compute."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from rlbase.losses import mismatched_kl
from rlbase.masked import masked_sum
from rlbase.train import common
from rlbase.types import Choices, Labelled, Policy, PreferencePairs
from rlbase.validate import has_shape, instance

Data: TypeAlias = PreferencePairs | Labelled
Loss: TypeAlias = Callable[..., Tensor]
ReferencePoint: TypeAlias = Callable[[], "Tensor | float"]

OF_PAIRS = frozenset(
    f"{side}_{name}" for side in ("chosen", "rejected") for name in ("logp", "avg_logp", "ref_logp")
)
OF_VERDICTS = frozenset(("logp", "avg_logp", "ref_logp", "desirable", "kl"))


@functools.lru_cache(maxsize=64)
def needs(loss: Loss) -> tuple[str, ...]:
    """The parameters that are still to be given to ``loss``, by name.

    Raises:
        TypeError: ``loss`` is no function, or asks for something that a trainer does not have.

    >>> from rlbase.losses import dpo, orpo
    >>> needs(functools.partial(orpo, lam=0.1))
    ('chosen_avg_logp', 'rejected_avg_logp')
    >>> needs(dpo)
    Traceback (most recent call last):
    TypeError: preference: dpo still needs beta; bind it, as in functools.partial(dpo, beta=...).
    """
    if not callable(loss):
        raise TypeError(f"preference: loss must be a function of log-probabilities, got {loss!r:.60}.")
    bare = [n for n, p in inspect.signature(loss).parameters.items() if p.default is inspect.Parameter.empty]
    foreign = [name for name in bare if name not in OF_PAIRS | OF_VERDICTS]
    if foreign:
        name = name_of(loss)
        raise TypeError(
            f"preference: {name} still needs {foreign[0]}; bind it, as in functools.partial({name}, {foreign[0]}=...)."
        )
    return tuple(bare)


def asks_for_reference(loss: Loss) -> bool:
    """Whether ``loss`` still needs log-probabilities of a reference.

    >>> from rlbase.losses import dpo, slic
    >>> asks_for_reference(functools.partial(dpo, beta=0.1)), asks_for_reference(functools.partial(slic, delta=1.0))
    (True, False)
    """
    return any("ref" in name for name in needs(loss))


def described(loss: Loss) -> str:
    """Name and bound settings of a loss, for a checkpoint to agree with.

    >>> from rlbase.losses import dpo
    >>> described(functools.partial(dpo, beta=0.1))
    'dpo(beta=0.1)'
    """
    bound = getattr(loss, "keywords", {})
    return f"{name_of(loss)}({', '.join(f'{name}={value}' for name, value in sorted(bound.items()))})"


def prepared(data: Data, loss: Loss, kl: ReferencePoint | None = None) -> Data:
    """``data`` with mismatched responses beside its own where ``loss`` estimates a reference point from them."""
    if isinstance(data, Labelled) and "kl" in needs(loss) and kl is None and data.mismatched is None:
        return data.with_mismatched()
    return data


@torch.no_grad()
def with_reference(reference: Policy, data: Data, *, batch_size: int = 64) -> Any:
    """``data`` with the reference's log-probabilities of all its responses, computed once: it need not run again.

    Sums over tokens; what is averaged, the trainer averages. Verdicts also get mismatched responses, and those scored.
    They belong to this reference and this data: change either, and they must be computed again. They are in the model's
    own precision, so that training in bfloat16 begins near, not at, a distance of 0.

    >>> from rlbase.policies import TabularPolicy
    >>> arms = Choices(torch.zeros(2, 1).long(), torch.tensor([[1], [0]]), torch.ones(2, 1).bool())
    >>> with_reference(TabularPolicy(1, 2), PreferencePairs(arms[:1], arms[1:])).ref_logp
    tensor([[-0.6931, -0.6931]])
    """
    if isinstance(data, PreferencePairs):
        sides = [seq_logp(reference, side, batch_size=batch_size) for side in (data.chosen, data.rejected)]
        return PreferencePairs(
            data.chosen, data.rejected, data.prob, data.margin, data.weight, torch.stack(sides, 1)
        )
    instance("with_reference", "data", data, Labelled)
    data = data if data.mismatched is not None else data.with_mismatched()
    assert data.mismatched is not None
    both = [seq_logp(reference, each, batch_size=batch_size) for each in (data.choices, data.mismatched)]
    return Labelled(data.choices, data.desirable, data.weight, data.mismatched, torch.stack(both, 1))


@torch.no_grad()
def seq_logp(policy: Policy, choices: Choices, *, batch_size: int = 64) -> Tensor:
    """Log-probability of each row's choices together, ``[B]`` on the CPU, without gradient.

    >>> from rlbase.policies import TabularPolicy
    >>> row = Choices(torch.zeros(1, 3).long(), torch.tensor([[1, 0, 0]]), torch.tensor([[True, True, False]]))
    >>> seq_logp(TabularPolicy(1, 2), row)
    tensor([-1.3863])
    """
    device = common.device_of(getattr(policy, "policy", policy))
    parts = [choices[at : at + batch_size].trimmed().to(device) for at in range(0, len(choices), batch_size)]
    return torch.cat([masked_sum(common.logp_of(policy, part), part.mask).cpu() for part in parts])


def terms(
    policy: Policy, batch: Data, loss: Loss, config: Any, reference: Policy | None, kl: ReferencePoint | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean loss of a batch, and what `rlbase.train.preference` records of it."""
    if isinstance(batch, PreferencePairs):
        return _pair_terms(policy, batch, loss, config, reference)
    return _verdict_terms(policy, batch, loss, config, reference, kl)


def _pair_terms(
    policy: Policy, batch: PreferencePairs, loss: Loss, config: Any, reference: Policy | None
) -> tuple[Tensor, dict[str, Tensor]]:
    names, rows, n = needs(loss), batch.joined().trimmed(), len(batch)
    with common.autocast(policy, config.precision):
        logp = masked_sum(common.logp_of(policy, rows), rows.mask)
        cached = None if batch.ref_logp is None else batch.ref_logp.T.flatten()
        ref = _reference_logp(reference, rows, cached) if asks_for_reference(loss) else None
    avg, logp, ref = _per_length(logp, ref, rows.mask, config.average)
    known = {"logp": logp, "avg_logp": avg} | ({} if ref is None else {"ref_logp": ref})
    one = {f"chosen_{name}": x[:n] for name, x in known.items()}
    two = {f"rejected_{name}": x[n:] for name, x in known.items()}
    prob = torch.ones_like(logp[:n]) if batch.prob is None else batch.prob.to(logp)
    each = prob * _each(loss, names, one | two, n)
    if batch.prob is not None:
        swapped = {f"chosen_{k}": x[n:] for k, x in known.items()} | {
            f"rejected_{k}": x[:n] for k, x in known.items()
        }
        each = each + (1 - prob) * _each(loss, names, swapped, n)
    if config.likelihood:
        each = each - config.likelihood * (prob * avg[:n] + (1 - prob) * avg[n:])
    with torch.no_grad():
        reward = _scale(loss) * (avg if ref is None else logp - ref)
        gap, noise = reward[:n] - reward[n:], _rounding(_scale(loss), logp, ref)
        right = _ahead(gap, noise[:n] + noise[n:])
        metrics = {
            "accuracy": _mean(prob * right + (1 - prob) * (1 - right), batch.weight),
            "margin": _mean((2 * prob - 1) * gap, batch.weight),
            "chosen_reward": _mean(prob * reward[:n] + (1 - prob) * reward[n:], batch.weight),
            "rejected_reward": _mean(prob * reward[n:] + (1 - prob) * reward[:n], batch.weight),
            "chosen_nll": -_mean(prob * avg[:n] + (1 - prob) * avg[n:], batch.weight),
        }
    return _mean_loss(each, batch.weight), metrics


def _verdict_terms(
    policy: Policy,
    batch: Labelled,
    loss: Loss,
    config: Any,
    reference: Policy | None,
    kl: ReferencePoint | None,
) -> tuple[Tensor, dict[str, Tensor]]:
    names, rows, other = needs(loss), batch.choices.trimmed(), batch.mismatched
    cached, cached_other = (None, None) if batch.ref_logp is None else batch.ref_logp.unbind(1)
    with common.autocast(policy, config.precision):
        logp = masked_sum(common.logp_of(policy, rows), rows.mask)
        ref = _reference_logp(reference, rows, cached) if "ref_logp" in names else None
        point: Tensor | float = 0.0
        if "kl" in names and kl is not None:
            point = kl()
        elif "kl" in names and other is not None:
            other = other.trimmed()
            with torch.no_grad():
                there = masked_sum(common.logp_of(policy, other), other.mask)
            weight = None if other.weight is None else other.weight[:, 0].to(there)
            there_ref = _reference_logp(reference, other, cached_other)
            _, there, averaged = _per_length(there, there_ref, other.mask, config.average)
            assert averaged is not None
            point = mismatched_kl(there, averaged, weight)
    avg, logp, ref = _per_length(logp, ref, rows.mask, config.average)
    known: dict[str, Any] = {"logp": logp, "avg_logp": avg, "ref_logp": ref, "kl": point}
    share = batch.desirable.to(logp)
    good, bad = torch.ones_like(share, dtype=torch.bool), torch.zeros_like(share, dtype=torch.bool)
    if batch.desirable.dtype == torch.bool:
        each = _each(loss, names, known | {"desirable": batch.desirable}, len(share))
    else:  # so many of a hundred people would call it desirable
        each = share * _each(loss, names, known | {"desirable": good}, len(share))
        each = each + (1 - share) * _each(loss, names, known | {"desirable": bad}, len(share))
    if config.likelihood:
        each = each - config.likelihood * share * avg
    with torch.no_grad():
        reward, weight = _scale(loss) * (avg if ref is None else logp - ref), batch.weight
        point = torch.as_tensor(point).to(reward).clamp(min=0)  # as the loss takes it
        above = _ahead(reward - _scale(loss) * point, _rounding(_scale(loss), logp, ref))
        keep = torch.ones_like(share) if weight is None else weight.to(share)
        chosen, rejected = _mean(reward, keep * share), _mean(reward, keep * (1 - share))
        metrics = {
            "accuracy": _mean(share * above + (1 - share) * (1 - above), weight),
            "margin": chosen - rejected,
            "chosen_reward": chosen,
            "rejected_reward": rejected,
            "chosen_nll": -_mean(avg, keep * share),
            "reference_point": point,
        }
    return _mean_loss(each, weight), metrics


def _ahead(gap: Tensor, noise: Tensor) -> Tensor:
    """1 where ``gap`` is above 0, 0 where below, and 1/2 where it is no more than rounding: that knows nothing."""
    return 0.5 + 0.5 * gap.sign() * (gap.abs() > noise)


def _rounding(scale: float, logp: Tensor, ref: Tensor | None) -> Tensor:
    """How far off a reward may be because its log-probabilities were rounded: eight of their last digits.

    A reference in another batch, or under adapters, multiplies the same numbers in another order.
    """
    size = logp.abs() if ref is None else logp.abs() + ref.abs()
    return 8 * scale * torch.finfo(logp.dtype).eps * size


def _each(loss: Loss, names: tuple[str, ...], known: dict[str, Any], rows: int) -> Tensor:
    each = loss(**{name: known[name] for name in names})
    has_shape("preference", f"what {name_of(loss)} returns", each, (rows,))
    if torch.is_grad_enabled() and not each.requires_grad:
        raise ValueError(f"preference: what {name_of(loss)} returns does not depend on the policy.")
    return each


def _reference_logp(reference: Policy | None, rows: Choices, cached: Tensor | None) -> Tensor:
    if cached is not None:
        return cached
    assert reference is not None
    with torch.no_grad():
        return masked_sum(common.logp_of(reference, rows), rows.mask)


def _per_length(
    logp: Tensor, ref: Tensor | None, mask: Tensor, average: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Mean log-probability of a token, and what the loss calls ``logp`` and ``ref_logp``."""
    length = mask.sum(-1)
    avg = logp / length
    ref = None if ref is None else ref.to(logp)
    if not average:
        return avg, logp, ref
    return avg, avg, None if ref is None else ref / length


def _mean(x: Tensor, weight: Tensor | None) -> Tensor:
    return x.mean() if weight is None else (weight.to(x) * x).sum() / weight.to(x).sum()


def _mean_loss(each: Tensor, weight: Tensor | None) -> Tensor:
    """A batch in which nothing counts teaches nothing; its metrics are no numbers."""
    if weight is None:
        return each.mean()
    return (weight.to(each) * each).sum() / weight.to(each).sum().clamp(min=torch.finfo(each.dtype).tiny)


def _scale(loss: Loss) -> float:
    bound = getattr(loss, "keywords", {})
    return float(bound.get("beta", bound.get("tau", 1.0)))


def name_of(loss: Loss) -> str:
    """What to call a loss, whatever is bound to it."""
    return getattr(
        loss.func if isinstance(loss, functools.partial) else loss, "__name__", type(loss).__name__
    )
