"""How varied a set of texts is: the first number to fall when a policy collapses."""

from __future__ import annotations

from collections.abc import Sequence

from rlbase.validate import whole


def distinct_n(texts: Sequence[str], n: int) -> float:
    r"""Different n-grams over all n-grams, $|\mathrm{set}| / |\mathrm{list}|$, of all texts together; in (0, 1].

    After Li et al. (2016), "A Diversity-Promoting Objective Function for Neural Conversation Models", who divide by all
    words instead of all n-grams. An n-gram is ``n`` words in a row, cut at blanks, never across two texts. The more
    text, the lower the number: compare only lists of about the same size. NaN when no text has ``n`` words.

    Raises:
        ValueError: ``n`` is below 1.
        TypeError: ``texts`` is one string instead of a list of them, or ``n`` is no whole number.

    >>> distinct_n(["a fine film", "a fine play"], 1)  # a, fine, film, play, of six words
    0.6666666666666666
    >>> distinct_n(["dull dull dull"], 2)
    0.5
    """
    if isinstance(texts, str):
        raise TypeError("distinct_n: texts must be a list of strings, got one string.")
    whole("distinct_n", "n", n, 1)
    grams = [tuple(words[i : i + n]) for words in map(str.split, texts) for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else float("nan")
