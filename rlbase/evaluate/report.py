"""One page on a policy: what it is paid and what is meant, how far it went, how it writes, what it has forgotten."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rlbase.evaluate.intervals import Estimate, paired_win_rate
from rlbase.evaluate.meters import Gold, Played, enumerated, kept, meters, play
from rlbase.train.common import new_generator, parameters_of
from rlbase.types import Choices, Env, Policy
from rlbase.validate import instance, whole

LABELS = {
    "proxy": "reward paid (the proxy)",
    "gold": "reward meant (gold)",
    "agreement": "correlation of the two",
    "wins": "wins against the reference, by gold",
    "kl": "KL to the reference, nats",
    "entropy": "entropy per choice, nats",
    "length": "choices",
    "length_bias": "correlation of reward and length",
    "unfinished": "share cut off unfinished",
    "distinct_1": "distinct words",
    "distinct_2": "distinct pairs of words",
    "perplexity": "held-out perplexity",
    "skill": "held-out skill",
}


class Sample(NamedTuple):
    """A prompt, what policy and reference write to it, and what the policy's response is paid and is worth."""

    prompt: str
    response: str
    reference: str | None
    proxy: float
    gold: float | None


@dataclass(frozen=True)
class Table:
    """A header and rows of words; prints as aligned columns, and as a table in a notebook.

    >>> print(Table(("", "a"), [("reward", "1")]))
            a
    reward  1
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __str__(self) -> str:
        lines = [self.header, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.header))]
        padded = ("  ".join(word.ljust(w) for word, w in zip(line, widths, strict=True)) for line in lines)
        return "\n".join(line.rstrip() for line in padded)

    def _repr_markdown_(self) -> str:
        rows = [self.header, ["---"] * len(self.header), *self.rows]
        return "\n".join("| " + " | ".join(_escaped(word) for word in row) + " |" for row in rows)


@dataclass(frozen=True)
class Report:
    """The meters of a policy and of its reference, by the names of `LABELS`, and a few samples of text.

    Prints as a page, shows itself as one in a notebook, and travels as JSON (`save`, `load`).
    """

    title: str
    policy: Mapping[str, Estimate]
    reference: Mapping[str, Estimate] = field(default_factory=dict)
    samples: Sequence[Sample] = ()

    def table(self) -> Table:
        """One line for each meter: policy, and reference where there is one."""
        sides = {"policy": self.policy, "reference": self.reference}
        return _table({name: side for name, side in sides.items() if side})

    def findings(self) -> list[str]:
        """Sentences about what should worry you; none of them when nothing does."""
        return [sentence for sentence in _findings(self.policy, self.reference) if sentence]

    def __str__(self) -> str:
        lines = [self.title, "", str(self.table()), *_paragraph(self.findings(), "! ")]
        for i, sample in enumerate(self.samples, 1):
            lines += ["", f"{i}. {sample.prompt}", f"   policy     {_worth(sample)} {sample.response!r}"]
            lines += [] if sample.reference is None else [f"   reference  {sample.reference!r}"]
        return "\n".join(lines)

    def _repr_markdown_(self) -> str:
        lines = [f"**{self.title}**", "", self.table()._repr_markdown_(), *_paragraph(self.findings(), "- ")]
        if self.samples:
            rows = [(s.prompt, f"{s.response} {_worth(s)}", s.reference or "") for s in self.samples]
            lines += ["", Table(("prompt", "policy (paid, worth)", "reference"), rows)._repr_markdown_()]
        return "\n".join(lines)

    def to_json(self) -> str:
        """The report as JSON; a bound that is infinite, and a NaN, becomes null."""

        def plain(side: Mapping[str, Estimate]) -> dict[str, list[float | None]]:
            return {name: [x if math.isfinite(x) else None for x in e] for name, e in side.items()}

        content = {
            "title": self.title,
            "policy": plain(self.policy),
            "reference": plain(self.reference),
            "samples": [sample._asdict() for sample in self.samples],
        }
        return json.dumps(content, indent=1, allow_nan=False)

    def save(self, path: str | Path) -> None:
        """Write `to_json` to ``path``."""
        Path(path).write_text(self.to_json() + "\n", encoding="utf-8")

    @staticmethod
    def load(path: str | Path) -> Report:
        """Read what `save` wrote.

        Raises:
            ValueError: the file is no report.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            mine, theirs = (
                {name: _estimate(row) for name, row in content[side].items()}
                for side in ("policy", "reference")
            )
            samples = tuple(Sample(**sample) for sample in content["samples"])
            return Report(content["title"], mine, theirs, samples)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"Report.load: {path} holds no report ({error!r:.80}).") from None


def report(
    policy: Policy,
    env: Env,
    *,
    reference: Policy | None = None,
    gold: Gold | None = None,
    held_out: Choices | None = None,
    skill: Any = None,
    title: str = "Report",
    n: int = 256,
    samples: int = 3,
    steps: int | None = None,
    generator: torch.Generator | None = None,
) -> Report:
    """One page on ``policy`` in the world ``env``, whoever trained it; nothing is changed by looking.

    A bandit is enumerated, text is written to the world's prompts, in worlds that go on episodes are played; both
    policies meet the same prompts. A number comes with the interval that holds it with 95 %.

    Args:
        reference: where the policy started; adds the KL, a column, and with ``gold`` a win rate.
        gold: the reward that is meant: a table like the bandit's, a scorer of ``(prompts, responses)`` for text, a
            step reward with ``each(obs, actions)`` for episodes.
        held_out: choices to be surprised by: perplexity before and after says what was forgotten.
        skill: ``skill(policy)`` gives a number (or an `Estimate`) for something else it should still be able to do.
        n: responses to draw (a bandit needs none).
        steps: columns to play in a world that goes on; many times the length of an episode.

    Raises:
        ValueError: see `rlbase.evaluate.play`.

    >>> from rlbase.envs.hackable import hackable
    >>> from rlbase.exact import kl_optimum
    >>> from rlbase.policies import TabularPolicy
    >>> world = hackable(50)
    >>> trained = TabularPolicy(1, 50, ref=kl_optimum(world.ref, world.proxy, beta=0.3))
    >>> page = report(trained, world.bandit(), reference=TabularPolicy(1, 50), gold=world.gold)
    >>> page.policy["proxy"].value > page.reference["proxy"].value, round(page.policy["kl"].value, 2)
    (True, 3.47)
    """
    whole("report", "samples", samples, 0)
    instance("report", "generator", generator, torch.Generator, optional=True)
    if hasattr(env, "every_choice"):
        mine = enumerated(policy, env, reference=reference, gold=gold) | kept(policy, held_out, skill)
        if reference is None:
            return Report(title, mine)
        theirs = enumerated(reference, env, gold=gold) | kept(reference, held_out, skill)
        return Report(title, mine, theirs)
    generator = generator or new_generator(parameters_of(policy))
    start = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    options: dict[str, Any] = {"gold": gold, "steps": steps, "start": start}
    wrote = play(policy, env, n, reference=reference, generator=generator, **options)
    found = meters(wrote, policy, held_out=held_out, skill=skill)
    if reference is None:
        return Report(title, found, samples=_samples(wrote, None, samples))
    # chances of its own, the same whatever the policy did with the generator: pages of one seed share a reference
    apart = torch.Generator(generator.device).manual_seed(start + 2**32)
    before = play(reference, env, n, generator=apart, **options)
    if wrote.gold is not None and before.gold is not None:
        pairs = min(len(wrote.gold), len(before.gold))
        found["wins"] = paired_win_rate(wrote.gold[:pairs], before.gold[:pairs])
    theirs = meters(before, reference, held_out=held_out, skill=skill)
    return Report(title, found, theirs, _samples(wrote, before, samples))


def side_by_side(reports: Mapping[str, Report]) -> Table:
    """Several policies in one table, a column each under the name you give it, and the first one's reference.

    >>> pages = {name: Report(name, {"gold": Estimate(v, v, v, 0)}) for name, v in (("a", 1.0), ("b", 2.0))}
    >>> print(side_by_side(pages))
                         a  b
    reward meant (gold)  1  2
    """
    whole("side_by_side", "the number of reports", len(reports), 1)
    sides = {name: page.policy for name, page in reports.items()}
    first = next(iter(reports.values())).reference
    return _table({**sides, "reference": first} if first else sides)


def _table(sides: Mapping[str, Mapping[str, Estimate]]) -> Table:
    names = [name for name in LABELS if any(name in side for side in sides.values())]
    rows = [(LABELS[n], *(str(side[n]) if n in side else "" for side in sides.values())) for n in names]
    return Table(("", *sides), rows)


def _findings(mine: Mapping[str, Estimate], theirs: Mapping[str, Estimate]) -> list[str | None]:
    def both(name: str) -> bool:
        return name in mine and name in theirs

    found: list[str | None] = []
    if both("gold") and both("proxy") and mine["proxy"].low > theirs["proxy"].high:
        if mine["gold"].high < theirs["gold"].low:
            found.append("What is paid rose, what is meant fell: the reward was hacked.")
        elif mine["gold"].value <= theirs["gold"].value:
            found.append("What is paid rose, what is meant did not.")
    if both("perplexity") and mine["perplexity"].low > theirs["perplexity"].high:
        change = f"{theirs['perplexity'].value:.3g} → {mine['perplexity'].value:.3g}"
        found.append(
            f"Held-out choices surprise it more than before (perplexity {change}): it has forgotten."
        )
    if "unfinished" in mine and mine["unfinished"].low > 0.5:
        found.append("Most of what it does is cut off unfinished.")
    if both("distinct_2") and mine["distinct_2"].value < theirs["distinct_2"].value / 2:
        found.append("It repeats itself: less than half the reference's distinct pairs of words.")
    return found


def _samples(mine: Played, theirs: Played | None, count: int) -> tuple[Sample, ...]:
    rows = range(min(count, len(mine.responses)))
    return tuple(
        Sample(
            mine.prompts[i],
            mine.responses[i],
            None if theirs is None else theirs.responses[i],
            mine.proxy[i].item(),
            None if mine.gold is None else mine.gold[i].item(),
        )
        for i in rows
    )


def _paragraph(sentences: list[str], bullet: str) -> list[str]:
    return ["", *(bullet + sentence for sentence in sentences)] if sentences else []


def _worth(sample: Sample) -> str:
    return f"({sample.proxy:.2f})" if sample.gold is None else f"({sample.proxy:.2f}, {sample.gold:.2f})"


def _estimate(row: list[float | None]) -> Estimate:
    value, low, high, n = row
    return Estimate(
        math.nan if value is None else value,
        -math.inf if low is None else low,
        math.inf if high is None else high,
        int(n or 0),
    )


def _escaped(word: str) -> str:
    return word.replace("|", "\\|").replace("\n", " ").strip() or " "
