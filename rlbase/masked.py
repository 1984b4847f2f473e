"""Reductions over the choices a policy really made.

The mask is boolean and explicit. Values outside it are *selected away* before any arithmetic, so
that a NaN on padding cannot reach a sum; log-probabilities are filled before the loss (see
`fill_unchosen`), because masking afterwards would still send NaN gradients backwards.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlbase.validate import boolean, same_shape


def _check(where: str, x: Tensor, mask: Tensor) -> bool:
    """Whether every step is chosen, having refused what cannot be reduced."""
    same_shape(where, x=x, mask=mask)
    boolean(where, mask)
    dense = mask.numel() > 0 and bool(mask.all())
    if not dense and not mask.any():
        raise ValueError(f"{where}: the mask is empty, there is nothing to reduce.")
    return dense


def masked_sum(x: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, " B"]:
    r"""Sum each row over its chosen steps, $\sum_t m_{bt} x_{bt}$; a row without any gives 0.

    Raises:
        ValueError: shapes differ, or no step at all is chosen.
        TypeError: the mask is not boolean.

    >>> masked_sum(torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([[True, True, False]]))
    tensor([3.])
    """
    _check("masked_sum", x, mask)
    return torch.where(mask, x, 0).sum(-1)


def masked_mean(
    x: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], *, reduce: str | float = "token"
) -> Float[Tensor, ""]:
    r"""Average over chosen steps; the denominator is part of the algorithm, so it is named here.

    * ``"token"``: $\sum_{bt} m x / \sum_{bt} m$; every choice counts the same, long rows weigh more.
    * ``"sequence"``: the mean over rows of each row's own mean; rows without choices do not count.
    * a number $c$: $\sum_{bt} m x / (B c)$; a constant denominator (Liu et al. 2025, Dr. GRPO).

    Raises:
        ValueError: shapes differ, no step is chosen, or ``reduce`` is unknown or not positive.
        TypeError: the mask is not boolean.

    >>> x, mask = torch.tensor([[2.0, 4.0], [6.0, 0.0]]), torch.tensor([[True, True], [True, False]])
    >>> masked_mean(x, mask).item(), masked_mean(x, mask, reduce="sequence").item()
    (4.0, 4.5)
    >>> masked_mean(x, mask, reduce=2).item()
    3.0
    """
    dense = _check("masked_mean", x, mask)
    if dense and reduce in ("token", "sequence"):
        return x.mean()  # the same number in one operation: the usual case of worlds without padding
    total = torch.where(mask, x, 0).sum(-1)
    if reduce == "token":
        return total.sum() / mask.sum()
    if reduce == "sequence":
        counts = mask.sum(-1)
        return (total / counts.clamp(min=1)).sum() / (counts > 0).sum()
    if isinstance(reduce, (int, float)) and reduce > 0:
        return total.sum() / (len(x) * reduce)
    raise ValueError(f"masked_mean: reduce must be 'token', 'sequence' or a positive number, got {reduce!r}.")


def masked_whiten(
    x: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], *, shift_mean: bool = True, eps: float = 1e-8
) -> Float[Tensor, "B T"]:
    r"""Rescale to unit standard deviation over the chosen steps: $(x-\bar x)/(\sigma+\epsilon)$.

    ``shift_mean=False`` keeps the mean, $(x-\bar x)/(\sigma+\epsilon)+\bar x$, as OpenAI's RLHF code does
    for rewards: taking the mean away would pay long and short episodes differently. Yet that form is no pure
    rescaling: it equals $x/\sigma+\bar x(1-1/\sigma)$, so a step that earned nothing is paid
    $\bar x(1-1/\sigma)$. $\sigma$ is the sample standard deviation (divisor $n-1$; a single choice has
    $\sigma=0$). Steps outside the mask come out as 0 and influence nothing.

    Raises:
        ValueError: shapes differ, or no step is chosen.
        TypeError: the mask is not boolean.

    >>> masked_whiten(torch.tensor([[1.0, 3.0, 99.0]]), torch.tensor([[True, True, False]]))
    tensor([[-0.7071,  0.7071,  0.0000]])
    """
    _check("masked_whiten", x, mask)
    chosen = x[mask]
    mean, std = chosen.mean(), chosen.std() if chosen.numel() > 1 else chosen.new_zeros(())
    white = (x - mean) / (std + eps)
    return torch.where(mask, white if shift_mean else white + mean, 0)


def fill_unchosen(logp: Tensor, mask: Tensor, filler: Tensor | float = 0.0) -> Tensor:
    """Replace log-probabilities outside the mask by ``filler``, cutting their gradient.

    Done *before* a loss: garbage under the mask then moves neither the loss nor a gradient.

    >>> fill_unchosen(torch.tensor([[-1.0, float("nan")]]), torch.tensor([[True, False]]))
    tensor([[-1.,  0.]])
    """
    same_shape("fill_unchosen", logp=logp, mask=mask)
    boolean("fill_unchosen", mask)
    return torch.where(mask, logp, filler)


def last_choice(mask: Bool[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """True on the last chosen step of each row and nowhere else; all False in a row without choices.

    This is where the score of a whole response is paid: on its last real action (the EOS when there is one).

    >>> last_choice(torch.tensor([[True, True, False], [True, True, True]]))
    tensor([[False,  True, False],
            [False, False,  True]])
    """
    boolean("last_choice", mask)
    later = mask.flip(-1).cumsum(-1).flip(-1)
    return mask & (later == 1)
