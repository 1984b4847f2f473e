"""distinct-n against counts by hand, and its limits."""

from __future__ import annotations

import math

import pytest

from rlbase.data.variety import distinct_n


def test_counts_by_hand() -> None:
    texts = ["the film is good", "the film is bad", "good"]
    # words: the film is good bad -> 5 of 9; pairs: the-film film-is is-good is-bad -> 4 of 6
    assert distinct_n(texts, 1) == pytest.approx(5 / 9)
    assert distinct_n(texts, 2) == pytest.approx(4 / 6)
    # triples: the-film-is twice, film-is-good, film-is-bad -> 3 of 4; none crosses from one text to the next
    assert distinct_n(texts, 3) == pytest.approx(3 / 4)


def test_limits() -> None:
    assert distinct_n(["a b c d"], 2) == 1.0
    assert distinct_n(["so good"] * 50, 2) == pytest.approx(1 / 50)
    assert math.isnan(distinct_n(["a", "", "b"], 2))


def test_order_of_texts_does_not_matter() -> None:
    texts = ["x y z", "y z", "z y x y"]
    assert distinct_n(texts, 2) == distinct_n(texts[::-1], 2)


def test_bad_input() -> None:
    with pytest.raises(TypeError, match="list of strings"):
        distinct_n("one string", 1)
    with pytest.raises(ValueError, match="n"):
        distinct_n(["a"], 0)
