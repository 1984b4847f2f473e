"""What rows mean: prompts split off at turns, conversations, columns, and what is no record."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from rlbase.data import Comparison, Demonstration, Rating, formats, render, split_transcripts
from rlbase.data.formats import ASSISTANT, HUMAN, Unfit, messages_of

SAID = st.text(st.sampled_from("ab \n:."), max_size=8).filter(lambda text: not {HUMAN, ASSISTANT} & {text})
TURNS = st.lists(st.tuples(SAID, SAID), min_size=1, max_size=3)


def transcript(turns: list[tuple[str, str]]) -> str:
    """Alternating turns; the last answer is left open."""
    text = "".join(f"{HUMAN} {asked}{ASSISTANT} {answer}" for asked, answer in turns)
    return text[: text.rindex(ASSISTANT) + len(ASSISTANT)]


@given(TURNS, SAID, SAID, SAID)
@example([("Hi!", "")], " I think ", "so.", "not.")
def test_prompt_and_response_are_the_transcript(
    turns: list[tuple[str, str]], same: str, good: str, bad: str
) -> None:
    """However many words the responses begin with in common: the cut is at the last shared turn."""
    start = transcript(turns)
    chosen, rejected = start + same + good, start + same + bad
    assert split_transcripts(chosen, rejected) == (start, same + good, same + bad)


@given(st.text(st.sampled_from("ab\n :HumanAssistant"), max_size=60), st.text(max_size=20))
def test_any_two_texts_are_split_to_the_letter_or_refused(start: str, end: str) -> None:
    chosen, rejected = start + ASSISTANT + end, start + ASSISTANT + end[::-1]
    try:
        prompt, good, bad = split_transcripts(chosen, rejected)
    except Unfit:
        assume(False)
    assert (prompt + good, prompt + bad) == (chosen, rejected) and prompt.endswith(ASSISTANT)


def test_transcripts_that_answer_different_things() -> None:
    first = f"{HUMAN} Hi!{ASSISTANT} Hello.{HUMAN} Why?{ASSISTANT}"
    with pytest.raises(Unfit, match="prompt mismatch"):
        split_transcripts(first + " So.", f"{HUMAN} Ho!{ASSISTANT} Hello.")
    with pytest.raises(Unfit, match="prompt mismatch"):  # they agree on words, but on no answer's begin
        split_transcripts(f"{HUMAN} Hi! A.{ASSISTANT} b", f"{HUMAN} Hi! B.{ASSISTANT} b")
    with pytest.raises(Unfit, match="more than one turn after the shared prompt"):
        split_transcripts(first + " So.", f"{HUMAN} Hi!{ASSISTANT} Go away.")
    # "Assistant:" inside a sentence is no turn
    prompt, good, _ = split_transcripts(
        f"{HUMAN} Hi!{ASSISTANT} I, Assistant: a", f"{HUMAN} Hi!{ASSISTANT} I, Assistant: b"
    )
    assert prompt == f"{HUMAN} Hi!{ASSISTANT}" and good == " I, Assistant: a"


class Template:
    """As Llama's: the template writes the first token, and the tokenizer would write it again."""

    chat_template, bos_token, bos_token_id, eos_token_id, vocab_size = "...", "<s>", 0, 1, 2

    def apply_chat_template(self, messages: Any, tokenize: bool, add_generation_prompt: bool) -> str:
        if messages[0]["role"] == "system":
            raise RuntimeError("no system here")
        return (
            "<s>" + "".join(f"[{m['role']}]{m['content']}" for m in messages) + "[?]" * add_generation_prompt
        )

    def encode(self, text: str) -> list[int]:
        return [0, *map(ord, text)]


def test_rendering() -> None:
    hi = [{"role": "user", "content": "Hi!"}]
    longer = [{"role": "system", "content": "Be brief."}, *hi, {"role": "assistant", "content": "Yo."}, *hi]
    assert render(hi) == f"{HUMAN} Hi!{ASSISTANT}"
    assert render(longer) == f"Be brief.{HUMAN} Hi!{ASSISTANT} Yo.{HUMAN} Hi!{ASSISTANT}"
    assert messages_of(render(longer)) == longer
    assert render(hi, Template()) == "[user]Hi![?]"  # one <s> when it is encoded, not two
    bare = Template()
    bare.encode = lambda text: list(map(ord, text))  # type: ignore[method-assign]
    assert render(hi, bare) == "<s>[user]Hi![?]"
    with pytest.raises(Unfit, match="refused by the chat template"):
        render(longer, Template())
    for strange in ([], "Hi!", None, [{"role": "user"}], [{"role": "user", "content": None}], ["Hi!"]):
        with pytest.raises(Unfit, match="messages? "):
            render(strange)  # type: ignore[arg-type]


USER, GOOD, BAD = (
    {"role": r, "content": c} for r, c in (("user", "Hi!"), ("assistant", "Yo."), ("assistant", "No."))
)
ASKED = f"{HUMAN} Hi!{ASSISTANT}"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": "Hi!", "chosen": " Yo.", "rejected": " No."}, ("Hi!", " Yo.", " No.")),
        ({"Prompt": "Hi!", "Chosen": " Yo.", "Rejected": " No.", "other": None}, ("Hi!", " Yo.", " No.")),
        ({"chosen": ASKED + " Yo.", "rejected": ASKED + " No."}, (ASKED, " Yo.", " No.")),
        ({"prompt": "Hi!", "chosen": [USER, GOOD], "rejected": [USER, BAD]}, (ASKED, " Yo.", " No.")),
        ({"chosen": [USER, GOOD], "rejected": [USER, BAD]}, (ASKED, " Yo.", " No.")),
        ({"prompt": "Hi!", "chosen": [GOOD], "rejected": [BAD]}, (ASKED, " Yo.", " No.")),
        ({"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}, (ASKED, " Yo.", " No.")),
        ({"question": "Hi!", "chosen": " Yo.", "rejected": " No."}, ("Hi!", " Yo.", " No.")),
    ],
)
def test_comparisons(row: Any, expected: tuple[str, str, str]) -> None:
    assert formats.comparison(row) == Comparison(*expected)
    assert formats.prompt(row) == expected[0]
    assert formats.demonstration(row) == Demonstration(*expected[:2])  # what was preferred can be imitated


def test_a_template_sets_answers_apart_by_itself() -> None:
    row = {"chosen": [USER, GOOD], "rejected": [USER, BAD]}
    same = {"chosen": ASKED + " Yo.", "rejected": ASKED + " No."}
    for one in (row, same):
        assert formats.comparison(one, Template()) == Comparison("[user]Hi![?]", "Yo.", "No.")
        assert formats.demonstration(one, Template()) == Demonstration("[user]Hi![?]", "Yo.")


def test_how_much_better() -> None:
    row = {"prompt": "a", "chosen": "b", "rejected": "c"}
    assert formats.comparison(row | {"score_chosen": "8.5", "score_rejected": 6}).strength == 2.5
    assert formats.comparison(row | {"score_chosen": "?", "score_rejected": 6}).strength is None
    assert formats.comparison(row | {"score_chosen": 8}).strength is None
    told = formats.comparison(row | {"strength": "unsure", "prob": 0.6})
    assert told.strength == "unsure" and told.prob == 0.6
    with pytest.raises(Unfit, match="prob is no probability"):
        formats.comparison(row | {"prob": 2})


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (None, "unreadable"),
        ("a text", "unreadable"),
        ([1, 2], "unreadable"),
        ({}, "no comparison in it"),
        ({"prompt": "a", "chosen": "b", "rejected": None}, "no comparison in it"),
        ({"chosen": "b", "rejected": "c"}, "no prompt in it"),
        ({"prompt": "a", "chosen": "b", "rejected": " b "}, "identical pair"),
        ({"prompt": "a", "chosen": "b", "rejected": " "}, "empty"),
        ({"prompt": " ", "chosen": "b", "rejected": "c"}, "empty"),
        ({"chosen": ASKED + " ", "rejected": ASKED + " No."}, "empty"),
        ({"chosen": ASKED + " Yo.", "rejected": ASKED + " Yo."}, "identical pair"),
        ({"chosen": [USER, GOOD], "rejected": [GOOD, BAD]}, "prompt mismatch"),
        ({"chosen": [USER, GOOD], "rejected": [USER]}, "no answer of an assistant in it"),
        ({"chosen": [GOOD], "rejected": [BAD]}, "no answer of an assistant in it"),
        ({"chosen": [USER, GOOD], "rejected": " No."}, "no messages in it"),
        (
            {"chosen": [USER, {"role": "assistant"}], "rejected": [USER, BAD]},
            "a message without role and content",
        ),
        ({"prompt": 3, "chosen": "b", "rejected": "c"}, "no prompt in it"),
        ({"prompt": "a", "chosen": 1, "rejected": 2}, "no messages in it"),
    ],
)
def test_what_is_no_comparison(row: Any, reason: str) -> None:
    with pytest.raises(Unfit, match=f"^{reason}$"):
        formats.comparison(row)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": "Hi!", "completion": " Yo."}, Demonstration("Hi!", " Yo.")),
        ({"instruction": "Add.", "input": "1 2", "output": "3"}, Demonstration("Add.\n\n1 2", "3")),
        ({"instruction": "Add.", "input": "", "output": "3"}, Demonstration("Add.", "3")),
        ({"messages": [USER, GOOD]}, Demonstration(ASKED, " Yo.")),
        (
            {"conversations": [{"from": "human", "value": "Hi!"}, {"from": "gpt", "value": "Yo."}]},
            Demonstration(ASKED, " Yo."),
        ),
        ({"text": ASKED + " Yo."}, Demonstration(ASKED, " Yo.")),
        ({"text": "one two  three four five"}, Demonstration("one two  three", " four five")),
        ({"prompt": [USER], "response": [GOOD]}, Demonstration(ASKED, " Yo.")),
    ],
)
def test_demonstrations(row: Any, expected: Demonstration) -> None:
    assert formats.demonstration(row) == expected
    assert formats.prompt(row) == expected.prompt
    assert formats.rating(row | {"score": "4.5"}) == Rating(expected.prompt, expected.response, 4.5)
    for bad in ({}, {"score": None}, {"score": "good"}, {"score": "nan"}, {"score": [1]}):
        with pytest.raises(Unfit, match="no score in it"):
            formats.rating(row | bad)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "a"}, "no response in it"),
        ({"text": "one two three"}, "no more than 3 words"),
        ({"text": ""}, "no more than 3 words"),
        ({"prompt": "a", "response": " "}, "empty"),
        ({"response": "b"}, "no prompt in it"),
        ({"text": f"{ASKED} Yo.{HUMAN} Why?"}, "more than one turn after the shared prompt"),
    ],
)
def test_what_is_no_demonstration(row: Any, reason: str) -> None:
    with pytest.raises(Unfit, match=f"^{reason}$"):
        formats.demonstration(row)


def test_prompts_alone() -> None:
    assert formats.prompt({"prompt": "Hi!"}) == formats.prompt("Hi!") == "Hi!"
    assert (
        formats.prompt({"prompt": [USER]}) == ASKED
        and formats.prompt({"prompt": [USER]}, Template()) == "[user]Hi![?]"
    )
    for empty in ({"prompt": " "}, ""):
        with pytest.raises(Unfit, match="^empty$"):
            formats.prompt(empty)
    with pytest.raises(Unfit, match="^no response in it$"):
        formats.prompt({"id": 3})
