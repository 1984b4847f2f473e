r"""What a row means: the common ways of writing down comparisons, demonstrations and ratings; chat templates.

Recognised are

- transcripts: ``\n\nHuman: ... \n\nAssistant: ...``, a pair of them sharing the prompt (HH-RLHF, Bai et al. 2022);
- conversations: lists of ``{role, content}``, a pair of them sharing all but the last message (UltraFeedback, TRL);
- columns: prompt, response, chosen, rejected, score and their usual other names;
- sentiment files: text and label; the first `OPENING` words are the prompt, as Ziegler et al. (2019) continue reviews.

A row that does not fit raises `Unfit` with a reason short enough to be counted.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rlbase.data.records import Comparison, Demonstration, Rating

HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
OPENING = 3
_PROMPT = ("prompt", "instruction", "question", "query")
_RESPONSE = ("response", "completion", "output", "answer")
_SCORE = ("score", "rating", "stars", "reward", "label")
Messages = Sequence[Mapping[str, str]]


class Unfit(ValueError):
    """A row that becomes no record; its message is the reason, the same for all rows of that kind."""


def split_transcripts(chosen: str, rejected: str) -> tuple[str, str, str]:
    r"""The shared prompt of two transcripts and the two responses, cut after the last ``\n\nAssistant:`` they share.

    The cut is at a turn and never inside one, however many words two responses begin with in common; prompt and
    response together are the transcript, to the letter.

    Raises:
        Unfit: they share no prompt, or one goes on for more than one turn, so that the two answer different things.

    >>> split_transcripts("\n\nHuman: Hi!\n\nAssistant: I am well.", "\n\nHuman: Hi!\n\nAssistant: I am sad.")
    ('\n\nHuman: Hi!\n\nAssistant:', ' I am well.', ' I am sad.')
    """
    shared = os.path.commonprefix([chosen, rejected]).rfind(ASSISTANT)
    if shared < 0:
        raise Unfit("prompt mismatch")
    cut = shared + len(ASSISTANT)
    prompt, good, bad = chosen[:cut], chosen[cut:], rejected[cut:]
    if any(turn in text for text in (good, bad) for turn in (HUMAN, ASSISTANT)):
        raise Unfit("more than one turn after the shared prompt")
    return prompt, good, bad


def messages_of(transcript: str) -> list[dict[str, str]]:
    r"""A transcript as messages; what stands before the first turn is the system's.

    >>> messages_of("\n\nHuman: Hi!\n\nAssistant:")
    [{'role': 'user', 'content': 'Hi!'}]
    """
    start, *turns = re.split(f"({HUMAN}|{ASSISTANT})", transcript)
    roles = [
        ("user" if mark == HUMAN else "assistant", text)
        for mark, text in zip(turns[::2], turns[1::2], strict=True)
    ]
    spoken = [("system", start), *roles]
    return [{"role": role, "content": text.strip()} for role, text in spoken if text.strip()]


def render(messages: Messages, tokenizer: Any = None) -> str:
    r"""Messages as the prompt of the next answer, by the tokenizer's chat template.

    Without a template they become a transcript in the manner of HH-RLHF, with what a system says first. The token
    that a tokenizer puts before every text is not written twice.

    Raises:
        Unfit: the template refuses them, or a message is not ``{role, content}``.

    >>> render([{"role": "user", "content": "Hi!"}])
    '\n\nHuman: Hi!\n\nAssistant:'
    """
    messages = _checked(messages)
    if getattr(tokenizer, "chat_template", None):
        try:
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except Exception:
            raise Unfit("refused by the chat template") from None
        first = getattr(tokenizer, "bos_token", None)
        if first and text.startswith(first) and tokenizer.encode("a")[:1] == [tokenizer.bos_token_id]:
            return text[len(first) :]
        return text
    marks = {"user": HUMAN + " ", "assistant": ASSISTANT + " "}
    return "".join(marks.get(m["role"], "") + m["content"] for m in messages) + ASSISTANT


def comparison(row: Any, tokenizer: Any = None) -> Comparison:
    """The comparison in a row; scores of both sides become its strength, which says by how much.

    Raises:
        Unfit: there is none, the two prompts differ, a text is empty, or both responses are the same.

    >>> sides = {"chosen": " Hello.", "rejected": " Go!", "score_chosen": 8, "score_rejected": 3}
    >>> comparison({"prompt": "Hi!"} | sides)
    Comparison(prompt='Hi!', chosen=' Hello.', rejected=' Go!', prob=1.0, strength=5.0)
    """
    found = _columns(row)
    chosen, rejected = found.get("chosen"), found.get("rejected")
    if chosen is None or rejected is None:
        raise Unfit("no comparison in it")
    given = _first(found, _PROMPT)
    if isinstance(chosen, str) and isinstance(rejected, str):
        prompt, good, bad = _told_apart(given, chosen, rejected, tokenizer)
    else:
        (before, good), (behind, bad) = (_conversation(given, side, tokenizer) for side in (chosen, rejected))
        if before != behind:
            raise Unfit("prompt mismatch")
        prompt = render(before, tokenizer)
    if not good.strip() or not bad.strip() or not prompt.strip():
        raise Unfit("empty")
    if good.strip() == bad.strip():
        raise Unfit("identical pair")
    try:
        return Comparison(prompt, good, bad, float(found.get("prob", 1.0)), _strength(found))
    except (TypeError, ValueError):
        raise Unfit("prob is no probability") from None


def demonstration(row: Any, tokenizer: Any = None) -> Demonstration:
    """The prompt and the response in a row: columns, a conversation, a transcript, a comparison's chosen side.

    Raises:
        Unfit: there is none, or a text is empty.

    >>> demonstration({"text": "a fine film , well made .", "label": 1})
    Demonstration(prompt='a fine film', response=' , well made .')
    """
    found = _columns(row)
    given, response = _first(found, _PROMPT), _first(found, _RESPONSE)
    whole = next(
        (found[name] for name in ("messages", "conversations", "chosen", "text") if name in found), None
    )
    if response is None:
        response = whole
    if response is None:
        raise Unfit("no response in it")
    if not isinstance(response, str):
        before, answer = _conversation(given, response, tokenizer)
        prompt = render(before, tokenizer)
    elif given is None and "text" in found and ASSISTANT not in response:
        cut = re.match(rf"\s*(?:\S+\s+){{{OPENING - 1}}}\S+", response)
        if not cut or not response[cut.end() :].strip():
            raise Unfit(f"no more than {OPENING} words")
        prompt, answer = cut[0].lstrip(), response[cut.end() :]
    else:
        prompt, answer, _ = _told_apart(_asked(found, given), response, response, tokenizer)
    if not prompt.strip() or not answer.strip():
        raise Unfit("empty")
    return Demonstration(prompt, answer)


def rating(row: Any, tokenizer: Any = None) -> Rating:
    """The rated response in a row.

    Raises:
        Unfit: as `demonstration`, or there is no finite number to it.

    >>> rating({"question": "Hi!", "answer": " Hello.", "stars": 4}).score
    4.0
    """
    shown = demonstration(row, tokenizer)
    try:
        return Rating(shown.prompt, shown.response, float(_first(_columns(row), _SCORE)))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise Unfit("no score in it") from None


def prompt(row: Any, tokenizer: Any = None) -> str:
    """The prompt in a row, whatever else it holds.

    Raises:
        Unfit: there is none.

    >>> prompt({"prompt": "Hi!", "response": " Hello."}), prompt("Hi!")
    ('Hi!', 'Hi!')
    """
    found = {"prompt": row} if isinstance(row, str) else _columns(row)
    if {"chosen", "rejected"} <= set(found):
        return comparison(found, tokenizer).prompt
    given = _first(found, _PROMPT)
    if given is None:
        return demonstration(found, tokenizer).prompt
    text = _asked(found, given) if isinstance(given, str) else render(given, tokenizer)
    if not text or not text.strip():
        raise Unfit("empty")
    return text


def _columns(row: Any) -> dict[str, Any]:
    if not isinstance(row, Mapping):
        raise Unfit("unreadable")
    return {str(name).lower(): value for name, value in row.items() if value is not None}


def _first(found: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((found[name] for name in names if name in found), None)


def _asked(found: Mapping[str, Any], given: Any) -> Any:
    """An instruction with the input that some data sets (Alpaca's) keep in a column of its own."""
    extra = found.get("input")
    return (
        f"{given}\n\n{extra}"
        if isinstance(given, str) and isinstance(extra, str) and extra.strip()
        else given
    )


def _told_apart(given: Any, one: str, two: str, tokenizer: Any) -> tuple[str, str, str]:
    """Prompt and responses out of texts: by the prompt's column, or out of the transcripts themselves."""
    if isinstance(given, str):
        return given, one, two
    if ASSISTANT not in one or ASSISTANT not in two:
        raise Unfit("no prompt in it")
    prompt, good, bad = split_transcripts(one, two)
    if getattr(tokenizer, "chat_template", None):
        return render(messages_of(prompt), tokenizer), good.strip(), bad.strip()
    return prompt, good, bad


def _conversation(given: Any, side: Any, tokenizer: Any) -> tuple[list[dict[str, str]], str]:
    """The messages before the last one, and what the last one says: with a blank where no template sets it apart."""
    messages = [dict(m) for m in _checked(side)]
    if len(messages) < 2 and given is not None:
        before = [{"role": "user", "content": given}] if isinstance(given, str) else _checked(given)
        messages = [dict(m) for m in before] + messages
    if len(messages) < 2 or messages[-1]["role"] != "assistant":
        raise Unfit("no answer of an assistant in it")
    answer = messages[-1]["content"]
    blank = "" if getattr(tokenizer, "chat_template", None) or answer[:1].isspace() else " "
    return messages[:-1], blank + answer


_SPEAKERS = {"human": "user", "gpt": "assistant"}


def _checked(messages: Any) -> list[dict[str, str]]:
    """Messages with role and content, also when they are called ``from`` and ``value``."""
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise Unfit("no messages in it")
    found = []
    for message in messages:
        told = message if isinstance(message, Mapping) else {}
        role, content = told.get("role", told.get("from")), told.get("content", told.get("value"))
        if not isinstance(role, str) or not isinstance(content, str):
            raise Unfit("a message without role and content")
        found.append({"role": _SPEAKERS.get(role, role), "content": content})
    return found


def _strength(found: Mapping[str, Any]) -> str | float | None:
    if "strength" in found:
        return found["strength"] if isinstance(found["strength"], str | int | float) else None
    try:
        return float(found["score_chosen"]) - float(found["score_rejected"])
    except (KeyError, TypeError, ValueError):
        return None
