"""The shapes in the annotations are true: every documented example runs again with them enforced."""

from __future__ import annotations

import doctest
import importlib
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from beartype import BeartypeConf, beartype
from jaxtyping import TypeCheckError, jaxtyped
from tree import MODULES, PACKAGE

ROOMS = ("losses", "advantages", "masked", "exact")
# An int where a float is asked for is right, as every type checker says.
checker = beartype(conf=BeartypeConf(is_pep484_tower=True))


def annotated_modules() -> list[ModuleType]:
    parts = [path.relative_to(PACKAGE).with_suffix("").parts for path in MODULES]
    names = [
        ".".join(("rlbase", *(p for p in part if p != "__init__"))) for part in parts if part[0] in ROOMS
    ]
    return [importlib.import_module(module) for module in names]


def enforced(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """The module's functions with every argument and result checked against its annotation."""
    found = inspect.getmembers(module, lambda x: inspect.isfunction(x) and x.__module__ == module.__name__)
    return {name: jaxtyped(f, typechecker=checker) for name, f in found}


@pytest.mark.parametrize("module", annotated_modules(), ids=lambda module: module.__name__)
def test_examples_keep_to_their_shapes(module: ModuleType) -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    for example in doctest.DocTestFinder(recurse=True).find(module):
        example.globs = {**vars(module), **enforced(module)}
        runner.run(example)
    assert runner.failures == 0


def test_the_check_checks() -> None:
    from rlbase import masked

    total = enforced(masked)["masked_sum"]
    mask = torch.tensor([[True, False, True]])
    assert total(torch.ones(1, 3), mask).tolist() == [2.0]
    with pytest.raises(TypeCheckError):
        total(torch.ones(1, 3), mask.float())
    with pytest.raises(TypeCheckError):
        total(torch.ones(3), mask[0])
