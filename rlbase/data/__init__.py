"""What people leave behind: records, worlds that make them up with a known truth, files, and tensors made of them."""

from rlbase.data.encode import (
    LARGE_MARGINS,
    SMALL_MARGINS,
    encode_comparisons,
    encode_demonstrations,
    encode_responses,
    keep_short,
)
from rlbase.data.formats import render, split_transcripts
from rlbase.data.load import load_comparisons, load_demonstrations, load_prompts, load_ratings
from rlbase.data.records import Comparison, Demonstration, Rating, Report

__all__ = [
    "LARGE_MARGINS",
    "SMALL_MARGINS",
    "Comparison",
    "Demonstration",
    "Rating",
    "Report",
    "encode_comparisons",
    "encode_demonstrations",
    "encode_responses",
    "keep_short",
    "load_comparisons",
    "load_demonstrations",
    "load_prompts",
    "load_ratings",
    "render",
    "split_transcripts",
]
