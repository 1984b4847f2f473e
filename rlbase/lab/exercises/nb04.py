"""Exercises of notebook 04."""

from __future__ import annotations

from rlbase.lab.exercise import Exercise

EXERCISES: tuple[Exercise, ...] = ()
