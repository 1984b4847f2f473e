"""Rows out of files: JSON lines, JSON, CSV, Parquet, plain lines, each perhaps compressed, in a folder or on the hub.

A row is whatever the file holds there, a dictionary as a rule, with the place it came from; a line that cannot be read
is None. What the rows mean is the business of `rlbase.data.formats`.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import IO, Any

KINDS = (".jsonl", ".json", ".csv", ".parquet", ".pos", ".neg", ".txt")
_SPLITS = "train|test|validation|valid|val|dev|eval"
_README = re.compile(r"(?i)(readme|licen[cs]e|dataset_infos?|dataset_dict|state|config)\b")

Row = tuple[str, Any]  # where it came from, and what it is; None if it cannot be read


def rows(where: str, source: str | os.PathLike[str], split: str, folder: str | None) -> Iterator[Row]:
    """Every row of a file, of the files of a folder that belong to ``split``, or of a data set on the hub.

    Raises:
        FileNotFoundError: no such file or folder, or nothing readable in it.
        ValueError: a file of another kind or one that is broken, or a split that is not there.
        ImportError: what reads such files is not installed.
        ConnectionError: a data set that is not on this disk, while the hub cannot be reached.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "two.jsonl"
    >>> _ = file.write_text('{"prompt": "a"}' + chr(10) + "{broken")
    >>> list(rows("rows", file, "train", None))
    [('line 1', {'prompt': 'a'}), ('line 2', None)]
    """
    name = os.fspath(source)
    path = Path(name).expanduser()
    if path.is_file():
        files = [path]
    elif name and path.is_dir():
        files = _in_folder(where, path / (folder or ""), split)
    elif re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name) and not _kind(name):
        files = _on_hub(where, name, split, folder)
    else:
        raise FileNotFoundError(
            f"{where}: there is no file or folder {name!r}, nor can it be a name on the hub."
        )
    yield from _in_turn([(file.name, _opened(where, file, split)) for file in files])


def _opened(where: str, file: Path, split: str) -> Iterator[Row]:
    with file.open("rb") as stream:
        yield from _read(where, file.name, stream, split)


def _in_turn(files: list[tuple[str, Iterator[Row]]]) -> Iterator[Row]:
    """The rows of several files: praise and blame by turns, so that the first hundred hold both, others in order."""
    by_turns = {_kind(name) for name, _ in files} == {".pos", ".neg"}
    for group in [files] if by_turns else [[file] for file in files]:
        for turn in zip_longest(*(found for _, found in group)):
            for (name, _), row in zip(group, turn, strict=True):
                if row is not None:
                    yield (f"{name}, {row[0]}" if len(files) > 1 else row[0]), row[1]


def _kind(name: str) -> str:
    """The suffix that says how to read a file, without ``.gz``; empty for one that is not data."""
    suffix = PurePosixPath(name.lower().removesuffix(".gz")).suffix
    return suffix if suffix in KINDS or suffix == ".zip" else ""


def _of_split(where: str, names: Iterable[str], split: str) -> list[str]:
    """The files of ``split`` by their names (``train.jsonl``, ``train-0-of-2.parquet``, ``train/0.json``), or all."""
    names = sorted(n for n in names if _kind(n) and not _README.match(PurePosixPath(n).name))
    if not names:
        raise FileNotFoundError(f"{where}: no data in there ({', '.join(KINDS)} or .zip, perhaps with .gz).")

    def belongs(name: str, split: str) -> bool:
        return any(re.match(rf"{re.escape(split)}(?:[-.]|$)", part) for part in PurePosixPath(name).parts)

    found = [name for name in names if belongs(name, split)]
    if found or not any(re.match(rf"({_SPLITS})(?:[-_.]|$)", p) for n in names for p in n.split("/")):
        return found or names
    raise ValueError(
        f"{where}: no split {split!r} in there, only {', '.join(names[:6])}{' ...' * (len(names) > 6)}."
    )


def _in_folder(where: str, folder: Path, split: str) -> list[Path]:
    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    if not names:
        raise FileNotFoundError(f"{where}: there is nothing in {str(folder)!r}.")
    return [folder / name for name in _of_split(where, names, split)]


def _on_hub(where: str, name: str, split: str, folder: str | None) -> list[Path]:
    """Files of a data set on the hub, those of the split alone; without a network those in the local hub cache."""
    try:
        from huggingface_hub import HfApi, errors, hf_hub_download, snapshot_download
    except ImportError:
        raise ImportError(
            f"{where}: data sets by name need huggingface-hub: pip install rlbase[data]."
        ) from None
    try:
        every = HfApi().list_repo_files(name, repo_type="dataset")
    except errors.GatedRepoError:
        raise ValueError(f"{where}: {name!r} is gated: accept its terms on the hub, then log in.") from None
    except errors.RepositoryNotFoundError:
        raise ValueError(f"{where}: the hub has no data set {name!r} (or it is private).") from None
    except Exception:
        try:
            root = snapshot_download(name, repo_type="dataset", local_files_only=True)
        except Exception:
            raise ConnectionError(
                f"{where}: there is no folder {name!r} here, and the Hugging Face hub cannot be reached to look for a "
                "data set of that name; a path to a file works without a network."
            ) from None
        return _in_folder(where, Path(root) / (folder or ""), split)
    inside = [file for file in every if file.startswith(f"{folder.strip('/')}/" if folder else "")]
    wanted = _of_split(where, inside, split)
    try:
        return [Path(hf_hub_download(name, file, repo_type="dataset")) for file in wanted]
    except Exception:
        raise ConnectionError(
            f"{where}: the files of {name!r} could not be downloaded from the hub."
        ) from None


def _read(where: str, name: str, stream: IO[bytes], split: str) -> Iterator[Row]:
    """The rows of one file of a known kind; broken ones end in one sentence."""
    kind = _kind(name)
    if not kind:
        raise ValueError(
            f"{where}: {name} is of no known kind ({', '.join(KINDS)} or .zip, perhaps with .gz)."
        )
    try:
        if kind == ".zip":
            yield from _zipped(where, stream, split)
        elif kind == ".parquet":
            yield from _parquet(where, stream)
        else:
            plain = gzip.GzipFile(fileobj=stream) if name.lower().endswith(".gz") else stream
            with io.TextIOWrapper(plain, encoding="utf-8-sig", errors="replace", newline="") as lines:
                yield from _text(kind, lines, split)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, csv.Error, json.JSONDecodeError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise ValueError(f"{where}: {name} cannot be read ({why}).") from None


def _text(kind: str, lines: io.TextIOWrapper, split: str) -> Iterator[Row]:
    if kind == ".json":
        data = json.load(lines)
        data = data.get(split, data) if isinstance(data, dict) else data
        for i, row in enumerate(data if isinstance(data, list) else [data]):
            yield f"record {i}", row
    elif kind == ".csv":
        reader = csv.DictReader(lines)
        for row in reader:
            yield f"line {reader.line_num}", None if None in row or None in row.values() else row
    else:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield f"line {number}", _line(kind, line.strip())


def _line(kind: str, line: str) -> Any:
    """A line of JSON, of text, or of a file that holds praise or blame alone, as Cornell's sentence polarity has it."""
    if kind != ".jsonl":
        return {"text": line} | ({} if kind == ".txt" else {"label": int(kind == ".pos")})
    try:
        return json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        return None


def _parquet(where: str, stream: IO[bytes]) -> Iterator[Row]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ImportError(f"{where}: Parquet files need pyarrow: pip install rlbase[data].") from None
    number = 0
    try:
        for batch in parquet.ParquetFile(stream).iter_batches(batch_size=1000):
            for row in batch.to_pylist():
                yield f"row {number}", row
                number += 1
    except pyarrow.ArrowException as error:
        raise OSError(str(error)) from None


def _zipped(where: str, stream: IO[bytes], split: str) -> Iterator[Row]:
    with zipfile.ZipFile(stream) as archive:
        names = [name for name in archive.namelist() if not name.endswith(("/", ".zip"))]
        with ExitStack() as opened:
            found = [(n, opened.enter_context(archive.open(n))) for n in _of_split(where, names, split)]
            yield from _in_turn(
                [(PurePosixPath(n).name, _read(where, n, inside, split)) for n, inside in found]
            )
