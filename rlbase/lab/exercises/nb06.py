"""Exercises of notebook 06."""

from __future__ import annotations

from rlbase.lab.exercise import Exercise

EXERCISES: tuple[Exercise, ...] = ()
