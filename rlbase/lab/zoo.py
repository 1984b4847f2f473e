"""The bug zoo: our own loops with one planted bug each, and the hospital around them.

A `Patient` is a training run with a hole in it: one small function, its *part*, that can be swapped. The sick part is
a bug from real code; the healthy part is what should have stood there; a learner's repair is a third. All of them run
in the same loop with the same seed, so that whatever differs in the traces is the part's doing.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import nn

Part = Callable[..., Any]
Record = dict[str, float]


@dataclass(frozen=True)
class Run:
    """What a run leaves behind: one record for each update, and a few lines of what it produced at the end."""

    records: list[Record]
    samples: list[str]

    def late(self, metric: str, last: int = 5) -> float:
        """The mean of a metric over the ``last`` records.

        >>> Run([{"loss": 4.0}, {"loss": 2.0}], []).late("loss", 1)
        2.0
        """
        tail = [record[metric] for record in self.records[-last:]]
        return sum(tail) / len(tail)


@dataclass(frozen=True, eq=False)
class Patient:
    """One planted bug: what the run was for, the loop it lives in, and the number that tells sick from healthy.

    ``loop(part, seed)`` trains with ``part`` in the hole; ``symptom(run)`` is one number, above ``line`` when sick, and
    ``sign`` says in words what it measures. ``metrics`` are the traces worth looking at, ``known`` what is known about
    one of them: its value, and a name for it.
    """

    name: str
    title: str
    meant: str
    metrics: tuple[str, ...]
    sick: Part
    healthy: Part
    loop: Callable[[Part, int], Run]
    symptom: Callable[[Run], float]
    line: float
    sign: str
    known: Mapping[str, tuple[float, str]] = field(default_factory=dict)

    def examine(self, part: Part, seed: int = 0) -> Run:
        """Train with ``part`` in the hole; the same part and seed give the same run.

        Metrics are rounded to six decimals: a ratio of 1.0000001 is a 1, and no picture should make a trace of it.

        >>> from rlbase.lab.exercises.zoo import find
        >>> mute = find("patient-1")
        >>> mute.examine(mute.sick).late("reward_mean") < 1.1 < mute.examine(mute.healthy).late("reward_mean")
        True
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            run = self.loop(part, seed)
        return Run([{k: round(v, 6) for k, v in record.items()} for record in run.records], run.samples)

    def case(self, seed: int = 0) -> dict[str, Run]:
        """The run as it came in beside a healthy one; kept, so that looking twice costs nothing."""
        return _case(self, seed)

    def is_sick(self, run: Run) -> bool:
        """Whether a run shows the symptom."""
        return not self.symptom(run) <= self.line

    def relapse(self, part: Part) -> str | None:
        """Train once with a repaired part; the sentence that says it did not help, or None."""
        run = self.examine(part)
        if not self.is_sick(run):
            return None
        return (
            f"Right on the small examples, but the run is still sick with it: {self.sign} is "
            f"{self.symptom(run):.3g}, and should be at most {self.line:g}."
        )

    def code(self) -> str:
        """The source of the sick part, as the learner gets it."""
        return textwrap.dedent(inspect.getsource(self.sick)).rstrip()


@lru_cache(maxsize=64)
def _case(patient: Patient, seed: int) -> dict[str, Run]:
    return {
        name: patient.examine(part, seed)
        for name, part in (("patient", patient.sick), ("healthy", patient.healthy))
    }


@contextlib.contextmanager
def swapped(place: str | dict[str, Any], name: str, part: Any) -> Iterator[None]:
    """Put ``part`` where a module (given by its name) or a dictionary keeps ``name``, for as long as the block lasts.

    >>> drawer = {"loss": 1}
    >>> with swapped(drawer, "loss", 2):
    ...     print(drawer)
    {'loss': 2}
    >>> drawer
    {'loss': 1}
    """
    drawer = place if isinstance(place, dict) else vars(importlib.import_module(place))
    before = drawer[name]
    drawer[name] = part
    try:
        yield
    finally:
        drawer[name] = before


def with_readings(records: Iterator[Record], readings: Callable[[], Record]) -> list[Record]:
    """Every record of a run, with what ``readings()`` measured right after that update.

    >>> with_readings(iter([{"loss": 1.0}]), lambda: {"length": 3.0})
    [{'loss': 1.0, 'length': 3.0}]
    """
    return [{**record, **readings()} for record in records]


def tiny_writer(alphabet: str, *, seed: int, kind: Any = None, temperature: float = 1.0, **sizes: Any) -> Any:
    """A one-layer language model that writes letters, with its tokenizer; ``kind`` is the class of the policy."""
    from rlbase.envs.text import CharTokenizer
    from rlbase.policies import CausalLMPolicy, random_policy

    tokenizer = CharTokenizer(alphabet)
    model = random_policy(vocab_size=tokenizer.vocab_size, seed=seed, **{"layers": 1, **sizes}).model
    return (kind or CausalLMPolicy)(model, tokenizer, temperature=temperature)


def weights_of(module: nn.Module) -> torch.Tensor:
    """All weights of a module in one vector, copied.

    >>> weights_of(nn.Linear(2, 1)).shape
    torch.Size([3])
    """
    return torch.cat([p.detach().flatten().clone() for p in module.parameters()])
