"""Builds and runs `replay.c`, the caching proxy that stands between the drivers and a real server."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.errors import BenchmarkError

SOURCE = Path(__file__).with_name("replay.c")
MISSING = "Install a C compiler and zlib's headers (Debian, Ubuntu: apt-get install gcc libc6-dev zlib1g-dev)."


def build(directory: Path) -> Path:
    """The compiled proxy in `directory`, made anew when the source is newer. Raises BenchmarkError."""
    program = directory / "replay"
    if program.exists() and program.stat().st_mtime >= SOURCE.stat().st_mtime:
        return program
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise BenchmarkError(f"There is no C compiler to build {SOURCE.name} with. {MISSING}")
    directory.mkdir(parents=True, exist_ok=True)
    unfinished = directory / f"replay.{os.getpid()}"
    command = [compiler, "-O2", "-Wall", "-o", str(unfinished), str(SOURCE), "-lz", "-lpthread"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BenchmarkError(f"{SOURCE.name} does not compile. {MISSING}\n$ {' '.join(command)}\n{done.stderr}")
    unfinished.replace(program)
    return program


@contextmanager
def running(
    program: Path,
    upstream: tuple[str, int],
    listen: tuple[str, int],
    *,
    core: int | None = None,
    max_version: int = 5,
) -> Iterator[tuple[str, int]]:
    """Run the proxy before `upstream` and give the (address, port) it listens on; it is stopped at the end.

    `core` is the processor to keep it on; a port of 0 in `listen` takes a free one. Raises BenchmarkError.
    """
    words = [str(program), listen[0], str(listen[1]), upstream[0], str(upstream[1]), str(max_version)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        if core is not None:
            os.sched_setaffinity(process.pid, {core})
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline().split()
        if line[:1] != ["listening"]:
            why = process.stderr.read()
            raise BenchmarkError(f"The replaying server did not start on {listen[0]}:{listen[1]}: {why}")
        yield line[1], int(line[2])
    finally:
        process.terminate()
        process.communicate()
