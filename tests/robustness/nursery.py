"""Processes that train and can be killed, one after another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path


class Nursery:
    """One program that has imported everything and forks a process for each run (see ``runs.py``)."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("runs.py"))]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.parent = subprocess.Popen(
            command, text=True, bufsize=1, env={**os.environ, "OMP_NUM_THREADS": "1"}, **pipes
        )
        self.said: list[str] = []
        self.status: int | None = None
        self.child = 0

    def start(self, name: str, path: Path) -> Nursery:
        assert self.parent.stdin is not None
        self.said, self.status = [], None
        self.parent.stdin.write(f"{name}\t{path}\n")
        while not {"ready", "started"} <= {line.split()[0] for line in self.said}:
            self.line()
        self.child = next(int(line.split()[1]) for line in self.said if line.startswith("started"))
        self.said = [line for line in self.said if line.isdigit()]
        return self

    def line(self) -> None:
        if self.status is None:
            assert self.parent.stdout is not None
            line = self.parent.stdout.readline().rstrip("\n")
            assert line, "the process that starts the others is gone"
            if line.startswith("ended"):
                self.status = int(line.split()[1])
            else:
                self.said.append(line)

    def wait(self) -> int:
        while self.status is None:
            self.line()
        return self.status

    def kill(self) -> int:
        with suppress(ProcessLookupError):  # it was faster
            os.kill(self.child, signal.SIGKILL)
        return self.wait()
