"""Records refuse what is no record, and a report counts what was dropped."""

from __future__ import annotations

import math

import pytest

from rlbase.data.records import Comparison, Demonstration, Rating, Report


def test_records_are_text_and_numbers_that_mean_something() -> None:
    with pytest.raises(TypeError, match="Demonstration: response must be a str, got None"):
        Demonstration("a", None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Comparison: rejected must be a str, got \['b'\]"):
        Comparison("a", "b", ["b"])  # type: ignore[arg-type]
    for prob in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"Comparison: prob must lie in \[0, 1\], got"):
            Comparison("a", "b", "c", prob=prob)
    for score in (math.nan, math.inf):
        with pytest.raises(ValueError, match=r"Rating: score must lie in \(-inf, inf\), got"):
            Rating("a", "b", score)
    with pytest.raises(TypeError, match="Rating: score must be a number, got '5'"):
        Rating("a", "b", "5")  # type: ignore[arg-type]
    assert Comparison("a", "b", "c", prob=0).prob == 0 and hash(Rating("a", "b", 1)) == hash(
        Rating("a", "b", 1)
    )


def test_a_report_adds_up_and_names_the_first_places() -> None:
    report = Report("x.jsonl", kept=1200)
    for i in range(5):
        report.drop("empty", f"line {i + 1}")
    report.drop("too long", "line 9")
    assert report.total == 1206 and report.dropped == {"empty": 5, "too long": 1}
    assert str(report).splitlines() == [
        "x.jsonl: kept 1,200 of 1,206",
        "  5 empty (line 1, line 2, line 3, ...)",
        "  1 too long (line 9)",
    ]
    table = report._repr_markdown_()
    assert "| empty | 5 | line 1, line 2, line 3, ... |" in table and table.startswith(
        "**x.jsonl**: kept 1,200"
    )
    assert Report("y", kept=3)._repr_markdown_() == "**y**: kept 3 of 3"
