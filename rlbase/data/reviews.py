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

from rlbase.validate import one_of

_WORD = r"[^\W\d_]+(?:'[^\W\d_]+)*"
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


def genres() -> tuple[str, ...]:
    """The kinds of film there are.

    >>> len(genres()), genres()[0]
    (12, 'comedy')
    """
    return tuple(_table()[1])


def review(opinion: str, genre: str, rng: random.Random) -> str:
    """One review of a film of ``genre``, with the ``opinion`` "+" or "-".

    Raises:
        ValueError: no such genre or opinion.

    >>> review("+", "western", random.Random(3))
    'The ending is very satisfying, and people talk like real people. It is warmer than the book.'
    """
    one_of("review", "opinion", opinion, ("+", "-"))
    one_of("review", "genre", genre, genres())
    while (drawn := _try("review", opinion, genre, rng)) is None:
        pass
    return drawn[0]


@cache
def vocabulary() -> frozenset[str]:
    """Every word that a review can hold, in lower case.

    >>> "tedious" in vocabulary(), "tediful" in vocabulary()
    (True, False)
    """
    rules, special = _table()
    texts = [text for table in (rules, *special.values()) for options in table.values() for text in options]
    return frozenset(words(_SLOT.sub(" ", " ".join((*texts, *special, "an")))))


@cache
def telling_words() -> tuple[frozenset[str], frozenset[str]]:
    """The words that only praise holds, and those that only blame holds: "lovely" is one, "the" and "good" are none.

    What a sentence of the grammar praises or blames is known from its rule; "not one good moment" is blame.

    >>> praise, blame = telling_words()
    >>> "lovely" in praise, "tedious" in blame, "good" in praise | blame
    (True, True, False)
    """
    found: dict[str, set[str]] = {"+": set(), "-": set()}
    seen: set[tuple[str, str]] = set()

    def walk(rule: str, opinion: str) -> None:
        if (rule, opinion) in seen:
            return
        seen.add((rule, opinion))
        for option in _options(rule):
            found[opinion].update(words(_SLOT.sub(" ", option)))
            for name, sign in _SLOT.findall(option):
                walk(*_inner(name, sign, opinion))

    for opinion in found:
        walk("review", opinion)
    return frozenset(found["+"] - found["-"]), frozenset(found["-"] - found["+"])


@cache
def neighbours() -> frozenset[tuple[str, str]]:
    """Every two words that can follow each other in a review, within a sentence or across two.

    >>> ("film", "is") in neighbours(), ("is", "film") in neighbours()
    (True, False)
    """
    found: set[tuple[str, str]] = set()
    for one, two in _edges("review", "+")[2] | _edges("review", "-")[2]:
        one = words(_finish(f"{one} {two}"))[0]  # "a awful" is written "an awful"
        found |= {(one, two), (one, "an")} if two == "a" else {(one, two)}
    return frozenset(found)


def words(text: str) -> list[str]:
    """The words of a text, in lower case, without punctuation.

    >>> words("What a film, isn't it?")
    ['what', 'a', 'film', "isn't", 'it']
    """
    return re.findall(_WORD, text.lower())


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


def _options(rule: str) -> list[str]:
    """What a rule can be written as, in any genre."""
    rules, special = _table()
    return [text for table in (rules, *special.values()) for text in table.get(rule, ())]


@cache
def _edges(
    rule: str, opinion: str
) -> tuple[frozenset[str], frozenset[str], frozenset[tuple[str, str]], bool]:
    """Of what a rule can be written as: first words, last words, neighbours, and whether it can be nothing."""
    first: set[str] = set()
    last: set[str] = set()
    pairs: set[tuple[str, str]] = set()
    nothing = False
    for option in _options(rule):
        tails: set[str] = set()  # the words that may stand before the next part
        blank = True  # whether all parts read so far can be nothing
        for name, sign, word in re.findall(rf"{_SLOT.pattern}|({_WORD})", option):
            if word:
                heads, ends, inside, empty = {word.lower()}, {word.lower()}, set(), False
            else:
                heads, ends, inside, empty = _edges(*_inner(name, sign, opinion))
            pairs |= {(one, two) for one in tails for two in heads} | inside
            first |= heads if blank else set()
            tails = set(ends) | (tails if empty else set())
            blank = blank and empty
        last |= tails
        nothing = nothing or blank
    return frozenset(first), frozenset(last), frozenset(pairs), nothing


def _split(options: str) -> tuple[str, ...]:
    texts = (option.strip() for option in options.split(" / "))
    return tuple("" if text == "_" else text.replace("_", " ") for text in texts)


def _draws(rule: str, n: int, seed: int) -> list[tuple[str, float, int]]:
    """``n`` texts, each with the nats of its choices and the number of tries it took."""
    if n < 0:
        raise ValueError(f"reviews: n must be at least 0, got {n}.")
    rng = random.Random(seed)
    found: list[tuple[str, float, int]] = []
    tries = 0
    while len(found) < n:
        drawn = _try(rule, rng.choice("+-"), rng.choice(genres()), rng)
        tries += 1
        if drawn is not None:
            found.append((*drawn, tries))
            tries = 0
    return found


def _try(rule: str, opinion: str, genre: str, rng: random.Random) -> tuple[str, float] | None:
    """One text and the nats of its choices, or None if it speaks of one thing twice."""
    used: list[tuple[str, float]] = [("opinion", math.log(2)), ("genre", math.log(len(genres())))]
    text = _expand(rule, opinion, genre, rng, used)
    topics = [name.rstrip("+-") for name, _ in used]
    if any(topics.count(topic) > 1 for topic in _ONCE):
        return None
    return _finish(text), sum(nats for _, nats in used)


def _expand(rule: str, opinion: str, genre: str, rng: random.Random, used: list[tuple[str, float]]) -> str:
    """One text of ``rule``; each choice made on the way is appended to ``used`` with its surprise in nats."""
    rules, special = _table()
    options = special[genre].get(rule) or rules[rule]
    option = rng.choice(options)
    used.append((rule, math.log(len(options) / options.count(option))))

    def inner(slot: re.Match[str]) -> str:
        return _expand(*_inner(slot[1], slot[2], opinion), genre, rng, used)

    return _SLOT.sub(inner, option)


def _inner(name: str, sign: str, opinion: str) -> tuple[str, str]:
    """The rule that a slot names inside a rule of some ``opinion``, and the opinion it is written in."""
    wanted = {"!": _OPPOSITE[opinion], "+": "+", "-": "-"}.get(sign, opinion)
    return (name + wanted if sign else name), wanted


def _finish(text: str) -> str:
    """Write "an" where it belongs, and a capital at the start of every sentence."""
    text = _AN.sub(r"\1n ", text)
    return re.sub(r"(?:^|(?<=[.!?] ))[a-z]", lambda letter: letter[0].upper(), text)
