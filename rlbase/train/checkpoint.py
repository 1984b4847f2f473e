"""Checkpoints: one safetensors file with JSON in its header, replaced atomically, never unpickled.

A run is its parts (policy, critic, optimiser, world, generator) and its counters. Everything that decides the next
update is in the file, so a resumed run continues bit for bit.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

FORMAT = "rlbase-checkpoint-1"


def save_tree(path: str | Path, tree: dict[str, Any]) -> None:
    """Write nested dicts and lists of tensors, numbers, strings and None to ``path``, atomically.

    The old file stays whole until the new one is complete on disk; a full disk or a killed process leaves it
    untouched.

    Raises:
        OSError: the file cannot be written; the previous one is still there.
        TypeError: a leaf is neither a tensor nor plain JSON.

    >>> import tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "run.safetensors")
    >>> save_tree(path, {"step": 3, "weights": [torch.ones(2)]})
    >>> load_tree(path)
    {'step': 3, 'weights': [tensor([1., 1.])]}
    """
    from safetensors.torch import save

    path = Path(path)
    tensors: dict[str, Tensor] = {}
    packed = json.dumps(_pack(tree, tensors))
    header = {"format": FORMAT, "tree": packed, "checksum": _checksum(packed, tensors)}
    payload = save(tensors, metadata=header)
    partial = path.with_name(
        f".{path.name}.part"
    )  # one name: what a killed process leaves, the next overwrites
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise OSError(
            f"checkpoint {path} could not be written ({error}); the previous one is untouched."
        ) from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(partial)


def load_tree(path: str | Path) -> dict[str, Any]:
    """Read what `save_tree` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is torn or altered, or was not written by `save_tree`.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"checkpoint {path} does not exist.")
    if not path.is_file():
        raise ValueError(f"checkpoint {path} is a folder, not a file.")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"checkpoint {path} is torn or no safetensors file ({error}).") from None
    if header.get("format") != FORMAT:
        raise ValueError(
            f"checkpoint {path} is a safetensors file, but not a checkpoint of rlbase ({FORMAT})."
        )
    try:
        packed = header["tree"]
        if header["checksum"] != _checksum(packed, tensors):
            raise ValueError("the checksum is another")
        return _unpack(json.loads(packed), tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"checkpoint {path} is damaged and cannot be read ({error!r}).") from None


def _checksum(packed: str, tensors: dict[str, Tensor]) -> str:
    """CRC-32 over the header's tree and every tensor: safetensors itself does not notice a flipped bit."""
    total = zlib.crc32(packed.encode())
    for name in sorted(tensors):
        total = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, total)
    return f"{total:08x}"


def _pack(tree: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, Tensor):
        name = str(len(tensors))
        tensors[name] = tree.detach().cpu().clone().contiguous()  # a clone: tied weights may share memory
        return {"tensor": name}
    if isinstance(tree, dict):
        return {"dict": [[_key(k), _pack(v, tensors)] for k, v in tree.items()]}
    if isinstance(tree, list | tuple):
        return {"list": [_pack(v, tensors) for v in tree]}
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    raise TypeError(
        f"checkpoint: cannot store a {type(tree).__name__}, only tensors, numbers, strings, None."
    )


def _key(key: Any) -> str | int:
    if isinstance(key, str | int):
        return key
    raise TypeError(f"checkpoint: keys must be strings or integers, got {key!r}.")


def _unpack(packed: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(packed, dict):
        return packed
    if "tensor" in packed:
        return tensors[packed["tensor"]]
    if "list" in packed:
        return [_unpack(v, tensors) for v in packed["list"]]
    return {k: _unpack(v, tensors) for k, v in packed["dict"]}


class Checkpoint:
    """The parts of a run under one path; does nothing when the path is None.

    ``parts`` are objects with ``state_dict``/``load_state_dict`` (modules, optimisers), ``state``/``load_state``
    (worlds), ``get_state``/``set_state`` (generators), or None. ``config`` is kept beside them: a run is only
    resumed with the settings it was begun with (``updates`` may grow, but not below what is done).

    >>> import tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "run.safetensors")
    >>> layer = torch.nn.Linear(1, 1)
    >>> Checkpoint(path, (layer,), config={}).save({"update": 7})
    >>> Checkpoint(path, (layer,), config={}).restore({"update": 0})
    {'update': 7}
    """

    def __init__(self, path: str | Path | None, parts: tuple[Any, ...], *, config: dict[str, Any]) -> None:
        self.path = None if path is None else Path(path).expanduser()
        self.parts = {f"{i} {type(part).__name__}": part for i, part in enumerate(parts) if part is not None}
        self.config = {key: value for key, value in config.items() if key != "updates"}
        self.updates = config.get("updates")

    def save(self, counters: dict[str, Any]) -> None:
        """Write every part and the counters."""
        if self.path is None:
            return
        parts = {name: _state_of(part) for name, part in self.parts.items()}
        save_tree(self.path, {"config": self.config, "counters": counters, "parts": parts})

    def restore(self, counters: dict[str, Any]) -> dict[str, Any]:
        """Load every part from the file if there is one, and return its counters; else return ``counters``.

        Raises:
            ValueError: the file is torn or foreign, belongs to another configuration, policy or world, or has done
                more updates than are asked for.
        """
        if self.path is None or not self.path.exists():
            return counters
        tree = load_tree(self.path)
        if not {"config", "counters", "parts"} <= tree.keys():
            raise ValueError(f"checkpoint {self.path} was written by rlbase, but holds no run.")
        stored = tree["config"]
        for key in self.config.keys() | stored.keys():
            if stored.get(key) != _plain(self.config.get(key)):
                raise ValueError(
                    f"checkpoint {self.path} was begun with {key}={stored.get(key)!r}, now it is "
                    f"{self.config.get(key)!r}; use the same configuration or another path."
                )
        done = tree["counters"].get("update", 0)
        if self.updates is not None and done > self.updates:
            raise ValueError(
                f"checkpoint {self.path} has done {done} updates, more than updates={self.updates} asks for; "
                "ask for more or use another path."
            )
        if tree["parts"].keys() != self.parts.keys():
            raise ValueError(
                f"checkpoint {self.path} holds {sorted(tree['parts'])}, this run has {sorted(self.parts)}."
            )
        for name, part in self.parts.items():
            if isinstance(part, torch.nn.Module):
                _same_tensors(self.path, name, part.state_dict(), tree["parts"][name])
        for name, part in reversed(
            self.parts.items()
        ):  # a world may refuse: nothing has been learnt over by then
            _load_into(part, tree["parts"][name])
        return tree["counters"]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _same_tensors(path: str | Path, name: str, mine: dict[str, Tensor], stored: dict[str, Tensor]) -> None:
    shapes = {k: list(v.shape) for k, v in mine.items()}
    others = {k: list(v.shape) for k, v in stored.items()}
    for key in shapes.keys() | others.keys():
        if shapes.get(key) != others.get(key):
            raise ValueError(
                f"checkpoint {path} does not fit this {name}: {key} has shape {others.get(key)} in the file, "
                f"{shapes.get(key)} here."
            )


def _state_of(part: Any) -> Any:
    for method in ("state_dict", "state", "get_state"):
        # an optimiser has both `state_dict` and a `state` that is no method: the first match is the right one
        if callable(getattr(part, method, None)):
            return getattr(part, method)()
    raise TypeError(f"checkpoint: {type(part).__name__} has no state to save.")


def _load_into(part: Any, state: Any) -> None:
    for method in ("load_state_dict", "load_state", "set_state"):
        if callable(getattr(part, method, None)):
            getattr(part, method)(state)
            return
    raise TypeError(f"checkpoint: {type(part).__name__} has no state to load.")
