"""What the recipes of the embedded models share: nothing appears before all of it is done, and no bar while saving."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlbase.policies.load import _quiet


@contextlib.contextmanager
def all_at_the_end(out: Path) -> Iterator[Path]:
    """A hidden folder in ``out`` to write to; its files move to ``out`` when the block ends, or go if it fails.

    It has one name, so that what a killed process left there is swept away by the next.

    Raises:
        OSError: ``out`` cannot be written, which shows at once.

    >>> import tempfile
    >>> out = Path(tempfile.mkdtemp(), "new")
    >>> with all_at_the_end(out) as folder: _ = (folder / "card.md").write_text("done")
    >>> [path.name for path in out.iterdir()]
    ['card.md']
    """
    folder = out / ".unfinished"
    out.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
        for file in [path for path in folder.rglob("*") if path.is_file()]:
            place = out / file.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            file.chmod(0o644)
            os.replace(file, place)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def save_in_half(policy: Any, folder: Path) -> None:
    """Write a language model's weights as float16, silently; the policy is left in float16, too."""
    with _quiet():
        policy.model.half().save_pretrained(folder)
