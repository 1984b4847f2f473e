"""The gap between proxy and gold: by hand, against Welch's test elsewhere, and how often it cries for nothing."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import norm, ttest_ind

from rlbase.evaluate import proxy_gold_gap


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_by_hand() -> None:
    # gaps 1 and 3 (mean 2, variance 2) after 0, 0 and 3 (mean 1, variance 3): 1 +- sqrt(2/2 + 3/3)
    found = proxy_gold_gap(
        torch.tensor([2.0, 4.0]), torch.ones(2), torch.tensor([0.0, 0.0, 3.0]), torch.zeros(3)
    )
    assert found.value == pytest.approx(1.0) and found.error == pytest.approx(2**0.5)
    assert found.p == pytest.approx(norm.sf(1 / 2**0.5))


def test_is_welchs_statistic() -> None:
    ours, theirs = 0.3 + 2 * normal(0, 400), normal(1, 300)
    gold, ref_gold = normal(2, 400), normal(3, 300)
    found = proxy_gold_gap(gold + ours, gold, ref_gold + theirs, ref_gold)
    statistic, p = tuple(ttest_ind(ours, theirs, equal_var=False, alternative="greater"))
    assert found.value / found.error == pytest.approx(statistic)
    assert found.p == pytest.approx(p, abs=1e-3)


def test_constants_do_not_matter_and_losing_less_than_gold_is_no_alarm() -> None:
    a, b, c, d = normal(0, 4, 50)
    one, two = proxy_gold_gap(a, b, c, d), proxy_gold_gap(a + 5, b - 3, c + 5, d - 3)
    assert one == pytest.approx(two)
    assert proxy_gold_gap(a - 9, b, c, d).p > 0.999
    assert proxy_gold_gap(a, a, c, c).p == 1.0  # the proxy is gold: nothing to see
    assert proxy_gold_gap(a + 1, a, c, c) == (pytest.approx(1.0), pytest.approx(0.0, abs=1e-9), 0.0)


def test_cries_for_nothing_as_often_as_it_says() -> None:
    found = torch.tensor([proxy_gold_gap(*normal(seed, 4, 100)).p for seed in range(2000)])
    for level in (0.01, 0.05, 0.5):
        assert (found < level).double().mean().item() == pytest.approx(
            level, abs=4 * (level * (1 - level) / 2000) ** 0.5
        )


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ((torch.ones(3), torch.ones(2), torch.ones(3), torch.ones(3)), "proxy_gold_gap: "),
        ((torch.ones(3), torch.ones(3), torch.ones(1), torch.ones(1)), "lists of two responses or more"),
        ((torch.ones(3, 2), torch.ones(3, 2), torch.ones(3), torch.ones(3)), "lists of two responses"),
        ((torch.ones(2) / 0, torch.ones(2), torch.ones(2), torch.ones(2)), "proxy must be finite"),
    ],
)
def test_bad_input(args: tuple[torch.Tensor, ...], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        proxy_gold_gap(*args)


def test_the_last_digit_is_no_gap() -> None:
    """In single precision .3 - .2 is more than .1: without any spread the test would be sure of it."""
    for dtypes in ((torch.float32,) * 4, (torch.float64,) * 4, (torch.float64, *(torch.float32,) * 3)):
        constants = zip((0.3, 0.2, 0.1, 0.0), dtypes, strict=True)
        assert proxy_gold_gap(*(torch.full((2,), x, dtype=kind) for x, kind in constants)).p == 1.0
    two = torch.ones(2, dtype=torch.float64)
    assert proxy_gold_gap(two, 0.999 * two, two, two).p == 0.0
    whole = (torch.tensor(x) for x in ([3, 4], [0, 0], [0, 0], [0, 0]))
    assert proxy_gold_gap(*whole).p < 0.01
