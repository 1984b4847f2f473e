"""Closed forms of where losses rest, against plain gradient descent on the expected loss of an enumerated world."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlbase.exact import bt_projection, ipo_optimum, kl, kl_optimum, kto_optimum, simpo_gap, total_variation
from rlbase.losses import dpo, ipo, kto, simpo

B4_REF = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
B4 = torch.tensor([0.0, 1.0, 0.5, 2.0], dtype=torch.float64)


def descend(objective: Callable[[Tensor], Tensor], n: int, steps: int = 400, rate: float = 0.3) -> Tensor:
    """Log-probabilities at which ``objective`` of them is smallest, by Adam from the uniform policy."""
    theta = torch.zeros(n, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([theta], lr=rate, fused=True)
    for k in range(steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - k / steps)
        optimizer.zero_grad()
        objective(theta.log_softmax(0)).backward()
        optimizer.step()
    return theta.log_softmax(0).detach()


def world(seed: int, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """A reference, preferences that follow no reward, and how often the ordered pairs are drawn."""
    generator = torch.Generator().manual_seed(seed)
    ref = torch.randn(n, generator=generator, dtype=torch.float64).softmax(0)
    upper = torch.rand(n, n, generator=generator, dtype=torch.float64).mul(0.9).add(0.05).triu(1)
    preference = upper + (1 - upper.T).tril(-1) + 0.5 * torch.eye(n)
    return ref, preference, torch.rand(n, n, generator=generator, dtype=torch.float64)


def compared(
    loss: Callable[..., Tensor], ref: Tensor, preference: Tensor, weight: Tensor
) -> Callable[[Tensor], Tensor]:
    """The expected loss when i meets j ``weight[i, j]`` of the time and beats it with ``preference[i, j]``."""
    pairs = torch.tensor(list(itertools.permutations(range(len(ref)), 2)))
    i, j = pairs[:, 0], pairs[:, 1]
    p, w, r = preference[i, j], weight[i, j], ref.log()

    def objective(logp: Tensor) -> Tensor:
        won, lost = loss(logp[i], logp[j], r[i], r[j]), loss(logp[j], logp[i], r[j], r[i])
        return (w * (p * won + (1 - p) * lost)).sum()

    return objective


@pytest.mark.parametrize("seed", range(3))
def test_dpo_rests_at_the_projection(seed: int) -> None:
    ref, preference, weight = world(seed, 4)
    found = descend(compared(functools.partial(dpo, beta=0.5), ref, preference, weight), 4)
    both = weight + weight.T  # who is named first changes nothing
    best = kl_optimum(ref, bt_projection(preference, weight=both), beta=0.5)
    assert total_variation(found.exp(), best) < 1e-6


@pytest.mark.parametrize("tau", [0.1, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_ipo_optimum(seed: int, tau: float) -> None:
    ref, preference, weight = world(seed, 5)
    loss = functools.partial(ipo, tau=tau)
    # any law of pairs, not symmetric either
    found = descend(compared(loss, ref, preference, weight), 5)
    assert total_variation(found.exp(), ipo_optimum(ref, preference, tau=tau, weight=weight)) < 1e-6
    # both responses drawn from one law: Azar et al. (2024), eq. 11
    mu = weight[0] / weight[0].sum()
    found = descend(compared(loss, ref, preference, mu[:, None] * mu), 5)
    by_law = ipo_optimum(ref, preference, mu, tau=tau)
    assert total_variation(found.exp(), by_law) < 1e-6
    assert total_variation(by_law, ipo_optimum(ref, preference, tau=tau, weight=mu[:, None] * mu)) < 1e-12
    uniform = ipo_optimum(ref, preference, tau=tau)
    assert total_variation(uniform, ipo_optimum(ref, preference, tau=tau, weight=torch.ones(5, 5))) < 1e-12
    assert total_variation(uniform, by_law) > 1e-4


def test_ipo_optimum_of_four_arms_by_hand() -> None:
    # P = sigma(r_i - r_j); p(y > mu) = (.5 + sigma(-1) + sigma(-.5) + sigma(-2)) / 4 = (.5 + .269 + .378 + .119) / 4
    # = .3164, and .5306, .4206, .7324; ref * exp(p / .1) up to a constant
    preference = (B4[:, None] - B4).sigmoid()
    wins = torch.tensor([0.31642, 0.53062, 0.42061, 0.73236], dtype=torch.float64)
    by_hand = (B4_REF.log() + wins / 0.1).softmax(0)
    found = ipo_optimum(B4_REF, preference, tau=0.1)
    torch.testing.assert_close(found, by_hand, atol=1e-4, rtol=0)
    assert [round(p, 3) for p in found.tolist()] == [0.04, 0.257, 0.057, 0.645]
    assert [round(p, 3) for p in ipo_optimum(B4_REF, preference, tau=0.5).tolist()] == [
        0.299,
        0.344,
        0.184,
        0.172,
    ]


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(2, 6), st.floats(0.05, 5))
def test_no_label_moves_an_ipo_optimum_far(seed: int, n: int, tau: float) -> None:
    """Labels that are always the same: log-ratios lie within 1 / tau of each other."""
    ref, preference, _ = world(seed, n)
    certain = (preference > 0.5).double() + 0.5 * torch.eye(n)
    ratio = ipo_optimum(ref, certain, tau=tau).log() - ref.log()
    assert (ratio.max() - ratio.min()).item() <= 1 / tau + 1e-6


@pytest.mark.parametrize(("p", "gamma"), [*itertools.product([0.5, 0.6, 0.75, 0.95], [0.0, 0.5, 2.0])])
def test_simpo_gap(p: float, gamma: float) -> None:
    loss = functools.partial(simpo, beta=2.0, gamma=gamma)
    found = descend(lambda logp: p * loss(logp[:1], logp[1:]) + (1 - p) * loss(logp[1:], logp[:1]), 2)
    assert (found[0] - found[1]).item() == pytest.approx(simpo_gap(p, beta=2.0, gamma=gamma), abs=1e-4)
    other = simpo_gap(1 - p, beta=2.0, gamma=gamma)  # the loser's gap is the winner's, turned round
    assert other == pytest.approx(-simpo_gap(p, beta=2.0, gamma=gamma), abs=1e-9)


def verdicts(
    ref: Tensor, q: Tensor, mu: Tensor, z: float | None, **bound: float
) -> Callable[[Tensor], Tensor]:
    good = torch.ones(len(ref), dtype=torch.bool)
    loss, r = functools.partial(kto, **bound), ref.log()

    def objective(logp: Tensor) -> Tensor:
        point = (logp.exp() * (logp - r)).sum().detach() if z is None else z
        each = q * loss(logp, r, good, point) + (1 - q) * loss(logp, r, ~good, point)
        return (mu * each).sum()

    return objective


@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("z", [None, 0.0, 0.7, 2.0])
def test_kto_optimum(z: float | None, beta: float) -> None:
    generator = torch.Generator().manual_seed(4)
    # five responses, of which the weights keep three: q > .6 / 2 = .3
    ref, mu = torch.rand(2, 5, generator=generator, dtype=torch.float64).add(0.1).unbind()
    ref, q = ref / ref.sum(), torch.tensor([0.1, 0.5, 0.29, 0.9, 0.4], dtype=torch.float64)
    weights = {"desirable_weight": 1.4, "undesirable_weight": 0.6}
    best, point = kto_optimum(ref, q, mu, beta=beta, kl=z, **weights)
    steps = 2000 if beta < 0.5 else 1200  # the flatter, the longer the way
    found = descend(verdicts(ref, q, mu, z, beta=beta, **weights), 5, steps=steps).exp()
    assert total_variation(found, best) < 2e-4
    if beta < 1:  # at 1 a gain does not grow without end as its share vanishes, and the weak may go too
        assert [p > 0 for p in best.tolist()] == [False, True, False, True, True]
    assert point == pytest.approx(kl(best, ref) if z is None else z, abs=1e-9)


def test_kto_optimum_equalises_marginal_gains() -> None:
    """Where the shares are positive, a * beta * s * (1 - s) / pi is one number; shifting mass gains nothing."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        draws = torch.rand(3, 6, generator=generator, dtype=torch.float64)
        ref, q, beta = (
            (draws[0] + 0.01) / (draws[0] + 0.01).sum(),
            draws[1].clone(),
            0.05 + 0.9 * draws[2, 0].item(),
        )
        q[0] = 0.8  # somebody is worth keeping
        best, z = kto_optimum(ref, q, beta=beta)
        kept = q > 0.5
        assert (best > 0).equal(kept) and best.sum().item() == pytest.approx(1)
        s = (beta * ((best / ref)[kept].log() - z)).sigmoid()
        gains = (ref * (2 * q - 1))[kept] * s * (1 - s) / best[kept]
        torch.testing.assert_close(gains, gains.mean().expand_as(gains), rtol=1e-6, atol=0)
        assert z == pytest.approx(kl(best, ref), abs=1e-9)


def test_kto_is_no_reweighting() -> None:
    """Two responses on one side of the threshold differ by less than their rewards say; below it nothing is left."""
    best, z = kto_optimum(B4_REF, (B4 - 0.75).sigmoid(), beta=0.5)
    assert [round(p, 3) for p in best.tolist()] == [0.0, 0.395, 0.0, 0.605] and round(z, 3) == 1.198
    assert total_variation(best, kl_optimum(B4_REF, B4, beta=0.5)) > 0.1
    alone, z = kto_optimum(B4_REF, torch.tensor([0.1, 0.2, 0.3, 0.9]), beta=0.5)
    assert alone.tolist() == [0, 0, 0, 1] and z == pytest.approx(-B4_REF[3].log().item())
