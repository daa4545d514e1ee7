"""Runs the fuzz targets in the sanitizer build: mutates inputs, keeps those that reach something new. The child of __main__.

An input that ends this process stands in the file CURRENT, for the parent. One that takes 10 s of CPU time ends it, too.
"""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.fuzz import values, wires
from tests.fuzz.seeds import seeds

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
BUILD = HERE.parents[1] / "build" / "fuzz"
FOUND = BUILD / "found"
CURRENT = BUILD / "current"
"""The input that is being run: the target's name, a blank, its length, a blank, its bytes."""
LONGEST = 4096
SLOWEST = 10.0
SLICE = 1.0

Target = Callable[[bytes], None]
TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (
        values.cells, values.rows, values.names, values.parameters, values.single, values.tokens,
        wires.frames, wires.segments, wires.replies, wires.pages, wires.connection, wires.requests,
    )
}
NUMBERS = [
    number.to_bytes(size, "big")
    for size, some in ((1, (0, 1, 0x7F, 0x80, 0xFE, 0xFF)), (2, (0, 1, 0x7FFF, 0x8000, 0xFFFF)),
                       (4, (0, 1, 4, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)), (8, (0, 1 << 63, (1 << 64) - 1)))
    for number in some
]
WORDS = [name.encode() for name in (
    "org.apache.cassandra.db.marshal.", "Int32Type", "UTF8Type", "ListType(", "MapType(", "UserType(ks,61,62:", "VectorType(",
    "TupleType(", "FrozenType(", "ReversedType(", "CompositeType(", "frozen<", "list<", "vector<", ">", ")", ",", '"', "'",
)]


class Edges:
    """What of the core one target has reached; coverage.c keeps it."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        self.map = (ctypes.c_uint8 * (1 << 16))()
        self.place = ctypes.c_void_p.in_dll(library, "edges")
        self.new = ctypes.c_uint64.in_dll(library, "edges_new")
        self.reached = 0

    def by(self, target: Target, data: bytes) -> int:
        """Run the target: how many edges nothing had reached before."""
        self.place.value = ctypes.addressof(self.map)
        self.new.value = 0
        target(data)
        new = self.new.value
        self.reached += new
        return new


class Campaign:
    """The inputs of one target."""

    def __init__(self, name: str, rng: random.Random, current: mmap.mmap) -> None:
        self.name = name
        self.edges = Edges()
        self.rng = rng
        self.current = current
        self.runs = 0
        self.inputs: list[bytes] = []
        for data in [*kept(name), *seeds(name)]:
            self.run(data)

    def run(self, data: bytes) -> None:
        """Run the target; keep the input if it reaches what none did."""
        head = f"{self.name} {len(data)} ".encode()
        self.current[: len(head) + len(data)] = head + data
        signal.setitimer(signal.ITIMER_VIRTUAL, SLOWEST)
        self.runs += 1
        if self.edges.by(TARGETS[self.name], data) or not self.inputs:
            self.inputs.append(data)

    def go_on(self, seconds: float) -> None:
        """Run changed inputs for so long."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            data = bytearray(self.rng.choice(self.inputs))
            for _ in range(1 << self.rng.randrange(5)):
                self.change(data)
            self.run(bytes(data[:LONGEST]))

    def change(self, data: bytearray) -> None:
        """Make one change."""
        rng = self.rng
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + (1 << rng.randrange(8)))
        kind = rng.randrange(8)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = (data[at] + rng.randrange(-3, 4)) & 0xFF
        elif kind == 2:
            number = rng.choice(NUMBERS)
            data[at : at + len(number)] = number
        elif kind == 3:
            data[at:at] = rng.choice(WORDS) if self.name == "names" else rng.randbytes(1 << rng.randrange(6))
        elif kind == 4:
            del data[at:end]
        elif kind == 5:
            data[at:at] = data[at:end] * rng.choice((1, 1, 2, 10))
        elif kind == 6:
            other = rng.choice(self.inputs)
            start = rng.randrange(len(other) + 1)
            data[at:end] = other[start : start + (1 << rng.randrange(10))]
        else:
            data[at:end] = rng.randbytes(end - at)


def restrict() -> None:
    """Numbers of any length for the oracles; where it stood, if an input takes too long."""
    sys.set_int_max_str_digits(0)
    faulthandler.register(signal.SIGVTALRM, chain=True)


def fuzz(seed: str, seconds: str, only: str) -> None:
    """Run all targets in turn; leave what reached something new in the build's directory."""
    with CURRENT.open("w+b") as file:
        file.truncate(2 * LONGEST)
        current = mmap.mmap(file.fileno(), 0)
    ends = time.monotonic() + float(seconds)
    campaigns = [Campaign(name, random.Random(f"{seed} {name}"), current) for name in TARGETS if only in ("", name)]
    while time.monotonic() < ends:
        for campaign in campaigns:
            campaign.go_on(min(SLICE, float(seconds) / len(campaigns)))
    for campaign in campaigns:
        write(FOUND, campaign.name, campaign.inputs)
        print(
            f"{campaign.name:12} {campaign.runs:9,} inputs {campaign.edges.reached:6,} edges, "
            f"reached by {len(campaign.inputs):,}"
        )


def keep() -> None:
    """Make the corpus of what is in it and what was found: the shortest inputs that together reach all of it."""
    for name, target in TARGETS.items():
        edges = Edges()
        inputs = sorted({*kept(name), *seeds(name), *kept(name, FOUND)}, key=lambda data: (len(data), data))
        write(CORPUS, name, [data for data in inputs if edges.by(target, data)])


def kept(name: str, where: Path = CORPUS) -> list[bytes]:
    """The kept inputs of a target: one on each line, in hexadecimal."""
    path = where / name
    return [bytes.fromhex(line) for line in path.read_text().splitlines()] if path.exists() else []


def write(where: Path, name: str, inputs: list[bytes]) -> None:
    """Keep these inputs of a target."""
    where.mkdir(parents=True, exist_ok=True)
    (where / name).write_text("".join(f"{data.hex()}\n" for data in inputs))


def replay(path: str) -> None:
    """Run the inputs in a file."""
    for data in kept(Path(path).name, Path(path).parent):
        TARGETS[Path(path).name](data)


if __name__ == "__main__":
    restrict()
    {"fuzz": fuzz, "keep": keep, "replay": replay}[sys.argv[1]](*sys.argv[2:])
