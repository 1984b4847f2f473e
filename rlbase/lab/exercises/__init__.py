"""Every exercise, in the order of the notebooks; one module for each notebook."""

from __future__ import annotations

from rlbase.lab.exercise import Exercise
from rlbase.lab.exercises import (
    nb00,
    nb01,
    nb02,
    nb03,
    nb04,
    nb05,
    nb06,
    nb07,
    nb10,
    nb11,
    nb12,
    nb13,
    nb14,
    nb15,
    nb16,
    nb17,
    nb18,
)

EXERCISES: tuple[Exercise, ...] = (
    *nb00.EXERCISES,
    *nb01.EXERCISES,
    *nb02.EXERCISES,
    *nb03.EXERCISES,
    *nb04.EXERCISES,
    *nb05.EXERCISES,
    *nb06.EXERCISES,
    *nb07.EXERCISES,
    *nb10.EXERCISES,
    *nb11.EXERCISES,
    *nb12.EXERCISES,
    *nb13.EXERCISES,
    *nb14.EXERCISES,
    *nb15.EXERCISES,
    *nb16.EXERCISES,
    *nb17.EXERCISES,
    *nb18.EXERCISES,
)
