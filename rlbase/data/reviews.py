"""Short film reviews from a small grammar: the text on which the embedded language model was trained.

The grammar is the table in ``reviews_grammar.txt``. One genre and one opinion hold for a whole
review, so its sentences agree with each other, and a draw that speaks of one thing twice is
thrown away. Every choice is uniform, so the probability of each review is known exactly, and
with it the entropy that the best possible language model could reach (`nats_per_review`).
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

_SLOT = re.compile(r"\{(\w+)([*!+-]?)\}")
_AN = re.compile(r"\b([Aa]) (?=[aeio]|un(?!i)|up|ug|honest)(?!one\b|once\b)")
_OPPOSITE = {"+": "-", "-": "+"}
_ONCE = {"plot", "pace", "sound", "sight", "cast", "talk", "ending", "bit"}  # rules a review may use once
_Table = dict[str, tuple[str, ...]]


def reviews(n: int, *, seed: int) -> list[str]:
    """``n`` reviews of one to three sentences, the same for the same ``seed``.

    >>> print(reviews(1, seed=0)[0])
    A dreadful and horrible war film about two students who cannot forget the war.
    """
    return [text for text, _, _ in _draws("review", n, seed)]


def prompts(n: int, *, seed: int) -> list[str]:
    """``n`` openings that leave the opinion open; each is how some review begins.

    >>> prompts(3, seed=0)
    ['The film is', 'The story', 'What a']
    """
    return [text for text, _, _ in _draws("prompt", n, seed)]


@cache
def vocabulary() -> frozenset[str]:
    """Every word that a review can hold, in lower case.

    >>> "tedious" in vocabulary(), "tediful" in vocabulary()
    (True, False)
    """
    rules, genres = _table()
    texts = [text for table in (rules, *genres.values()) for options in table.values() for text in options]
    return frozenset(words(_SLOT.sub(" ", " ".join((*texts, *genres, "an")))))


def words(text: str) -> list[str]:
    """The words of a text, in lower case, without punctuation.

    >>> words("What a film, isn't it?")
    ['what', 'a', 'film', "isn't", 'it']
    """
    return re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", text.lower())


def nats_per_review(n: int, *, seed: int) -> float:
    r"""Mean of $-\log p$ over the choices behind the ``n`` reviews of that ``seed``.

    Estimates the entropy of a review, from slightly above: two ways of choosing hardly ever give
    the same text. No language model can have a lower expected loss.

    >>> 20 < nats_per_review(200, seed=0) < 25
    True
    """
    draws = _draws("review", n, seed)
    tries = sum(tried for _, _, tried in draws)
    # What is thrown away makes the rest likelier: p(x | kept) = p(x) / p(kept).
    return sum(nats for _, nats, _ in draws) / n + math.log(n / tries)


def sentiment(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """VADER's compound score of each response, from -1 (hostile) to 1 (cheerful); 0 knows no opinion.

    A scorer in the shape that `rlbase.envs.TextEnv` takes: the prompts are not looked at. (Hutto &
    Gilbert 2014, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text".)

    >>> happy, sad = sentiment(["The film is", "The film is"], [" a joy.", " a disaster."])
    >>> happy > 0.5, sad < -0.5
    (True, True)
    """
    return [_vader().polarity_scores(response)["compound"] for response in responses]


@cache
def _vader():
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


@cache
def _table() -> tuple[_Table, dict[str, _Table]]:
    """The rules of the table, and those that each genre adds."""
    rules: _Table = {}
    genres: dict[str, _Table] = {}
    for line in Path(__file__).with_name("reviews_grammar.txt").read_text(encoding="utf-8").splitlines():
        if "|" in line and not line.startswith("#"):
            name, good, bad = (part.strip() for part in line.split("|"))
            genres[name] = {"genre": (name,), "bit+": _split(good), "bit-": _split(bad)}
        elif line and not line.startswith("#"):
            name, _, options = line.partition(": ")
            rules[name] = _split(options)
    return rules, genres


def _split(options: str) -> tuple[str, ...]:
    texts = (option.strip() for option in options.split(" / "))
    return tuple("" if text == "_" else text.replace("_", " ") for text in texts)


def _draws(rule: str, n: int, seed: int) -> list[tuple[str, float, int]]:
    """``n`` texts, each with the nats of its choices and the number of tries it took."""
    if n < 0:
        raise ValueError(f"reviews: n must be at least 0, got {n}.")
    rng = random.Random(seed)
    genres = _table()[1]
    found: list[tuple[str, float, int]] = []
    tries = 0
    while len(found) < n:
        used: list[tuple[str, float]] = [("opinion", math.log(2)), ("genre", math.log(len(genres)))]
        text = _expand(rule, rng.choice("+-"), rng.choice(tuple(genres)), rng, used)
        topics = [name.rstrip("+-") for name, _ in used]
        tries += 1
        if all(topics.count(topic) < 2 for topic in _ONCE):
            found.append((_finish(text), sum(nats for _, nats in used), tries))
            tries = 0
    return found


def _expand(rule: str, opinion: str, genre: str, rng: random.Random, used: list[tuple[str, float]]) -> str:
    """One text of ``rule``; each choice made on the way is appended to ``used`` with its surprise in nats."""
    rules, genres = _table()
    options = genres[genre].get(rule) or rules[rule]
    option = rng.choice(options)
    used.append((rule, math.log(len(options) / options.count(option))))

    def inner(slot: re.Match[str]) -> str:
        name, sign = slot.groups()
        wanted = {"!": _OPPOSITE[opinion], "+": "+", "-": "-"}.get(sign, opinion)
        return _expand(name + wanted if sign else name, wanted, genre, rng, used)

    return _SLOT.sub(inner, option)


def _finish(text: str) -> str:
    """Write "an" where it belongs, and a capital at the start of every sentence."""
    text = _AN.sub(r"\1n ", text)
    return re.sub(r"(?:^|(?<=[.!?] ))[a-z]", lambda letter: letter[0].upper(), text)
