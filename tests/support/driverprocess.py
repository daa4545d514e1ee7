"""cassandra-driver in a process of its own, seen from here.

Test support; imports nothing of geventcql.
"""

from __future__ import annotations

import json
import sys
import uuid
from pathlib import Path
from typing import Any

import gevent

from .children import Popen


class Child:
    """The process with cassandra-driver."""

    def __init__(self) -> None:
        program = Path(__file__).with_name("driverchild.py")
        self._process = Popen([sys.executable, str(program)])

    def run(self, port: int, code: str, version: int | None = None, connect: bool = True, **arguments: Any) -> Any:
        """Run code with a Cluster and, unless it is to `connect` itself, a Session; what it assigned to `result`."""
        arguments = {"contact_points": ["127.0.0.1"], "port": port, "compression": False, **arguments}
        if version is not None:
            arguments["protocol_version"] = version
        request = {"arguments": arguments, "code": code, "connect": connect}
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        with gevent.Timeout(20):
            answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return eval(answer["result"], {"UUID": uuid.UUID})

    def stop(self) -> None:
        self._process.communicate()
