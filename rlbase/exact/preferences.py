"""Where losses of preferences come to rest when they see all comparisons there are."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from rlbase.exact.laws import distribution
from rlbase.validate import a_tensor, finite, has_shape, in_range


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
    n = _preferences("bt_projection", preference)
    margin = torch.as_tensor(margin, dtype=torch.float64).expand(n, n)
    weight = torch.ones(n, n) if weight is None else weight
    has_shape("bt_projection", "weight", weight, (n, n))
    finite("bt_projection", margin=margin, weight=weight)
    in_range("bt_projection", "the smallest weight", weight.min().item(), 0, float("inf"), open_high=True)
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


def ipo_optimum(
    ref: Float[Tensor, " n"],
    preference: Float[Tensor, "n n"],
    mu: Float[Tensor, " n"] | None = None,
    *,
    tau: float,
    weight: Float[Tensor, "n n"] | None = None,
) -> Float[Tensor, " n"]:
    r"""The policy at which `rlbase.losses.ipo` rests, $\pi\propto\pi_{ref}\,e^{f}$.

    Azar et al. (2024), eq. 11: where both responses of a pair are drawn from ``mu`` (None: uniformly),
    $f(y)=p(y\succ\mu)/\tau$ with $p(y\succ\mu)=\sum_{y'}\mu(y')P_{yy'}$. For pairs drawn by any other symmetric law
    ``weight``, f solves the normal equations $\sum_{y'}w_{yy'}(f_y-f_{y'})=\sum_{y'}w_{yy'}(P_{yy'}-\frac12)/\tau$ of
    least squares. Drawn from ``mu``, no labels move two log-ratios further apart than $1/\tau$.

    Raises:
        ValueError: shapes differ, ``tau`` is not positive, ``mu`` and ``weight`` are both given, or ``weight`` leaves
            two responses that no chain of comparisons connects.

    >>> P = torch.tensor([[0.5, 1.0], [0.0, 0.5]])  # the first always wins
    >>> ipo_optimum(torch.tensor([0.5, 0.5]), P, tau=0.5)  # odds of exp(1 / (2 * 0.5)), not infinite
    tensor([0.7311, 0.2689], dtype=torch.float64)
    """
    n = _preferences("ipo_optimum", preference)
    has_shape("ipo_optimum", "ref", ref, (n,))
    distribution("ipo_optimum", ref=ref)
    in_range("ipo_optimum", "tau", tau, 0, float("inf"), open_low=True, open_high=True)
    if weight is not None and mu is not None:
        raise ValueError("ipo_optimum: pairs are drawn from mu or by weight, give one of them.")
    P = preference.double()
    if weight is None:
        mu = torch.full((n,), 1 / n, dtype=torch.float64) if mu is None else mu.double()
        has_shape("ipo_optimum", "mu", mu, (n,))
        offset = torch.eye(n, dtype=torch.float64) * 0.5
        wins = (P * (1 - torch.eye(n)) + offset) @ mu / mu.sum()
        return (ref.double().log() + wins / tau).softmax(0)
    has_shape("ipo_optimum", "weight", weight, (n, n))
    w = weight.double() * (1 - torch.eye(n, dtype=torch.float64))
    if not torch.linalg.matrix_power((w + w.T > 0).double() + torch.eye(n), n).bool().all():
        raise ValueError("ipo_optimum: no chain of comparisons connects all responses.")
    both = w + w.T
    target = (w * (P - 0.5) - w.T * (P.T - 0.5)).sum(1) / tau
    level = torch.ones(n, n, dtype=torch.float64) / n  # takes the one direction in which nothing changes
    f = torch.linalg.solve(both.sum(1).diag() - both + level, target)
    return (ref.double().log() + f).softmax(0)


def simpo_gap(prob: float, *, beta: float, gamma: float) -> float:
    r"""The difference of mean log-probabilities at which `rlbase.losses.simpo` rests, if one wins with ``prob``.

    $\frac1\beta\log\frac{b+\sqrt{b^2+4p(1-p)}}{2(1-p)}$ with $b=(2p-1)e^\gamma$: whoever wins must win by
    $\gamma$, so that even odds leave no gap, whatever the margin. The same quadratic as for a margin between scores.

    Raises:
        ValueError: ``prob`` outside (0, 1), ``beta`` not positive or ``gamma`` negative.

    >>> round(simpo_gap(0.75, beta=1.0, gamma=0.0), 4), round(simpo_gap(0.75, beta=2.0, gamma=1.0), 4)
    (1.0986, 0.891)
    """
    in_range("simpo_gap", "prob", prob, 0, 1, open_low=True, open_high=True)
    in_range("simpo_gap", "beta", beta, 0, float("inf"), open_low=True, open_high=True)
    in_range("simpo_gap", "gamma", gamma, 0, float("inf"), open_high=True)
    b = (2 * prob - 1) * math.exp(gamma)
    return math.log((b + math.sqrt(b * b + 4 * prob * (1 - prob))) / (2 * (1 - prob))) / beta


def kto_optimum(
    ref: Float[Tensor, " n"],
    desirable: Float[Tensor, " n"],
    mu: Float[Tensor, " n"] | None = None,
    *,
    beta: float,
    kl: float | None = None,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> tuple[Float[Tensor, " n"], float]:
    r"""The policy at which `rlbase.losses.kto` rests, and its reference point.

    ``desirable`` is the share q(y) of people who call y desirable, ``mu`` how often it is shown (None: as often as the
    reference says it). With $a=\mu(\lambda_Dq-\lambda_U(1-q))$ the loss is a constant less
    $\sum_y a_y\,\sigma(\beta(\log\frac\pi{\pi_{ref}}-z_0))$. For $\beta\le1$ each term is concave in $\pi$, so there is
    one optimum: nothing for $q\le\frac{\lambda_U}{\lambda_D+\lambda_U}$, and elsewhere $a\beta s(1-s)/\pi$ is the same
    for all that are kept (below $\beta=1$ they all are). ``kl`` fixes $z_0$; None asks for the policy whose own
    $KL(\pi\|\pi_{ref})$ is $z_0$.

    Raises:
        ValueError: shapes differ, q outside [0, 1], ``beta`` outside (0, 1], or not one response worth keeping.

    >>> B4 = torch.tensor([0.0, 1.0, 0.5, 2.0])
    >>> policy, z = kto_optimum(torch.tensor([0.4, 0.3, 0.2, 0.1]), (B4 - 0.75).sigmoid(), beta=0.5)
    >>> [round(p, 3) for p in policy.tolist()], round(z, 3)
    ([0.0, 0.395, 0.0, 0.605], 1.198)
    """
    where = "kto_optimum"
    distribution(where, ref=ref)
    n = len(ref)
    mu = ref if mu is None else mu
    for name, x in (("desirable", desirable), ("mu", mu)):
        has_shape(where, name, x, (n,))
        finite(where, **{name: x})
    if ((desirable < 0) | (desirable > 1)).any():
        raise ValueError(f"{where}: desirable must be shares, in [0, 1].")
    if (mu < 0).any():
        raise ValueError(f"{where}: mu says how often each response is shown, and that is never below 0.")
    in_range(where, "beta", beta, 0, 1, open_low=True)
    in_range(where, "kl", 0.0 if kl is None else kl, -math.inf, math.inf)
    in_range(where, "desirable_weight", desirable_weight, 0, math.inf, open_high=True)
    in_range(where, "undesirable_weight", undesirable_weight, 0, math.inf, open_high=True)
    q = desirable.double()
    pull = mu.double() * (desirable_weight * q - undesirable_weight * (1 - q))
    if not ((pull > 0) & (ref > 0)).any():
        raise ValueError(f"{where}: no response is desirable often enough to be kept.")
    return _thresholded(ref.double(), pull, beta, None if kl is None else max(0.0, kl))


def _thresholded(ref: Tensor, pull: Tensor, beta: float, z: float | None) -> tuple[Tensor, float]:
    r"""Nothing where ``pull`` is not positive; elsewhere marginal gains $as(1-s)/\pi$ are equal, at whatever level
    makes the shares add up to 1.

    The level and z together decide $x=\beta(\log\frac\pi{\pi_{ref}}-z)$. The shares add up to 1 where
    $\log\sum\pi_{ref}e^{x/\beta}=-z$, and $KL=z$ where $\sum\pi x=0$. Sixty-five levels are tried side by side, then
    as many between two of them.
    """
    kept = (pull > 0) & (ref > 0)
    r = ref[kept].log()
    a = pull[kept].log() - r
    low, high, best = -800.0, 800.0, 0
    shares = r[None]
    for _ in range(10):
        levels = torch.linspace(low, high, 65, dtype=torch.float64)[:, None]
        x = torch.zeros(65, len(r), dtype=torch.float64)
        for _ in range(30):  # the log-gain falls and is concave in x: no step can lead astray
            slope = 1 - 2 * torch.sigmoid(x) - 1 / beta
            gain = a - softplus(-x) - softplus(x) - x / beta
            x = (x - (gain - levels) / slope.clamp(max=-1e-9)).clamp(-1e5, 1e5)
        shares = r + x / beta
        more = (shares.softmax(1) * x).sum(1) > 0 if z is None else shares.logsumexp(1) > -z
        best = int(more.long().cumprod(0).sum())  # the higher the level, the less is kept
        low, high = levels[max(best - 1, 0)].item(), levels[min(best, 64)].item()
    share = shares[max(best - 1, 0)]
    policy = torch.zeros_like(ref)
    policy[kept] = share.softmax(0)
    return policy, max(0.0, -share.logsumexp(0).item()) if z is None else z


def _preferences(where: str, preference: Tensor) -> int:
    """The number of responses, having refused a table that is no square of probabilities."""
    a_tensor(where, preference=preference)
    n = len(preference)
    has_shape(where, "preference", preference, (n, n))
    finite(where, preference=preference)
    if ((preference < 0) | (preference > 1)).any():
        raise ValueError(f"{where}: preferences must be probabilities, in [0, 1].")
    return n
