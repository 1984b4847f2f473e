"""Is everything here? One line for each part of the installation, the same on every machine where all is well."""

from __future__ import annotations

import platform
from importlib import metadata

from rlbase.policies.load import reviews_folder

# Extra in pyproject.toml: what it is, and what one misses without it.
PARTS = {
    "": ("core", "nothing works"),
    "lab": ("notebooks and pictures", "no live controls"),
    "gym": ("Gymnasium", "no CartPole in 00, no notebook 06"),
    "lm": ("language models", "no notebook 07, and no last section in some others"),
}


def installation() -> str:
    """Compare what is installed with the ranges that rlbase declares; a line beginning with PASS or FAIL for each part.

    >>> print(installation().split(" (")[0])
    PASS  Python
    """
    try:
        declared = metadata.requires("rlbase") or []
        python = metadata.metadata("rlbase")["Requires-Python"]
    except metadata.PackageNotFoundError:
        return "FAIL  rlbase itself is not installed: type `make install`, or `pip install -e .[all]` in the clone."
    lines = [
        _line("Python", [_fault("Python", python, platform.python_version())], "nothing works", [python])
    ]
    for extra, (part, loss) in PARTS.items():
        wanted = sorted(found for text in declared if (found := _requirement(text, extra)))
        faults = [_fault(name, specifier, _version(name)) for name, specifier in wanted]
        lines.append(_line(part, faults, loss, [name for name, _ in wanted]))
    try:
        reviews_folder()
        missing = ""
    except FileNotFoundError as error:
        missing = str(error)
    lines.append(_line("embedded language model", [missing], "no live language model", ["reviews"]))
    return "\n".join(lines)


def _requirement(text: str, extra: str) -> tuple[str, str] | None:
    """Name and version range, if the requirement belongs to ``extra`` and not to everybody."""
    from packaging.requirements import Requirement

    found = Requirement(text)
    if (found.marker is None) != (extra == ""):
        return None
    if found.marker is not None and not found.marker.evaluate({"extra": extra}):
        return None
    return found.name, str(found.specifier)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _fault(name: str, specifier: str, version: str | None) -> str:
    from packaging.specifiers import SpecifierSet

    if version is None:
        return f"{name} is missing"
    if SpecifierSet(specifier).contains(version, prereleases=True):
        return ""
    return f"{name} {version} is outside {specifier}"


def _line(part: str, faults: list[str], loss: str, names: list[str]) -> str:
    real = [fault for fault in faults if fault]
    if not real:
        return f"PASS  {part} ({', '.join(names)})"
    return f"FAIL  {part}: {'; '.join(real)}. Until then: {loss}. `make install` puts it right."
