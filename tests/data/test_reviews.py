"""The grammar of film reviews, and the language model that was trained on it."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from rlbase.data.reviews import _draws, nats_per_review, prompts, reviews, sentiment, vocabulary, words
from rlbase.policies import load_policy, random_policy
from rlbase.policies.load import reviews_folder
from rlbase.train.language_model import LanguageModelConfig, language_model, nats, score
from rlbase.train.reviews_lm import complete, measure, train_reviews_lm

MANY = reviews(4000, seed=0)


def test_the_seed_decides() -> None:
    assert reviews(50, seed=0) == MANY[:50] and reviews(50, seed=1) != MANY[:50]
    assert prompts(20, seed=2) == prompts(20, seed=2) != prompts(20, seed=3)
    # Pinned: another Python must not give another training text.
    assert MANY[1].startswith(
        "This is a mystery about a beekeeper and a magician who start a new life by the sea,"
    )
    with pytest.raises(ValueError, match="at least 0"):
        reviews(-1, seed=0)


def test_form() -> None:
    for text in (*MANY, *prompts(500, seed=0)):
        assert not re.search(r"[{}*_|/]|  | [,.!?]|\.\.", text), text
        assert text == text.strip() and text[0].isupper(), text
        assert not re.search(r"\b[Aa] [aeiou]", text) and not re.search(r"\b[Aa]n [^aeiouh]", text), text
        assert not re.search(r"[.!?] [a-z]", text), text
    for text in MANY:
        assert text[-1] in ".!" and 1 <= len(re.findall(r"[.!]", text)) <= 4, text
        assert len(words(text)) <= 50


def test_subjects_and_verbs_agree() -> None:
    plural = r"(two leads|children|actors|minor characters|villains|songs|pictures|jokes|scares|drawings|landscapes)"
    singular = (
        r"(plot|story|script|music|score|soundtrack|camera|pacing|dialogue|ending|film|lead|villain|narrator)"
    )
    for text in MANY:
        assert not re.search(rf"\b[Tt]he {plural} (is|was|has|does|never \w+s)\b", text), text
        assert not re.search(rf"\b[Tt]he {singular} (are|were|have|do)\b", text), text


def test_variety() -> None:
    assert len(set(MANY)) > 0.97 * len(MANY)
    assert len({word for text in MANY for word in words(text)}) > 550
    assert Counter(text.split()[0] for text in MANY).most_common(1)[0][1] < 0.4 * len(MANY)
    for text in MANY:
        clauses = [c for c in re.split(r"[,.!] ?(?:and |but )?", text.lower()) if len(c.split()) > 3]
        assert len(clauses) == len(set(clauses)), text


def test_every_prompt_begins_some_review_of_either_kind() -> None:
    openings = {re.sub(r" about .*", "", p) for p in prompts(300, seed=0)}
    for opening in openings:
        assert any(text.startswith(opening) for text in MANY), opening
    for opening in ("The film is", "I watched this with", "What a", "This is a"):
        scores = sentiment([""] * len(MANY), [t for t in MANY if t.startswith(opening)])
        assert max(scores) > 0.5 and min(scores) < -0.4


def test_sentiment_follows_the_opinion() -> None:
    scores = sentiment(["The film is"] * 3, [" wonderful and warm.", " a table.", " terrible and boring."])
    assert scores[0] > 0.5 and scores[1] == 0 and scores[2] < -0.5
    assert sentiment([], []) == []


def test_entropy_of_the_grammar_by_counting() -> None:
    """The chance of "What a <adjective> <genre>!" read off the table by hand, against how often it is drawn."""
    # review -> open (2 of 12), open -> judge (2 of 10), judge -> this form (1 of 7): such texts are never rejected,
    # and one in 21 adjectives, 12 genres and 2 opinions is a given one.
    chance = 2 / 12 * 2 / 10 / 7
    surprise = -math.log(chance / 21 / 12 / 2)
    kept, tries = 20_000, sum(tried for _, _, tried in _draws("review", 20_000, 3))
    draws = [
        (text, nats) for text, nats, _ in _draws("review", kept, 3) if re.fullmatch(r"What a [\w ]+!", text)
    ]
    draws = [(text, nats) for text, nats in draws if not text.endswith((" little film!", " mess!"))]
    assert all(nats == pytest.approx(surprise) for _, nats in draws)
    assert abs(len(draws) - chance * tries) < 4 * math.sqrt(chance * tries)
    # What is rejected makes the rest likelier.
    mean = sum(nats for _, nats, _ in _draws("review", 500, 3)) / 500
    assert mean - 0.4 < nats_per_review(500, seed=3) < mean - 0.05


def test_vocabulary_is_what_reviews_are_made_of() -> None:
    used = {word for text in MANY for word in words(text)}
    assert used <= vocabulary() and len(vocabulary() - used) < 40


def test_the_embedded_model() -> None:
    policy = load_policy("reviews")
    size = sum(path.stat().st_size for path in reviews_folder().iterdir())
    assert size < 3_000_000 and not list(Path(reviews_folder()).glob("*.bin"))
    figures = measure(policy, MANY, n=300)
    gap = figures["nats_per_token"] - figures["grammar_nats_per_token"]
    assert -0.02 < gap < 0.04  # nats a token above the entropy, which is itself an estimate from above
    assert figures["invented_words"] < 0.003 and figures["unfinished"] < 0.01
    openings = prompts(100, seed=7)
    texts, finished = complete(policy, openings, seed=0)
    assert all(text.startswith(opening) for text, opening in zip(texts, openings, strict=True))
    assert sum(finished) >= 98 and len(set(texts)) > 95
    # It begins undecided: PPO has somewhere to go in either direction.
    scores = sentiment(openings, [t.removeprefix(o) for t, o in zip(texts, openings, strict=True)])
    assert -0.2 < sum(scores) / 100 < 0.4 and sum(s < 0 for s in scores) > 15


def test_likelihood_by_hand() -> None:
    """Uniform weights: every token costs log V, and padding costs nothing."""
    policy = random_policy("gpt2", vocab_size=5, initializer_range=1e-9)
    logp, mask = score(policy, [[0, 1, 2, 3], [4, 2]])
    assert mask.tolist() == [[True, True, True], [True, False, False]]
    torch.testing.assert_close(logp[mask], torch.full((4,), -math.log(5)), atol=1e-5, rtol=0)
    total, tokens = nats(policy, [[0, 1, 2, 3], [4, 2], [1, 1]], batch_size=2)
    assert tokens == 5 and total == pytest.approx(5 * math.log(5), abs=1e-4)
    with pytest.raises(ValueError, match="at least two tokens"):
        score(policy, [[0, 1], [2]])
    with pytest.raises(ValueError, match="learning_rate"):
        LanguageModelConfig(learning_rate=0)


def test_training_reaches_the_entropy_of_its_text() -> None:
    """Second token uniform over 4, third the same as the second: (log 4 + 0) / 2 = 0.693 nats a token."""
    texts = [
        [4, a, a] for a in torch.randint(4, (64 * 150,), generator=torch.Generator().manual_seed(0)).tolist()
    ]
    policy = random_policy("gpt2", vocab_size=5, layers=1)
    records = list(language_model(policy, texts, LanguageModelConfig(warmup=10)))
    assert len(records) == 150 and records[-1]["tokens"] == 64 * 150 * 2
    assert records[-1]["learning_rate"] < records[75]["learning_rate"] < records[10]["learning_rate"] == 3e-3
    assert sum(r["loss"] for r in records[-20:]) / 20 == pytest.approx(math.log(4) / 2, abs=0.02)


@pytest.mark.parametrize(
    ("setting", "kind", "sentence"),
    [
        ({"batch_size": 1.5}, TypeError, "batch_size must be a whole number, got 1.5"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"warmup": 0.5}, TypeError, "warmup must be a whole number, got 0.5"),
        ({"learning_rate": math.inf}, ValueError, r"learning_rate must lie in \(0, inf\), got inf"),
        ({"weight_decay": -1}, ValueError, r"weight_decay must lie in \[0, inf\), got -1"),
    ],
)
def test_settings_of_maximum_likelihood(
    setting: dict[str, Any], kind: type[Exception], sentence: str
) -> None:
    with pytest.raises(kind, match=f"LanguageModelConfig: {sentence}"):
        LanguageModelConfig(**setting)


def test_weights_that_have_diverged_are_not_trained() -> None:
    policy = random_policy("gpt2", vocab_size=5, layers=1)
    run = language_model(policy, [[0, 1, 2]] * 192, LanguageModelConfig(warmup=1))
    next(run)
    next(policy.parameters()).data[0, 0] = math.nan
    spoilt = [p.detach().clone() for p in policy.parameters()]
    with pytest.raises(FloatingPointError, match=r"language_model, update 1: the loss \(nan\)"):
        next(run)
    for p, old in zip(policy.parameters(), spoilt, strict=True):
        assert torch.equal(p.nan_to_num(7.0), old.nan_to_num(7.0))
    with pytest.raises(
        TypeError, match="language_model: config must be a LanguageModelConfig, got {'warmup': 1}"
    ):
        next(language_model(policy, [[0, 1, 2]], {"warmup": 1}))  # type: ignore[arg-type]


def test_an_opening_of_no_token_is_refused() -> None:
    policy = load_policy("reviews")
    with pytest.raises(ValueError, match=r"every prompt needs at least one token, got none in rows \[1\]"):
        complete(policy, ["The film is", ""], seed=0, max_new_tokens=1)


def test_training_writes_nowhere_but_into_its_folder(tmp_path: Path) -> None:
    """Not beside it, which may be another disk or read-only; and an interrupted run leaves nothing."""
    out = tmp_path / "out"
    run = train_reviews_lm(out, texts=128, measured_on=4)
    next(run)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    run.close()
    assert list(out.iterdir()) == []


def test_the_recipe_is_deterministic(tmp_path: Path) -> None:
    for name in ("one", "two"):
        *records, figures = train_reviews_lm(tmp_path / name, texts=128, measured_on=10)
        assert len(records) == 2 and figures["nats_per_token"] > 1
    files = {"README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert files <= {path.name for path in (tmp_path / "one").iterdir()}
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
