"""Bad data: records, encodings and files, each answered by one sentence; and what is odd but right is taken."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rlbase.data import (
    Comparison,
    Demonstration,
    Rating,
    encode_comparisons,
    encode_demonstrations,
    encode_responses,
    keep_short,
    load_comparisons,
    load_demonstrations,
    load_prompts,
    load_ratings,
)
from rlbase.data.requests import appeal, asked, comparisons, ratings, requests
from rlbase.data.reviews import review
from rlbase.envs import CharTokenizer
from rlbase.types import Choices, PreferencePairs, Prompt

TOKENIZER = CharTokenizer("ab")
ONE = Choices(torch.zeros(1, 1).long(), torch.zeros(1, 1).long(), torch.ones(1, 1).bool())
LONG = [Demonstration("a", "ab" * 50)]


def ask(source: Any, **options: Any) -> Any:
    return load_comparisons(source, **options)


Case = tuple[Callable[[], Any], type[Exception], str]
CASES: dict[str, Case] = {
    "pairs of different sizes": (
        lambda: PreferencePairs(ONE, ONE[:0]),
        ValueError,
        "PreferencePairs: as many rejected as chosen, got 1 and 0",
    ),
    "a probability for nobody": (
        lambda: PreferencePairs(ONE, ONE, prob=torch.ones(2)),
        ValueError,
        r"PreferencePairs: prob must have shape \[1\], got \[2\]",
    ),
    "text against behaviour": (
        lambda: PreferencePairs(Choices(Prompt(ONE.actions, ONE.mask), ONE.actions, ONE.mask), ONE).joined(),
        TypeError,
        "PreferencePairs: both sides must be text, or neither",
    ),
    "a response that is no text": (
        lambda: Demonstration("a", 3),  # type: ignore[arg-type]
        TypeError,
        "Demonstration: response must be a str, got 3",
    ),
    "a preference beyond certainty": (
        lambda: Comparison("a", "b", "c", prob=1.5),
        ValueError,
        r"Comparison: prob must lie in \[0, 1\], got 1.5",
    ),
    "a preference that is no number": (
        lambda: Comparison("a", "b", "c", prob="sure"),  # type: ignore[arg-type]
        TypeError,
        "Comparison: prob must be a number, got 'sure'",
    ),
    "a rating of NaN": (
        lambda: Rating("a", "b", float("nan")),
        ValueError,
        r"Rating: score must lie in \(-inf, inf\), got nan",
    ),
    "nothing to encode": (
        lambda: encode_demonstrations(TOKENIZER, []),
        ValueError,
        "encode_responses: needs one response to each prompt, and at least one; got 0 prompts and 0 responses",
    ),
    "no comparisons to encode": (
        lambda: encode_comparisons(TOKENIZER, []),
        ValueError,
        "encode_responses: needs one",
    ),
    "an empty prompt": (
        lambda: encode_responses(TOKENIZER, [""], ["a"]),
        ValueError,
        "encode_responses: every prompt needs at least one token, got none in row 0",
    ),
    "an empty response without an end": (
        lambda: encode_responses(TOKENIZER, ["a"], [""], end=False),
        ValueError,
        "encode_responses: every response needs at least one token, got none in row 0",
    ),
    "a response that is too long": (
        lambda: encode_demonstrations(TOKENIZER, LONG, max_response_tokens=10),
        ValueError,
        "1 of 1 responses have more than max_response_tokens=10 tokens, the first in row 0 with 101: 'abab.*keep_short",
    ),
    "a limit of half a token": (
        lambda: keep_short(TOKENIZER, LONG, max_response_tokens=0.5),  # type: ignore[arg-type]
        TypeError,
        "keep_short: max_response_tokens must be a whole number, got 0.5",
    ),
    "a strength without a margin": (
        lambda: encode_comparisons(TOKENIZER, [Comparison("a", "b", "a", strength=3)], margins={}),
        ValueError,
        "encode_comparisons: margins has no entry for strength 3",
    ),
    "a file that is not there": (
        lambda: ask("no.jsonl"),
        FileNotFoundError,
        "load_comparisons: there is no file or folder 'no.jsonl', nor can it be a name on the hub",
    ),
    "a source that is no path": (
        lambda: load_ratings(7),  # type: ignore[arg-type]
        TypeError,
        "load_ratings: source must be a path or a name on the hub, got 7",
    ),
    "a hub that cannot be reached": (
        lambda: load_prompts("somebody/something"),
        ConnectionError,
        "load_prompts: there is no folder 'somebody/something' here, and the Hugging Face hub cannot be reached",
    ),
    "a limit of nothing": (
        lambda: load_demonstrations("no.jsonl", limit=0),
        ValueError,
        "load_demonstrations: limit must be at least 1, got 0",
    ),
    "a split that is no name": (
        lambda: ask("no.jsonl", split=None),
        TypeError,
        "load_comparisons: split must be a str, got None",
    ),
    "a negative number of requests": (
        lambda: requests(-1, seed=0),
        ValueError,
        "requests: n must be at least 0, got -1",
    ),
    "half a comparison": (
        lambda: comparisons(1.5, seed=0),  # type: ignore[arg-type]
        TypeError,
        "comparisons: n must be a whole number, got 1.5",
    ),
    "an endless temperature": (
        lambda: comparisons(1, seed=0, temperature=float("inf")),
        ValueError,
        r"comparisons: temperature must lie in \[0, inf\), got inf",
    ),
    "noise below zero": (
        lambda: ratings(1, seed=0, noise=-1),
        ValueError,
        r"ratings: noise must lie in \[0, inf\), got -1",
    ),
    "a request that is none": (
        lambda: asked("The film is"),
        ValueError,
        "asked: a request such as 'Write a kind review of a war film:' is expected, got 'The film is'",
    ),
    "a score for another prompt": (lambda: appeal(["Hi!"], ["a"]), ValueError, "asked: a request such as"),
    "a genre that is none": (
        lambda: review("+", "cartoon", random.Random(0)),
        ValueError,
        "review: genre must be one of 'comedy', .*, got 'cartoon'",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_data_gets_one_clear_sentence(name: str) -> None:
    call, kind, sentence = CASES[name]
    with pytest.raises(kind, match=sentence) as caught:
        call()
    assert caught.type is kind and "\n" not in str(caught.value).strip()
    assert caught.value.__cause__ is None and (
        caught.value.__suppress_context__ or not caught.value.__context__
    )


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.json", "[1, 2", r"load_comparisons: a.json cannot be read \(.+\)\."),
        ("a.parquet", "PAR1", r"load_comparisons: a.parquet cannot be read \(.+\)\."),
        ("a.pickle", "", r"load_comparisons: a.pickle is of no known kind"),
        (
            "a.jsonl",
            '{"chosen": "b", "rejected": "b"}',
            r"nothing could be kept of a.jsonl: kept 0 of 1; 1 no prompt in it",
        ),
    ],
)
def test_bad_files_get_one_clear_sentence(tmp_path: Path, name: str, content: str, sentence: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=sentence) as caught:
        load_comparisons(tmp_path / name)
    assert caught.type is ValueError and "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_label_rates_of_none_and_all(tmp_path: Path) -> None:
    """Nothing but identical pairs is an error, one among others is dropped, and a tie is kept as a tie."""
    path = tmp_path / "pairs.jsonl"
    same = json.dumps({"prompt": "a", "chosen": "b", "rejected": "b"}) + "\n"
    path.write_text(same * 3)
    with pytest.raises(ValueError, match="kept 0 of 3; 3 identical pair"):
        load_comparisons(path)
    path.write_text(json.dumps({"prompt": "a", "chosen": "b", "rejected": "ab", "prob": 0.5}) + "\n" + same)
    kept, report = load_comparisons(path)
    assert len(kept) == 1 and report.total == 2
    pairs = encode_comparisons(TOKENIZER, kept)
    assert pairs.prob is not None and pairs.prob.tolist() == [0.5]


def test_responses_of_one_token() -> None:
    pairs = encode_comparisons(TOKENIZER, [Comparison("a", "", "b")], max_response_tokens=2)
    assert pairs.chosen.mask.tolist() == [[True, False]] and pairs.rejected.mask.tolist() == [[True, True]]
    assert pairs.chosen.trimmed().actions.tolist() == [[2]]  # to end at once is a response, too
    alone = encode_responses(TOKENIZER, ["a"], ["b"], end=False)
    assert alone.actions.tolist() == [[1]] and alone.mask.tolist() == [[True]]
