"""From matches to a ranking: Bradley-Terry strengths by maximum likelihood, and Elo's running update beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import torch

from rlbase.evaluate.intervals import Estimate, quantile
from rlbase.validate import in_range, instance, whole

# Who met whom, and the first one's share: 1 for a win, 1/2 for a tie, 0 for a loss.
Match: TypeAlias = tuple[str, str, float]

POINTS = 400 / math.log(10)  # Elo points of a nat of log-odds: 400 for odds of ten to one
INFINITY = float("inf")


def bradley_terry_strengths(matches: Sequence[Match], *, prior: float = 0.0) -> dict[str, float]:
    r"""The log-strengths $\theta$, mean 0, under which $P(a\text{ beats }b)=\sigma(\theta_a-\theta_b)$ fits best.

    Bradley & Terry (1952); the library ``choix`` finds the maximum of the likelihood (Maystre & Grossglauser 2015).
    Ties are half a win to each side. The order of the matches does not matter, and only differences mean anything.

    Args:
        prior: that many imagined ties of every player with every other. Needed when somebody never lost, or never
            won, or when the players fall into groups that are not connected by wins both ways: the maximum
            is then at infinity.

    Raises:
        ValueError: fewer than two players, a player who meets himself, a share outside 0 to 1, a negative ``prior``,
            or no finite maximum.
        ImportError: ``choix`` is not installed.

    >>> strengths = bradley_terry_strengths([("a", "b", 1.0)] * 3 + [("b", "a", 1.0)])
    >>> round(strengths["a"] - strengths["b"], 4)  # log 3
    1.0986
    """
    players, wins = _table("bradley_terry_strengths", matches)
    return dict(zip(players, _fit("bradley_terry_strengths", players, wins, prior), strict=True))


def elo_from_strengths(strengths: dict[str, float], *, mean: float = 1000.0) -> dict[str, float]:
    r"""Strengths on Elo's scale, $400\log_{10}$ of the odds, with the given mean: odds of 3 to 1 are 190.8 points.

    Raises:
        ValueError: no players, or a strength that is not finite.

    >>> elo = elo_from_strengths({"a": math.log(3), "b": 0.0})
    >>> round(elo["a"] - elo["b"], 1), round(sum(elo.values()) / 2, 6)
    (190.8, 1000.0)
    """
    if not strengths:
        raise ValueError("elo_from_strengths: needs at least one player, got none.")
    for name, value in strengths.items():
        ends = {"open_low": True, "open_high": True}
        in_range("elo_from_strengths", f"the strength of {name!r}", value, -INFINITY, INFINITY, **ends)
    centre = sum(strengths.values()) / len(strengths)
    return {name: mean + POINTS * (value - centre) for name, value in strengths.items()}


def elo_intervals(
    matches: Sequence[Match],
    *,
    prior: float = 0.1,
    mean: float = 1000.0,
    confidence: float = 0.95,
    resamples: int = 200,
    generator: torch.Generator | None = None,
) -> dict[str, Estimate]:
    """Elo from Bradley-Terry strengths for every player, with bootstrap intervals over the matches, best first.

    A resample may leave a player without a win: hence the small ``prior`` (see `bradley_terry_strengths`).

    Raises:
        ValueError: as `bradley_terry_strengths`.

    >>> table = elo_intervals([("a", "b", 1.0)] * 30 + [("b", "a", 1.0)] * 10)
    >>> list(table), table["a"].low > table["b"].high
    (['a', 'b'], True)
    """
    where = "elo_intervals"
    players, wins = _table(where, matches)
    whole(where, "resamples", resamples, 1)
    quantile(where, confidence)
    instance(where, "generator", generator, torch.Generator, optional=True)
    generator = generator or torch.Generator().manual_seed(0)

    def elo(table: list[list[float]]) -> list[float]:
        strengths = dict(zip(players, _fit(where, players, table, prior), strict=True))
        return list(elo_from_strengths(strengths, mean=mean).values())

    found = []
    for _ in range(resamples):
        drawn = torch.randint(len(matches), (len(matches),), generator=generator).tolist()
        found.append(elo(_wins(players, [matches[i] for i in drawn])))
    tail = (1 - confidence) / 2
    edges = torch.tensor([tail, 1 - tail], dtype=torch.float64)
    low, high = torch.tensor(found, dtype=torch.float64).quantile(edges, dim=0).tolist()
    games = [sum(name in match[:2] for match in matches) for name in players]
    rows = zip(players, elo(wins), low, high, games, strict=True)
    table = {name: Estimate(value, a, b, n) for name, value, a, b, n in rows}
    return dict(sorted(table.items(), key=lambda item: -item[1].value))


def online_elo(matches: Sequence[Match], *, k: float = 32.0, start: float = 1000.0) -> dict[str, float]:
    r"""Elo's running update, match after match: $R_a\leftarrow R_a+k\,(s-E)$ with $E=1/(1+10^{(R_b-R_a)/400})$.

    Elo (1978). Made for players whose strength changes: late matches count more, and the same matches in another order
    give other ratings. For policies, which stay what they are, use `bradley_terry_strengths`.

    Raises:
        ValueError: as `bradley_terry_strengths` for the matches, or ``k`` is not positive.

    >>> games = [("a", "b", 1.0), ("b", "a", 1.0)]  # one each
    >>> [round(online_elo(order)["a"], 1) for order in (games, games[::-1])]
    [998.5, 1001.5]
    """
    players, _ = _table("online_elo", matches)
    in_range("online_elo", "k", k, 0, INFINITY, open_low=True, open_high=True)
    ratings = dict.fromkeys(players, start)
    for a, b, share in matches:
        expected = 1 / (1 + 10 ** ((ratings[b] - ratings[a]) / 400))
        ratings[a] += k * (share - expected)
        ratings[b] -= k * (share - expected)
    return ratings


def _table(where: str, matches: Sequence[Match]) -> tuple[list[str], list[list[float]]]:
    """The players in order of appearance, and how often row beat column."""
    for match in matches:
        if not isinstance(match, tuple) or len(match) != 3:
            raise TypeError(
                f"{where}: a match is (player, player, the first one's share), got {match!r:.60}."
            )
        if match[0] == match[1]:
            raise ValueError(f"{where}: player {match[0]!r} cannot meet himself.")
        in_range(where, "the share of the first player", match[2], 0, 1)
    players = list(dict.fromkeys(name for a, b, _ in matches for name in (a, b)))
    if len(players) < 2:
        raise ValueError(f"{where}: needs at least two players who met, got {len(players)}.")
    return players, _wins(players, matches)


def _wins(players: list[str], matches: Sequence[Match]) -> list[list[float]]:
    index = {name: i for i, name in enumerate(players)}
    wins = [[0.0] * len(players) for _ in players]
    for a, b, share in matches:
        wins[index[a]][index[b]] += share
        wins[index[b]][index[a]] += 1 - share
    return wins


def _fit(where: str, players: list[str], wins: list[list[float]], prior: float) -> list[float]:
    try:
        import choix
        import numpy as np
        from scipy.sparse.csgraph import connected_components
    except ImportError as error:
        raise ImportError(f"{where}: needs choix, `pip install rlbase[eval]` ({error}).") from None
    in_range(where, "prior", prior, 0, INFINITY, open_high=True)
    table = np.array(wins) + prior / 2 * (1 - np.eye(len(players)))
    groups, member = connected_components(table > 0, connection="strong")
    if groups > 1:
        apart = ", ".join(repr(p) for p, group in zip(players, member, strict=True) if group == member[-1])
        raise ValueError(
            f"{where}: the likelihood has no finite maximum, for between {apart:.60} and the others wins go one way "
            "or not at all; pass prior=0.1, say."
        )
    return choix.ilsr_pairwise_dense(table, max_iter=10_000, tol=1e-10).tolist()
