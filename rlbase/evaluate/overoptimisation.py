r"""Reward against distance: exact paths of best-of-n and of KL-regularised RL, their peak, and Gao's two laws.

Distance is $d=\sqrt{KL(\pi\|ref)}$, in which the gain of a Gaussian reward is a straight line. A path shows the proxy,
which always rises, beside the gold reward, which need not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlbase.exact import best_of_n, kl, kl_optimum
from rlbase.policies.reward_model import Ensemble
from rlbase.policies.step_reward import TabularReward
from rlbase.validate import a_tensor, finite, in_range, one_of, same_shape, whole


class Path(NamedTuple):
    """Policies further and further from the reference, ``[k]`` each: their knob (beta or n), KL and mean rewards."""

    knob: Tensor
    kl: Tensor
    proxy: Tensor
    gold: Tensor

    @property
    def distance(self) -> Tensor:
        """The square root of the KL, ``[k]``; at least 0, whatever rounding made of the KL."""
        return self.kl.clamp(min=0).sqrt()


def rl_path(
    ref: Float[Tensor, " n"], proxy: Float[Tensor, " n"], gold: Float[Tensor, " n"], betas: Sequence[float]
) -> Path:
    """Where KL-regularised RL ends for each of ``betas`` when the proxy is what is paid: `rlbase.exact.kl_optimum`.

    Also where plain RL passes on its way: mirror ascent without any KL has reached the optimum of ``beta`` after
    ``1 / beta`` of step size times steps, so stopping early and paying for KL are two handles on one path.

    Raises:
        ValueError: as `rlbase.exact.kl_optimum`, or no betas.

    >>> half = torch.tensor([0.5, 0.5])
    >>> rl_path(half, torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]), [10.0, 0.1]).gold.round(decimals=2).tolist()
    [0.48, 0.0]
    """
    laws = [kl_optimum(ref, proxy, beta=beta) for beta in betas]
    return _path("rl_path", ref, proxy, gold, list(betas), laws)


def best_of_n_path(
    ref: Float[Tensor, " n"], proxy: Float[Tensor, " n"], gold: Float[Tensor, " n"], sizes: Sequence[int]
) -> Path:
    """What taking the best of ``n`` by the proxy gives, for each n of ``sizes``: `rlbase.exact.best_of_n`.

    Raises:
        ValueError: as `rlbase.exact.best_of_n`, or no sizes.

    >>> half = torch.tensor([0.5, 0.5])
    >>> best_of_n_path(half, torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]), [1, 2]).gold.tolist()
    [0.5, 0.25]
    """
    laws = [best_of_n(ref, proxy, n) for n in sizes]
    return _path("best_of_n_path", ref, proxy, gold, list(sizes), laws)


def gaussian_path(betas: Sequence[float], *, hack: float = 0.8, harm: float = 0.25) -> Path:
    r"""The path of RL in `rlbase.envs.hackable.hackable` with endlessly many responses, in closed form.

    Paying the proxy at price $\beta$ shifts both Gaussians and leaves their width: $z$ to $t=1/\beta$ and $h$ to
    $m=hack\cdot t$. So $KL=\tfrac12(t^2+m^2)$, the proxy gains $t+hack\cdot m$, and the gold reward gains
    $t-harm\,[(m^3+3m)\Phi(m)+(m^2+2)\varphi(m)-2\varphi(0)]$: first like $t$, in the end like $-t^3$. A finite set of
    responses leaves this path where its best proxies run out. Rewards are gains over the reference.

    Raises:
        ValueError: no betas, or one that is not positive.

    >>> path = gaussian_path([1.0])
    >>> round(path.kl.item(), 2), round(path.proxy.item(), 2), round(path.gold.item(), 3)
    (0.82, 1.64, 0.435)
    """
    whole("gaussian_path", "the number of betas", len(betas), 1)
    for beta in betas:
        in_range("gaussian_path", "beta", beta, 0, float("inf"), open_low=True)
    knob = torch.tensor(list(betas), dtype=torch.float64)
    t = 1 / knob
    m = hack * t
    below, density = torch.special.ndtr(m), (-m.square() / 2).exp() / (2 * torch.pi) ** 0.5
    hated = (m**3 + 3 * m) * below + (m.square() + 2) * density - 2 / (2 * torch.pi) ** 0.5
    return Path(knob, (t.square() + m.square()) / 2, t + hack * m, t - harm * hated)


def _path(
    where: str, ref: Tensor, proxy: Tensor, gold: Tensor, knobs: Sequence[float], laws: list[Tensor]
) -> Path:
    same_shape(where, ref=ref, proxy=proxy, gold=gold)
    finite(where, gold=gold)
    if not laws:
        raise ValueError(f"{where}: needs at least one point to compute, got none.")
    stacked = torch.stack(laws)
    divergence = torch.tensor([kl(law, ref) for law in laws], dtype=torch.float64)
    knob = torch.tensor(knobs, dtype=torch.float64)
    return Path(knob, divergence, stacked @ proxy.double(), stacked @ gold.double())


def ensemble_scores(
    scores: Float[Tensor, "M n"], rule: str = "mean", *, penalty: float = 0.5
) -> Float[Tensor, " n"]:
    """What an `rlbase.policies.Ensemble` of ``M`` members says of ``n`` responses, given what each member says.

    Raises:
        ValueError: not a table, an unknown rule, or a negative penalty.

    >>> ensemble_scores(torch.tensor([[1.0, 4.0], [3.0, 4.0]]), "variance").tolist()
    [1.5, 4.0]
    """
    a_tensor("ensemble_scores", scores=scores)
    if scores.ndim != 2:
        raise ValueError(f"ensemble_scores: scores must be [members, n], got shape {list(scores.shape)}.")
    members = [TabularReward(1, scores.shape[1]) for _ in scores]
    for member, row in zip(members, scores, strict=True):
        member.table.data = row[None]
    arms = torch.arange(scores.shape[1])[:, None]
    together = Ensemble(members, rule, penalty)
    return together.score(torch.zeros_like(arms), arms, torch.ones_like(arms, dtype=torch.bool)).detach()


def best_of_n_estimate(
    scores: Float[Tensor, "P N"], values: Float[Tensor, "P N"], n: int
) -> Float[Tensor, " P"]:
    r"""What the best of ``n`` by ``scores`` is worth on average, from ``N`` draws for each prompt: all subsets at once.

    Of all $\binom Nn$ subsets of the draws, the $i$-th lowest score is the highest in $\binom{i-1}{n-1}$. So the mean
    over them is $\sum_i\binom{i-1}{n-1}v_{(i)}/\binom Nn$, unbiased, and every draw is used for every n (Nakano et al.
    2021, appendix I). Of equal scores the later draw counts as the higher.

    Raises:
        ValueError: shapes differ or are no table, a number is not finite, or ``n`` is not between 1 and ``N``.

    >>> best_of_n_estimate(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.0, 6.0, 3.0]]), 2)  # (6 + 3 + 3) / 3
    tensor([4.], dtype=torch.float64)
    """
    where = "best_of_n_estimate"
    same_shape(where, scores=scores, values=values)
    finite(where, scores=scores, values=values)
    whole(where, "n", n, 1)
    if scores.ndim != 2 or scores.shape[1] < n:
        raise ValueError(
            f"{where}: scores must be [prompts, draws] with at least n={n} draws, got {list(scores.shape)}."
        )
    draws = scores.shape[1]
    weight = torch.tensor(
        [math.comb(i, n - 1) / math.comb(draws, n) for i in range(draws)], dtype=torch.float64
    )
    ranked = values.double().gather(1, scores.argsort(stable=True))
    return ranked @ weight.to(ranked.device)


class GaoFit(NamedTuple):
    """Coefficients of one of Gao's laws, and the share of the variance that the curve explains."""

    alpha: float
    beta: float
    r_squared: float


def gao_fit(distance: Float[Tensor, " k"], gain: Float[Tensor, " k"], *, law: str = "rl") -> GaoFit:
    r"""Least squares for $gain = d(\alpha-\beta\log d)$ (``rl``) or $d(\alpha-\beta d)$ (``best_of_n``).

    Gao et al. (2023), section 3.1: the gold reward's gain over the reference at distance $d=\sqrt{KL}$. Points at
    distance 0 say nothing and are left out. Both laws have one peak and two coefficients, so on one run both may fit
    well: a high ``r_squared`` does not say which is true.

    Raises:
        ValueError: an unknown law, shapes differ, a number is not finite, or fewer than three points away from 0.

    >>> d = torch.linspace(0, 2, 9)
    >>> fit = gao_fit(d, d * (3 - 2 * d), law="best_of_n")
    >>> round(fit.alpha, 3), round(fit.beta, 3), round(fit.r_squared, 3)
    (3.0, 2.0, 1.0)
    """
    one_of("gao_fit", "law", law, ("rl", "best_of_n"))
    same_shape("gao_fit", distance=distance, gain=gain)
    finite("gao_fit", distance=distance, gain=gain)
    away = distance > 0
    d, y = distance[away].double(), gain[away].double()
    if len(d) < 3:
        raise ValueError(f"gao_fit: needs at least three points at a distance above 0, got {len(d)}.")
    columns = torch.stack((d, -d * (d.log() if law == "rl" else d)), 1)
    found = torch.linalg.lstsq(columns, y[:, None]).solution[:, 0]
    alpha, beta = found.tolist()
    residual, spread = (y - columns @ found).square().sum(), (y - y.mean()).square().sum()
    return GaoFit(alpha, beta, 1 - (residual / spread).item())


def frontier(cost: Float[Tensor, " n"], reward: Float[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """Which points nobody beats: none else costs no more (KL) *and* earns no less, one of them strictly.

    Methods that rest at different distances are not ranked by reward alone; those off the frontier lose at any price.

    Raises:
        ValueError: shapes differ, or a number is not finite.

    >>> frontier(torch.tensor([0.0, 1.0, 2.0, 2.0]), torch.tensor([0.0, 3.0, 2.0, 4.0])).tolist()
    [True, True, False, True]
    """
    same_shape("frontier", cost=cost, reward=reward)
    finite("frontier", cost=cost, reward=reward)
    as_good = (cost[:, None] <= cost) & (reward[:, None] >= reward)
    better = (cost[:, None] < cost) | (reward[:, None] > reward)
    return ~(as_good & better).any(0)
