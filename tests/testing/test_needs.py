"""The set-up script says exactly what to install, or installs it where it may."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NEEDS = Path(__file__).parents[2] / ".ci" / "needs"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A directory with the programs of a bare machine: no compiler, no Maven, no apt-get."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in ("bash", "sed", "grep"):
        found = shutil.which(name)
        assert found is not None
        (directory / name).symlink_to(found)
    _program(directory, "id", "echo 1000")
    return directory


def _program(directory: Path, name: str, text: str) -> None:
    (directory / name).write_text(f"#!/bin/bash\n{text}\n")
    (directory / name).chmod(0o755)


def _needs(programs: Path, what: str, python: str = sys.executable) -> tuple[int, str]:
    ended = subprocess.run(
        ["bash", str(NEEDS), what],
        env={"PATH": str(programs), "HOME": str(programs), "PYTHON": python},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return ended.returncode, ended.stdout


def test_what_is_there_is_not_mentioned(programs: Path) -> None:
    assert _needs(programs, "python") == (0, "")


def test_a_missing_compiler_is_named_with_its_packages(programs: Path) -> None:
    status, text = _needs(programs, "compiler")
    assert status == 1
    assert "a C compiler (gcc)" in text
    assert "sudo apt-get install gcc libc6-dev" in text


def test_maven_is_missed_only_without_the_jars(programs: Path) -> None:
    _program(programs, "openssl", "exit 0")
    _program(programs, "java", "echo 'openjdk version \"17.0.1\"' >&2")
    status, text = _needs(programs, "server")
    assert (status, "sudo apt-get install maven" in text) == (1, True)
    jars = programs / ".cache" / "geventcql" / "cassandra-5.0.6"
    jars.mkdir(parents=True)
    (jars / "sizes.json").touch()
    assert _needs(programs, "server") == (0, "")


def test_root_installs_what_is_missing(programs: Path) -> None:
    _program(programs, "id", "echo 0")
    _program(
        programs, "apt-get", f"echo $* >>{programs}/asked\nif [[ $* = *' install '* ]]; then echo >{programs}/gcc; fi"
    )
    _program(programs, "gcc", "exit 1")
    status, text = _needs(programs, "compiler")
    assert (programs / "asked").read_text().splitlines() == [
        "--version",
        "-qq update",
        "-qq install -y --no-install-recommends gcc libc6-dev",
    ]
    assert (status, text) == (0, "Installing gcc libc6-dev ...\n")


def test_an_installation_that_fails_ends_with_what_to_install(programs: Path) -> None:
    _program(programs, "id", "echo 0")
    _program(programs, "apt-get", "[[ $1 = --version ]]")
    status, text = _needs(programs, "compiler")
    assert status == 1
    assert text.endswith("Install it, on Debian or Ubuntu by\n  sudo apt-get install gcc libc6-dev\n")


def test_an_old_python_is_refused_by_name(programs: Path) -> None:
    old = "#!/bin/bash\nif [[ $2 = *print* ]]; then echo 3.9; else [[ $2 != *version_info* ]]; fi\n"
    (programs / "python3.9").write_text(old)
    (programs / "python3.9").chmod(0o755)
    status, text = _needs(programs, "python", python="python3.9")
    assert (status, "is Python 3.9; geventcql needs 3.10 or later" in text) == (1, True)


def test_an_unknown_word_shows_the_usage(programs: Path) -> None:
    status, text = _needs(programs, "everything")
    assert (status, "usage:" in text) == (2, True)
