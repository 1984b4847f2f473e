"""An audit finds what was planted in a file of preferences, as large as it is, and nothing where nothing is."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
import torch
from scipy.stats import binomtest, false_discovery_control

from rlbase.data import Comparison
from rlbase.evaluate import audit
from rlbase.evaluate.audit import _words, telling_words
from rlbase.feedback import Answers, krippendorff_alpha

VOCABULARY = [f"word{i}" for i in range(60)]


def made(
    n: int, seed: int, pull: Callable[[list[str]], float], prompts: int | None = None
) -> list[Comparison]:
    """Pairs of 4 to 24 words drawn evenly, of which one was chosen with the log-odds of the difference in ``pull``."""
    rng = random.Random(seed)
    pairs = []
    for i in range(n):
        a, b = ([rng.choice(VOCABULARY) for _ in range(rng.randint(4, 24))] for _ in range(2))
        if rng.random() >= 1 / (1 + math.exp(pull(b) - pull(a))):
            a, b = b, a
        pairs.append(Comparison(f"question {i % (prompts or n)}", " ".join(a), " ".join(b)))
    return pairs


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_found_where_nothing_is(seed: int) -> None:
    found = audit(made(1500, seed, lambda _: 0.0), seed=seed)
    assert found.longer.low - 0.02 < 0.5 < found.longer.high + 0.02
    assert abs(found.doubling.value) < 0.2 and len(found.words) <= 2
    assert abs(found.shortcut.value - 0.5) < 0.045 and abs(found.control.value - 0.5) < 0.045
    assert found.repeated == found.contradicted == 0 and math.isnan(found.agreement) and found.first is None


@pytest.mark.parametrize("seed", range(3))
def test_a_liking_for_length_is_found_as_large_as_it_is(seed: int) -> None:
    found = audit(made(3000, seed, lambda text: 0.8 * math.log2(len(text) + 1)), seed=seed)
    assert found.doubling.low < 0.8 < found.doubling.high and found.doubling.high - found.doubling.low < 0.35
    assert found.longer.low > 0.55 and found.shortcut.low > 0.55
    assert found.control.low < 0.515 and found.control.high > 0.485


def test_telling_words_are_found_and_counted_by_hand() -> None:
    pairs = made(2000, 0, lambda text: 1.2 * ("word7" in text) - 1.2 * ("word9" in text))
    found = audit(pairs)
    assert {word.word for word in found.words[:2]} == {"word7", "word9"} and len(found.words) <= 5
    for word in found.words:
        c = sum(word.word in p.chosen.split() and word.word not in p.rejected.split() for p in pairs)
        r = sum(word.word in p.rejected.split() and word.word not in p.chosen.split() for p in pairs)
        assert (word.chosen, word.rejected) == (c, r)
        assert word.chance == pytest.approx(binomtest(c, c + r).pvalue, rel=1e-6)
    assert found.shortcut.low > 0.53


def test_the_false_discovery_rate_is_that_of_the_book() -> None:
    pairs = made(800, 3, lambda text: 0.5 * sum(int(word[4:]) < 12 for word in text))
    sides = [(_words(pair.chosen), _words(pair.rejected)) for pair in pairs]
    chance = {}
    for word in VOCABULARY:
        c, r = (
            sum(word in a and word not in b for a, b in each) for each in (sides, [(b, a) for a, b in sides])
        )
        chance[word] = binomtest(c, c + r).pvalue
    adjusted = false_discovery_control(list(chance.values()))
    for rate in (0.01, 0.05, 0.2):
        expected = {word for word, q in zip(chance, adjusted, strict=True) if q <= rate}
        assert {word.word for word in telling_words(sides, discovery=rate)} == expected != set()


def test_a_shortcut_is_judged_on_prompts_it_has_not_seen() -> None:
    """Ten prompts, each with answers of its own words: what is learned of one says nothing of the others."""
    rng = random.Random(0)
    pairs = []
    for i in range(400):
        q = i % 10
        good, bad = (" ".join(f"{kind}{q}x{rng.randint(0, 3)}" for _ in range(6)) for kind in ("good", "bad"))
        pairs.append(Comparison(f"question {q}", good, bad))
    found = audit(pairs)
    assert len(found.words) > 20  # plain to see, and useless elsewhere
    assert found.shortcut.value == 0.5 and found.prompts == 10


def test_repeats_contradictions_and_agreement_by_hand() -> None:
    base = [Comparison(f"q{i}", f"good {i}", f"bad {i}") for i in range(12)]
    turned = Comparison("q0", "bad 0", "good 0")
    found = audit([*base, base[0], base[1], turned, Comparison("other", "good 1", "bad 1")])
    assert (found.repeated, found.contradicted, found.prompts) == (2, 1, 13)
    nan = float("nan")  # "bad" sorts first: 0 where the good one was chosen
    assert found.agreement == pytest.approx(
        krippendorff_alpha(Answers(torch.tensor([[0.0, 0, 1], [0, 0, nan]])))
    )


def test_first_place_and_the_page() -> None:
    pairs = made(200, 1, lambda _: 0.0)
    found = audit(pairs, shown_first=[i % 4 > 0 for i in range(200)])
    assert found.first is not None and found.first.value == 0.75
    page = str(found)
    assert page.startswith("200 pairs of 200 prompts; 0 repeated, 0 contradicted (nothing was judged twice)")
    assert "first place           chosen 0.75" in page and "not said" in str(audit(pairs))
    assert audit(pairs) == audit(pairs)


def test_words_are_words() -> None:
    assert _words("Don’t—I'm SURE: 3 times_over!") == ["don’t", "i'm", "sure", "3", "times", "over"]


def test_bad_input() -> None:
    pairs = made(30, 0, lambda _: 0.0)
    for make, error, sentence in (
        (lambda: audit(pairs[:9]), ValueError, "needs ten pairs and 5 prompts to say anything, got 9 and 9"),
        (lambda: audit(made(30, 0, lambda _: 0.0, prompts=4)), ValueError, "got 30 and 4"),
        (lambda: audit(pairs, shown_first=[True]), ValueError, "shown_first must say of all 30 pairs"),
        (lambda: audit(["a"] * 30), TypeError, "comparison must be a Comparison"),  # type: ignore[list-item]
        (lambda: audit(pairs, discovery=0.0), ValueError, "discovery must lie in"),
        (lambda: audit(pairs, least=0), ValueError, "least must be at least 1"),
    ):
        with pytest.raises(error, match=sentence):
            make()
    same = [Comparison(f"q{i}", "one two", "two one") for i in range(20)]
    found = audit(same)  # nothing to tell them apart by
    assert found.longer.value == found.shortcut.value == 0.5 and found.doubling.value == 0


def test_where_the_longer_always_wins_no_number_is_made_up() -> None:
    """Bradley-Terry has no finite fit there: only how small the liking could be is known, by a likelihood ratio."""
    pairs = [
        Comparison(f"q{i}", "a b c", "d" if i else "d e f") for i in range(41)
    ]  # one doubling each, and a tie
    found, other = (
        audit(each).doubling for each in (pairs, [Comparison(p.prompt, p.rejected, p.chosen) for p in pairs])
    )
    assert found.value == found.high == math.inf
    assert 40 * math.log1p(math.exp(-found.low)) == pytest.approx(1.959964**2 / 2, rel=1e-4)
    assert (other.value, other.low, other.high) == (-math.inf, -math.inf, -found.low)
    assert "+inf log-odds" in str(audit(pairs))


def test_an_even_split_is_no_more_likely_than_certain() -> None:
    sides = [(["yes"], ["no"]), (["no"], ["yes"])] * 6
    found = telling_words(sides, discovery=1.0)
    assert [(word.chosen, word.rejected, word.chance) for word in found] == [(6, 6, 1.0)] * 2
