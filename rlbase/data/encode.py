"""From text to tensors: prompts padded on the left, responses on the right, and a mask that says what was written.

A prompt and its response are encoded apart and never merge into one token, exactly as `rlbase.envs.TextEnv` has the
policy continue a prompt. What is padding the masks alone say: a tokenizer whose pad token is its EOS hides nothing,
and the EOS that ends a response is a choice like any other. No token of a prompt is ever in the mask.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from rlbase.data.records import Comparison, Demonstration, Rating, Report
from rlbase.types import Choices, PreferencePairs, Prompt, Tokenizer
from rlbase.validate import whole

Record = TypeVar("Record", Demonstration, Comparison, Rating)

# Llama 2 (Touvron et al. 2023), table 27: how far ahead a reward should be, by what the annotators said.
SMALL_MARGINS: dict[str | float | None, float] = {
    "significantly better": 1.0,
    "better": 2 / 3,
    "slightly better": 1 / 3,
    "negligibly better": 0.0,
    "unsure": 0.0,
}
LARGE_MARGINS = {strength: 3 * margin for strength, margin in SMALL_MARGINS.items()}


def encode_responses(
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    responses: Sequence[str],
    *,
    max_prompt_tokens: int | None = None,
    max_response_tokens: int | None = None,
    end: bool = True,
) -> Choices:
    """Responses as choices ``[B, T]``, each given its prompt; ``end`` appends the EOS that says "I am done".

    The tokenizer may put special tokens around a prompt (a BOS), as it does in `rlbase.envs.TextEnv`; around a
    response it may not. Nothing is cut: a text of more tokens than allowed (EOS included) is an error here, and
    `keep_short` is how to leave such records out and count them.

    Raises:
        ValueError: no rows, prompts and responses differ in number, a prompt of no token, a response of no token
            while ``end`` is False, a text that is too long, or a tokenizer without EOS while ``end`` is True.
        TypeError: one string where a list is expected, or a row that is not a string.

    >>> class Letters:
    ...     eos_token_id, vocab_size = 0, 27
    ...     def encode(self, text): return [ord(c) - 96 for c in text]
    ...     def decode(self, ids): return "".join(chr(i + 96) for i in ids)
    >>> rows = encode_responses(Letters(), ["ab", "c"], ["d", "ef"])
    >>> rows.obs.ids.tolist(), rows.actions.tolist(), rows.mask.tolist()
    ([[1, 2], [0, 3]], [[4, 0, 0], [5, 6, 0]], [[True, True, False], [True, True, True]])
    """
    where = "encode_responses"
    for name, texts in (("prompts", prompts), ("responses", responses)):
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise TypeError(f"{where}: {name} must be a list of strings.")
    if len(prompts) != len(responses) or not prompts:
        raise ValueError(
            f"{where}: needs one response to each prompt, and at least one; got {len(prompts)} prompts "
            f"and {len(responses)} responses."
        )
    whole_text, plain = _encoders(tokenizer)
    once = {text: whole_text(text) for text in dict.fromkeys(prompts)}  # the two sides of a pair share theirs
    given = [once[text] for text in prompts]
    written = [plain(text) for text in responses]
    if end:
        eos = getattr(tokenizer, "eos_token_id", None)
        if eos is None:
            raise ValueError(
                f"{where}: the tokenizer has no EOS token to end a response with; say end=False."
            )
        written = [[*row, eos] for row in written]
    _check(where, "prompt", given, prompts, max_prompt_tokens)
    _check(where, "response", written, responses, max_response_tokens)
    ids, real = _padded(given, left=True)
    actions, mask = _padded(written, left=False)
    return Choices(Prompt(ids, real), actions, mask)


def encode_demonstrations(
    tokenizer: Tokenizer,
    demonstrations: Sequence[Demonstration] | Sequence[Rating],
    *,
    max_prompt_tokens: int | None = None,
    max_response_tokens: int | None = None,
    end: bool = True,
) -> Choices:
    """What supervised fine-tuning imitates: the responses of ``demonstrations``; see `encode_responses`.

    Ratings have a prompt and a response, too, and may be given instead.

    >>> from rlbase.policies import load_policy
    >>> rows = encode_demonstrations(load_policy("reviews").tokenizer, [Demonstration("The film is", " great.")])
    >>> rows.actions.shape  # " great", "." and the EOS
    torch.Size([1, 3])
    """
    return encode_responses(
        tokenizer,
        [record.prompt for record in demonstrations],
        [record.response for record in demonstrations],
        max_prompt_tokens=max_prompt_tokens,
        max_response_tokens=max_response_tokens,
        end=end,
    )


def encode_comparisons(
    tokenizer: Tokenizer,
    comparisons: Sequence[Comparison],
    *,
    max_prompt_tokens: int | None = None,
    max_response_tokens: int | None = None,
    end: bool = True,
    margins: Mapping[str | float | None, float] | None = None,
) -> PreferencePairs:
    """Both responses of each comparison, as a reward model (or DPO) reads them; see `encode_responses`.

    ``margins`` says what margin belongs to which ``strength``: `SMALL_MARGINS`, `LARGE_MARGINS`, or a table of your
    own; without it there are none. ``prob`` is None when every comparison is certain.

    Raises:
        ValueError: as `encode_responses`, or a strength that ``margins`` does not know.

    >>> from rlbase.data.records import Comparison
    >>> class Letters:
    ...     eos_token_id, vocab_size = 0, 27
    ...     def encode(self, text): return [ord(c) - 96 for c in text]
    ...     def decode(self, ids): return "".join(chr(i + 96) for i in ids)
    >>> seen = [Comparison("a", "b", "cd", strength="better"), Comparison("a", "c", "b", strength="unsure")]
    >>> pairs = encode_comparisons(Letters(), seen, margins=LARGE_MARGINS)
    >>> pairs.rejected.actions.tolist(), pairs.margin.tolist()
    ([[3, 4, 0], [2, 0, 0]], [2.0, 0.0])
    """
    both = encode_responses(
        tokenizer,
        [record.prompt for record in comparisons] * 2,
        [record.chosen for record in comparisons] + [record.rejected for record in comparisons],
        max_prompt_tokens=max_prompt_tokens,
        max_response_tokens=max_response_tokens,
        end=end,
    )
    probs = [record.prob for record in comparisons]
    prob = None if all(p == 1 for p in probs) else torch.tensor(probs, dtype=torch.get_default_dtype())
    margin = None
    if margins is not None:
        unknown = {record.strength for record in comparisons} - set(margins)
        if unknown:
            told = ", ".join(sorted(map(repr, unknown)))
            raise ValueError(f"encode_comparisons: margins has no entry for strength {told}.")
        found = [margins[record.strength] for record in comparisons]
        margin = torch.tensor(found, dtype=torch.get_default_dtype())
    n = len(comparisons)
    return PreferencePairs(both[:n], both[n:], prob, margin)


def keep_short(
    tokenizer: Tokenizer,
    records: Sequence[Record],
    *,
    max_prompt_tokens: int | None = None,
    max_response_tokens: int | None = None,
    end: bool = True,
) -> tuple[list[Record], Report]:
    """The records whose prompt and responses are short enough, and a report of the others.

    Cutting instead of dropping would teach a model to stop in the middle, or to answer half a question. A response
    counts its EOS when ``end`` is True, as in `encode_responses`.

    Raises:
        ValueError: a limit below 1.

    >>> class Letters:
    ...     eos_token_id, vocab_size = 0, 27
    ...     def encode(self, text): return [ord(c) - 96 for c in text]
    ...     def decode(self, ids): return "".join(chr(i + 96) for i in ids)
    >>> kept, report = keep_short(Letters(), [Demonstration("a", "bc"), Demonstration("a", "b")], max_response_tokens=2)
    >>> print(len(kept), report)
    1 short enough: kept 1 of 2
      1 response too long (record 0)
    """
    for name, limit in (
        ("max_prompt_tokens", max_prompt_tokens),
        ("max_response_tokens", max_response_tokens),
    ):
        if limit is not None:
            whole("keep_short", name, limit, 1)
    kept: list[Record] = []
    report, (whole_text, plain) = Report("short enough"), _encoders(tokenizer)
    for i, record in enumerate(records):
        if max_prompt_tokens is not None and len(whole_text(record.prompt)) > max_prompt_tokens:
            report.drop("prompt too long", f"record {i}")
        elif max_response_tokens is not None and any(
            len(plain(text)) + end > max_response_tokens for text in _responses(record)
        ):
            report.drop("response too long", f"record {i}")
        else:
            kept.append(record)
    report.kept = len(kept)
    return kept, report


def _responses(record: Demonstration | Comparison | Rating) -> tuple[str, ...]:
    return (record.chosen, record.rejected) if isinstance(record, Comparison) else (record.response,)


def _encoders(tokenizer: Any) -> tuple[Callable[[str], list[int]], Callable[[str], list[int]]]:
    """The tokenizer's ``encode``, with and without the special tokens that it may put around a text.

    Neither warns of a text that is too long for the model: how long it is, is what one is about to find out.
    """
    known = inspect.signature(tokenizer.encode).parameters
    quiet = {"verbose": False} if "add_special_tokens" in known and "kwargs" in known else {}  # transformers
    plain = {**quiet, "add_special_tokens": False} if "add_special_tokens" in known else quiet
    return partial(tokenizer.encode, **quiet), partial(tokenizer.encode, **plain)


def _check(where: str, what: str, rows: list[list[int]], texts: Sequence[str], limit: int | None) -> None:
    """Every row has a token, and none has more than ``limit``."""
    empty = next((i for i, row in enumerate(rows) if not row), None)
    if empty is not None:
        raise ValueError(f"{where}: every {what} needs at least one token, got none in row {empty}.")
    if limit is None:
        return
    whole(where, f"max_{what}_tokens", limit, 1)
    long = [i for i, row in enumerate(rows) if len(row) > limit]
    if long:
        i = long[0]
        raise ValueError(
            f"{where}: {len(long)} of {len(rows)} {what}s have more than max_{what}_tokens={limit} tokens, the first "
            f"in row {i} with {len(rows[i])}: {texts[i]!r:.40}; keep_short leaves such records out."
        )


def _padded(rows: list[list[int]], *, left: bool) -> tuple[Tensor, Tensor]:
    """Token lists as one table ``[B, longest]`` and which of it is real. What fills it up is never looked at."""
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    real = torch.zeros_like(ids, dtype=torch.bool)
    for i, row in enumerate(rows):
        columns = slice(ids.shape[1] - len(row), None) if left else slice(len(row))
        ids[i, columns] = torch.tensor(row)
        real[i, columns] = True
    return ids, real
