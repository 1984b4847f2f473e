"""The patients of notebook 18, from easy to nasty: one module a bug, with its loop, its diagnosis and its repair."""

from __future__ import annotations

from types import ModuleType

from rlbase.lab.exercises.zoo import (
    broadcast,
    dropout,
    eos,
    k1_loss,
    last_token,
    padding,
    prompt,
    reference,
    reward_shift,
    shift,
    temperature,
    truncation,
    whitening,
)
from rlbase.lab.zoo import Patient

WARDS: tuple[ModuleType, ...] = (
    broadcast,
    eos,
    prompt,
    shift,
    padding,
    reference,
    temperature,
    dropout,
    truncation,
    last_token,
    whitening,
    k1_loss,
    reward_shift,
)
PATIENTS: tuple[Patient, ...] = tuple(ward.PATIENT for ward in WARDS)


def find(name: str) -> Patient:
    """The patient called ``name``.

    Raises:
        ValueError: there is none.

    >>> find("patient-2").title
    'The one that cannot stop'
    """
    for patient in PATIENTS:
        if patient.name == name:
            return patient
    raise ValueError(f"There is no patient {name!r}; they are called patient-1 to patient-{len(PATIENTS)}.")
