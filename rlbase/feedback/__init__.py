"""Feedback: what is shown to raters, raters who can be asked a thousand times without getting tired, and their faults.

One rater who goes by what they know (`Rater`), for worlds in which feedback is not the question; annotators whose
faults can be turned up one by one (`Annotator`), a crowd of them (`ask`), and what to make of their answers.
"""

from rlbase.feedback.aggregate import Consensus, dawid_skene, majority, weighted_vote
from rlbase.feedback.agreement import against_the_others, fleiss_kappa, krippendorff_alpha
from rlbase.feedback.annotators import Annotator, Questions, Reasons
from rlbase.feedback.choosing import (
    effective_sample_size,
    fisher_information,
    importance_weights,
    most_informative,
)
from rlbase.feedback.clips import Clips, Comparisons, cut
from rlbase.feedback.constitution import Critique, Draft, Principle, critique, drafts, prefer_by_principle
from rlbase.feedback.crowd import Answers, ask
from rlbase.feedback.quality import (
    Chart,
    consistency,
    control_chart,
    detection_power,
    fit_temperature,
    passing_score,
)
from rlbase.feedback.raters import Ask, Rater, judge

__all__ = [
    "Annotator",
    "Answers",
    "Ask",
    "Chart",
    "Clips",
    "Comparisons",
    "Consensus",
    "Critique",
    "Draft",
    "Principle",
    "Questions",
    "Rater",
    "Reasons",
    "against_the_others",
    "ask",
    "consistency",
    "control_chart",
    "critique",
    "cut",
    "dawid_skene",
    "detection_power",
    "drafts",
    "effective_sample_size",
    "fisher_information",
    "fit_temperature",
    "fleiss_kappa",
    "importance_weights",
    "judge",
    "krippendorff_alpha",
    "majority",
    "most_informative",
    "passing_score",
    "prefer_by_principle",
    "weighted_vote",
]
