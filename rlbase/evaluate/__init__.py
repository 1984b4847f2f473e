"""Judging what was trained: intervals, ratings, calibration, meters, and a report on one page."""

from rlbase.evaluate.audit import Audit, Word, audit, telling_words
from rlbase.evaluate.calibration import Calibration, bayes_ceiling, calibration_curve
from rlbase.evaluate.gap import Gap, proxy_gold_gap
from rlbase.evaluate.intervals import (
    Estimate,
    bootstrap_interval,
    correlation,
    exactly,
    mean_interval,
    paired_win_rate,
    ratio_interval,
    win_rate,
)
from rlbase.evaluate.meters import Played, enumerated, meters, perplexity, play
from rlbase.evaluate.outcome import Outcome, outcome
from rlbase.evaluate.overoptimisation import (
    GaoFit,
    Path,
    best_of_n_estimate,
    best_of_n_path,
    ensemble_scores,
    frontier,
    gao_fit,
    gaussian_path,
    rl_path,
)
from rlbase.evaluate.ratings import (
    Match,
    bradley_terry_strengths,
    elo_from_strengths,
    elo_intervals,
    online_elo,
)
from rlbase.evaluate.report import LABELS, Report, Sample, Table, report, side_by_side
from rlbase.evaluate.watching import metered, stopped_early

__all__ = [
    "Audit",
    "Calibration",
    "Estimate",
    "GaoFit",
    "Gap",
    "LABELS",
    "Match",
    "Outcome",
    "Path",
    "Played",
    "Report",
    "Sample",
    "Table",
    "Word",
    "audit",
    "bayes_ceiling",
    "best_of_n_estimate",
    "best_of_n_path",
    "bootstrap_interval",
    "bradley_terry_strengths",
    "calibration_curve",
    "correlation",
    "elo_from_strengths",
    "elo_intervals",
    "ensemble_scores",
    "enumerated",
    "exactly",
    "frontier",
    "gao_fit",
    "gaussian_path",
    "mean_interval",
    "metered",
    "meters",
    "online_elo",
    "outcome",
    "paired_win_rate",
    "perplexity",
    "play",
    "proxy_gold_gap",
    "ratio_interval",
    "report",
    "rl_path",
    "side_by_side",
    "stopped_early",
    "telling_words",
    "win_rate",
]
