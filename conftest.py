"""What all tests, doctests and notebook runs share: no network, no home directory, one thread.

The environment is set here, before torch or a kernel starts, because kernels and subprocesses inherit it.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

import pytest

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
# A worked solution that fails its check is an error, and `status()` is blank.
os.environ["RLBASE_STRICT"] = "1"
os.environ["RLBASE_HOME"] = tempfile.mkdtemp(prefix="rlbase-tests-")
atexit.register(shutil.rmtree, os.environ["RLBASE_HOME"], ignore_errors=True)


def pytest_configure(config: pytest.Config) -> None:
    # A notebook's kernel must keep its inline backend, whether nbval or JupyterLab starts it.
    if not getattr(config.option, "nbval", False) and config.option.markexpr != "browser":
        os.environ["MPLBACKEND"] = "Agg"
