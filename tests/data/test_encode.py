"""Text to tensors: the mask covers the response and its EOS, never a prompt, whatever the pad token is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlbase.data.encode import (
    LARGE_MARGINS,
    SMALL_MARGINS,
    encode_comparisons,
    encode_demonstrations,
    encode_responses,
    keep_short,
)
from rlbase.data.records import Comparison, Demonstration, Rating
from rlbase.envs import CharTokenizer, TextEnv
from rlbase.policies import load_policy
from rlbase.rollout import rollout
from rlbase.types import Choices, Prompt

TOKENIZER = CharTokenizer("ab")  # a is 0, b is 1, EOS is 2
TEXT = st.text("ab", max_size=5)


class WithBOS:
    """Puts a BOS before every text unless told not to, as Llama's tokenizer does; its pad token is its EOS."""

    eos_token_id, pad_token_id, vocab_size = 2, 2, 4

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return [3] * add_special_tokens + TOKENIZER.encode(text)

    def decode(self, ids: list[int]) -> str:
        return TOKENIZER.decode(ids)


def prompt_of(rows: Choices) -> Prompt:
    assert isinstance(rows.obs, Prompt)
    return rows.obs


@given(st.lists(st.tuples(TEXT.filter(bool), TEXT), min_size=1, max_size=5), st.booleans())
def test_what_was_written_can_be_read_back(rows: list[tuple[str, str]], end: bool) -> None:
    rows = [(p, r) for p, r in rows if r or end]
    if not rows:
        return
    prompts, responses = [p for p, _ in rows], [r for _, r in rows]
    encoded = encode_responses(TOKENIZER, prompts, responses, end=end)
    given_ = prompt_of(encoded)
    for i, (prompt, response) in enumerate(rows):
        tokens = encoded.actions[i][encoded.mask[i]].tolist()
        assert (
            tokens == TOKENIZER.encode(response) + [2] * end
        )  # the response and its EOS: no token of the prompt
        assert TOKENIZER.decode(given_.ids[i][given_.mask[i]].tolist()) == prompt
        assert encoded.mask[i].int().diff().le(0).all() and given_.mask[i].int().diff().ge(0).all()
    assert encoded.mask.any(0).all() and given_.mask.any(0).all()  # no wider than the longest


def test_a_pad_token_that_is_the_eos_hides_nothing() -> None:
    """Rows of 1 and 3 letters: 2 and 4 choices, the last of each the EOS, although padding has the same number."""
    rows = encode_responses(WithBOS(), ["a", "bb"], ["b", "aba"])
    assert rows.mask.sum(1).tolist() == [2, 4]
    assert [int(row[kept][-1]) for row, kept in zip(rows.actions, rows.mask, strict=True)] == [2, 2]
    # The prompt begins with its BOS, the response with its first letter.
    assert prompt_of(rows).ids[1].tolist() == [3, 1, 1] and rows.actions[0, 0] == 1


def test_the_tokens_are_those_that_the_text_world_would_see() -> None:
    """SFT must train the policy on the very prompt that PPO shows it, and pay the same end."""
    policy = load_policy("reviews")
    prompts = ["The film is", "What a little"]
    env = TextEnv(prompts, policy.tokenizer, lambda p, r: [0.0] * len(p), max_new_tokens=48, batch_size=2)
    generator = torch.Generator().manual_seed(0)
    played = rollout(policy, env, generator=generator)
    rows = encode_responses(policy.tokenizer, env.prompts_used, env.responses)
    assert isinstance(played.obs, Prompt)
    assert torch.equal(prompt_of(rows).ids[prompt_of(rows).mask], played.obs.ids[played.obs.mask])
    assert torch.equal(rows.actions[rows.mask], played.actions[played.mask])


def test_margins_and_probabilities_by_hand() -> None:
    seen = [
        Comparison("a", "b", "ab", strength="significantly better", prob=0.9),
        Comparison("b", "a", "bb", strength="slightly better"),
    ]
    pairs = encode_comparisons(TOKENIZER, seen, margins=SMALL_MARGINS)
    assert pairs.prob is not None and pairs.margin is not None
    torch.testing.assert_close(pairs.prob, torch.tensor([0.9, 1.0]))
    torch.testing.assert_close(pairs.margin, torch.tensor([1.0, 1 / 3]))
    assert pairs.chosen.actions[0, :2].tolist() == [1, 2] and pairs.rejected.actions[0].tolist() == [0, 1, 2]
    assert torch.equal(prompt_of(pairs.chosen).ids, prompt_of(pairs.rejected).ids)
    assert LARGE_MARGINS["better"] == 2
    plain = encode_comparisons(TOKENIZER, [Comparison("a", "b", "a")])
    assert plain.prob is None and plain.margin is None
    with pytest.raises(
        ValueError, match="encode_comparisons: margins has no entry for strength 'huge', None"
    ):
        strange = [Comparison("a", "b", "a", strength="huge"), Comparison("a", "b", "a")]
        encode_comparisons(TOKENIZER, strange, margins=SMALL_MARGINS)


def test_demonstrations_and_ratings() -> None:
    rows = encode_demonstrations(TOKENIZER, [Demonstration("a", "b"), Demonstration("a", "")])
    assert rows.mask.tolist() == [[True, True], [True, False]]  # saying nothing is one choice: to end
    rated = encode_demonstrations(TOKENIZER, [Rating("a", "b", 1.0)], end=False)
    assert rated.actions.tolist() == [[1]] and rated.mask.tolist() == [[True]]


def test_the_short_ones_are_kept() -> None:
    records = [Comparison("a", "b", "aaa"), Comparison("aa", "b", "a"), Comparison("aaa", "b", "a")]
    kept, report = keep_short(TOKENIZER, records, max_prompt_tokens=2, max_response_tokens=2)
    assert kept == records[1:2] and report.kept == 1
    assert report.dropped == {"response too long": 1, "prompt too long": 1}
    assert report.places == {"response too long": ["record 0"], "prompt too long": ["record 2"]}
    encode_comparisons(TOKENIZER, kept, max_prompt_tokens=2, max_response_tokens=2)  # and they fit
    assert keep_short(TOKENIZER, records)[0] == records
    # without the EOS there is room for one letter more
    assert keep_short(TOKENIZER, records[:1], max_response_tokens=3, end=False)[0] == records[:1]
    assert keep_short(TOKENIZER, records[:1], max_response_tokens=3)[0] == []


@pytest.mark.parametrize(
    ("prompts", "responses", "options", "kind", "sentence"),
    [
        ("ab", ["a"], {}, TypeError, "prompts must be a list of strings"),
        (["a"], [None], {}, TypeError, "responses must be a list of strings"),
        (
            ["a"],
            ["a", "b"],
            {},
            ValueError,
            "one response to each prompt, and at least one; got 1 prompts and 2",
        ),
        ([], [], {}, ValueError, "at least one; got 0 prompts and 0 responses"),
        (["a", ""], ["a", "b"], {}, ValueError, "every prompt needs at least one token, got none in row 1"),
        (
            ["a"],
            [""],
            {"end": False},
            ValueError,
            "every response needs at least one token, got none in row 0",
        ),
        (
            ["a"],
            ["ab"],
            {"max_response_tokens": 0},
            ValueError,
            "max_response_tokens must be at least 1, got 0",
        ),
        (
            ["a", "a"],
            ["a", "abab"],
            {"max_response_tokens": 4},
            ValueError,
            "1 of 2 responses have more than max_response_tokens=4 tokens, the first in row 1 with 5: 'abab'",
        ),
        (
            ["aba"],
            ["a"],
            {"max_prompt_tokens": 2},
            ValueError,
            "1 of 1 prompts have more than max_prompt_tokens=2",
        ),
    ],
)
def test_bad_rows(prompts: Any, responses: Any, options: Any, kind: type[Exception], sentence: str) -> None:
    with pytest.raises(kind, match=f"encode_responses: .*{sentence}"):
        encode_responses(TOKENIZER, prompts, responses, **options)


def test_a_tokenizer_without_eos() -> None:
    class Endless(WithBOS):
        eos_token_id = None  # type: ignore[assignment]

    with pytest.raises(
        ValueError, match="encode_responses: the tokenizer has no EOS token to end a response with"
    ):
        encode_responses(Endless(), ["a"], ["b"])
    assert encode_responses(Endless(), ["a"], ["b"], end=False).actions.tolist() == [[1]]
    with pytest.raises(ValueError, match="keep_short: max_prompt_tokens must be at least 1, got 0"):
        keep_short(TOKENIZER, [], max_prompt_tokens=0)


def test_measuring_a_long_text_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """transformers warns of texts that its model cannot read; these are being counted, to be left out."""
    shown = [Demonstration("The film " * 200, " is" * 200), Demonstration("The film", " is fine.")]
    kept, _ = keep_short(load_policy("reviews").tokenizer, shown, max_prompt_tokens=9, max_response_tokens=9)
    encode_responses(load_policy("reviews").tokenizer, [shown[0].prompt], [shown[0].response])
    assert kept == shown[1:] and "".join(capfd.readouterr()) == ""
