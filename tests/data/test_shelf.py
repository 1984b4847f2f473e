"""A shelf of reviews: in good form, different, and worth exactly what its features say."""

from __future__ import annotations

import pytest
import torch

from rlbase.data.requests import appeal, form
from rlbase.data.shelf import shelf


@pytest.mark.parametrize("prompt", ["Write a kind review of a comedy:", "Write a harsh review of a western:"])
def test_the_gold_preference_is_linear_in_what_is_counted(prompt: str) -> None:
    found = shelf(20, seed=1, prompt=prompt)
    assert [form(text) for text in found.texts] == [1.0] * 20
    assert len(set(found.texts)) == 20
    torch.testing.assert_close(found.appeal, torch.tensor(appeal([prompt] * 20, found.texts)))
    torch.testing.assert_close(found.appeal, found.features[:, :2].mean(1))


def test_features_by_hand() -> None:
    found = shelf(40)
    met, topics, tens = found.features.T
    assert set((met * 4).round().tolist()) >= {0.0, 2.0, 4.0} and met.min() >= 0 and met.max() <= 1
    assert set((topics * 3).round(decimals=4).tolist()) <= {0.0, 1.0, 2.0, 3.0}
    assert found.words.tolist() == pytest.approx([len(text.split()) for text in found.texts])
    assert found.words.min() >= 12 and found.words.max() <= 40 and tens.std() > 0.5
    assert abs(torch.corrcoef(torch.stack([found.appeal, tens]))[0, 1]) < 0.3  # long is not good


def test_the_same_seed_gives_the_same_shelf_and_bad_ones_are_refused() -> None:
    assert shelf(10, seed=3).texts == shelf(10, seed=3).texts != shelf(10, seed=4).texts
    with pytest.raises(ValueError, match="n must be at least 1"):
        shelf(0)
    with pytest.raises(ValueError, match="a request such as"):
        shelf(5, prompt="Tell me a story")


def test_what_is_done_to_a_shelf_stays_there() -> None:
    mine = shelf(5)
    mine.features.zero_()
    mine.appeal.add_(1)
    assert shelf(5).features.abs().sum() > 0 and shelf(5).appeal.max() <= 1
