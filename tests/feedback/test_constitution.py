"""Critique and revision against the law of what they leave; preferences by principle against their mean."""

from __future__ import annotations

import pytest
import torch

from rlbase.data.replies import ADVICE, DAMAGE, DECEIT, EVASION, read, replies
from rlbase.exact import residual_harm
from rlbase.feedback import Principle, critique, drafts, prefer_by_principle

NO_DAMAGE = Principle("do no damage", {DAMAGE: ""})
NO_DECEIT = Principle("do not deceive", {DECEIT: "Tell the landlord how loud it is."})
BOTH = (NO_DAMAGE, NO_DECEIT)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_sixteen_replies_and_what_is_known_of_them() -> None:
    found = replies()
    assert len({reply.text for reply in found}) == 16 == len(found)
    assert [reply for reply in found if reply.evasive] == [found[0]] and found[0].text == EVASION
    assert sorted((r.helpful, r.harmful) for r in found) == sorted(
        (help_, harm) for help_ in range(4) for harm in (0, 1, 1, 2)
    )
    assert all(read(reply.text) == reply for reply in found)


@pytest.mark.parametrize("recall", [1.0, 0.6])
@pytest.mark.parametrize("text", [f"{ADVICE[0]} {DAMAGE}", DECEIT])
def test_harm_falls_by_its_law(recall: float, text: str) -> None:
    """One principle of two is broken: what a round does away with is recall / 2 of it."""
    draws, n = seeded(), 4000
    runs = [drafts(text, BOTH, draws, revisions=4, recall=recall) for _ in range(n)]
    for k in range(5):
        left = sum(read(run[k].reply).harmful > 0 for run in runs) / n
        expected = residual_harm(1.0, recall / 2, k)
        assert left == pytest.approx(expected, abs=4 * (expected * (1 - expected) / n) ** 0.5 + 1e-9)
    assert all(
        read(a.reply).harmful >= read(b.reply).harmful
        for run in runs
        for a, b in zip(run, run[1:], strict=False)
    )


def test_two_broken_principles_wait_for_each_other() -> None:
    """By inclusion and exclusion: 2 (1 - q/2)^k - (1 - q)^k is still harmful, as a round draws one principle only."""
    draws, n, q = seeded(1), 4000, 0.8
    runs = [drafts(f"{DAMAGE} {DECEIT}", BOTH, draws, revisions=4, recall=q) for _ in range(n)]
    for k in range(5):
        left = sum(read(run[k].reply).harmful > 0 for run in runs) / n
        expected = 2 * (1 - q / 2) ** k - (1 - q) ** k
        assert left == pytest.approx(expected, abs=4 * (expected * (1 - expected) / n) ** 0.5 + 1e-9)


def test_a_revision_changes_what_was_criticised_and_nothing_else() -> None:
    text = f"{ADVICE[0]} {DAMAGE} {DECEIT}"
    found = drafts(text, [NO_DECEIT], seeded(), revisions=2)
    assert found[0].critique is None and found[0].reply == text
    assert found[1].critique is not None and found[1].critique.phrases == (DECEIT,)
    assert found[1].reply == f"{ADVICE[0]} {DAMAGE} Tell the landlord how loud it is." == found[2].reply
    assert found[2].critique is not None and not found[2].critique.phrases
    assert str(found[1].critique) == f"This breaks the principle “do not deceive”: {DECEIT}"
    assert str(found[2].critique).startswith("Nothing speaks against")
    assert drafts(f"{DAMAGE} {ADVICE[1]}", [NO_DAMAGE], seeded())[-1].reply == ADVICE[1]  # no blank left
    empty = [
        drafts(DAMAGE, [NO_DAMAGE], seeded(), revisions=2, otherwise=said)[-1].reply for said in ("", EVASION)
    ]
    assert empty == ["", EVASION]


def test_principles_are_drawn_evenly_and_overlooked_as_often_as_said() -> None:
    draws = seeded(2)
    found = [critique(f"{DAMAGE} {DECEIT}", BOTH, draws, recall=0.7) for _ in range(6000)]
    of_damage = [one for one in found if one.principle is NO_DAMAGE]
    assert len(of_damage) / 6000 == pytest.approx(0.5, abs=0.026)
    assert sum(bool(one.phrases) for one in found) / 6000 == pytest.approx(0.7, abs=0.024)
    assert critique("Hello.", BOTH, draws).phrases == ()


def test_preferences_by_hand_and_their_mean() -> None:
    good, bad, worse = ADVICE[0], DAMAGE, f"{DAMAGE} {DECEIT}"
    sure = torch.tensor(2.0).sigmoid().item()
    alone = prefer_by_principle([good, bad, bad], [bad, good, worse], [NO_DAMAGE], seeded(), temperature=0.5)
    assert alone.tolist() == pytest.approx([sure, 1 - sure, 0.5])
    n = 8000
    many = prefer_by_principle([good] * n, [bad] * n, BOTH, seeded(), temperature=0.5)
    assert many.unique().tolist() == pytest.approx([0.5, sure])
    assert many.mean().item() == pytest.approx((sure + 0.5) / 2, abs=0.01)
    clamped = prefer_by_principle(
        [good, bad], [bad, good], [NO_DAMAGE], seeded(), temperature=0.1, confident=0.6
    )
    assert clamped.tolist() == pytest.approx([0.6, 0.4])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Principle("", {"a": "b"}), "needs a name and at least one phrase"),
        (lambda: Principle("x", {}), "needs a name and at least one phrase"),
        (lambda: Principle("x", {"": "b"}), "none of them empty"),
        (lambda: Principle("x", {"a": "banana"}), "'banana', said instead of 'a', breaks 'x' as well"),
        (lambda: critique("a", [], seeded()), "a constitution needs at least one principle"),
        (lambda: critique("a", BOTH, seeded(), recall=2.0), "recall must lie in"),
        (lambda: drafts("a", BOTH, seeded(), revisions=-1), "revisions must be at least 0"),
        (
            lambda: prefer_by_principle(["a"], [], BOTH, seeded()),
            "needs a second for every first, got 1 and 0",
        ),
        (
            lambda: prefer_by_principle(["a"], ["b"], BOTH, seeded(), temperature=0.0),
            "temperature must lie in",
        ),
        (lambda: prefer_by_principle(["a"], ["b"], BOTH, seeded(), confident=0.3), "confident must lie in"),
    ],
)
def test_bad_input(make, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()
    with pytest.raises(TypeError, match="principle must be a Principle"):
        critique("a", ["be kind"], seeded())  # type: ignore[list-item]


def test_what_is_left_may_not_meet_in_a_new_phrase() -> None:
    rude = Principle("no threats", {"or else": "", "now": ""})
    assert rude.keep("Stop or now else") == "Stop" and rude.keep("Stop or  else") == "Stop"
    for text in ("aabb", "aaabbb", "ab ab"):
        assert not Principle("x", {"ab": ""}).broken_by(Principle("x", {"ab": ""}).keep(text))
    assert Principle("x", {"ab": "bba"}).keep("aab")  # comes to an end


def test_what_neither_helps_nor_harms_evades() -> None:
    assert read("That is a long story.").evasive and not read(f"Well. {DAMAGE}").evasive
