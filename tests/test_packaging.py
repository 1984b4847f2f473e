"""The wheel works away from the repository: model, JavaScript and all."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tree import ROOT, repository_files


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    build = "pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir"
    subprocess.run([sys.executable, "-m", *build.split(), str(out), str(ROOT)], check=True)
    (built,) = out.glob("rlbase-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(wheel).extractall(target)
    return target


def run(installed: Path, code: str) -> str:
    """Run ``code`` where the installed package, not the repository's, is the first on the path."""
    code = f"import rlbase; assert rlbase.__file__.startswith({str(installed)!r}), rlbase.__file__\n{code}"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=installed,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    package = [path for path in repository_files() if path.is_relative_to(ROOT / "rlbase")]
    assert {path.relative_to(ROOT).as_posix() for path in package} - names == set()
    assert {name.split("/")[0] for name in names} == {"rlbase", "rlbase-0.1.0.dist-info"}
    assert not [name for name in names if name.endswith((".pyc", ".ipynb"))]


MODELS = {
    "reviews-lm": "load_policy('reviews')",
    "reviews-sft": "load_policy('reviews-sft')",
    "reviews-reward": "load_reward_model('reviews-reward')",
}


@pytest.fixture(scope="module")
def loaded(installed: Path) -> list[str]:
    """The classes of the embedded models, as one process loaded them that imported the installed package."""
    code = "import rlbase.losses, rlbase.masked, rlbase.advantages, rlbase.exact\n"
    code += "from rlbase.policies import load_policy, load_reward_model\n"
    code += "".join(f"print(type({load}).__name__)\n" for load in MODELS.values())
    return run(installed, code).split()


@pytest.mark.parametrize("folder", MODELS)
def test_embedded_models_load_from_the_installed_package(
    folder: str, loaded: list[str], installed: Path
) -> None:
    def sizes(place: Path) -> dict[str, int]:
        return {path.name: path.stat().st_size for path in place.iterdir() if path.is_file()}

    committed = sizes(ROOT / "assets" / folder)
    assert sizes(installed / "rlbase/assets" / folder) == committed
    assert sum(committed.values()) <= 2_200_000
    found = dict(zip(MODELS, loaded, strict=True))[folder]
    assert found == ("LMRewardModel" if folder == "reviews-reward" else "CausalLMPolicy")
