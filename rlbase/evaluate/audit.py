"""What a file of preferences gives away before anything is trained: length, telling words, repeats, disagreement.

None of it is wrong by itself. A longer answer may be better, and "sorry" may stand in worse ones. But whatever a reward
model could learn from these alone it will learn, and a policy will find it.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rlbase.data import Comparison
from rlbase.evaluate.intervals import Estimate, quantile, win_rate
from rlbase.feedback import Answers, krippendorff_alpha
from rlbase.train.linear_reward import linear_reward
from rlbase.validate import in_range, instance, whole

FOLDS = 5
TELLING = 50  # words that a shortcut may use, at most
PRIOR = 1.0


class Word(NamedTuple):
    """A word that tells: in how many pairs it stands only in the ``chosen`` or only in the ``rejected`` response.

    ``chance`` is the two-sided probability of a split as uneven if the word meant nothing.
    """

    word: str
    chosen: int
    rejected: int
    chance: float


@dataclass(frozen=True)
class Audit:
    """What `audit` found; as text, a page. Shares are of the pairs, and 1/2 is what chance gives."""

    pairs: int
    longer: Estimate
    """How often the longer response was chosen, in words; ties count half."""
    doubling: Estimate
    """Log-odds of being chosen for a response of twice the length, by a Bradley-Terry fit to length alone.

    Infinite where one side was the longer in all pairs; a likelihood ratio then says how small it could be."""
    words: tuple[Word, ...]
    """Words that tell, the least likely first; of all, no more than the false discovery rate are there by chance."""
    shortcut: Estimate
    """How often length and telling words alone say who was chosen, in pairs of prompts they were not fitted to.

    Wilson's interval takes the pairs for independent. The folds share data, so that it is somewhat too narrow: by lot
    (``control``) the spread over seeds is 1.2 to 1.6 times as large."""
    control: Estimate
    """The same after every label was drawn by lot: anything but about 1/2 would be a leak."""
    repeated: int
    """Pairs that came before, with the same verdict."""
    contradicted: int
    """Pairs that came before, with the other verdict."""
    prompts: int
    """Different prompts."""
    agreement: float
    """Krippendorff's alpha over pairs that were judged several times; NaN where none was."""
    first: Estimate | None
    """How often whichever was shown first was chosen; None where the data do not say."""

    def __str__(self) -> str:
        telling = ", ".join(f"{w.word} ({w.chosen}:{w.rejected})" for w in self.words[:8]) or "none"
        agreed = "nothing was judged twice" if math.isnan(self.agreement) else f"alpha {self.agreement:.2f}"
        place = "not said in these data" if self.first is None else f"chosen {self.first}"
        return "\n".join(
            (
                f"{self.pairs:,} pairs of {self.prompts:,} prompts; "
                f"{self.repeated} repeated, {self.contradicted} contradicted ({agreed})",
                f"longer response       chosen {self.longer}; {self.doubling.value:+.2f} log-odds for twice the length",
                f"first place           {place}",
                f"telling words         {len(self.words)}: {telling}",
                f"length and words      right {self.shortcut} on prompts not seen (by lot: {self.control})",
            )
        )


def audit(
    comparisons: Sequence[Comparison],
    *,
    shown_first: Sequence[bool] | None = None,
    discovery: float = 0.05,
    least: int = 10,
    seed: int = 0,
) -> Audit:
    r"""Look for what could be learned from ``comparisons`` without reading them.

    A word's split between chosen and rejected responses is tested against a fair coin,
    $c\sim\mathrm{Bin}(c+r,\tfrac12)$, and all words together at a false discovery rate (Benjamini & Hochberg 1995).
    The shortcut is a Bradley-Terry model of length and the telling words, chosen and fitted on four fifths of the
    *prompts* and judged on the rest: pairs of one prompt never stand on both sides.

    Args:
        shown_first: for each pair, whether the chosen response stood in the first place.
        discovery: which share of the telling words may be chance.
        least: words that split fewer pairs are not looked at.
        seed: of the lot that the control draws and of the folds.

    Raises:
        ValueError: fewer than ten pairs or five prompts, or ``shown_first`` of another length.
        TypeError: something that is no `rlbase.data.Comparison`.

    >>> from rlbase.data import Comparison
    >>> pairs = [Comparison(f"q{i}", "a good long answer" if i % 4 else "no", "well no") for i in range(40)]
    >>> found = audit(pairs)
    >>> found.longer.value, found.words[0].word, found.repeated
    (0.75, 'well', 0)
    """
    _checked(comparisons, shown_first)
    in_range("audit", "discovery", discovery, 0, 1, open_low=True, open_high=True)
    whole("audit", "least", least, 1)
    sides = [(_words(pair.chosen), _words(pair.rejected)) for pair in comparisons]
    lengths = [(len(a), len(b)) for a, b in sides]
    wins, losses = (sum(side) for side in zip(*((a > b, a < b) for a, b in lengths), strict=True))
    prompts = [pair.prompt for pair in comparisons]
    lot = random.Random(seed)
    turned = [(b, a) if lot.random() < 0.5 else (a, b) for a, b in sides]
    return Audit(
        len(comparisons),
        win_rate(wins, losses, len(lengths) - wins - losses),
        _doubling(lengths),
        telling_words(sides, discovery=discovery, least=least),
        _shortcut(sides, prompts, discovery, least, seed),
        _shortcut(turned, prompts, discovery, least, seed),
        *_repeats(comparisons),
        None if shown_first is None else win_rate(sum(shown_first), len(prompts) - sum(shown_first)),
    )


def telling_words(
    sides: Sequence[tuple[Sequence[str], Sequence[str]]], *, discovery: float = 0.05, least: int = 10
) -> tuple[Word, ...]:
    """Words that stand oftener in one side than a coin would put them there; see `audit`.

    >>> [word.word for word in telling_words([(["yes", "the"], ["no", "the"])] * 12)]
    ['no', 'yes']
    """
    from scipy.stats import binom

    count: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for chosen, rejected in sides:
        for side, words in enumerate((set(chosen) - set(rejected), set(rejected) - set(chosen))):
            for word in words:
                count[word][side] += 1
    tried = [(word, c, r) for word, (c, r) in sorted(count.items()) if c + r >= least]
    if not tried:
        return ()
    split = torch.tensor([(c, r) for _, c, r in tried])
    tail = binom.cdf(split.min(1).values.numpy(), split.sum(1).numpy(), 0.5)
    found = [Word(*one, min(1.0, 2 * float(p))) for one, p in zip(tried, tail, strict=True)]
    found.sort(key=lambda word: (word.chance, word.word))
    kept = [i + 1 for i, word in enumerate(found) if word.chance <= discovery * (i + 1) / len(found)]
    return tuple(found[: max(kept, default=0)])


def _shortcut(sides: list, prompts: list[str], discovery: float, least: int, seed: int) -> Estimate:
    """Right and wrong verdicts of length and telling words on prompts that they were not fitted to."""
    names = sorted(set(prompts))
    random.Random(seed).shuffle(names)
    fold = {prompt: i % FOLDS for i, prompt in enumerate(names)}
    wins = losses = ties = 0
    for held in range(FOLDS):
        fitted = [side for side, prompt in zip(sides, prompts, strict=True) if fold[prompt] != held]
        asked = [side for side, prompt in zip(sides, prompts, strict=True) if fold[prompt] == held]
        words = [word.word for word in telling_words(fitted, discovery=discovery, least=least)[:TELLING]]
        reward = linear_reward(_features(fitted, words), torch.ones(len(fitted)), prior=PRIOR)
        ahead = reward.score(_features(asked, words))
        wins, losses = wins + int((ahead > 0).sum()), losses + int((ahead < 0).sum())
        ties += int((ahead == 0).sum())
    return win_rate(wins, losses, ties)


def _features(sides: list, words: list[str]) -> Tensor:
    """Length in doublings and the presence of ``words``, chosen less rejected, ``[N, 1 + words]``."""
    rows = []
    for chosen, rejected in sides:
        here, there = set(chosen), set(rejected)
        rows.append([_doublings(len(chosen), len(rejected)), *((w in here) - (w in there) for w in words)])
    return torch.tensor(rows, dtype=torch.float64)


def _doubling(lengths: list[tuple[int, int]]) -> Estimate:
    x = torch.tensor([[_doublings(*pair)] for pair in lengths], dtype=torch.float64)
    if not x.any():
        return Estimate(0.0, -math.inf, math.inf, len(x))
    if (x >= 0).all() or (x <= 0).all():
        return _always(x[x != 0], len(x))
    fit = linear_reward(x, torch.ones(len(x)), prior=1e-3)
    value, half = fit.weight.item(), quantile("audit", 0.95) * fit.error.item()
    return Estimate(value, value - half, value + half, len(x))


def _always(x: Tensor, n: int) -> Estimate:
    """Where the longer (or the shorter) was chosen every time: no finite weight fits best, small ones are refuted."""
    low, high = -50.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        refuted = torch.nn.functional.softplus(-middle * x.abs()).sum() > quantile("audit", 0.95) ** 2 / 2
        low, high = (middle, high) if refuted else (low, middle)
    return Estimate(math.inf, low, math.inf, n) if x[0] > 0 else Estimate(-math.inf, -math.inf, -low, n)


def _doublings(chosen: int, rejected: int) -> float:
    return math.log2((chosen + 1) / (rejected + 1))


def _repeats(comparisons: Sequence[Comparison]) -> tuple[int, int, int, float]:
    verdicts: dict[tuple, list[float]] = defaultdict(list)
    for pair in comparisons:
        one, two = sorted((pair.chosen, pair.rejected))
        verdicts[pair.prompt, one, two].append(float(pair.chosen == one))
    repeated = contradicted = 0
    for said in verdicts.values():
        first = said[0]
        repeated += sum(verdict == first for verdict in said[1:])
        contradicted += sum(verdict != first for verdict in said[1:])
    several = [said for said in verdicts.values() if len(said) > 1]
    width = max(map(len, several), default=0)
    agreement = math.nan
    if len({verdict for said in several for verdict in said}) > 1:
        table = torch.tensor([said + [math.nan] * (width - len(said)) for said in several])
        agreement = krippendorff_alpha(Answers(table))
    return repeated, contradicted, len({pair.prompt for pair in comparisons}), agreement


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text.lower())


def _checked(comparisons: Sequence[Comparison], shown_first: Sequence[bool] | None) -> None:
    for pair in comparisons:
        instance("audit", "comparison", pair, Comparison)
    prompts = len(Counter(pair.prompt for pair in comparisons))
    if len(comparisons) < 10 or prompts < FOLDS:
        raise ValueError(
            f"audit: needs ten pairs and {FOLDS} prompts to say anything, got {len(comparisons)} and {prompts}."
        )
    if shown_first is not None and len(shown_first) != len(comparisons):
        raise ValueError(
            f"audit: shown_first must say of all {len(comparisons)} pairs which came first, got {len(shown_first)}."
        )
