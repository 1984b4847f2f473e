"""What a Bradley-Terry model makes of preferences, when it sees them all."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from rlbase.validate import a_tensor, finite, has_shape


def bt_projection(
    preference: Float[Tensor, "n n"],
    *,
    margin: Float[Tensor, "n n"] | float = 0.0,
    weight: Float[Tensor, "n n"] | None = None,
) -> Float[Tensor, " n"]:
    r"""The scores that fit preferences best, $\arg\min_r -\sum_{ij}w_{ij}P_{ij}\log\sigma(r_i-r_j-m_{ij})$, mean 0.

    Bradley & Terry (1952); the margin $m$ of Touvron et al. (2023), eq. 2, is asked of the response that was preferred.
    ``preference[i, j]`` is the probability that i is preferred to j (the diagonal is not used), ``weight`` how often
    the two are compared (default: all alike). Where $P_{ij}=\sigma(r_i-r_j)$ and there is no margin, it finds $r$. For
    two responses with a margin the gap is inflated, to $\log\frac{\sqrt{b^2+4p(1-p)}+b}{2(1-p)}$ with $b=(2p-1)e^m$.

    Raises:
        ValueError: shapes differ, a preference is outside [0, 1], or the best scores are infinite, since someone
            always wins or comparisons do not connect all responses.

    >>> P = torch.tensor([[0.5, 0.75], [0.25, 0.5]])
    >>> bt_projection(P), bt_projection(P, margin=1.0)
    (tensor([ 0.5493, -0.5493], dtype=torch.float64), tensor([ 0.8910, -0.8910], dtype=torch.float64))
    """
    a_tensor("bt_projection", preference=preference)
    n = len(preference)
    has_shape("bt_projection", "preference", preference, (n, n))
    finite("bt_projection", preference=preference)
    if ((preference < 0) | (preference > 1)).any():
        raise ValueError("bt_projection: preferences must be probabilities, in [0, 1].")
    margin = torch.as_tensor(margin, dtype=torch.float64).expand(n, n)
    weight = torch.ones(n, n) if weight is None else weight
    has_shape("bt_projection", "weight", weight, (n, n))
    asked = weight.double() * preference.double() * (1 - torch.eye(n, dtype=torch.float64))
    won = (asked > 0).double() + torch.eye(n)
    if not torch.linalg.matrix_power(won, n).bool().all():  # Ford (1957): a chain of wins from each to each
        raise ValueError(
            "bt_projection: no finite scores fit best; some response always wins or loses, or comparisons fall apart."
        )
    reward = torch.zeros(n, dtype=torch.float64)
    level = torch.ones(n, n, dtype=torch.float64) / n  # takes the one direction in which nothing changes
    for _ in range(200):
        doubt = torch.sigmoid(margin - reward[:, None] + reward)  # [i, j]: how far i > j is from settled
        slope, curve = asked * doubt, asked * doubt * (1 - doubt)
        gradient = slope.sum(0) - slope.sum(1)
        if gradient.abs().max() < 1e-12 * asked.sum():
            return reward - reward.mean()
        curve = curve + curve.T
        hessian = curve.sum(1).diag() - curve + level
        step = torch.linalg.solve(hessian, gradient)
        reward = reward - step / max(1.0, step.abs().max().item())
    raise ValueError("bt_projection: the scores do not settle; some preference is too close to 0 or 1.")
