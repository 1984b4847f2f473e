from __future__ import annotations

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
# The same examples on every run, and no failure because a machine was busy.
settings.register_profile("rlbase", deadline=None, derandomize=True)
settings.load_profile("rlbase")


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Tests pass generators; this is for library code that draws from torch's global one."""
    torch.manual_seed(0)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
