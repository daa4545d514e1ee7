"""Runs applications that fork after they have connected: under Gunicorn, and by themselves.

Test support; imports nothing of geventcql.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import gevent
from gevent import socket as green

from .children import Popen

ROOT = Path(__file__).parents[2]
APPLICATIONS = ROOT / "tests" / "applications"
PATIENCE = 90.0


def _environment(host: str, port: int, select: str) -> dict[str, str]:
    """`select`: a statement that gives the row with column k whose key is its only parameter."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "CQL_HOST": host, "CQL_PORT": str(port), "CQL_SELECT": select}


def run_preforked(act: str, host: str, port: int, select: str) -> Any:
    """What tests/applications/preforked.py says."""
    process = Popen([sys.executable, str(APPLICATIONS / "preforked.py"), act], env=_environment(host, port, select))
    with gevent.Timeout(PATIENCE):
        output, errors = process.communicate()
    assert process.returncode == 0, errors.decode()
    return json.loads(output)


def _get(port: int, key: int) -> tuple[int, int]:
    with gevent.Timeout(PATIENCE), green.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /%d HTTP/1.0\r\n\r\n" % key)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 200 " in head.splitlines()[0], answer
    pid, found = body.split()
    return int(pid), int(found)


def ask_gunicorn(host: str, port: int, select: str, keys: int) -> Counter[int]:
    """Run `gunicorn --preload -k gevent -w 2`, ask it for each key until both workers have answered, and end it: how many
    answers each process gave, all of them right.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        web = free.getsockname()[1]
    words = ["-m", "gunicorn", "--preload", "-k", "gevent", "-w", "2", "-b", f"127.0.0.1:{web}", "--timeout", "120"]
    words += ["--pythonpath", str(APPLICATIONS), "preloaded:app"]
    process = Popen([sys.executable, *words], env=_environment(host, port, select))
    told: list[bytes] = []
    reading = gevent.spawn(lambda: told.extend(process.stderr))
    try:
        with gevent.Timeout(PATIENCE):
            while b"".join(told).count(b"Booting worker") < 2:
                assert process.poll() is None, b"".join(told).decode()
                gevent.sleep(0.01)
        answers: Counter[int] = Counter()
        with gevent.Timeout(PATIENCE):
            while len(answers) < 2:
                asking = [gevent.spawn(_get, web, key) for key in range(keys)]
                gevent.joinall(asking, raise_error=True)
                assert [each.value[1] for each in asking] == list(range(keys))
                answers.update(each.value[0] for each in asking)
        os.kill(process.pid, signal.SIGTERM)
        with gevent.Timeout(PATIENCE):
            assert process.wait() == 0, b"".join(told).decode()
        text = b"".join(told).decode()
        assert "Traceback" not in text and "ERROR" not in text, text
        return answers
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        reading.join(PATIENCE)
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()
