"""Feedback: what is shown to raters, and raters who can be asked a thousand times without getting tired."""

from rlbase.feedback.clips import Clips, Comparisons, cut
from rlbase.feedback.raters import Ask, Rater, judge

__all__ = ["Ask", "Clips", "Comparisons", "Rater", "cut", "judge"]
