"""Files by hand, whole and broken: what is read, what is dropped and why, and the one sentence when nothing can be."""

from __future__ import annotations

import gzip
import json
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlbase.data import (
    Comparison,
    load_comparisons,
    load_demonstrations,
    load_prompts,
    load_ratings,
)

PAIRS = [{"prompt": f"p{i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(4)]
EXPECTED = [Comparison(f"p{i}", f"good {i}", f"bad {i}") for i in range(4)]


def lines(rows: list[Any]) -> str:
    return "\n".join(map(json.dumps, rows)) + "\n"


def parquet(rows: list[dict[str, Any]], path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def write(folder: Path, kind: str) -> Path:
    path = folder / f"pairs.{kind}"
    if kind == "jsonl":
        path.write_text(lines(PAIRS))
    elif kind == "jsonl.gz":
        path.write_bytes(gzip.compress(lines(PAIRS).encode()))
    elif kind == "json":
        path.write_text(json.dumps(PAIRS))
    elif kind == "csv":
        path.write_text("prompt,chosen,rejected\n" + "".join(",".join(row.values()) + "\n" for row in PAIRS))
    elif kind == "parquet":
        parquet(PAIRS, path)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("inside/pairs.jsonl", lines(PAIRS))
            archive.writestr("inside/README.txt", "not data")
    return path


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "json", "csv", "parquet", "zip"])
def test_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, kind)
    found, report = load_comparisons(path)
    assert found == EXPECTED and report.kept == report.total == 4 and report.source == path.name
    assert load_comparisons(str(path), limit=2)[0] == EXPECTED[:2]


def test_nested_columns_of_parquet_are_messages(tmp_path: Path) -> None:
    """UltraFeedback's shape: a prompt, two conversations, two scores."""
    said = [{"role": "user", "content": "Hi!"}, {"role": "assistant", "content": "Yo."}]
    rude = [said[0], {"role": "assistant", "content": "No."}]
    row = {"prompt": "Hi!", "chosen": said, "rejected": rude, "score_chosen": 8.0, "score_rejected": 6.5}
    parquet([row, {**row, "rejected": said}], tmp_path / "a.parquet")
    found, report = load_comparisons(tmp_path / "a.parquet")
    assert found == [Comparison("\n\nHuman: Hi!\n\nAssistant:", " Yo.", " No.", 1.0, 1.5)]
    assert report.dropped == {"identical pair": 1} and report.places == {"identical pair": ["row 1"]}


def test_the_report_names_reasons_and_lines(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    bad = [
        '{"prompt": "broken',
        "",
        "[1, 2]",
        "null",
        '{"prompt": "a", "chosen": "b", "rejected": "b"}',
        "\ufeff",
    ]
    long = json.dumps({"prompt": "a", "chosen": "b" * 99, "rejected": "c"})
    path.write_text("\n".join([*bad, long, lines(PAIRS)]))
    found, report = load_comparisons(path, max_characters=98)
    assert found == EXPECTED
    assert report.places == {
        "unreadable": ["line 1", "line 3", "line 4"],
        "identical pair": ["line 5"],
        "too long": ["line 7"],
    }
    assert report.dropped == {"unreadable": 4, "identical pair": 1, "too long": 1} and report.total == 10
    assert len(load_comparisons(path, max_characters=99)[0]) == 5


def test_rows_of_csv_that_do_not_fit_the_header(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text('prompt,chosen,rejected\na,b,c\na,b\na,b,c,d\n"a, long",b,"c\nc"\n')
    found, report = load_comparisons(path)
    assert found == [Comparison("a", "b", "c"), Comparison("a, long", "b", "c\nc")]
    assert report.dropped == {"unreadable": 2} and report.places["unreadable"] == ["line 3", "line 4"]


def test_folders_have_splits_and_parts(tmp_path: Path) -> None:
    for i, name in enumerate(
        ("a/train.jsonl", "a/test.jsonl", "b/train-00000-of-00001.jsonl", "b/train_prefs-0.jsonl")
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(lines(PAIRS[i : i + 1]))
    (tmp_path / "dataset_infos.json").write_text("{}")
    assert load_comparisons(tmp_path)[0] == [EXPECTED[0], EXPECTED[2]]
    assert load_comparisons(tmp_path, split="test")[0] == [EXPECTED[1]]
    assert load_comparisons(tmp_path, split="train_prefs")[0] == [EXPECTED[3]]
    assert load_comparisons(tmp_path, folder="b")[0] == [EXPECTED[2]]
    with pytest.raises(
        ValueError, match="no split 'validation' in there, only a/test.jsonl, a/train.jsonl, b/"
    ):
        load_comparisons(tmp_path, split="validation")
    (tmp_path / "c").mkdir()
    (tmp_path / "c/mine.jsonl").write_text(lines(PAIRS))
    assert (
        load_comparisons(tmp_path / "c", split="whatever")[0] == EXPECTED
    )  # no file says that it is a split
    assert load_comparisons(tmp_path / "a", split="test")[1].source == "a"


def test_praise_and_blame_by_turns(tmp_path: Path) -> None:
    """The shape of Cornell's sentence polarity, as a zip and as a folder."""
    texts = {
        "rt.pos": "a fine quiet film .\nshort one\na lovely warm film .\n",
        "rt.neg": "a dull long film .\na weak long film .\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    with zipfile.ZipFile(tmp_path / "polarity.zip", "w") as archive:
        for name, text in texts.items():
            archive.writestr(f"polarity/{name}", text)
    both, report = load_ratings(tmp_path / "polarity.zip")
    assert [r.score for r in both] == [0, 1, 0, 1]
    assert (both[1].prompt, both[1].response) == ("a fine quiet", " film .")
    assert report.places == {"no more than 3 words": ["rt.pos, line 2"]}
    (tmp_path / "polarity.zip").unlink()
    assert load_ratings(tmp_path)[0] == both
    assert [r.score for r in load_ratings(tmp_path, limit=2)[0]] == [0, 1]
    assert load_prompts(tmp_path)[0] == ["a dull long", "a fine quiet", "a weak long", "a lovely warm"]
    assert [(d.prompt, d.response) for d in load_demonstrations(tmp_path)[0]] == [
        (r.prompt, r.response) for r in both
    ]


def test_json_with_its_splits_inside(tmp_path: Path) -> None:
    (tmp_path / "all.json").write_text(json.dumps({"train": PAIRS, "test": PAIRS[:1]}))
    assert load_comparisons(tmp_path / "all.json")[0] == EXPECTED
    assert load_comparisons(tmp_path / "all.json", split="test")[0] == EXPECTED[:1]


def damaged(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.jsonl", b"", r"nothing could be kept of a.jsonl: kept 0 of 0; the first row's columns: none\.$"),
        (
            "a.jsonl",
            b'{"id": 1, "x": 2}',
            r"kept 0 of 1; 1 no comparison in it \(line 1\); the first row's columns: id, x\.$",
        ),
        ("a.jsonl", b"\x00\xff\xfe", "kept 0 of 1; 1 unreadable"),
        ("a.json", b"[1, 2", r"a.json cannot be read \(.+\)\.$"),
        ("a.json", b"", r"a.json cannot be read \(.+\)\.$"),
        ("a.jsonl.gz", b"not gzip", r"a.jsonl.gz cannot be read \(.+\)\.$"),
        (
            "a.jsonl.gz",
            gzip.compress(lines(PAIRS * 99).encode())[:-40],
            r"a.jsonl.gz cannot be read \(.+\)\.$",
        ),
        ("a.zip", b"PK not zip", r"a.zip cannot be read \(.+\)\.$"),
        ("a.parquet", b"PAR1 not parquet", r"a.parquet cannot be read \(.+\)\.$"),
        ("a.csv", b"prompt,chosen,rejected\n", "kept 0 of 0"),
        (
            "a.pkl",
            b"",
            r"a.pkl is of no known kind \(.jsonl, .json, .csv, .parquet, .pos, .neg, .txt or .zip",
        ),
        ("a.zip", b"PK\x05\x06" + b"\x00" * 18, "no data in there"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=f"load_comparisons: .*{sentence}"):
        load_comparisons(damaged(tmp_path, name, content))


def test_sources_that_are_not_there(tmp_path: Path) -> None:
    for source in (tmp_path / "no.jsonl", "data/no.jsonl", "no such thing", ""):
        with pytest.raises(
            FileNotFoundError, match="load_prompts: there is no file or folder '.*', nor can it be a name"
        ):
            load_prompts(source)
    with pytest.raises(FileNotFoundError, match="load_prompts: there is nothing in"):
        load_prompts(tmp_path)
    with pytest.raises(
        ConnectionError, match="load_prompts: there is no folder 'some/data' here, and the Hugging Face"
    ):
        load_prompts("some/data")
    with pytest.raises(TypeError, match="load_prompts: source must be a path or a name on the hub, got None"):
        load_prompts(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="load_prompts: split must be a str, got 3"):
        load_prompts(tmp_path, split=3)  # type: ignore[arg-type]
    for setting in ("limit", "max_characters"):
        with pytest.raises(ValueError, match=f"load_ratings: {setting} must be at least 1, got 0"):
            load_ratings(tmp_path, **{setting: 0})


# the hub, played by a folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import huggingface_hub

    root = tmp_path / "hub"
    for name in ("one/train.jsonl", "one/test.jsonl", "two/train.jsonl"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(lines(PAIRS if "one" in name else PAIRS[:1]))
    asked: list[str] = []

    def download(repo: str, name: str, *, repo_type: str) -> str:
        assert (repo, repo_type) == ("some/pairs", "dataset")
        asked.append(name)
        return str(root / name)

    listing = [p.relative_to(root).as_posix() for p in root.rglob("*.jsonl")] + ["README.md", "weights.bin"]
    api = SimpleNamespace(list_repo_files=lambda name, repo_type: listing)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    (root / "asked").write_text("")
    yield root
    assert all("train" in name for name in asked)  # no other split is ever fetched


def test_a_data_set_by_name(hub: Path) -> None:
    found, report = load_comparisons("some/pairs", folder="one")
    assert found == EXPECTED and report.source == "some/pairs"
    assert len(load_comparisons("some/pairs")[0]) == 5
    with pytest.raises(
        ValueError, match="no split 'dev' in there, only one/test.jsonl, one/train.jsonl, two/train.jsonl"
    ):
        load_comparisons("some/pairs", split="dev")
    with pytest.raises(FileNotFoundError, match="no data in there"):
        load_comparisons("some/pairs", folder="three")


def test_a_data_set_in_the_local_cache(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def offline(name: str, repo_type: str) -> list[str]:
        raise OSError("no network")

    def cached(name: str, *, repo_type: str, local_files_only: bool) -> str:
        assert local_files_only
        return str(hub)

    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: SimpleNamespace(list_repo_files=offline))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", cached)
    assert load_comparisons("some/pairs", folder="two")[0] == EXPECTED[:1]


@pytest.mark.parametrize(("name", "extra"), [("some/pairs", "huggingface_hub"), ("a.parquet", "pyarrow")])
def test_without_the_extra(name: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, extra, None)
    source = name if "/" in name else damaged(tmp_path, name, b"")
    with pytest.raises(ImportError, match=r"load_comparisons: .* need .*: pip install rlbase\[data\]"):
        load_comparisons(source)
