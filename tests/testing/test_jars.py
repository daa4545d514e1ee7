"""Java and the jars are found, fetched once, and missed with words that help."""

from __future__ import annotations

import os
import re
import time
import xml.etree.ElementTree
from pathlib import Path

import gevent
import pytest

from geventcql.testing import jars
from geventcql.testing.jars import CASSANDRA_VERSION, MissingTool, cassandra_jars, find_java, locked

MAVEN = """#!/bin/sh
echo x >> "$CALLS"
for argument; do case $argument in -DoutputDirectory=*) out=${argument#*=};; esac; done
sleep 0.3
mkdir -p "$out" && echo b > "$out/b.jar" && echo a > "$out/a.jar"
"""


def _program(directory: Path, name: str, text: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_text(text)
    path.chmod(0o755)


def _java(directory: Path, version: str) -> str:
    _program(directory / "bin", "java", f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-01-01' >&2\n")
    return str(directory / "bin" / "java")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a shell, an empty cache and nothing under /usr/lib/jvm."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(jars.glob, "glob", _without_system_java(jars.glob.glob))
    return tmp_path


def _without_system_java(glob):  # type: ignore[no-untyped-def]
    return lambda pattern: [] if pattern.startswith("/usr/lib/jvm") else glob(pattern)


@pytest.mark.parametrize("version", ["17.0.15", "11.0.2"])
def test_java_home_comes_first(machine: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    chosen = _java(machine / "chosen", version)
    _java(machine, "17.0.1")
    monkeypatch.setenv("JAVA_HOME", str(machine / "chosen"))
    assert find_java() == chosen


def test_a_java_that_cassandra_does_not_run_on_is_passed_over(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _java(machine / "new", "25")
    fit = _java(machine, "17.0.9")
    monkeypatch.setenv("JAVA_HOME", str(machine / "new"))
    assert find_java() == fit


def test_no_fit_java_says_what_was_found_and_what_to_install(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = _java(machine / "old", "1.8.0_292")
    monkeypatch.setenv("JAVA_HOME", str(machine / "old"))
    monkeypatch.setenv("PATH", str(machine / "empty"))
    with pytest.raises(MissingTool) as caught:
        find_java()
    assert f"{old} is Java 8" in str(caught.value)
    assert "apt-get install openjdk-17-jre-headless" in str(caught.value)


def test_the_jars_are_fetched_once_by_greenlets_that_ask_at_once(machine: Path) -> None:
    _program(machine / "bin", "mvn", MAVEN)
    tasks = [gevent.spawn(cassandra_jars) for _ in range(5)]
    gevent.joinall(tasks, raise_error=True)
    directory = machine / "cache" / "geventcql" / f"cassandra-{CASSANDRA_VERSION}"
    assert [task.value for task in tasks] == [[str(directory / "a.jar"), str(directory / "b.jar")]] * 5
    assert (machine / "calls").read_text() == "x\n"
    assert sorted(os.listdir(directory.parent)) == [directory.name, f"{directory.name}.lock"]


@pytest.mark.parametrize("damage", ["truncated", "missing", "added", "empty directory", "no list", "broken list"])
def test_jars_that_are_not_as_they_were_fetched_are_fetched_again(machine: Path, damage: str) -> None:
    _program(machine / "bin", "mvn", MAVEN)
    first = Path(cassandra_jars()[0])
    listing = first.with_name("sizes.json")
    if damage == "truncated":
        first.write_text("")
    elif damage == "missing":
        first.unlink()
    elif damage == "added":
        first.with_name("c.jar").write_text("x")
    elif damage == "empty directory":
        for path in first.parent.iterdir():
            path.unlink()
    elif damage == "no list":
        listing.unlink()
    else:
        listing.write_text("{")
    assert [Path(jar).read_text() for jar in cassandra_jars()] == ["a\n", "b\n"]
    assert (machine / "calls").read_text() == "x\nx\n"
    assert cassandra_jars()[0] == str(first)
    assert (machine / "calls").read_text() == "x\nx\n"
    assert sorted(os.listdir(first.parents[1])) == [first.parent.name, f"{first.parent.name}.lock"]


def test_a_fetch_removes_what_killed_ones_left_a_day_ago(machine: Path) -> None:
    _program(machine / "bin", "mvn", MAVEN)
    cache = machine / "cache" / "geventcql"
    for name, age in [("fetch-old", 90_000), ("fetch-new", 80_000)]:
        (cache / name / "jars").mkdir(parents=True)
        os.utime(cache / name, (time.time() - age,) * 2)
    cassandra_jars()
    assert not (cache / "fetch-old").exists()
    assert (cache / "fetch-new" / "jars").exists()


def test_without_maven_it_says_what_to_install(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(machine / "empty"))
    with pytest.raises(MissingTool, match="apt-get install maven"):
        cassandra_jars()


def test_a_failing_maven_is_quoted_and_leaves_nothing(machine: Path) -> None:
    _program(machine / "bin", "mvn", "#!/bin/sh\necho no route to the repository\nexit 1\n")
    with pytest.raises(RuntimeError, match="no route to the repository"):
        cassandra_jars()
    assert os.listdir(machine / "cache" / "geventcql") == [f"cassandra-{CASSANDRA_VERSION}.lock"]


def test_a_lock_that_stays_held_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with locked(path), pytest.raises(TimeoutError, match=re.escape(path)), locked(path, timeout=0.1):
        pytest.fail("two holders of one lock")


def test_the_pom_names_the_same_version() -> None:
    pom = xml.etree.ElementTree.parse(Path(jars.__file__).with_name("pom.xml"))
    versions = pom.iter("{http://maven.apache.org/POM/4.0.0}version")
    assert [version.text for version in versions] == ["1", CASSANDRA_VERSION]
