"""Builds the core with sanitizers, beside the released one, and fuzzes it: `python -m tests.fuzz --help`."""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "fuzz"
PACKAGE = BUILD / "lib"
FAILURES = BUILD / "failures"
COVERAGE = BUILD / "coverage.so"
COMPILER = os.environ.get("CC", "gcc")
SANITIZE = "-fsanitize=address,undefined"
# No allocation of ours is near 64 MB while inputs have 4 KB: beyond that one is a MemoryError, which no target allows.
ASAN = (
    "detect_leaks=0:malloc_context_size=5:quarantine_size_mb=16:hard_rss_limit_mb=2000"
    ":allocator_may_return_null=1:max_allocation_size_mb=64"
)


def build() -> None:
    """Bring the sanitizer build up to date."""
    BUILD.mkdir(parents=True, exist_ok=True)
    flags = f"{SANITIZE} -fno-sanitize-recover=undefined -fsanitize-coverage=trace-pc -fno-omit-frame-pointer -g1"
    arguments = ["-q", "build", "--build-base", str(BUILD / "temp"), "--build-lib", str(PACKAGE)]
    subprocess.run(
        [sys.executable, "setup.py", *arguments],
        check=True, cwd=ROOT, env={**os.environ, "CC": COMPILER, "CFLAGS": flags, "LDFLAGS": SANITIZE},
    )
    source = Path(__file__).with_name("coverage.c")
    subprocess.run([COMPILER, "-O2", "-shared", "-fPIC", "-o", str(COVERAGE), str(source)], check=True)


def run(*arguments: str) -> int:
    """Run `python -m ...` on the sanitizer build: its exit status."""
    runtime = subprocess.run(
        [COMPILER, "-print-file-name=libasan.so"], check=True, capture_output=True, text=True
    ).stdout.strip()
    environment = {
        **os.environ,
        "LD_PRELOAD": f"{runtime} {COVERAGE}",
        "ASAN_OPTIONS": ASAN,
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",  # else the sanitizer would not see where objects end
        "PYTHONPATH": str(ROOT),
    }
    # `python -m` looks into the working directory first: this package, not the released one.
    return subprocess.run([sys.executable, "-m", *arguments], cwd=PACKAGE, env=environment, check=False).returncode


def save_failure() -> Path:
    """The input that ended the campaign, as a file of its own."""
    name, size, rest = (BUILD / "current").read_bytes().split(b" ", 2)
    data = rest[: int(size)]
    path = FAILURES / hashlib.sha256(data).hexdigest()[:12] / name.decode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{data.hex()}\n")
    return path


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz the compiled core in a sanitizer build.")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (default: 600)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32), help="default: any")
    parser.add_argument("--target", default="", help="only this one of the targets in values.py and wires.py")
    parser.add_argument("--replay", type=Path, help="run the inputs in a file that is called as its target")
    parser.add_argument("--tests", action="store_true", help="run tests/cython on the sanitizer build before")
    parser.add_argument("--keep", action="store_true", help="put what reaches something new into the corpus, behind it")
    options = parser.parse_args()
    build()
    if options.replay:
        return run("tests.fuzz.campaign", "replay", str(options.replay.resolve()))
    if options.tests and (status := run("pytest", "-q", "-m", "not slow", str(ROOT / "tests" / "cython"))):
        return status
    print(f"fuzzing for {options.seconds:g} s, --seed {options.seed}", flush=True)
    if status := run("tests.fuzz.campaign", "fuzz", str(options.seed), str(options.seconds), options.target):
        path = save_failure()
        print(
            f"\nexit status {status} with the input in {path}\nagain: make fuzz ARGS='--replay {path}'\n"
            f"Once mended, append it to tests/fuzz/corpus/{path.name}: tests/cython/test_fuzz_corpus.py runs what is there.",
        )
        return 1
    return run("tests.fuzz.campaign", "keep") if options.keep else 0


if __name__ == "__main__":
    sys.exit(main())
