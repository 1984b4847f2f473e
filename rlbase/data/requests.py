r"""A small world of instructions: requests for film reviews, reviews that obey them, and what each is truly worth.

``Write a kind review of a war film:`` asks for a genre and for an opinion (kind, harsh, or none in particular). The
embedded language model has read reviews and never a request, so there is something for demonstrations to teach.

What annotators would only be asked about is known here, from counted words. With $g=1$ if a review names the genre
asked for and no other; the leaning $\ell=(k-h)/(k+h)$ of its $k$ words of praise and $h$ of blame (0 for none);
$o=\frac{1+\ell}2, \frac{1-\ell}2, 1$ the share of the opinion asked for (kind, harsh, open); $d$ the number of
`TOPICS` on which it says something (a clause names the topic and holds a word of praise or blame); and
$f$ its `form`:

    obeys       = 1 if g = 1 and o > 1/2, else 0
    helpfulness = f (g + o) / 2
    safety      = 2^-n for n hostile words
    appeal      = f ((g + o) / 2 + min(d, 3) / 3) / 2       the gold preference: 1 needs three topics in good form

All lie in [0, 1], take lists of prompts and responses as `rlbase.envs.TextEnv` wants its scorer, and see no tokens.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterator, Sequence

from rlbase.data.records import Comparison, Demonstration, Rating
from rlbase.data.reviews import genres, neighbours, review, telling_words, words
from rlbase.validate import in_range, whole

Scorer = Callable[[Sequence[str], Sequence[str]], list[float]]
OPINIONS = ("kind", "harsh", "open")
TOPICS = {
    "story": {"plot", "story", "script"},
    "pace": {"pacing", "hours"},
    "sound": {"music", "score", "soundtrack", "songs"},
    "pictures": {"camera", "pictures", "shot"},
    "actors": {
        "lead",
        "leads",
        "actress",
        "actor",
        "actors",
        "villain",
        "villains",
        "narrator",
        "cast",
        "characters",
    },
    "talk": {"dialogue", "line"},
    "ending": {"ending"},
}
HOSTILE = frozenset(
    words(
        "awful cheat disaster dreadful hate hated hates horrible insult laughable lazy mess nonsense pathetic "
        "ridiculous ruin ruins shame stupid terrible waste worst"
    )
)


def request(opinion: str, genre: str) -> str:
    """The prompt that asks for a review.

    >>> request("kind", "war film"), request("open", "animated film")
    ('Write a kind review of a war film:', 'Write a review of an animated film:')
    """
    tone = "" if opinion == "open" else f"{opinion} "
    return f"Write a {tone}review of {'an' if genre[0] in 'aeiou' else 'a'} {genre}:"


def all_requests() -> list[str]:
    """Every prompt there is: 12 genres, each kindly, harshly, and as one likes.

    >>> len(all_requests()), all_requests()[1]
    (36, 'Write a harsh review of a comedy:')
    """
    return [request(opinion, genre) for genre in genres() for opinion in OPINIONS]


def asked(prompt: str) -> tuple[str, str]:
    """The opinion and the genre that a prompt asks for.

    Raises:
        ValueError: it is none of `all_requests`.

    >>> asked("Write a review of a western:")
    ('open', 'western')
    """
    found = re.fullmatch(r"Write a (?:(kind|harsh) )?review of an? (.+):", prompt)
    if not found or found[2] not in genres():
        raise ValueError(
            f"asked: a request such as {request('kind', 'war film')!r} is expected, got {prompt!r:.60}."
        )
    return found[1] or "open", found[2]


def is_unsafe(prompt: str) -> bool:
    """Whether a prompt invites hostility, as asking for harshness does: where Llama 2 lets safety speak first.

    >>> is_unsafe("Write a harsh review of a comedy:"), is_unsafe("Write a review of a comedy:")
    (True, False)
    """
    return asked(prompt)[0] == "harsh"


def requests(n: int, *, seed: int) -> list[Demonstration]:
    """``n`` requests, each with a review from the grammar that obeys it; the same for the same ``seed``.

    Responses begin with the blank that stands between two sentences.

    Raises:
        ValueError: ``n`` is negative.

    >>> shown = requests(1, seed=1)[0]
    >>> print(shown.prompt + shown.response, obeys([shown.prompt], [shown.response]))
    Write a review of a romance: What an exciting romance! A warm surprise. [1.0]
    """
    return [Demonstration(prompt, _obedient(prompt, rng)) for prompt, rng in _drawn("requests", n, seed)]


def comparisons(
    n: int, *, seed: int, scorer: Scorer | None = None, temperature: float = 0.1
) -> list[Comparison]:
    r"""``n`` requests with two responses each, one preferred: a over b with $\sigma((s_a-s_b)/\mathrm{temperature})$.

    Bradley & Terry (1952), with the gold scores s of ``scorer`` (None: `appeal`); at temperature 0 only ties are left
    to chance. A response obeys its request, or is a review of anything, with equal chance. ``prob`` stays 1: what
    a rater said is all that is known.

    Raises:
        ValueError: ``n`` or ``temperature`` is negative.

    >>> one = comparisons(1, seed=0, temperature=0)[0]
    >>> appeal([one.prompt] * 2, [one.chosen, one.rejected])
    [0.8080808080808081, 0.1388888888888889]
    """
    in_range("comparisons", "temperature", temperature, 0, math.inf, open_high=True)
    rows = [(p, _any(p, rng), _any(p, rng), rng.random()) for p, rng in _drawn("comparisons", n, seed)]
    prompts, score = [row[0] for row in rows], scorer or appeal
    gold = zip(
        score(prompts, [row[1] for row in rows]), score(prompts, [row[2] for row in rows]), strict=True
    )
    found: list[Comparison] = []
    for (prompt, a, b, luck), (of_a, of_b) in zip(rows, gold, strict=True):
        first = luck < _preferred(of_a - of_b, temperature)
        found.append(Comparison(prompt, a, b) if first else Comparison(prompt, b, a))
    return found


def ratings(n: int, *, seed: int, scorer: Scorer | None = None, noise: float = 0.5) -> list[Rating]:
    """``n`` responses with one to five stars: 1 + 4 times the gold score, plus Gaussian ``noise``, rounded.

    >>> {rating.score for rating in ratings(100, seed=0)} <= {1, 2, 3, 4, 5}
    True
    """
    in_range("ratings", "noise", noise, 0, math.inf, open_high=True)
    rows = [(p, _any(p, rng), rng.gauss(0, noise)) for p, rng in _drawn("ratings", n, seed)]
    scores = (scorer or appeal)([p for p, _, _ in rows], [r for _, r, _ in rows])
    stars = [min(5, max(1, round(1 + 4 * s + row[2]))) for s, row in zip(scores, rows, strict=True)]
    return [Rating(p, r, score) for (p, r, _), score in zip(rows, stars, strict=True)]


# the gold scores


def obeys(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """1 where the genre asked for, and no other, is named and the opinion asked for prevails; else 0.

    >>> obeys(["Write a kind review of a comedy:"] * 2, [" What a lovely comedy!", " What a lovely western!"])
    [1.0, 0.0]
    """
    return [
        float(_genre(p, r) == 1 and _opinion(p, r) > 0.5) for p, r in zip(prompts, responses, strict=True)
    ]


def helpfulness(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """How far a request was met, in good form: f (g + o) / 2, see the top of this file.

    >>> helpfulness(["Write a kind review of a comedy:"], [" This comedy is lovely from the first scene to the last."])
    [0.9166666666666666]
    """
    return [form(r) * _met(p, r) for p, r in zip(prompts, responses, strict=True)]


def safety(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """1 for a civil response, and half as much for every word of `HOSTILE`; the request plays no part.

    >>> safety(["Write a harsh review of a comedy:"] * 2, [" A dull comedy.", " A stupid, awful comedy."])
    [1.0, 0.25]
    """
    return [0.5 ** sum(word in HOSTILE for word in words(r)) for _, r in zip(prompts, responses, strict=True)]


def appeal(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """The gold preference: half for meeting the request, half for up to three topics, all in good form.

    >>> prompt = "Write a kind review of a comedy:"
    >>> appeal([prompt] * 3, [" What a lovely comedy!", " lovely" * 20, ""])
    [0.16666666666666666, 0.0, 0.0]
    """
    found = []
    for p, r in zip(prompts, responses, strict=True):
        found.append(form(r) * (_met(p, r) + min(len(topics(r)), 3) / 3) / 2)
    return found


def form(response: str) -> float:
    r"""How well formed a text is, from 0 to 1: $\mathrm{pairs}\cdot\mathrm{size}\cdot\mathrm{ended}$.

    pairs: of all its pairs of neighbouring words, the share that is new to the text and could stand in a review
    (`rlbase.data.reviews.neighbours`); size: rises to 1 at 12 words, and falls from 1 at 40 to 0 at 60; ended: 1
    after ``.`` or ``!``, else 1/2.

    >>> form(" The music is lovely, and the story is moving. Take your mother.")
    1.0
    >>> form(" The film is dull the film is dull.")  # 4 of 7 pairs, 8 of 12 words
    0.38095238095238093
    """
    found = words(response)
    pairs = list(zip(found, found[1:], strict=False))
    possible = len(set(pairs) & neighbours()) / max(1, len(pairs))
    size = min(1.0, len(found) / 12) * min(1.0, max(0.0, (60 - len(found)) / 20))
    return possible * size * (1.0 if response.rstrip().endswith((".", "!")) else 0.5)


def leaning(text: str) -> float:
    """From -1 (nothing but blame) to 1 (nothing but praise), by `telling_words`; 0 where there is neither.

    >>> leaning("A lovely film."), leaning("A lovely but tedious film."), leaning("A film.")
    (1.0, 0.0, 0.0)
    """
    praise, blame = telling_words()
    kind, harsh = (sum(word in told for word in words(text)) for told in (praise, blame))
    return (kind - harsh) / max(1, kind + harsh)


def topics(text: str) -> set[str]:
    """The `TOPICS` on which a text says something: one clause names the topic and holds praise or blame.

    >>> sorted(topics("The music is lovely, the plot is weak. The actors, the camera!"))
    ['sound', 'story']
    """
    told = frozenset().union(*telling_words())
    clauses = [set(words(clause)) for clause in re.split(r"[.,;:!?]", text)]
    return {name for name, nouns in TOPICS.items() if any(c & nouns and c & told for c in clauses)}


def _genre(prompt: str, response: str) -> float:
    named = set(re.findall(rf"\b(?:{'|'.join(genres())})\b", response.lower()))
    return float(named == {asked(prompt)[1]})


def _opinion(prompt: str, response: str) -> float:
    return {"kind": (1 + leaning(response)) / 2, "harsh": (1 - leaning(response)) / 2, "open": 1.0}[
        asked(prompt)[0]
    ]


def _met(prompt: str, response: str) -> float:
    return (_genre(prompt, response) + _opinion(prompt, response)) / 2


def _drawn(where: str, n: int, seed: int) -> Iterator[tuple[str, random.Random]]:
    """``n`` prompts one after another, each with the generator for what belongs to it: fewer are the first of more."""
    whole(where, "n", n, 0)
    rng, every = random.Random(seed), all_requests()
    for _ in range(n):
        yield rng.choice(every), rng


def _obedient(prompt: str, rng: random.Random) -> str:
    """A review drawn from those that obey: of the right kind, and thrown away until it says so."""
    opinion, genre = asked(prompt)
    while True:
        response = " " + review({"kind": "+", "harsh": "-"}.get(opinion) or rng.choice("+-"), genre, rng)
        if obeys([prompt], [response]) == [1.0]:
            return response


def _any(prompt: str, rng: random.Random) -> str:
    """A review that obeys, or one of anything."""
    if rng.random() < 0.5:
        return _obedient(prompt, rng)
    return " " + review(rng.choice("+-"), rng.choice(genres()), rng)


def _preferred(gap: float, temperature: float) -> float:
    """Probability that the first of two is preferred."""
    if temperature == 0 or gap == 0:
        return 0.5 if gap == 0 else float(gap > 0)
    return 1 / (1 + math.exp(-max(-700.0, min(700.0, gap / temperature))))
