"""Finds Java and brings Cassandra's jars through Maven, once per user.

Layer: testing. Runs in the calling greenlet. The jars stand in ``$XDG_CACHE_HOME/geventcql/cassandra-<version>``
(``~/.cache`` if that is not set), with a list of their sizes: a directory that does not agree with its list is fetched
again. Several processes may ask at once: one fetches, the others wait for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import glob
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator

from geventcql.testing.processes import run, wait_for

CASSANDRA_VERSION = "5.0.6"
"""The version of Cassandra that runs; pom.xml, beside this file, names the same."""

JAVA_VERSIONS = (17, 11)
"""The major versions of Java on which Cassandra 5.0 runs, the preferred one first."""

_FETCH_TIMEOUT = 900.0
_LEFT_OVER = 86_400.0
_SIZES = "sizes.json"


class MissingTool(RuntimeError):
    """A program that a real Cassandra needs is not on this machine; the message says what to install."""


def find_java() -> str:
    """The path of a ``java`` program of version 17 or 11.

    Looks at ``$JAVA_HOME``, the search path and /usr/lib/jvm, in this order. Raises MissingTool if none is fit.
    """
    return _find_java(os.environ.get("JAVA_HOME", ""), os.environ.get("PATH", ""))


@functools.cache
def _find_java(home: str, path: str) -> str:
    candidates = [os.path.join(home, "bin", "java")] if home else []
    on_path = shutil.which("java", path=path)
    if on_path:
        candidates.append(on_path)
    for version in JAVA_VERSIONS:
        candidates.extend(sorted(glob.glob(f"/usr/lib/jvm/*{version}*/bin/java")))
    unfit = []
    for candidate in candidates:
        version = _java_version(candidate)
        if version in JAVA_VERSIONS:
            return candidate
        unfit.append(f"{candidate} is " + (f"Java {version}" if version else "not a Java that runs"))
    raise MissingTool(
        f"Cassandra {CASSANDRA_VERSION} needs Java 17 or 11 ({'; '.join(unfit) or 'no java was found'}). "
        "Install it (Debian, Ubuntu: apt-get install openjdk-17-jre-headless) or point JAVA_HOME to one."
    )


def _java_version(java: str) -> int:
    """The major version that `java` reports, 0 if it does not run."""
    try:
        _, text = run([java, "-version"], timeout=30)
    except (OSError, TimeoutError):
        return 0
    found = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(found[1]) if found else 0


def cache_directory() -> str:
    """The directory in which geventcql keeps what it has fetched; made if it is not there."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    path = os.path.join(root, "geventcql")
    os.makedirs(path, exist_ok=True)
    return path


def cassandra_jars() -> list[str]:
    """The paths of the server's jars, fetched through Maven if this user does not have them all (about 66 MB).

    Raises MissingTool if Maven is needed and missing, RuntimeError with Maven's words if it fails.
    """
    directory = os.path.join(cache_directory(), f"cassandra-{CASSANDRA_VERSION}")
    if not _is_complete(directory):
        with locked(directory + ".lock"):
            if not _is_complete(directory):
                _fetch(directory)
    return sorted(glob.glob(os.path.join(directory, "*.jar")))


def _is_complete(directory: str) -> bool:
    """Whether `directory` holds what was fetched into it: disks fill up, and caches are cleaned or copied in part."""
    try:
        with open(os.path.join(directory, _SIZES), encoding="utf-8") as file:
            fetched = json.load(file)
    except (OSError, ValueError):
        return False
    return bool(fetched == _sizes(directory))


def _sizes(directory: str) -> dict[str, int]:
    return {os.path.basename(jar): os.path.getsize(jar) for jar in glob.glob(os.path.join(directory, "*.jar"))}


def _fetch(directory: str) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise MissingTool(
            f"The jars of Cassandra {CASSANDRA_VERSION} are not all in {directory}. They come through Maven, and there is "
            "no mvn on this machine. Install it (Debian, Ubuntu: apt-get install maven)."
        )
    cache = os.path.dirname(directory)
    _remove_left_overs(cache)
    # Maven may write beside the pom.xml, and the package's own directory may be read-only: work on a copy. The
    # rename at the end makes the jars appear all at once, so that an interrupted fetch leaves nothing half done.
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=cache) as work:
        shutil.copy(os.path.join(os.path.dirname(__file__), "pom.xml"), work)
        target = os.path.join(work, "jars")
        status, text = run(
            [
                *(maven, "-q", "-B", "-f", os.path.join(work, "pom.xml")),
                *("dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={target}"),
            ],
            timeout=_FETCH_TIMEOUT,
        )
        if status != 0:
            raise RuntimeError(f"Maven could not fetch the jars of Cassandra {CASSANDRA_VERSION}:\n{text[-4000:]}")
        with open(os.path.join(target, _SIZES), "w", encoding="utf-8") as file:
            json.dump(_sizes(target), file)
        if os.path.isdir(directory):
            os.rename(directory, os.path.join(work, "incomplete"))
        os.rename(target, directory)


def _remove_left_overs(cache: str) -> None:
    """Remove what fetches that were killed have left behind; younger ones may be at work, for another version."""
    for path in glob.glob(os.path.join(cache, "fetch-*")):
        with contextlib.suppress(FileNotFoundError):
            if os.path.getmtime(path) < time.time() - _LEFT_OVER:
                shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def locked(path: str, timeout: float = _FETCH_TIMEOUT) -> Iterator[None]:
    """Hold the lock file `path`, against other processes and greenlets; TimeoutError after `timeout` seconds."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def taken() -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    try:
        if not wait_for(taken, timeout, interval=0.2):
            raise TimeoutError(f"another process has held {path} for {timeout:g} s")
        yield
    finally:
        os.close(descriptor)
