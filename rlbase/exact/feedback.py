"""What faulty feedback must come to: votes, order effects, mixtures of sources and of tastes, revisions."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from rlbase.exact.laws import distribution
from rlbase.validate import a_tensor, finite, in_range, same_shape, whole

INFINITY = float("inf")


def majority_accuracy(accuracy: float, n: int) -> float:
    r"""How often the majority of ``n`` independent voters is right who are each right with probability $p$.

    $$\sum_{k>n/2}\binom nk p^k(1-p)^{n-k}+\tfrac12\Pr[\text{tie}]$$

    Condorcet's jury theorem (1785): it grows with $n$ for $p>1/2$ and *falls* for $p<1/2$. A toss decides a tie, so
    that an even number is no better than one voter fewer.

    Raises:
        ValueError: ``accuracy`` outside [0, 1], or ``n`` below 1.

    >>> [round(majority_accuracy(0.7, n), 3) for n in (1, 3, 5, 9)], round(majority_accuracy(0.4, 9), 3)
    ([0.7, 0.784, 0.837, 0.901], 0.267)
    """
    in_range("majority_accuracy", "accuracy", accuracy, 0, 1)
    whole("majority_accuracy", "n", n, 1)
    terms = [binomial(k, n, accuracy) for k in range(n + 1)]
    return math.fsum(terms[n // 2 + 1 :]) + (0.5 * terms[n // 2] if n % 2 == 0 else 0.0)


def binomial(k: int, n: int, p: float) -> float:
    """Chance of ``k`` hits in ``n`` trials of chance ``p``; in logarithms where the coefficient is no float any more.

    >>> binomial(2, 3, 0.5), round(binomial(1000, 2000, 0.5), 5)
    (0.375, 0.01784)
    """
    if n < 1000 or p in (0, 1):
        return math.comb(n, k) * p**k * (1 - p) ** (n - k) if 0 < p < 1 else float(k == n * p)
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(ways + k * math.log(p) + (n - k) * math.log1p(-p))


def swap_averaged(
    logit: Float[Tensor, " N"], position: float, *, logits: bool = False
) -> Float[Tensor, " N"]:
    r"""Label of a judge with a liking $b$ for the first place who is asked in both orders, ``[N]``.

    $$\tfrac12\big[\sigma(d+b)+\sigma(d-b)\big]\qquad\text{or, averaging log-odds,}\qquad \sigma(d)$$

    Averaged *probabilities* fall on the right side, but shrink towards 1/2 the more, the larger $b$ against $d$;
    averaged log-odds give back what an unbiased judge would say, if the bias adds to them.

    Raises:
        ValueError: a log-odds that is not finite.

    >>> half = torch.tensor([0.5])
    >>> [round(swap_averaged(half, b).item(), 3) for b in (0, 1, 2, 3)]
    [0.622, 0.598, 0.553, 0.523]
    >>> round(swap_averaged(half, 3, logits=True).item(), 3)
    0.622
    """
    finite("swap_averaged", logit=logit)
    in_range("swap_averaged", "position", position, -INFINITY, INFINITY, open_low=True, open_high=True)
    if logits:
        return logit.sigmoid()
    return ((logit + position).sigmoid() + (logit - position).sigmoid()) / 2


def mixing_weight(variance: float, other_variance: float, bias: float) -> float:
    r"""The weight of an unbiased source beside one that is off by ``bias``, for the least mean squared error.

    $$w^*=\frac{v_2+b^2}{v_1+v_2+b^2},\qquad \mathrm{MSE}(w)=w^2v_1+(1-w)^2(v_2+b^2)$$

    The biased source is never worth nothing while $v_1>0$: a little bias buys a lot of variance. With labels going to
    infinity at both, $v_1,v_2\to0$ and the unbiased one takes all.

    Raises:
        ValueError: a negative variance, or nothing to choose between (all three 0).

    >>> mixing_weight(1.0, 0.5, 0.5)  # .75 / 1.75
    0.42857142857142855
    """
    for name, value in (("variance", variance), ("other_variance", other_variance)):
        in_range("mixing_weight", name, value, 0, INFINITY, open_high=True)
    in_range("mixing_weight", "bias", bias, -INFINITY, INFINITY, open_low=True, open_high=True)
    biased = other_variance + float(bias) * float(bias)  # a huge bias may have an infinite square
    if not variance + biased:
        raise ValueError("mixing_weight: both sources are exact, so that any weight will do.")
    return biased / (variance + biased) if biased < INFINITY else 1.0


def mixed_preference(
    rewards: Float[Tensor, "G n"], share: Float[Tensor, " G"], *, temperature: float = 1.0
) -> Float[Tensor, "n n"]:
    r"""How often $i$ beats $j$ when groups with rewards $r_g$ answer in proportion to ``share``.

    $$P(i\succ j)=\sum_g a_g\,\sigma\Big(\frac{r_g(i)-r_g(j)}\tau\Big)$$

    Each group is Bradley-Terry; their mixture in general is not, and majorities can run in a circle (Condorcet).

    Raises:
        ValueError: ``share`` is no distribution over the groups, a reward is not finite, or ``temperature`` is not
            positive.

    >>> ring = torch.tensor([[2.0, 1.0, 0.0], [0.0, 2.0, 1.0], [1.0, 0.0, 2.0]]) * 4
    >>> found = mixed_preference(ring, torch.full((3,), 1 / 3))
    >>> [round(found[i, j].item(), 2) for i, j in ((0, 1), (1, 2), (2, 0))]  # each beats the next one
    [0.65, 0.65, 0.65]
    """
    distribution("mixed_preference", share=share)
    finite("mixed_preference", rewards=rewards)
    in_range("mixed_preference", "temperature", temperature, 0, INFINITY, open_low=True)
    if rewards.ndim != 2 or len(rewards) != len(share):
        raise ValueError(
            f"mixed_preference: rewards must be [groups, responses] with {len(share)} groups, "
            f"got {list(rewards.shape)}."
        )
    gaps = rewards.double()[:, :, None] - rewards.double()[:, None, :]
    return torch.einsum("g,gij->ij", share.double(), (gaps / temperature).sigmoid())


def intransitivity(preference: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    r"""What no scores can explain: the log-odds of ``preference`` less the best differences of scores, ``[n, n]``.

    $$C_{ij}=\ell_{ij}-(s_i-s_j),\qquad s_i=\frac1n\sum_j\ell_{ij}$$

    The cyclic part of the Hodge decomposition on the complete graph (Jiang et al. 2011): 0 exactly where the
    preference is Bradley-Terry, and each row sums to 0.

    Raises:
        ValueError: a preference that is not strictly between 0 and 1, or whose two directions do not sum to 1.

    >>> score = torch.tensor([0.0, 1.0, 3.0])
    >>> bool(intransitivity((score[:, None] - score).sigmoid()).abs().max() < 1e-6)
    True
    """
    a_tensor("intransitivity", preference=preference)
    if preference.ndim != 2:
        raise ValueError(
            f"intransitivity: preference must be [responses, responses], got {list(preference.shape)}."
        )
    same_shape("intransitivity", preference=preference, its_transpose=preference.T)
    finite("intransitivity", preference=preference)
    p = preference.double()
    if ((p <= 0) | (p >= 1)).any() or ((p + p.T - 1).abs() > 1e-5).any():
        raise ValueError(
            "intransitivity: preference[i, j] and [j, i] must sum to 1 and lie strictly between 0 and 1."
        )
    odds = p.log() - p.T.log()  # 1 - p is lost in single precision where p is near 1; its transpose has it
    score = odds.mean(1)
    return odds - (score[:, None] - score)


def residual_harm(harm: float, recall: float, revisions: int) -> float:
    r"""Share of replies still harmful after ``revisions`` rounds of critique that find each with chance ``recall``.

    $$h(1-q)^k$$

    Raises:
        ValueError: a share outside [0, 1], or a negative number of revisions.

    >>> [round(residual_harm(0.5, 0.6, k), 3) for k in range(4)]
    [0.5, 0.2, 0.08, 0.032]
    """
    in_range("residual_harm", "harm", harm, 0, 1)
    in_range("residual_harm", "recall", recall, 0, 1)
    whole("residual_harm", "revisions", revisions, 0)
    return harm * (1 - recall) ** revisions
