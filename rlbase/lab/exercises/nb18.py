"""Exercises of notebook 18: of each patient in the zoo first the diagnosis, then the repair."""

from __future__ import annotations

from rlbase.lab.exercise import Exercise
from rlbase.lab.exercises.zoo import WARDS

EXERCISES: tuple[Exercise, ...] = tuple(e for ward in WARDS for e in (ward.DIAGNOSIS, ward.FIX))
