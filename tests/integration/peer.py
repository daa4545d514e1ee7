"""cassandra-driver in a process of its own: executes what it is told and describes what it gets.

Test support. Run as ``python -m tests.integration.peer HOST PORT VERSION``, it reads pickled requests from its standard input
and writes pickled answers to its standard output, each after its length; :class:`Peer` is the other end. It runs apart since
its reactor threads and gevent do not go together.
"""

from __future__ import annotations

import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

from gevent.os import make_nonblocking, nb_read, nb_write

from tests.integration.cqlvalues import Mapped, cases, describe_rows

ROOT = Path(__file__).parents[2]
_LENGTH = struct.Struct(">I")


class PeerError(Exception):
    """What cassandra-driver raised. `names`: its class and the bases of that, each with its module."""

    def __init__(self, names: list[str], text: str) -> None:
        super().__init__(names, text)
        self.names = names

    @property
    def name(self) -> str:
        return self.names[0].rpartition(".")[2]

    def __str__(self) -> str:
        return f"cassandra-driver's {self.name}: {self.args[1]}"


class Peer:
    """cassandra-driver, connected to one node. A context manager.

    `version`: the protocol version it speaks; 4, since on 5 it breaks.
    """

    def __init__(self, host: str, port: int, version: int = 4) -> None:
        command = [sys.executable, "-m", __name__, host, str(port), str(version)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._input = self._process.stdin.fileno()
        self._output = self._process.stdout.fileno()
        make_nonblocking(self._input)
        make_nonblocking(self._output)

    def execute(self, query: str, values: Any = None, *, consistency: int | None = None, timeout: float = 10) -> list[Any]:
        """Execute CQL text; its rows, described.

        Raises PeerError.
        """
        return self._ask("execute", query, values, consistency, timeout)

    def write(self, query: str, column: str, keys: tuple[Any, ...] = ()) -> None:
        """Prepare `query` and execute it with each value of a case of cqlvalues, after `keys` and the value's number."""
        self._ask("write", query, column, keys)

    def read(self, query: str, values: Any = ()) -> list[Any]:
        """Prepare and execute; the rows, described."""
        return self._ask("read", query, values)

    def register(self, keyspace: str) -> None:
        """Have the user type `mapped` read as Mapped."""
        self._ask("register", keyspace)

    def _ask(self, *request: Any) -> Any:
        data = pickle.dumps(request)
        data = _LENGTH.pack(len(data)) + data
        while data:
            data = data[nb_write(self._input, data) :]
        answer = pickle.loads(self._receive(*_LENGTH.unpack(self._receive(_LENGTH.size))))
        if isinstance(answer, PeerError):
            raise answer
        return answer

    def _receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = nb_read(self._output, size - len(data))
            if not part:
                raise EOFError("cassandra-driver's process has ended; see its standard error")
            data += part
        return data

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(10)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


# -- the process ------------------------------------------------------------------------------------------------------


class _Worker:
    def __init__(self, host: str, port: int, version: int) -> None:
        import cassandra.util
        from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
        from cassandra.policies import WhiteListRoundRobinPolicy

        profile = ExecutionProfile(WhiteListRoundRobinPolicy([host]))
        self.cluster = Cluster(
            [host], port=port, protocol_version=version, execution_profiles={EXEC_PROFILE_DEFAULT: profile}
        )
        self.session = self.cluster.connect()
        self.cases = cases(cassandra.util)

    def execute(self, query: str, values: Any, consistency: int | None, timeout: float) -> list[Any]:
        from cassandra.query import SimpleStatement

        statement = SimpleStatement(query, consistency_level=consistency)
        return describe_rows(self.session.execute(statement, values, timeout=timeout))

    def write(self, query: str, column: str, keys: tuple[Any, ...]) -> None:
        statement = self.session.prepare(query)
        for number, value in enumerate(self.cases[column].written()):
            self.session.execute(statement, (*keys, number, value))

    def read(self, query: str, values: Any) -> list[Any]:
        return describe_rows(self.session.execute(self.session.prepare(query), values))

    def register(self, keyspace: str) -> None:
        self.cluster.refresh_schema_metadata()
        self.cluster.register_user_type(keyspace, "mapped", Mapped)


def _serve(host: str, port: int, version: int) -> None:
    worker = _Worker(host, port, version)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while head := source.read(_LENGTH.size):
        name, *arguments = pickle.loads(source.read(*_LENGTH.unpack(head)))
        try:
            answer = getattr(worker, name)(*arguments)
        except Exception as error:
            answer = PeerError([f"{kind.__module__}.{kind.__name__}" for kind in type(error).__mro__], str(error))
        data = pickle.dumps(answer)
        sink.write(_LENGTH.pack(len(data)) + data)
        sink.flush()
    worker.cluster.shutdown()


if __name__ == "__main__":
    # By its importable name, so that what it pickles is of the other end's classes.
    from tests.integration import peer

    peer._serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
