"""Judging what was trained: intervals, ratings, calibration."""

from rlbase.evaluate.calibration import Calibration, bayes_ceiling, calibration_curve
from rlbase.evaluate.intervals import (
    Estimate,
    bootstrap_interval,
    exactly,
    mean_interval,
    paired_win_rate,
    ratio_interval,
    win_rate,
)
from rlbase.evaluate.ratings import (
    Match,
    bradley_terry_strengths,
    elo_from_strengths,
    elo_intervals,
    online_elo,
)

__all__ = [
    "Calibration",
    "Estimate",
    "Match",
    "bayes_ceiling",
    "bootstrap_interval",
    "bradley_terry_strengths",
    "calibration_curve",
    "elo_from_strengths",
    "elo_intervals",
    "exactly",
    "mean_interval",
    "online_elo",
    "paired_win_rate",
    "ratio_interval",
    "win_rate",
]
