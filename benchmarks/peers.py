"""The virtual environment of the other drivers: made once, kept in the cache, made anew when peers.txt changes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path

from benchmarks.errors import BenchmarkError

REQUIREMENTS = Path(__file__).with_name("peers.txt")


def requirements() -> list[str]:
    """What the environment has to hold: peers.txt, and the gevent and greenlet that this process runs on."""
    lines = (line.split("#")[0].strip() for line in REQUIREMENTS.read_text().splitlines())
    return [line for line in lines if line] + [f"{name}=={version(name)}" for name in ("gevent", "greenlet")]


def python(directory: Path) -> Path:
    """The interpreter of the peers' environment under `directory`. Raises BenchmarkError with pip's own words."""
    home = directory / f"peers-{sys.version_info.major}.{sys.version_info.minor}"
    interpreter, stamp, wanted = home / "bin" / "python", home / "installed.txt", requirements()
    if interpreter.exists() and stamp.exists() and stamp.read_text().split("\n") == wanted:
        return interpreter
    if home.exists():
        shutil.rmtree(home)
    venv.create(home, with_pip=True)
    command = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BenchmarkError(
            "The drivers to compare with could not be installed; `--drivers geventcql,floor` measures without them.\n"
            f"$ {' '.join(command)}\n{done.stdout}{done.stderr}"
        )
    stamp.write_text("\n".join(wanted))
    return interpreter
