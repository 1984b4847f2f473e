"""Every exercise, in the order of the notebooks; one module for each notebook, found by its name ``nbNN``."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from rlbase.lab.exercise import Exercise

SHEETS = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name.startswith("nb"))
EXERCISES: tuple[Exercise, ...] = tuple(
    exercise for sheet in SHEETS for exercise in import_module(f"{__name__}.{sheet}").EXERCISES
)
