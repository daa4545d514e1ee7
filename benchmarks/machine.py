"""What a result has to say about where it was measured, and which cores the measuring may use."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.errors import BenchmarkError

OURS = ("geventcql", "gevent", "greenlet")
PEERS = ("cassandra-driver", "acsylla")
_VERSIONS = """
import json, sys
from importlib.metadata import version
print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""


def cores() -> tuple[int | None, int | None]:
    """(client core, server core): two different ones this process may use, or (None, None) where there are not two."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[1]) if len(usable) > 1 else (None, None)


def cpu_model() -> str:
    """The processor's name as the kernel gives it, or as Python's platform module does."""
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def memory_gib() -> float:
    """Installed memory in GiB."""
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)


def peer_versions(interpreter: Path) -> dict[str, str]:
    """Versions of the other drivers in their environment."""
    import json

    done = subprocess.run(
        [str(interpreter), "-c", _VERSIONS, *PEERS], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchmarkError(f"{interpreter} does not have the other drivers:\n{done.stderr.strip()}")
    found: dict[str, str] = json.loads(done.stdout)
    return found


def facts(peers: Path | None) -> dict[str, object]:
    """CPU, memory, system, Python, the versions of every driver and the date (UTC)."""
    versions = {}
    for name in OURS:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "from the source tree"
    if peers is not None:
        versions.update(peer_versions(peers))
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": memory_gib(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": versions,
    }
