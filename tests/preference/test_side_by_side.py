"""What notebook 26 claims of PPO, DPO, IPO and KTO on one listed language model: each arrives at its own target."""

from __future__ import annotations

import pytest
import torch

from rlbase import exact
from rlbase.explore.three_ways import (
    BETAS,
    GOLD,
    METHODS,
    TOKENS,
    comparisons,
    known_table,
    learn,
    price_explorer,
    price_scene,
    start,
    sweep_scene,
    target,
)


@pytest.mark.parametrize(
    ("method", "beta", "tolerance"),
    [("DPO", 0.3, 0.01), ("IPO", 0.1, 0.01), ("IPO averaged", 0.3, 0.02), ("KTO", 0.6, 0.03)],
)
def test_each_loss_arrives_at_its_own_target_and_not_at_another(
    method: str, beta: float, tolerance: float
) -> None:
    (last,) = learn(method, beta, every=200)
    assert last["tv_own"] < tolerance < 0.03 + exact.total_variation(start(), target(method, beta))
    assert (last["tv_rl"] > 0.2) == (method != "DPO")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ppo_arrives_where_dpo_does_without_a_single_label(seed: int) -> None:
    assert list(learn("PPO", 0.6, seed=seed, updates=50, every=50))[-1]["tv_own"] < 0.02


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("method", "beta", "updates"),
    [("DPO", 0.6, 60), ("IPO", 0.1, 60), ("IPO averaged", 0.3, 80), ("KTO", 0.6, 120)],
)
def test_three_thousand_comparisons_are_enough(method: str, beta: float, updates: int, seed: int) -> None:
    (last,) = learn(method, beta, comparisons(3000, seed), updates=updates, every=updates)
    assert last["tv_own"] < 0.1


def test_averaged_ipo_rests_where_its_own_loss_is_flat() -> None:
    """The gradient of the averaged loss in the logits of all 15 responses, by hand."""
    ref, wins, tau = start(), comparisons(), 0.3
    logits = target("IPO averaged", tau).log().requires_grad_(True)
    per_token = (logits.log_softmax(0) - ref.log()) / TOKENS
    gap = per_token[:, None] - per_token
    (wins * (gap - 1 / (2 * tau)) ** 2).sum().backward()
    assert logits.grad is not None and logits.grad.abs().max() < 1e-9
    assert exact.total_variation(target("IPO averaged", tau), target("IPO", tau)) > 0.1


def test_no_method_beats_the_optimum_at_its_own_kl() -> None:
    """Ranked by reward alone IPO leads or trails, as its tau says; at equal KL nobody is above the frontier."""
    ahead = [(target("DPO", b) @ GOLD > target("IPO", a) @ GOLD).item() for a, b in ((0.3, 0.3), (0.01, 0.6))]
    assert ahead == [True, False]
    roads = [target("DPO", b) for b in torch.logspace(-2, 2, 200).tolist()]
    kls, gold = torch.tensor([[exact.kl(p, start()), (p @ GOLD).item()] for p in roads]).double().T
    for row in known_table().values():
        for point in row:
            possible = gold[kls <= point["kl"] + 1e-9].max()
            assert point["gold"] <= possible + 0.08  # the grid's step


def test_at_a_price_of_a_nat_every_method_has_another_best_beta() -> None:
    caption = price_scene(known_table(), 0.6).caption
    assert caption == ("At 0.60 a nat the best β (or τ) is: DPO 0.6, IPO 0.1, IPO averaged 0.3, KTO 0.01.")
    alone = price_scene(known_table(), 0.0).caption  # reward alone: the smallest beta, whatever the method
    assert alone.endswith("DPO 0.01, IPO 0.01, IPO averaged 0.01, KTO 0.01.")


def test_pictures_of_a_sweep() -> None:
    table = known_table()
    table["KTO"] = table["KTO"][:2]  # two cells are still to come
    assert [len(p.marks) for p in sweep_scene(table).panels] == [1, 1, 1]
    assert "gold" in next(iter(table.values()))[0] and len(METHODS) == len(table) and len(BETAS) == 4
    assert repr(price_explorer(known_table())) == "Explorable(price)"
