"""Every fault by itself, by its formula and by hand; a crowd's answers follow the probabilities they are drawn from."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from rlbase.feedback import Annotator, Answers, Questions, ask

NAN = float("nan")


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def one(**parts: float) -> Questions:
    gold = parts.pop("gold", 0.4)
    return Questions(torch.tensor([gold]), **{name: torch.tensor([value]) for name, value in parts.items()})


@pytest.mark.parametrize(
    ("annotator", "question", "expected"),
    [
        (Annotator(), one(), sigma(0.4)),
        (Annotator(temperature=2.0), one(), sigma(0.2)),
        (Annotator(temperature=0), one(), 1.0),
        (Annotator(temperature=0), one(gold=0.0), 0.5),
        (Annotator(confusion=(0.1, 0.3)), one(), sigma(0.4) * 0.9 + (1 - sigma(0.4)) * 0.3),
        (Annotator(position=1.0), one(), sigma(1.4)),
        (Annotator(length=0.5), one(longer=-3.0), sigma(0.4 - 1.5)),
        (Annotator(length=0.5), one(), sigma(0.4)),  # nothing is known of lengths
        (Annotator(sycophancy=2.0), one(flattering=0.25), sigma(0.9)),
        (Annotator(belief=0.7), one(believed=-1.0), sigma(-0.3)),
        (Annotator(malice=1.0), one(), 1 - sigma(0.4)),
        (Annotator(malice=0.25), one(), 0.75 * sigma(0.4) + 0.25 * (1 - sigma(0.4))),
        (Annotator(spamming=1.0), one(), 0.5),
        (Annotator(spamming=0.5, habit=0.9), one(), 0.5 * sigma(0.4) + 0.5 * 0.9),
        (
            Annotator(confusion=(0.1, 0.0), malice=0.2, spamming=0.5),  # mistakes, then malice, then spamming
            one(gold=0.0),
            0.5 * (0.45 * 0.8 + 0.55 * 0.2) + 0.5 * 0.5,
        ),
        (Annotator(temperature=2.0, position=1.0, length=1.0), one(longer=1.0), sigma((0.4 + 1 + 1) / 2)),
    ],
)
def test_each_fault_by_its_formula(annotator: Annotator, question: Questions, expected: float) -> None:
    assert annotator.prob(question).item() == pytest.approx(expected, abs=1e-6)


def test_what_stands_first_turns_position_and_habit_only() -> None:
    annotator = Annotator(position=0.8, spamming=0.3, habit=0.9)
    second = annotator.prob(one(), shown_first=torch.tensor([False])).item()
    assert second == pytest.approx(0.7 * sigma(0.4 - 0.8) + 0.3 * 0.1, abs=1e-6)


def test_the_other_way_round_is_the_other_answer() -> None:
    draws = torch.Generator().manual_seed(0)
    n = 200
    columns = [torch.randn(n, generator=draws) for _ in range(4)]
    asked = Questions(*columns, traits=torch.randn(n, 2, generator=draws))
    everything = Annotator(1.5, (0.2, 0.2), 0.7, 0.4, 0.3, -0.5, (1.0, -2.0), 1.0, 0.5, 0.5, 0.1, 0.7, 0.1)
    shown = torch.rand(n, generator=draws) < 0.5
    before = torch.arange(n)
    forth = everything.prob(asked, shown_first=shown, answered=before)
    back = everything.prob(asked.turned(), shown_first=~shown, answered=before)
    assert torch.allclose(forth + back, torch.ones(n), atol=1e-6)


def test_fatigue_and_drift_grow_with_the_answers_given() -> None:
    asked = Questions(torch.full((2,), 2.0), longer=torch.full((2,), -1.0))
    tired = Annotator(fatigue=3.0).prob(asked, answered=torch.tensor([0, 1000]))
    assert tired.tolist() == pytest.approx([sigma(2), sigma(0.5)], abs=1e-6)  # four times the temperature
    sliding = Annotator(drift=1.5).prob(asked, answered=torch.tensor([0, 500]))
    assert sliding.tolist() == pytest.approx([sigma(2), sigma(2 - 0.75)], abs=1e-6)


def test_groups_differ_in_taste() -> None:
    asked = Questions(torch.zeros(1), traits=torch.tensor([[1.0, -2.0]]))
    assert Annotator(taste=(1.0, 0.25)).prob(asked).item() == pytest.approx(sigma(0.5), abs=1e-6)
    for questions in (asked, Questions(torch.zeros(1))):
        with pytest.raises(ValueError, match="a taste for 3 traits needs questions with as many, got"):
            Annotator(taste=(1.0, 2.0, 3.0)).prob(questions)


def test_reasons_add_up_and_say_what_leads() -> None:
    annotator = Annotator(2.0, position=1.0, length=0.5, fatigue=1.0, spamming=0.1, malice=0.05)
    question = one(gold=-0.4, longer=4.0)
    found = annotator.reasons(question, 0, shown_first=False, answered=1000)
    assert found.parts == pytest.approx({"gold": -0.4, "position": -1.0, "length": 2.0})
    assert found.temperature == 4.0 and found.faults == {"malice": 0.05, "spamming": 0.1}
    seen = annotator.prob(question, shown_first=torch.tensor([False]), answered=torch.tensor([1000])).item()
    assert found.prob == pytest.approx(seen)
    careful = sigma(sum(found.parts.values()) / found.temperature)
    assert seen == pytest.approx(0.9 * (0.95 * careful + 0.05 * (1 - careful)) + 0.05, abs=1e-6)
    assert str(found) == (
        "Prefers the first with probability 0.53: length +2.00, position -1.00, gold -0.40, over a temperature of 4; "
        "malice in 5% of the answers; spamming in 10% of the answers."
    )
    assert "nothing speaks for either" in str(Annotator().reasons(one(gold=0.0), 0))


def test_answers_follow_their_probabilities_and_their_order() -> None:
    n = 20_000
    asked = Questions(torch.linspace(-2, 2, n), longer=torch.ones(n))
    annotator = Annotator(position=1.0, drift=0.05, coverage=0.7, spamming=0.1, habit=1.0)
    said = ask([annotator, Annotator()], asked, torch.Generator().manual_seed(3))
    assert said.shown_first is not None and said.answered is not None
    shown, before, given = said.shown_first[:, 0], said.answered[:, 0], said.given[:, 0]
    assert given.double().mean().item() == pytest.approx(0.7, abs=4 * math.sqrt(0.21 / n))
    assert sorted(before[given].tolist()) == list(range(int(given.sum())))  # only what is answered counts
    assert said.given[:, 1].all() and shown.double().mean().item() == pytest.approx(0.5, abs=0.015)
    prob = annotator.prob(asked, shown_first=shown, answered=before)
    gap = (said.label[:, 0] - prob)[given].double()
    spread = (prob * (1 - prob))[given].double().sum().sqrt()
    assert abs(gap.sum()) < 4 * spread
    for part in (shown, ~shown, before < 2000, before > 10_000):  # in each part by itself
        one = gap[part[given]]
        assert abs(one.sum()) < 4 * (prob * (1 - prob))[given & part].double().sum().sqrt()
    again = ask([annotator, Annotator()], asked, torch.Generator().manual_seed(3))
    assert torch.equal(again.label.nan_to_num(9), said.label.nan_to_num(9))


def test_in_the_order_of_the_questions_where_that_is_asked() -> None:
    said = ask(
        [Annotator(coverage=0.5)], Questions(torch.zeros(50)), torch.Generator(), shuffle=False, swap=0.0
    )
    assert said.answered is not None and said.shown_first is not None
    assert said.answered[:, 0].tolist() == [int(said.given[:i].sum()) for i in range(50)]
    assert said.shown_first.all()


def test_a_million_labels_at_once() -> None:
    """Vectorised: were there any Python for each label, nobody would wait for this test."""
    asked = Questions(torch.randn(100_000), torch.randn(100_000), traits=torch.randn(100_000, 3))
    crowd = [Annotator(length=0.1, taste=(1.0, 0.0, 0.0), fatigue=1.0)] * 10
    assert ask(crowd, asked, torch.Generator()).given.sum() == 1_000_000


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: Annotator(spamming=1.5), ValueError, r"Annotator: spamming must lie in \[0, 1\], got 1.5"),
        (lambda: Annotator(temperature=-1.0), ValueError, "Annotator: temperature"),
        (lambda: Annotator(position=NAN), ValueError, "Annotator: position"),
        (lambda: Annotator(confusion=0.2), TypeError, "confusion must be two shares"),  # type: ignore[arg-type]
        (lambda: Annotator(confusion=(0.2, 2.0)), ValueError, "Annotator: confusion"),
        (lambda: Annotator(taste=(NAN,)), ValueError, "Annotator: taste"),
        (lambda: Questions(torch.tensor([NAN])), ValueError, "Questions: gold must be finite, got nan at"),
        (
            lambda: Questions(torch.zeros(2), torch.zeros(3)),
            ValueError,
            r"longer must have shape \[2\], got \[3\]",
        ),
        (lambda: Questions(torch.zeros(2), traits=torch.zeros(2)), ValueError, "traits must have shape"),
        (lambda: Questions([0.0]), TypeError, "gold must be a tensor, got list"),  # type: ignore[arg-type]
        (
            lambda: Answers(torch.tensor([[0.3]])),
            ValueError,
            "a label is 1, 0, 1/2 or, where nothing was said, NaN",
        ),
        (lambda: Answers(torch.zeros(3)), ValueError, r"label must be \[questions, annotators\], got \[3\]"),
        (lambda: ask([], one(), torch.Generator()), ValueError, "needs at least one annotator"),
        (lambda: ask([Annotator()], one(), torch.Generator(), swap=2), ValueError, "ask: swap must lie in"),
        (lambda: ask([3], one(), torch.Generator()), TypeError, "ask: annotator must be an Annotator"),  # type: ignore[list-item]
        (lambda: ask([Annotator()], one(), 0), TypeError, "ask: generator must be a Generator, got 0"),  # type: ignore[arg-type]
        (lambda: Annotator().reasons(one(), 1), ValueError, "row must be below 1, got 1"),
        (
            lambda: Annotator().prob(one(), shown_first=torch.ones(2).bool()),
            ValueError,
            r"shown_first must have shape \[1\], got \[2\]",
        ),
    ],
)
def test_bad_input(make, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        make()


def test_a_fault_that_is_off_changes_nothing() -> None:
    asked = Questions(torch.randn(50), torch.randn(50), torch.randn(50), torch.randn(50))
    plain = Annotator().prob(asked)
    assert torch.equal(plain, asked.gold.sigmoid())
    for name in ("position", "length", "sycophancy", "belief", "drift", "fatigue", "spamming", "malice"):
        moved = replace(Annotator(), **{name: 0.3}).prob(asked, answered=torch.full((50,), 100))
        assert not torch.allclose(moved, plain), name


def test_everybody_goes_through_the_questions_in_an_order_of_their_own() -> None:
    many = Questions(torch.zeros(50))
    said = ask([Annotator()] * 3, many, torch.Generator().manual_seed(0))
    assert said.answered is not None
    assert said.answered.sort(0).values.T.tolist() == [list(range(50))] * 3
    assert len({tuple(column) for column in said.answered.T.tolist()} | {tuple(range(50))}) == 4
    straight = ask([Annotator()], many, torch.Generator().manual_seed(0), shuffle=False)
    assert straight.answered is not None and straight.answered[:, 0].tolist() == list(range(50))


def test_the_larger_share_of_mistakes_is_told() -> None:
    one = Questions(torch.zeros(1))
    for confusion in ((0.1, 0.4), (0.4, 0.1)):
        assert Annotator(confusion=confusion).reasons(one, 0).faults == {"mistakes": 0.4}


def test_whole_numbers_do_not_swallow_a_liking() -> None:
    whole = Questions(torch.tensor([1, -1]), traits=torch.tensor([[1], [2]]))
    likes = Annotator(position=0.5, taste=(0.25,))
    torch.testing.assert_close(likes.prob(whole), torch.tensor([1.75, 0.0]).sigmoid())


def test_hardly_any_carelessness_is_none() -> None:
    """In single precision 1e-46 is 0, which must not divide."""
    pairs = Questions(torch.tensor([0.0, 1.0, -1.0]))
    assert Annotator(temperature=1e-46).prob(pairs).tolist() == [0.5, 1.0, 0.0]
    tired = Annotator(fatigue=1.0).prob(Questions(torch.ones(1).half()), answered=torch.tensor([99_000]))
    assert tired.item() == pytest.approx(torch.tensor(0.01).sigmoid().item(), abs=2e-3)


def test_nobody_has_answered_less_than_nothing() -> None:
    with pytest.raises(ValueError, match="answered must be 0 or more, got -5"):
        Annotator(fatigue=1.0).prob(Questions(torch.ones(1)), answered=torch.tensor([-5]))


def test_double_precision_is_double_throughout() -> None:
    """0.1 in single precision is off in the ninth digit, which must not get into numbers of sixteen."""
    odd = Questions(torch.zeros(2).double(), traits=torch.tensor([[1.0], [0.0]]).double())
    shown = torch.tensor([True, False])
    prob = Annotator(position=0.1, taste=(0.1,)).prob(odd, shown_first=shown)
    expected = torch.tensor([0.2, -0.1], dtype=torch.float64).sigmoid()
    torch.testing.assert_close(prob, expected, rtol=1e-14, atol=0)
    habit = Annotator(spamming=1.0, habit=0.1).prob(odd, shown_first=shown)
    assert habit.tolist() == pytest.approx([0.1, 0.9], abs=1e-15)
