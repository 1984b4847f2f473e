"""Two groups behind one reward: what the fit tends to, who loses, and what each remedy gives back and takes."""

from __future__ import annotations

import pytest
import torch

from rlbase.exact import kl, kl_optimum, mixed_preference
from rlbase.explore.two_groups import (
    BETA,
    DETAIL,
    QUALITY,
    REF,
    REMEDIES,
    RING,
    RING_SHARE,
    experiment,
    rewards,
    ring_scene,
    served_scene,
)

AS_THEY_COME, EVENLY, EACH = REMEDIES


def test_the_best_each_group_could_have() -> None:
    """beta log sum ref exp(r / beta), by hand for the first group, which no policy of 2,000 drawn ones exceeds."""
    r = QUALITY + DETAIL
    best = BETA * torch.log((REF * (r / BETA).exp()).sum())
    assert experiment(0.5, 1.0).best[0].item() == pytest.approx(best.item())
    laws = torch.distributions.Dirichlet(torch.full((8,), 0.5, dtype=torch.float64)).sample((2000,))
    value = laws @ r - BETA * (laws * (laws / REF).log().nan_to_num()).sum(1)
    assert (value < best).all()
    assert torch.equal(rewards(0.0)[0], rewards(0.0)[1])


@pytest.mark.parametrize("seed", range(5))
def test_the_reward_follows_the_share_of_the_labels(seed: int) -> None:
    """At one half detail cancels; with the share it tilts, and the group that labels less loses more."""
    even = experiment(0.5, 1.0, seed=seed)
    assert abs(even.weight[0, 1]) < 0.12 and even.weight[0, 0] > 0.6
    assert even.regret.tolist() == pytest.approx([even.regret.mean().item()] * 2, abs=0.35)
    tilted = [experiment(share, 1.0, seed=seed) for share in (0.6, 0.75, 0.9)]
    assert all(a.weight[0, 1] < b.weight[0, 1] for a, b in zip([even, *tilted], tilted, strict=False))
    assert all(
        a.regret[1] < b.regret[1] and a.regret[0] > b.regret[0]
        for a, b in zip([even, *tilted], tilted, strict=False)
    )


def test_labels_tend_to_the_mixture_and_not_to_the_mean_of_the_rewards() -> None:
    """The quality that both agree on comes out too small: a mixture of logistic curves is flatter than each of them."""
    found = experiment(0.5, 2.0, labels=200_000)
    assert found.weight[0, 0] < 0.75
    mixture = mixed_preference(rewards(2.0), torch.tensor([0.5, 0.5]))
    w = found.weight[0]
    x = torch.stack([QUALITY, DETAIL], 1)
    gaps = (x[:, None] - x)[None][0]
    said = (gaps @ w).sigmoid()
    slope = torch.einsum(
        "ij,ijf->f", (said - mixture) / 56, gaps
    )  # of the expected loss over all ordered pairs
    assert slope.abs().max() < 0.01


@pytest.mark.parametrize("seed", range(5))
def test_weighting_evenly_gives_the_even_answer_at_a_price(seed: int) -> None:
    plain, even = (experiment(0.9, 1.0, remedy, seed=seed) for remedy in (AS_THEY_COME, EVENLY))
    assert abs(even.weight[0, 1]) < 0.3 < plain.weight[0, 1]
    assert even.regret[1] < plain.regret[1] and even.regret[0] > plain.regret[0]
    # a tenth of the rows weigh 5, the others 5/9: (sum w)^2 / sum w^2 = .36 of the labels
    assert even.heard.item() == pytest.approx(2000 * 0.36, rel=1e-6) and plain.heard.item() == 2000


@pytest.mark.parametrize("seed", range(5))
def test_a_reward_for_each_group_serves_both_with_fewer_labels_for_each(seed: int) -> None:
    found = experiment(0.7, 1.0, EACH, seed=seed)
    assert found.regret.max() < 0.08 and found.heard.tolist() == [1400, 600]
    assert experiment(0.7, 0.0, EACH, seed=seed).regret.max() < 0.05
    assert experiment(0.7, 0.0, seed=seed).regret.max() < 0.05  # without a conflict one reward is enough


def test_a_circle_of_two_consistent_groups() -> None:
    wins = mixed_preference(RING, RING_SHARE)
    assert wins[0, 1] > 0.5 and wins[1, 2] > 0.5 and wins[2, 0] > 0.5
    assert "A over B, B over C, C over A" in ring_scene(0.6).caption
    for share in (0.0, 1.0):
        assert "orders them" in ring_scene(share).caption
    assert "circle:" not in ring_scene(0.5).caption.split(".")[0]
    # equal groups: P(i over j) > 1/2 exactly where the sum of the two gaps is positive, which is an order
    draws = torch.Generator().manual_seed(0)
    for _ in range(50):
        r = 4 * torch.randn(2, 5, generator=draws, dtype=torch.float64)
        mixed = mixed_preference(r, torch.tensor([0.5, 0.5]))
        total = r.sum(0)
        assert torch.equal(mixed > 0.5, total[:, None] > total)


def test_pictures_follow_their_controls() -> None:
    one, other = served_scene(0.7, 1.0), served_scene(0.7, 1.0, EACH)
    assert one.caption != other.caption and "1,400 and 600 labels" in other.caption
    assert served_scene(0.05, 2.0).caption and served_scene(0.95, 0.0, EVENLY).caption


@pytest.mark.parametrize("remedy", REMEDIES)
def test_a_groups_regret_is_the_price_of_the_divergence_from_its_own_best(remedy: str) -> None:
    found = experiment(0.8, 1.0, remedy)
    served = [kl_optimum(REF, torch.stack([QUALITY, DETAIL], 1) @ w, beta=BETA) for w in found.weight]
    for group, policy in enumerate(served * (2 // len(served))):
        best = kl_optimum(REF, rewards(1.0)[group], beta=BETA)
        assert found.regret[group].item() == pytest.approx(float(BETA * kl(policy, best)), abs=1e-9)
