"""Constitutional AI, every stage against what it must come to: revisions, labels, rewards, laws and Elo."""

from __future__ import annotations

import math
import time

import pytest
import torch

from rlbase.data.replies import ADVICE, DAMAGE, DECEIT, EVASION, read
from rlbase.evaluate import bradley_terry_strengths, elo_from_strengths
from rlbase.exact import bt_projection, kl_optimum, residual_harm
from rlbase.explore.constitutional import (
    ALONE,
    BAD,
    BETA,
    HARMLESS,
    HELPFUL,
    HELPFUL_ONLY,
    PRETRAINED,
    PRINCIPLES,
    TEXTS,
    THREE,
    ahead,
    chain,
    constitutional_scene,
    elo,
    fine_tuned,
    grouped,
    mean_label,
    one_round,
    place,
)
from rlbase.feedback import drafts, prefer_by_principle

FOUR = tuple(PRINCIPLES)
SHORT = ("damage", "deceit")


def principles(names=FOUR):
    return [PRINCIPLES[name] for name in names]


def harm(law) -> float:
    return law[BAD > 0].sum().item()


def test_the_start_is_a_law_and_help_alone_harms() -> None:
    assert PRETRAINED.sum().item() == pytest.approx(1.0) and harm(PRETRAINED) == pytest.approx(0.64)
    assert harm(HELPFUL_ONLY) > 0.85 and HELPFUL_ONLY[0] < 0.01
    preference = (HELPFUL[:, None] - HELPFUL).sigmoid()  # what people say, all of it: the score comes back
    assert torch.allclose(bt_projection(preference), HELPFUL - HELPFUL.mean(), atol=1e-6)


def test_a_round_by_hand() -> None:
    """Advice and damage, four principles, recall .8: each is drawn with .25, and two of them find something."""
    start, q = TEXTS.index(f"{ADVICE[0]} {DAMAGE}"), 0.8
    row = dict(zip(TEXTS, one_round(principles(), q)[start].tolist(), strict=True))
    assert {text: round(p, 9) for text, p in row.items() if p > 1e-9} == {
        f"{ADVICE[0]} {DAMAGE}": 0.6,
        ADVICE[0]: 0.2,
        DAMAGE: 0.2,
    }
    assert one_round(principles(("answer",)))[0].tolist() == one_round([])[4].tolist()  # evasion is answered
    assert one_round(principles(SHORT))[1, 0] == 0.5  # nobody says nothing


@pytest.mark.parametrize("text", [f"{ADVICE[0]} {ADVICE[1]} {DAMAGE} {DECEIT}", DECEIT, EVASION])
def test_powers_of_the_round_are_what_drafts_come_to(text: str) -> None:
    draws, n, q = torch.Generator().manual_seed(0), 3000, 0.7
    runs = [drafts(text, principles(), draws, revisions=4, recall=q, otherwise=EVASION) for _ in range(n)]
    matrix = one_round(principles(), q)
    for k in (1, 2, 4):
        law = torch.linalg.matrix_power(matrix, k)[TEXTS.index(text)]
        seen = torch.bincount(torch.tensor([TEXTS.index(run[k].reply) for run in runs]), minlength=16) / n
        assert ((seen - law).abs() <= 3.3 * (law * (1 - law) / n).sqrt() + 1e-9).all()


@pytest.mark.parametrize("names", [("damage",), SHORT, THREE, FOUR])
def test_harm_falls_by_inclusion_and_exclusion(names: tuple[str, ...]) -> None:
    """One bad idea waits for its principle; of two, either is left, less both counted twice."""
    q, p = 0.8, len(names)
    matrix = one_round(principles(names), q)
    one, two = (torch.zeros(16, dtype=torch.float64) for _ in range(2))
    one[TEXTS.index(f"{ADVICE[0]} {DAMAGE}")] = two[TEXTS.index(f"{ADVICE[0]} {DAMAGE} {DECEIT}")] = 1.0
    for k in range(5):
        power = torch.linalg.matrix_power(matrix, k)
        assert harm(one @ power) == pytest.approx(residual_harm(1.0, q / p, k))
        left = 2 * (1 - q / p) ** k - (1 - 2 * q / p) ** k if p > 1 else 1.0  # deceit is not its business
        assert harm(two @ power) == pytest.approx(left)
    falls = [harm(chain(THREE, revisions=k).revised) for k in range(5)]
    assert falls == sorted(falls, reverse=True) and falls[0] == pytest.approx(harm(HELPFUL_ONLY))


def test_mean_labels_are_means_of_drawn_ones() -> None:
    draws, n = torch.Generator().manual_seed(1), 6000
    for i, j, confident in ((0, 13, 1.0), (4, 3, 1.0), (12, 1, 0.6)):
        drawn = prefer_by_principle(
            [TEXTS[i]] * n, [TEXTS[j]] * n, principles(), draws, temperature=0.5, confident=confident
        )
        exact = mean_label(principles(), temperature=0.5, confident=confident)[i, j].item()
        assert drawn.mean().item() == pytest.approx(exact, abs=3 * drawn.std().item() / n**0.5 + 1e-6)
    clamped = mean_label(principles(THREE), confident=0.6)
    assert clamped.min() >= 0.4 and clamped[0, 1].item() == pytest.approx((0.6 + 0.5 + 0.5) / 3)
    assert torch.allclose(clamped + clamped.T, torch.ones_like(clamped))


@pytest.mark.parametrize("names", [SHORT, THREE, FOUR])
def test_the_draw_bounds_a_reward_that_the_judge_would_not(names: tuple[str, ...]) -> None:
    """However sure: one broken principle of P gives the label (P + 1) / (2 P), the log-odds log (P + 1)/(P - 1)."""
    p = len(names)
    sure = (
        mean_label(principles(names), temperature=0.01)[4, 5].logit().item()
    )  # advice, with and without damage
    assert sure == pytest.approx(math.log((p + 1) / (p - 1)))


def test_rl_cai_is_less_harmful_at_the_same_help() -> None:
    path = [chain(weight=w / 2) for w in range(17)]
    assert all(ahead(stage.policy) > 150 for stage in path)
    assert ahead(chain().policy) > 250 > ahead(chain().tuned) > 100 and abs(ahead(HELPFUL_ONLY)) < 2
    assert all(a[0] < b[0] and a[1] > b[1] for a, b in zip(ALONE, ALONE[1:], strict=False))
    between = [
        kl_optimum(PRETRAINED, s * HELPFUL, beta=1.0) for s in (0.03, 0.44, 1.26)
    ]  # off the curve's grid
    assert all(abs(ahead(law)) < 0.3 for law in between)
    silent = torch.eye(16, dtype=torch.float64)[0]  # less helpful than anything on the curve
    assert ahead(silent) == pytest.approx(place(silent)[1])
    by_hand = kl_optimum(chain().tuned, HELPFUL + 2 * chain().reward, beta=BETA)
    assert torch.allclose(chain().policy, by_hand)
    assert fine_tuned(chain().revised, 0.0).tolist() == chain().revised.tolist()


def test_who_only_keeps_out_of_trouble_says_nothing() -> None:
    """Evasive without the help term, if advice breaks a principle; three cures; too much weight undoes the first."""
    alone = chain(help_term=False)
    assert alone.policy[0] >= 0.8 and chain(help_term=False, weight=4.0).policy[0] > 0.95
    assert chain().policy[0] < 0.05
    assert chain(SHORT, help_term=False).policy[0] < 0.02
    assert chain(FOUR, help_term=False).policy[0] < 0.25
    assert chain(weight=8.0).policy[0] > 0.95


def test_a_clamp_makes_the_reward_smaller_and_weight_gives_it_back() -> None:
    free, clamped = chain().reward, chain(confident=0.6).reward
    gap = [(r[12] - r[13]).item() for r in (free, clamped)]
    assert 3 < gap[0] / gap[1] < 6
    assert harm(chain(confident=0.6).policy) > 2 * harm(chain().policy)
    assert harm(chain(confident=0.6, weight=2 * gap[0] / gap[1]).policy) < 0.07


def test_elo_is_that_of_matches() -> None:
    law = chain().policy
    wins = (law @ (HELPFUL[:, None] - HELPFUL).sigmoid() @ PRETRAINED).item()
    fitted = elo_from_strengths(bradley_terry_strengths([("law", "start", wins)]))
    assert elo(law, HELPFUL) == pytest.approx(fitted["law"] - fitted["start"])
    assert elo(law, HELPFUL) == pytest.approx(-elo(PRETRAINED, HELPFUL, law))
    assert place(PRETRAINED) == pytest.approx((0.0, 0.0)) and elo(law, HARMLESS, law) == pytest.approx(0.0)


@pytest.mark.parametrize(
    "changed", [{}, {"help_term": False}, {"answer": True, "revisions": 0}, {"recall": 1.0, "weight": 8.0}]
)
def test_pictures_come_at_once(changed: dict) -> None:
    began = time.process_time()
    scene = constitutional_scene(**changed)
    assert time.process_time() - began < 0.5  # far below, and the machine may be slow
    assert "Elo above help alone" in scene.caption and "evasive" in scene.alt


def test_without_a_constitution_nothing_is_revised() -> None:
    none = constitutional_scene(False, False, False)
    assert "SL-CAI: harm 63%, evasive 0%" in none.caption
    assert torch.equal(chain(()).revised, HELPFUL_ONLY) and not chain(()).reward.any()
    only = chain(("quarrels",))  # forbids advice alone
    assert harm(only.policy) > 0.9 and ahead(only.policy) < 0
    assert sum(grouped(only.policy)) == pytest.approx(1.0)
    assert all(read(text).harmful == bad for text, bad in zip(TEXTS, BAD.tolist(), strict=True))
