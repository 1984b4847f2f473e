"""Worlds in which the reward that is paid is not the one that is meant, and both are known.

Many responses to one prompt, each with features drawn once. The *gold* reward is what somebody really wants, the
*proxy* is what a reward model says; a flaw of the response moves the two apart. The sizes are chosen so that the
first steps towards a higher proxy help and the later ones harm, as Gao et al. (2023), "Scaling Laws for Reward Model
Overoptimization", saw with language models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rlbase.envs.bandit import Bandit
from rlbase.validate import in_range, whole

INFINITY = float("inf")


@dataclass(frozen=True)
class Hackable:
    """``N`` responses, each with a proxy and a gold reward; all fields are ``[N]`` in float64.

    ``quality`` is what gold and proxy both value; ``flaw`` is what the proxy mistakes for more of it.
    """

    quality: Tensor
    flaw: Tensor
    proxy: Tensor
    gold: Tensor

    def __len__(self) -> int:
        return len(self.proxy)

    @property
    def ref(self) -> Tensor:
        """The policy before training, uniform over the responses, ``[N]``."""
        return torch.full_like(self.proxy, 1 / len(self))

    def bandit(self, *, batch_size: int = 64) -> Bandit:
        """The world that a policy is trained in: one choice among the responses, paid by the proxy."""
        return Bandit(self.proxy, batch_size=batch_size)


def hackable(n: int = 2000, *, hack: float = 0.8, harm: float = 0.25, seed: int = 1) -> Hackable:
    r"""Responses whose flaw $h$ a reward model likes and people hate in excess.

    $$z,h\sim N(0,1), \qquad proxy = z + hack\cdot h, \qquad gold = z - harm\cdot\max(h,0)^3$$

    A little $h$ costs next to nothing, much of it costs everything, and of the highest proxies it has a share. Drawn by
    NumPy's ``default_rng(seed)``, all $z$ first.

    Raises:
        ValueError: no response, or a negative ``harm``.

    >>> world = hackable()
    >>> best = world.proxy.argmax()
    >>> round(world.proxy[best].item(), 2), round(world.gold[best].item(), 2)
    (5.07, -5.5)
    """
    quality, flaw = _features("hackable", n, np.random.default_rng(seed))
    in_range("hackable", "hack", hack, -INFINITY, INFINITY, open_low=True, open_high=True)
    return Hackable(quality, flaw, quality + hack * flaw, _gold("hackable", quality, flaw, harm))


def flawed_members(
    n: int = 2000,
    *,
    members: int = 5,
    shared: float = 0.0,
    spread: float = 1.0,
    noise: float = 0.3,
    harm: float = 0.25,
    seed: int = 0,
) -> tuple[Float[Tensor, "M N"], Hackable]:
    r"""Several reward models of one world, and that world with their mean as its proxy.

    Member $m$ scores a response $z + a_m h + noise\cdot\epsilon$ with $a_m\sim N(shared, spread^2)$: what the members
    disagree about, an ensemble can see, and what is ``shared`` it cannot. World and members come from one
    ``default_rng(seed)``: $z$, $h$, then for each member its $a$ and its noise.

    Raises:
        ValueError: no response, no member, or a negative ``spread``, ``noise`` or ``harm``.

    >>> scores, world = flawed_members(100, members=3)
    >>> scores.shape, torch.equal(world.proxy, scores.mean(0))
    (torch.Size([3, 100]), True)
    """
    where = "flawed_members"
    whole(where, "members", members, 1)
    in_range(where, "shared", shared, -INFINITY, INFINITY, open_low=True, open_high=True)
    for name, value in (("spread", spread), ("noise", noise)):
        in_range(where, name, value, 0, INFINITY, open_high=True)
    draws = np.random.default_rng(seed)
    quality, flaw = _features(where, n, draws)
    scores = []
    for _ in range(members):
        likes = shared + spread * draws.standard_normal()
        scores.append(quality + likes * flaw + noise * torch.from_numpy(draws.standard_normal(n)))
    stacked = torch.stack(scores)
    return stacked, Hackable(quality, flaw, stacked.mean(0), _gold(where, quality, flaw, harm))


def long_winded(n: int = 2000, *, bonus: float = 0.8, enough: float = 60.0, seed: int = 1) -> Hackable:
    r"""Responses of different lengths, judged by a reward model that takes length for quality.

    Lengths (the ``flaw``) are log-normal around 40 words. People do not mind up to ``enough`` words, and then every
    tenth more costs them half a point; the reward model pays ``bonus`` for each standard deviation of log-length:

    $$proxy = z + bonus\cdot\frac{\log L-\log 40}{0.5}, \qquad gold = z - \tfrac1{20}\max(L - enough, 0)$$

    Raises:
        ValueError: no response, or ``enough`` is not positive.

    >>> world = long_winded()
    >>> longest = world.flaw.argmax()
    >>> int(world.flaw[longest]), bool(world.gold[longest] < world.gold.mean() - 5)
    (256, True)
    """
    in_range("long_winded", "enough", enough, 0, INFINITY, open_low=True, open_high=True)
    in_range("long_winded", "bonus", bonus, -INFINITY, INFINITY, open_low=True, open_high=True)
    quality, wordy = _features("long_winded", n, np.random.default_rng(seed))
    length = 40 * (0.5 * wordy).exp()
    return Hackable(quality, length, quality + bonus * wordy, quality - (length - enough).clamp(min=0) / 20)


def _features(where: str, n: int, draws: np.random.Generator) -> tuple[Tensor, Tensor]:
    whole(where, "n", n, 1)
    quality = torch.from_numpy(draws.standard_normal(n))
    return quality, torch.from_numpy(draws.standard_normal(n))


def _gold(where: str, quality: Tensor, flaw: Tensor, harm: float) -> Tensor:
    in_range(where, "harm", harm, 0, INFINITY, open_high=True)
    return quality - harm * flaw.clamp(min=0) ** 3
