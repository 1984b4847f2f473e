"""What learning from a fixed set of rows needs besides a loss: which rows come next, and how large a step is now."""

from __future__ import annotations

import math
import zlib
from dataclasses import asdict, fields
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rlbase.types import Choices, Prompt
from rlbase.validate import in_range, one_of, whole

SCHEDULES = ("constant", "linear", "cosine")
INFINITY = float("inf")


class Offline(Protocol):
    """The settings that all learning from fixed rows shares; see `rlbase.train.SFTConfig` for what each does."""

    @property
    def epochs(self) -> int: ...
    @property
    def updates(self) -> int | None: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def schedule(self) -> str: ...
    @property
    def warmup(self) -> int: ...
    @property
    def eval_every(self) -> int | None: ...


class Epochs:
    """Endless passes over ``rows`` row numbers in batches: each row once before any row twice.

    The last batch of a pass holds what is left. With ``lengths`` rows of similar length meet in one batch, so that less
    padding is computed; the batches still come in random order. One batch that holds all rows comes unshuffled. Its
    ``state`` is enough to go on in the middle of a pass.

    Raises:
        ValueError: no rows, or a batch size below 1.

    >>> epochs, generator = Epochs(5, 2), torch.Generator().manual_seed(0)
    >>> batches = [epochs.next(generator) for _ in range(3)]
    >>> [len(batch) for batch in batches], sorted(torch.cat(batches).tolist())
    ([2, 2, 1], [0, 1, 2, 3, 4])
    """

    def __init__(self, rows: int, batch_size: int, *, lengths: Tensor | None = None) -> None:
        whole("Epochs", "the number of rows", rows, 1)
        whole("Epochs", "batch_size", batch_size, 1)
        self.rows, self.batch_size, self.lengths = rows, batch_size, lengths
        self.order, self.position, self.done = torch.zeros(0, dtype=torch.long), 0, 0

    @property
    def batches(self) -> int:
        """How many batches make a pass."""
        return math.ceil(self.rows / self.batch_size)

    def plan(self, config: Offline) -> tuple[int, int]:
        """How many updates ``config`` asks for, and how many lie between measurements."""
        updates = config.epochs * self.batches if config.updates is None else config.updates
        return updates, self.batches if config.eval_every is None else config.eval_every

    def next(self, generator: torch.Generator) -> Tensor:
        """The row numbers of the next batch, on the CPU."""
        if self.position >= len(self.order):
            self.order, self.position = self._shuffled(generator), 0
        batch = self.order[self.position : self.position + self.batch_size]
        self.position += len(batch)
        self.done += 1
        return batch

    def _shuffled(self, generator: torch.Generator) -> Tensor:
        if self.batch_size >= self.rows:
            return torch.arange(self.rows)
        order = torch.randperm(self.rows, generator=generator, device=generator.device).cpu()
        if self.lengths is None:
            return order
        whole_batches = self.rows // self.batch_size
        # the odd rows at the end are set aside first: chosen by chance, not by length
        grouped, odd = (
            order[: whole_batches * self.batch_size],
            order[whole_batches * self.batch_size :],
        )
        pools = grouped.split(32 * self.batch_size)
        grouped = torch.cat([pool[self.lengths[pool].argsort(stable=True)] for pool in pools])
        shuffle = torch.randperm(whole_batches, generator=generator, device=generator.device).cpu()
        return torch.cat((grouped.view(whole_batches, self.batch_size)[shuffle].flatten(), odd))

    def state(self) -> dict[str, Any]:
        """Where in which pass it stands."""
        return {"rows": self.rows, "order": self.order, "position": self.position, "done": self.done}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from there.

        Raises:
            ValueError: the state belongs to another number of rows.
        """
        if state["rows"] != self.rows:
            raise ValueError(
                f"Epochs: the saved run learned from {state['rows']} rows, here are {self.rows}."
            )
        self.order, self.position, self.done = state["order"], state["position"], state["done"]


def lengths_of(choices: Choices) -> Tensor:
    """Columns that each row needs, ``[B]``: tokens of its prompt and all up to its last choice.

    >>> ids, real = torch.tensor([[0, 7]]), torch.tensor([[False, True]])
    >>> lengths_of(Choices(Prompt(ids, real), torch.tensor([[5, 6, 0]]), torch.tensor([[True, True, False]])))
    tensor([3])
    """
    columns = torch.arange(1, choices.mask.shape[1] + 1, device=choices.mask.device)
    used = (choices.mask * columns).amax(1)
    return (used + choices.obs.mask.sum(1) if isinstance(choices.obs, Prompt) else used).cpu()


def learning_rate(config: Offline, update: int, updates: int) -> float:
    """The step size of ``update`` (from 0): a straight rise over ``warmup`` updates, then constant or down to 0.

    >>> from rlbase.train.sft import SFTConfig
    >>> config = SFTConfig(learning_rate=1.0, schedule="linear", warmup=2)
    >>> [learning_rate(config, update, 6) for update in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    if update < config.warmup:
        return config.learning_rate * (update + 1) / config.warmup
    share = (update - config.warmup) / max(1, updates - config.warmup)
    falls = {"constant": 1.0, "linear": 1 - share, "cosine": (1 + math.cos(math.pi * share)) / 2}
    return config.learning_rate * falls[config.schedule]


def run_settings(config: Any, updates: int, *rows: Any) -> dict[str, Any]:
    """What a checkpoint must agree with: the settings, how far they lead, and a checksum of the rows learned from."""
    settings = {name: value for name, value in asdict(config).items() if name != "epochs"}
    told = zlib.crc32(b"".join(_bytes(x) for x in rows if x is not None))
    return {**settings, "updates": updates, "checksum of the data": told}


def _bytes(x: Any) -> bytes:
    """Every number in a tensor, or in the tensors that a dataclass holds."""
    if isinstance(x, Tensor):
        return x.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return b"".join(_bytes(getattr(x, f.name)) for f in fields(x) if getattr(x, f.name) is not None)


def adamw(parameters: list[nn.Parameter], rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW in its fused form, whose weight decay is apart from the gradient.

    >>> adamw([nn.Parameter(torch.zeros(1))], 1e-3, 0.1).param_groups[0]["weight_decay"]
    0.1
    """
    return torch.optim.AdamW(parameters, lr=rate, weight_decay=weight_decay, fused=True)


def check_offline(where: str, config: Any) -> None:
    """Raise unless the settings that all learning from fixed rows shares make sense."""
    for name in ("epochs", "batch_size", "checkpoint_every"):
        whole(where, name, getattr(config, name), 1)
    for name in ("updates", "eval_every"):
        whole(where, name, 1 if getattr(config, name) is None else getattr(config, name), 1)
    whole(where, "warmup", config.warmup, 0)
    for name in ("learning_rate", "weight_decay"):
        in_range(where, name, getattr(config, name), 0, INFINITY, open_high=True)
    in_range(where, "max_grad_norm", config.max_grad_norm, 0, INFINITY, open_low=True)
    one_of(where, "schedule", config.schedule, SCHEDULES)
    one_of(where, "precision", config.precision, ("float32", "bfloat16"))
