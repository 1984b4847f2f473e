"""Your own data: comparisons, demonstrations, ratings, prompts; from a file, a folder or the hub; what was dropped.

`rlbase.data.files` reads the rows and `rlbase.data.formats` says what each means; both list what they recognise. With a
``tokenizer`` that has a chat template, conversations and transcripts become prompts by that template; texts that
stand in columns of their own are taken as they are.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from rlbase.data import formats
from rlbase.data.files import rows
from rlbase.data.records import Comparison, Demonstration, Rating, Report
from rlbase.validate import instance, whole

Source = str | os.PathLike[str]
Record = TypeVar("Record", Comparison, Demonstration, Rating, str)


def load_comparisons(
    source: Source,
    *,
    split: str = "train",
    folder: str | None = None,
    tokenizer: Any = None,
    limit: int | None = None,
    max_characters: int | None = None,
) -> tuple[list[Comparison], Report]:
    """Pairs of responses of which one was preferred, and a report of the rows that were dropped and why.

    Args:
        source: a file (.jsonl, .json, .csv, .parquet, .txt, .zip, perhaps .gz), a folder of them, or a data set on the
            Hugging Face hub such as ``"Anthropic/hh-rlhf"``.
        split: which files of a folder, a zip or a data set: those named so.
        folder: the part of a folder or data set to look into, such as ``"harmless-base"``.
        tokenizer: whose chat template renders conversations; None writes them as HH-RLHF does.
        limit: stop after so many records.
        max_characters: drop a row in which the prompt or a response is longer.

    Raises:
        FileNotFoundError: there is no such file, or no data in the folder.
        ValueError: a file of an unknown kind, one that is broken, no such split, or not a single record in it.
        ImportError: Parquet or the hub, and the extra that reads it (``rlbase[data]``) is not installed.
        ConnectionError: a name on the hub, and no network.

    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "pairs.csv"
    >>> _ = file.write_text("prompt,chosen,rejected\\nHi!, Hello., Go.\\nHi!, Same., Same.\\n")
    >>> pairs, report = load_comparisons(file)
    >>> print(pairs[0].chosen, report, sep=chr(10))
     Hello.
    pairs.csv: kept 1 of 2
      1 identical pair (line 3)
    """
    where = "load_comparisons"
    return _load(where, formats.comparison, source, split, folder, tokenizer, limit, max_characters)


def load_demonstrations(
    source: Source,
    *,
    split: str = "train",
    folder: str | None = None,
    tokenizer: Any = None,
    limit: int | None = None,
    max_characters: int | None = None,
) -> tuple[list[Demonstration], Report]:
    """Prompts with a response to imitate; of comparisons, the chosen one. Arguments as `load_comparisons`.

    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "shown.jsonl"
    >>> _ = file.write_text('{"instruction": "Hi!", "output": " Hello."}')
    >>> load_demonstrations(file)[0]
    [Demonstration(prompt='Hi!', response=' Hello.')]
    """
    where = "load_demonstrations"
    return _load(where, formats.demonstration, source, split, folder, tokenizer, limit, max_characters)


def load_ratings(
    source: Source,
    *,
    split: str = "train",
    folder: str | None = None,
    tokenizer: Any = None,
    limit: int | None = None,
    max_characters: int | None = None,
) -> tuple[list[Rating], Report]:
    """Responses with a number; of a sentiment file, 1 for praise and 0 for blame. Arguments as `load_comparisons`.

    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "film.pos"
    >>> _ = file.write_text("a gripping , quiet drama .")
    >>> load_ratings(file)[0]
    [Rating(prompt='a gripping ,', response=' quiet drama .', score=1.0)]
    """
    where = "load_ratings"
    return _load(where, formats.rating, source, split, folder, tokenizer, limit, max_characters)


def load_prompts(
    source: Source,
    *,
    split: str = "train",
    folder: str | None = None,
    tokenizer: Any = None,
    limit: int | None = None,
    max_characters: int | None = None,
) -> tuple[list[str], Report]:
    """Every different prompt, of any of these kinds of data. Arguments as `load_comparisons`.

    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "asked.json"
    >>> _ = file.write_text('["Hi!", "Why?", "Hi!"]')
    >>> prompts, report = load_prompts(file)
    >>> print(prompts, report)
    ['Hi!', 'Why?'] asked.json: kept 2 of 3
      1 seen before (record 2)
    """
    where = "load_prompts"
    return _load(where, formats.prompt, source, split, folder, tokenizer, limit, max_characters)


def _load(
    where: str,
    read: Callable[[Any, Any], Record],
    source: Source,
    split: str,
    folder: str | None,
    tokenizer: Any,
    limit: int | None,
    max_characters: int | None,
) -> tuple[list[Record], Report]:
    instance(where, "split", split, str)
    if not isinstance(source, str | os.PathLike):
        raise TypeError(f"{where}: source must be a path or a name on the hub, got {source!r:.60}.")
    for name, value in (("limit", limit), ("max_characters", max_characters)):
        if value is not None:
            whole(where, name, value, 1)
    path = Path(source).expanduser()
    report = Report(path.name if path.exists() else os.fspath(source))
    kept: list[Record] = []
    columns, seen = "", set[str]()
    for place, row in rows(where, source, split, folder):
        columns = columns or (", ".join(map(str, row)) if isinstance(row, dict) else type(row).__name__)
        try:
            record = read(row, tokenizer)
            _check(record, max_characters, seen)
        except formats.Unfit as reason:
            report.drop(str(reason), place)
            continue
        kept.append(record)
        if len(kept) == limit:
            break
    report.kept = len(kept)
    if not kept:
        told = "; ".join(line.strip() for line in str(report).splitlines())
        raise ValueError(
            f"{where}: nothing could be kept of {told}; the first row's columns: {columns or 'none'}."
        )
    return kept, report


def _check(record: Comparison | Demonstration | Rating | str, limit: int | None, seen: set[str]) -> None:
    """Too long is too long for every text of a record; a prompt on its own should also be new."""
    texts = (
        [record]
        if isinstance(record, str)
        else [text for text in vars(record).values() if isinstance(text, str)]
    )
    if limit is not None and max(map(len, texts)) > limit:
        raise formats.Unfit("too long")
    if isinstance(record, str):
        if record in seen:
            raise formats.Unfit("seen before")
        seen.add(record)
