"""The check of the installation tells a missing part from an old one, and what one loses by it."""

from __future__ import annotations

from importlib import metadata

import pytest

from rlbase.lab import installation as module
from rlbase.lab.installation import installation


def test_passes_here_without_naming_a_version_of_a_package() -> None:
    lines = installation().split("\n")
    assert [line[:4] for line in lines] == ["PASS"] * 6
    assert "PASS  core (jaxtyping, numpy, safetensors, torch)" in lines
    assert not any(metadata.version(name) in installation() for name in ("torch", "transformers"))


def test_names_what_is_old_and_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = module._version
    said: dict[str, str | None] = {"gymnasium": "0.29.1", "transformers": None}
    monkeypatch.setattr(module, "_version", lambda name: said.get(name, real(name)))
    text = installation()
    assert "FAIL  Gymnasium: gymnasium 0.29.1 is outside <2,>=1.1. Until then: no CartPole" in text
    assert "FAIL  language models: transformers is missing." in text
    assert text.count("PASS") == 4


def test_an_old_python_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.python_version", lambda: "3.9.2")
    assert installation().startswith("FAIL  Python: Python 3.9.2 is outside >=3.11.")


def test_without_the_package_or_the_model_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise FileNotFoundError("the embedded model is missing")

    monkeypatch.setattr(module, "reviews_folder", gone)
    assert "FAIL  embedded language model: the embedded model is missing." in installation()

    def unknown(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", unknown)
    assert installation().startswith("FAIL  rlbase itself is not installed")
