"""A process with the driver and nothing of the tests in it, seen from here."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import gevent

from tests.support.children import Popen

ROOT = Path(__file__).parents[2]


class Child:
    """Runs one of the programs beside this module; `tell` reads what it says next, one JSON value a line.

    :param options: of the interpreter
    """

    def __init__(self, program: str, *arguments: str, options: tuple[str, ...] = ()) -> None:
        path = str(Path(__file__).with_name(program))
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = Popen([sys.executable, *options, path, *arguments], env=environment)

    def tell(self) -> Any:
        with gevent.Timeout(20):
            line = self.process.stdout.readline()
        assert line, self.process.communicate()[1].decode()
        return json.loads(line)

    def say(self, line: str = "") -> None:
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def end(self, status: int = 0, seconds: float = 20.0) -> str:
        """Its stderr; it must end by itself within these seconds, and so."""
        began = time.monotonic()
        with gevent.Timeout(20):
            _, errors = self.process.communicate()
        took = time.monotonic() - began
        assert self.process.returncode == status, errors.decode()
        assert took < seconds, f"it has ended after {took:.1f} s"
        return str(errors.decode())
