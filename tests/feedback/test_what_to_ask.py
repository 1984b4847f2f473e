"""Weights, effective size and information against closed forms, enumeration and what repetitions show."""

from __future__ import annotations

import math

import pytest
import torch

from rlbase.feedback import effective_sample_size, fisher_information, importance_weights, most_informative
from rlbase.train import linear_reward

P = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
S = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
NAN = float("nan")


def test_weights_move_any_mean_from_source_to_target() -> None:
    weight = importance_weights(P, S)
    assert weight.tolist() == pytest.approx([1 / 3, 1, 5])
    for f in (torch.ones(3), torch.tensor([1.0, -2.0, 7.0])):
        assert (S * weight * f).sum().item() == pytest.approx((P * f).sum().item())


def test_what_was_never_asked_has_no_weight() -> None:
    with pytest.raises(ValueError, match=r"item 1 \(2 such\) is never drawn; no weight can stand"):
        importance_weights(P, torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))
    nobody_cares = importance_weights(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0]))
    assert nobody_cares.tolist() == [1.0, 0.0]


def test_effective_size_of_a_tilted_law_is_its_closed_form() -> None:
    r"""$s\propto e^{-tx}$ on [-1, 1]: $E_s[w^2]=(\sinh t/t)^2$, so that 1/E_s[w^2] of the draws are left."""
    x = torch.linspace(-1, 1, 4001, dtype=torch.float64)
    even = torch.full_like(x, 1 / len(x))
    for t in (0.5, 1.0, 2.0):
        law = (-t * x).softmax(0)
        drawn = torch.multinomial(law, 200_000, True, generator=torch.Generator().manual_seed(0))
        share = effective_sample_size(importance_weights(even, law)[drawn]) / 200_000
        assert share == pytest.approx((t / math.sinh(t)) ** 2, rel=0.03)


def test_effective_size_has_no_unit() -> None:
    weight = torch.tensor([4.0, 1.0, 1.0])
    assert effective_sample_size(weight) == pytest.approx(36 / 18)
    assert effective_sample_size(1e30 * weight) == pytest.approx(2.0)
    assert effective_sample_size(torch.tensor([0.0, 7.0])) == 1.0


def test_information_is_the_one_of_the_fit_and_its_inverse_the_spread_of_fits() -> None:
    weight = torch.tensor([1.0, -0.5], dtype=torch.float64)
    x = torch.randn(500, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    planned = fisher_information(x, x @ weight)
    exact_fit = linear_reward(x, (x @ weight).sigmoid())
    torch.testing.assert_close(planned, exact_fit.information, rtol=1e-6, atol=1e-6)
    draws = torch.Generator().manual_seed(2)
    labels = (torch.rand(600, 500, generator=draws, dtype=torch.float64) < (x @ weight).sigmoid()).double()
    spread = torch.stack([linear_reward(x, y).weight for y in labels]).var(0)
    assert ((planned.inverse().diagonal() / spread) - 1).abs().max() < 0.15
    twice = fisher_information(x, x @ weight, torch.full((500,), 2.0, dtype=torch.float64))
    torch.testing.assert_close(twice, 2 * planned)


@pytest.mark.parametrize("aimed", [False, True])
def test_the_next_one_is_the_best_by_enumeration(aimed: bool) -> None:
    draws = torch.Generator().manual_seed(3)
    z = torch.randn(40, 3, generator=draws, dtype=torch.float64)
    logit = torch.randn(40, generator=draws, dtype=torch.float64)
    aim = torch.diag(torch.tensor([1.0, 4.0, 0.5], dtype=torch.float64)) if aimed else None
    known = 0.05 * torch.eye(3, dtype=torch.float64)  # so little that one answer is no small change

    def left(information: torch.Tensor) -> float:
        return (-information.logdet() if aim is None else (aim * information.inverse()).sum()).item()

    chosen = most_informative(z, logit, 6, known=known, aim=aim)
    for pick in chosen.tolist():
        after = [left(known + fisher_information(z[k : k + 1], logit[k : k + 1])) for k in range(40)]
        assert min(after) == pytest.approx(after[pick], rel=1e-9)
        known = known + fisher_information(z[pick : pick + 1], logit[pick : pick + 1])


def test_an_answer_that_is_known_tells_nothing() -> None:
    z = torch.ones(2, 1)
    assert most_informative(z, torch.tensor([9.0, 1.0]), 1, known=torch.eye(1)).tolist() == [1]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: importance_weights(-P, S), "a probability must not be negative"),
        (lambda: importance_weights(P, S[:2]), "shapes must be equal"),
        (lambda: importance_weights(P * NAN, S), "target must be finite"),
        (lambda: effective_sample_size(torch.zeros(3)), "0 or more, and above 0 somewhere"),
        (lambda: effective_sample_size(torch.zeros(0)), "0 or more, and above 0 somewhere"),
        (lambda: fisher_information(torch.ones(3), torch.ones(3)), r"must be \[comparisons, features\]"),
        (lambda: fisher_information(torch.ones(3, 1), torch.ones(2)), "logit must have shape"),
        (lambda: fisher_information(torch.ones(1, 1), torch.ones(1), -torch.ones(1)), "0 times or more"),
        (
            lambda: most_informative(
                torch.ones(1, 2), torch.ones(1), 1, known=torch.tensor([[2.0, 1.0], [0.0, 2.0]])
            ),
            "known must be symmetric",
        ),
        (
            lambda: most_informative(torch.ones(1, 1), torch.ones(1), 1, known=torch.zeros(1, 1)),
            "positive definite",
        ),
        (lambda: most_informative(torch.ones(1, 1), torch.ones(1), 0, known=torch.eye(1)), "at least 1"),
        (lambda: most_informative(torch.ones(1, 1), torch.ones(1), 1, known=torch.eye(2)), "known must have"),
    ],
)
def test_bad_input_gets_one_sentence(call, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        call()


def test_a_weight_may_be_as_large_as_it_must() -> None:
    tiny = torch.tensor([1.0, 1e-12], dtype=torch.float64)
    assert importance_weights(tiny, tiny).tolist() == [1.0, 1.0]
    assert importance_weights(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 1e-9]))[1].item() == pytest.approx(
        5e8
    )


def test_information_of_numbers_in_two_precisions() -> None:
    z, logit = torch.tensor([[1.0, 2.0]]), torch.zeros(1)
    for a, b in ((z.double(), logit), (z, logit.double())):
        torch.testing.assert_close(fisher_information(a, b).double(), fisher_information(z, logit).double())
