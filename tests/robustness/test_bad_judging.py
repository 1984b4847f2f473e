"""Bad input to the evaluation kit: the same promise, one clear sentence, as in test_bad_input."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from rlbase.envs import CharTokenizer, TextEnv, chain, flawed_members, hackable, long_winded
from rlbase.evaluate import (
    Report,
    bayes_ceiling,
    best_of_n_path,
    bootstrap_interval,
    bradley_terry_strengths,
    calibration_curve,
    correlation,
    elo_from_strengths,
    elo_intervals,
    ensemble_scores,
    frontier,
    gao_fit,
    gaussian_path,
    mean_interval,
    metered,
    online_elo,
    paired_win_rate,
    perplexity,
    play,
    ratio_interval,
    report,
    rl_path,
    side_by_side,
    stopped_early,
    win_rate,
)
from rlbase.policies import TabularPolicy, random_policy
from rlbase.types import Choices

NAN = float("nan")
TWO, THREE = torch.zeros(2), torch.zeros(3)
HALF = torch.tensor([0.5, 0.5])
BAD = torch.tensor([1.0, NAN])
WORLD = hackable(4)
POLICY = TabularPolicy(1, 4)
NOTHING = Choices(torch.zeros(0, 1).long(), torch.zeros(0, 1).long(), torch.zeros(0, 1).bool())


def text() -> TextEnv:
    return TextEnv(["a"], CharTokenizer("ab"), lambda p, r: [0.0] * len(r), max_new_tokens=2, batch_size=2)


def writer() -> Any:
    return random_policy("gpt2", vocab_size=3)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


Case = tuple[Callable[[], Any], type[Exception], str]

CASES: dict[str, Case] = {
    "negative wins": (lambda: win_rate(-1, 2), ValueError, "win_rate: wins must be at least 0, got -1"),
    "half a win": (lambda: win_rate(0.5, 2), TypeError, "win_rate: wins must be a whole number, got 0.5"),  # type: ignore[arg-type]
    "certainty": (
        lambda: win_rate(1, 1, confidence=1.0),
        ValueError,
        r"confidence must lie in \(0, 1\), got 1.0",
    ),
    "pairs that do not pair": (lambda: paired_win_rate(TWO, THREE), ValueError, "scores_a .2., scores_b .3."),
    "a NaN among the scores": (
        lambda: paired_win_rate(BAD, TWO),
        ValueError,
        "scores_a must be finite, got nan",
    ),
    "a table of values": (
        lambda: mean_interval(torch.zeros(2, 2)),
        ValueError,
        r"one number a row, \[n\], got shape",
    ),
    "a list of values": (lambda: mean_interval([1.0, 2.0]), TypeError, "values must be a tensor, got list"),  # type: ignore[arg-type]
    "nothing to divide by": (lambda: ratio_interval(TWO, TWO), ValueError, "the denominators sum to 0"),
    "correlating two lengths": (
        lambda: correlation(TWO, THREE),
        ValueError,
        "correlation: shapes must be equal",
    ),
    "resampling nothing": (
        lambda: bootstrap_interval(torch.zeros(0)),
        ValueError,
        "number of values must be at least 1",
    ),
    "a statistic that is not finite": (
        lambda: bootstrap_interval(HALF, lambda x: NAN),
        ValueError,
        "bootstrap_interval: statistics must be finite",
    ),
    "a seed for a generator": (
        lambda: bootstrap_interval(HALF, generator=0),
        TypeError,
        "generator must be a Generator or None, got 0",  # type: ignore[arg-type]
    ),
    "nobody played": (
        lambda: online_elo([]),
        ValueError,
        "online_elo: needs at least two players who met, got 0",
    ),
    "alone": (lambda: online_elo([("a", "a", 1.0)]), ValueError, "player 'a' cannot meet himself"),
    "a score of 3": (
        lambda: online_elo([("a", "b", 3.0)]),
        ValueError,
        r"first player must lie in \[0, 1\], got 3.0",
    ),
    "a match of two": (lambda: online_elo([("a", "b")]), TypeError, "a match is .player, player"),  # type: ignore[list-item]
    "k of zero": (lambda: online_elo([("a", "b", 1.0)], k=0), ValueError, r"k must lie in \(0, inf\), got 0"),
    "undefeated": (
        lambda: bradley_terry_strengths([("a", "b", 1.0)]),
        ValueError,
        "no finite maximum.*pass prior=0.1, say",
    ),
    "negative prior": (
        lambda: bradley_terry_strengths([("a", "b", 0.5)], prior=-1),
        ValueError,
        r"prior must lie in \[0, inf\)",
    ),
    "no resamples": (
        lambda: elo_intervals([("a", "b", 0.5)], resamples=0),
        ValueError,
        "resamples must be at least 1",
    ),
    "infinite strength": (
        lambda: elo_from_strengths({"a": math.inf}),
        ValueError,
        "the strength of 'a' must lie in",
    ),
    "no strengths": (lambda: elo_from_strengths({}), ValueError, "needs at least one player, got none"),
    "a probability of 2": (
        lambda: calibration_curve(torch.tensor([2.0]), torch.tensor([1.0])),
        ValueError,
        "prob must be a list .n. of numbers",
    ),
    "labels of -1": (
        lambda: calibration_curve(HALF, -HALF),
        ValueError,
        "outcome must be a list .n. of numbers from 0 to 1",
    ),
    "no bins": (lambda: calibration_curve(HALF, HALF, bins=0), ValueError, "bins must be at least 1, got 0"),
    "a ceiling of nothing": (lambda: bayes_ceiling(torch.zeros(0)), ValueError, "prob must be a list"),
    "no betas": (lambda: rl_path(HALF, HALF, HALF, []), ValueError, "rl_path: needs at least one point"),
    "beta of zero": (lambda: rl_path(HALF, HALF, HALF, [0.0]), ValueError, r"beta must lie in \(0, inf\]"),
    "best of none": (
        lambda: best_of_n_path(HALF, HALF, HALF, [0]),
        ValueError,
        "n must be at least 1, got 0",
    ),
    "gold of another world": (
        lambda: rl_path(HALF, HALF, THREE, [1.0]),
        ValueError,
        "rl_path: shapes must be equal",
    ),
    "no reference": (lambda: rl_path(TWO, HALF, HALF, [1.0]), ValueError, "ref must be one distribution"),
    "the law of betas below 0": (
        lambda: gaussian_path([-1.0]),
        ValueError,
        r"gaussian_path: beta must lie in \(0, inf\]",
    ),
    "one reward model's list": (lambda: ensemble_scores(TWO), ValueError, r"scores must be \[members, n\]"),
    "an unknown rule": (
        lambda: ensemble_scores(torch.zeros(2, 2), "median"),
        ValueError,
        "rule must be one of 'mean', 'min', 'variance'",
    ),
    "an unknown law": (
        lambda: gao_fit(THREE, THREE, law="dpo"),
        ValueError,
        "law must be one of 'rl', 'best_of_n'",
    ),
    "two points": (
        lambda: gao_fit(HALF, HALF),
        ValueError,
        "at least three points at a distance above 0, got 2",
    ),
    "a frontier of two lengths": (lambda: frontier(TWO, THREE), ValueError, "frontier: shapes must be equal"),
    "a world without responses": (lambda: hackable(0), ValueError, "hackable: n must be at least 1, got 0"),
    "a negative harm": (lambda: hackable(3, harm=-1), ValueError, r"harm must lie in \[0, inf\), got -1"),
    "an ensemble of none": (
        lambda: flawed_members(3, members=0),
        ValueError,
        "members must be at least 1, got 0",
    ),
    "negative noise": (lambda: flawed_members(3, noise=-1), ValueError, "noise must lie in"),
    "never enough words": (lambda: long_winded(3, enough=0), ValueError, "enough must lie in"),
    "perplexity of nothing": (
        lambda: perplexity(POLICY, NOTHING),
        ValueError,
        "the number of rows must be at least 1",
    ),
    "perplexity of a text": (
        lambda: perplexity(POLICY, "text"),
        TypeError,
        "choices must be a Choices, got 'text'",
    ),  # type: ignore[arg-type]
    "playing nothing": (
        lambda: play(writer(), text(), 0, generator=seeded()),
        ValueError,
        "play: n must be at least 1",
    ),
    "a seed to play by": (
        lambda: play(writer(), text(), 1, generator=3),
        TypeError,
        "generator must be a Generator",
    ),  # type: ignore[arg-type]
    "a scorer for a bandit": (
        lambda: report(POLICY, WORLD.bandit(), gold=lambda p, r: p),
        TypeError,
        "gold must be a Tensor, got <function",
    ),
    "a table for text": (
        lambda: report(writer(), text(), gold=TWO),
        TypeError,
        "gold must be a function of prompts",
    ),
    "a scorer for episodes": (
        lambda: report(TabularPolicy(5, 2), chain(5), gold=lambda p, r: p, steps=9),
        TypeError,
        r"gold must be a step reward with each\(obs, actions\)",
    ),
    "a report of no reports": (lambda: side_by_side({}), ValueError, "number of reports must be at least 1"),
    "a report that is none": (lambda: Report.load(__file__), ValueError, "holds no report"),
    "never looking": (
        lambda: list(metered([{}], POLICY, WORLD.bandit(), every=0)),
        ValueError,
        "every must be at least 1",
    ),
    "no patience": (lambda: list(stopped_early([{}], patience=0)), ValueError, "patience must be at least 1"),
    "nothing to watch": (lambda: list(stopped_early([{}], watch="gold")), ValueError, "no record has 'gold'"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_gets_one_clear_sentence(name: str) -> None:
    call, kind, sentence = CASES[name]
    with pytest.raises(kind, match=sentence) as caught:
        call()
    assert caught.type is kind
    assert "\n" not in str(caught.value).strip()
    assert caught.value.__cause__ is None and (
        caught.value.__suppress_context__ or not caught.value.__context__
    )
