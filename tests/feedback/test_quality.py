"""Gold questions, repeated questions and fitted care, each against its law."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import binom

from rlbase.feedback import (
    Annotator,
    Answers,
    Questions,
    ask,
    consistency,
    control_chart,
    detection_power,
    fit_temperature,
    passing_score,
)

NAN = float("nan")


@pytest.mark.parametrize("n", [0, 1, 5, 12, 40, 200])
@pytest.mark.parametrize("accuracy", [0.6, 0.9, 1.0])
def test_passing_score_is_the_largest_that_spares_the_honest(n: int, accuracy: float) -> None:
    least = passing_score(n, accuracy, alarm=0.02)
    assert binom.cdf(least - 1, n, accuracy) <= 0.02 + 1e-12
    assert least == n or binom.cdf(least, n, accuracy) > 0.02 - 1e-12
    power = detection_power(n, accuracy, 0.5, alarm=0.02)
    assert power == pytest.approx(binom.cdf(least - 1, n, 0.5), abs=1e-9)


def test_the_chart_catches_as_often_as_promised_and_accuses_no_oftener() -> None:
    """200 honest annotators, right nine times in ten, and 200 who do not look, on 20 gold questions among 60."""
    n, people = 60, 200
    gold = torch.full((n,), NAN)
    gold[::3] = (torch.arange(20) % 2).float()
    known = 30 * (2 * gold.nan_to_num(0.5) - 1)
    honest, spammer = Annotator(confusion=(0.1, 0.1)), Annotator(spamming=1.0)
    said = ask([honest] * people + [spammer] * people, Questions(known), torch.Generator().manual_seed(0))
    chart = control_chart(said, gold, accuracy=0.9)
    assert chart.asked.unique().tolist() == [20] and chart.least.unique().tolist() == [passing_score(20, 0.9)]
    accused, caught = chart.flagged[:people].sum().item(), chart.flagged[people:].sum().item()
    false = binom.cdf(passing_score(20, 0.9) - 1, 20, 0.9)
    power = detection_power(20, 0.9, 0.5)
    assert binom.cdf(accused, people, false) < 0.999  # no more than chance gives
    assert 0.001 < binom.cdf(caught, people, power) < 0.9999
    assert caught > 0.9 * people > 10 * accused


def test_the_chart_counts_what_each_was_asked() -> None:
    gold = torch.tensor([1.0, 0.0, 1.0, NAN])
    said = Answers(torch.tensor([[1.0, NAN], [1.0, 0.0], [NAN, 1.0], [0.0, 0.0]]))
    chart = control_chart(said, gold, accuracy=0.9)
    assert chart.right.tolist() == [1, 2] and chart.asked.tolist() == [2, 2] and not chart.flagged.any()


def test_consistency_of_a_careful_and_of_a_careless_annotator() -> None:
    gold = torch.full((20_000,), 1.0)
    crowd = [
        Annotator(),
        Annotator(temperature=10.0),
        Annotator(position=3.0),
        Annotator(malice=1.0, temperature=0),
    ]
    rounds = [ask(crowd, Questions(gold), torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    p, q = torch.tensor(1.0).sigmoid().item(), torch.tensor(0.1).sigmoid().item()
    first, second = torch.tensor([4.0, -2.0]).sigmoid().tolist()  # by place, which is drawn anew
    same = sum(0.25 * (a * b + (1 - a) * (1 - b)) for a in (first, second) for b in (first, second))
    expected = [p * p + (1 - p) ** 2, q * q + (1 - q) ** 2, same, 1.0]  # the malicious one never wavers
    assert consistency(*rounds).tolist() == pytest.approx(expected, abs=0.012)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_care_is_fitted_within_a_tenth(temperature: float, seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    gold = 2 * torch.randn(40_000, generator=draws)
    said = ask([Annotator(temperature=temperature)], Questions(gold), draws)
    assert fit_temperature(gold, said.label[:, 0]) == pytest.approx(temperature, rel=0.1)


def test_fitted_temperature_is_where_the_slope_is_nought() -> None:
    gaps, label = torch.tensor([2.0, 1.0, -1.0, 0.5]), torch.tensor([1.0, 0.0, 0.0, 1.0])
    cold = (1 / torch.tensor(fit_temperature(gaps, label), dtype=torch.float64)).requires_grad_()
    loss = torch.nn.functional.binary_cross_entropy_with_logits(gaps.double() * cold, label.double())
    loss.backward()
    assert cold.grad is not None and abs(cold.grad.item()) < 1e-9


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: passing_score(-1, 0.9), ValueError, "passing_score: n must be at least 0"),
        (lambda: passing_score(5, 1.2), ValueError, "accuracy must lie in"),
        (lambda: detection_power(5, 0.9, -1), ValueError, "detection_power: bad_accuracy"),
        (
            lambda: control_chart(Answers(torch.ones(2, 1)), torch.full((2,), NAN), accuracy=0.9),
            ValueError,
            "gold must be 1 or 0 for at least one question",
        ),
        (
            lambda: control_chart(Answers(torch.ones(2, 1)), torch.tensor([1.0, 0.5]), accuracy=0.9),
            ValueError,
            "gold must be 1 or 0",
        ),
        (
            lambda: control_chart(Answers(torch.ones(2, 1)), torch.ones(3), accuracy=0.9),
            ValueError,
            r"gold must have shape \[2\]",
        ),
        (
            lambda: consistency(Answers(torch.ones(2, 1)), Answers(torch.ones(2, 2))),
            ValueError,
            "again must have shape",
        ),
        (lambda: fit_temperature(torch.ones(2), torch.zeros(2)), ValueError, "the answers do not follow"),
        (lambda: fit_temperature(torch.ones(2), torch.ones(2)), ValueError, "so that T=0 fits best"),
        (lambda: fit_temperature(torch.ones(2), torch.ones(3)), ValueError, "label must have shape"),
        (lambda: fit_temperature(torch.ones(1), torch.tensor([2.0])), ValueError, "each from 0 to 1"),
        (lambda: fit_temperature(torch.zeros(0), torch.zeros(0)), ValueError, "at least one number"),
    ],
)
def test_bad_input(make, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        make()


def test_a_chance_as_large_as_the_alarm_is_allowed() -> None:
    assert passing_score(1, 0.5, alarm=0.5) == 1 and passing_score(1, 0.5, alarm=0.49) == 0


@pytest.mark.parametrize("n", [1000, 1500, 4000])
def test_thousands_of_gold_questions(n: int) -> None:
    least = passing_score(n, 0.9)
    assert binom.cdf(least - 1, n, 0.9) <= 0.01 < binom.cdf(least, n, 0.9)
    assert detection_power(n, 0.9, 0.88) == pytest.approx(binom.cdf(least - 1, n, 0.88), abs=1e-9)
    assert passing_score(n, 1.0) == n and detection_power(n, 1.0, 0.0) == 1.0


def test_a_tie_on_a_gold_question_is_not_right_and_no_answer_is_none() -> None:
    said = Answers(torch.tensor([[0.5, NAN]] * 20))
    chart = control_chart(said, torch.ones(20), accuracy=0.9)
    assert chart.right.tolist() == [0, 0] and chart.asked.tolist() == [20, 0]
    assert chart.flagged.tolist() == [True, False] and chart.least.dtype == torch.long


def test_consistency_passes_over_what_was_answered_once() -> None:
    first = Answers(torch.tensor([[1.0, 0.5, NAN], [0.0, 1.0, 1.0]]))
    again = Answers(torch.tensor([[1.0, 0.5, 1.0], [NAN, 0.5, NAN]]))
    assert consistency(first, again).nan_to_num(9).tolist() == [1.0, 0.5, 9.0]


@pytest.mark.parametrize("unit", [1e-30, 1e-3, 1e30])
def test_a_fitted_temperature_has_the_unit_of_its_log_odds(unit: float) -> None:
    gaps = torch.tensor([2.0, 1.0, -1.0, 0.5], dtype=torch.float64)
    label = torch.tensor([1.0, 0.0, 0.0, 1.0])
    assert fit_temperature(unit * gaps, label) == pytest.approx(unit * fit_temperature(gaps, label), rel=1e-9)
