"""Which comparisons to ask for, and how much each counts: importance weights, effective size, Fisher information."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rlbase.validate import a_tensor, finite, has_shape, same_shape, whole


def importance_weights(target: Float[Tensor, " N"], source: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    r"""How much each of ``N`` items counts that were drawn with ``source`` and stand for ``target``, $w=p/s$.

    $$E_s[w\,f]=\sum_{s(x)>0}p(x)f(x)$$

    which is $E_p[f]$ only where $s$ is positive wherever $p$ is. Of a pair of independent draws the weight is the
    product of two. What was never asked about has no weight, so that the function refuses such items.

    Raises:
        ValueError: shapes differ, a negative number or one that is not finite, or an item of the target that the
            source never draws.

    >>> importance_weights(torch.tensor([0.5, 0.5]), torch.tensor([0.8, 0.2]))
    tensor([0.6250, 2.5000])
    """
    same_shape("importance_weights", target=target, source=source)
    finite("importance_weights", target=target, source=source)
    if (target < 0).any() or (source < 0).any():
        raise ValueError("importance_weights: a probability must not be negative.")
    never = (source == 0) & (target > 0)
    if never.any():
        raise ValueError(
            f"importance_weights: item {never.nonzero()[0].item()} ({int(never.sum())} such) is never drawn; no weight "
            "can stand for what was not asked."
        )
    return torch.where(source > 0, target / source, 0)


def effective_sample_size(weight: Float[Tensor, " N"]) -> float:
    r"""How many evenly weighted items say as much on average as these, $\frac{(\sum w)^2}{\sum w^2}$.

    Kish (1965). Between 1 and the number of weights above 0; whatever the weights' scale. It knows of the items that
    are there, and cannot warn of those that are missing.

    Raises:
        ValueError: no weight above 0, a negative one, or one that is not finite.

    >>> [round(effective_sample_size(torch.tensor(w)), 1) for w in ([1.0, 1.0, 1.0], [3.0, 1.0])]
    [3.0, 1.6]
    """
    finite("effective_sample_size", weight=weight)
    if not weight.numel() or weight.min() < 0 or weight.max() == 0:
        raise ValueError("effective_sample_size: weights must be 0 or more, and above 0 somewhere.")
    w = weight.double() / weight.max()
    return (w.sum().square() / w.square().sum()).item()


def fisher_information(
    difference: Float[Tensor, "N F"], logit: Float[Tensor, " N"], count: Float[Tensor, " N"] | None = None
) -> Float[Tensor, "F F"]:
    r"""What answers to these comparisons will tell of a linear reward, before they are given, ``[F, F]``.

    $$I=\sum_n a_n\,p_n(1-p_n)\,\Delta_n\Delta_n^\top,\qquad p_n=\sigma(\text{logit}_n)$$

    with $a_n$ how often each is asked. Its inverse is the covariance of the best fit when many are asked; that fit has
    the same matrix as ``information``.

    Raises:
        ValueError: shapes differ, a number is not finite, or a negative count.

    >>> fisher_information(torch.tensor([[1.0, 2.0]]), torch.tensor([0.0]), torch.tensor([8.0]))
    tensor([[2., 4.],
            [4., 8.]])
    """
    chance = _chance("fisher_information", difference, logit)
    if count is not None:
        has_shape("fisher_information", "count", count, (len(difference),))
        finite("fisher_information", count=count)
        if (count < 0).any():
            raise ValueError("fisher_information: a comparison is asked 0 times or more.")
        chance = chance * count
    z = difference.double()
    return ((z.T * chance.double()) @ z).to(torch.result_type(difference, logit))


def most_informative(
    difference: Float[Tensor, "N F"],
    logit: Float[Tensor, " N"],
    n: int,
    *,
    known: Float[Tensor, "F F"],
    aim: Float[Tensor, "F F"] | None = None,
) -> Int[Tensor, " n"]:
    r"""The ``n`` comparisons that are worth asking next, one after another, the same one again if it is still best.

    With $H$ the information so far, $v=p(1-p)$ and $\Delta$ the difference, the next is the one with the largest

    $$\log(1+v\,\Delta^\top H^{-1}\Delta)\qquad\text{or, with an aim }A,\qquad
    \frac{v\,\Delta^\top H^{-1}AH^{-1}\Delta}{1+v\,\Delta^\top H^{-1}\Delta}:$$

    what it adds to $\log\det H$, or takes from $\mathrm{tr}(AH^{-1})$. With $A$ the covariance of the features over
    the responses that matter, the second is the mean squared error of the reward there. Both trust the
    model: where the features are wrong they ask for a few extreme comparisons and learn the wrong thing well.

    Args:
        logit: what the fit so far says of each; the truth is not known yet.
        known: information so far, ``LinearReward.information`` with its prior or of a first round.

    Raises:
        ValueError: shapes differ, a number is not finite, ``n`` below 1, a matrix that is not symmetric, or
            ``known`` not positive definite.

    >>> candidates = torch.tensor([[1.5, 0.0], [0.0, 1.0], [0.0, 2.0]])
    >>> most_informative(candidates, torch.zeros(3), 3, known=torch.eye(2)).tolist()
    [2, 0, 2]
    """
    where = "most_informative"
    chance = _chance(where, difference, logit).double()
    whole(where, "n", n, 1)
    features = difference.shape[1]
    for name, matrix in (("known", known), ("aim", aim)):
        if matrix is not None:
            has_shape(where, name, matrix, (features, features))
            finite(where, **{name: matrix})
            if not torch.allclose(matrix, matrix.mT, rtol=1e-4, atol=1e-6 * float(matrix.abs().max())):
                raise ValueError(f"{where}: {name} must be symmetric, as information and covariances are.")
    if torch.linalg.eigvalsh(known.double()).min() <= 0:
        raise ValueError(
            f"{where}: known must be positive definite; ask a first round, or fit with a prior above 0."
        )
    inverse, z, chosen = torch.linalg.inv(known.double()), difference.double(), []
    for _ in range(n):
        reach = z @ inverse
        spread = 1 + chance * (reach * z).sum(1)
        gain = spread.log() if aim is None else chance * ((reach @ aim.double()) * reach).sum(1) / spread
        best = int(gain.argmax())
        chosen.append(best)
        inverse = inverse - chance[best] * torch.outer(reach[best], reach[best]) / spread[best]
    return torch.tensor(chosen, device=difference.device)


def _chance(where: str, difference: Tensor, logit: Tensor) -> Tensor:
    """Variance of each answer, p (1 - p), ``[N]``."""
    a_tensor(where, difference=difference)
    if difference.ndim != 2 or not difference.numel():
        raise ValueError(
            f"{where}: difference must be [comparisons, features], got {list(difference.shape)}."
        )
    has_shape(where, "logit", logit, (len(difference),))
    finite(where, difference=difference, logit=logit)
    return logit.sigmoid() * (-logit).sigmoid()
