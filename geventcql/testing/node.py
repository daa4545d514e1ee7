"""One real Cassandra node: its configuration, its process, its log.

Layer: testing. Runs in the calling greenlet and waits with ``gevent.sleep``.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from gevent import socket

from geventcql.testing.certificates import Certificates
from geventcql.testing.jars import cassandra_jars, find_java
from geventcql.testing.processes import Guard, run, wait_for

STORAGE_PORT = 7000
"""The port on which nodes talk to each other, on each node's own address."""

_LISTENING = "Starting listening for CQL clients"
_ROLE_MADE = "Created default superuser role"

# Cassandra's jvm17-server.options, as far as Java 11 knows them too.
_OPENED = {
    "exports": """
        java.base/jdk.internal.misc java.base/jdk.internal.ref java.base/sun.nio.ch java.sql/java.sql
        java.management.rmi/com.sun.jmx.remote.internal.rmi java.rmi/sun.rmi.registry java.rmi/sun.rmi.server
        java.rmi/sun.rmi.transport.tcp""",
    "opens": """
        java.base/java.lang.module java.base/java.net java.base/jdk.internal.loader java.base/jdk.internal.ref
        java.base/jdk.internal.reflect java.base/jdk.internal.math java.base/jdk.internal.module
        java.base/jdk.internal.util.jar jdk.management/com.sun.management.internal java.base/sun.nio.ch
        java.base/java.io java.base/java.nio java.base/java.util.concurrent java.base/java.util.concurrent.atomic
        java.base/java.lang java.base/java.util""",
}

# A node starts in half the time with these: no measuring of the memtable's row overhead (2.6 s), no bytecode
# verification (0.7 s), no wait for gossip, which matters only with data to move.
_QUICK_START = (
    "-Dcassandra.memtable.row_overhead_size=180",
    "-Dcassandra.skip_wait_for_gossip_to_settle=0",
    "-Dcassandra.superuser_setup_delay_ms=0",
    "-Dcassandra.shutdown_announce_in_ms=200",
    "-Dcassandra.consistent.rangemovement=false",
    "-Dcassandra.test.ignore_sigar=true",
    "-XX:+UnlockDiagnosticVMOptions",
    "-XX:-BytecodeVerificationRemote",
)

# StorageService tells only at level DEBUG that it knows another node's tokens.
_LOGBACK = """<configuration><appender name="FILE" class="ch.qos.logback.core.FileAppender"><file>{log}</file>
<encoder><pattern>%-5level [%thread] %date{{ISO8601}} %F:%L - %msg%n</pattern></encoder></appender>
<logger name="org.apache.cassandra.service.StorageService" level="DEBUG"/>
<root level="INFO"><appender-ref ref="FILE"/></root></configuration>
"""


class StartError(RuntimeError):
    """A node did not start; the message ends with the node's own last words."""


@dataclass(frozen=True)
class Settings:
    """How nodes are set up.

    `cluster_name`: nodes of one name find each other. `port`: for CQL clients. `auth`: ask for user and password; there
    is a superuser ``cassandra`` with the password ``cassandra``. `tls`: speak TLS to clients with these certificates.
    `client_auth`: demand a client's certificate too. `yaml`: entries of cassandra.yaml that override the built-in ones,
    None removes one. `heap`: of the Java machine; a node takes about 350 MB more. `jvm_options`: the default compiles
    quickly and runs slowly, which suits tests; pass () for a server that is to be measured. `start_timeout`: seconds.
    """

    cluster_name: str = "geventcql"
    port: int = 9042
    auth: bool = False
    tls: Certificates | None = None
    client_auth: bool = False
    yaml: Mapping[str, Any] = field(default_factory=dict)
    heap: str = "512m"
    jvm_options: Sequence[str] = ("-XX:TieredStopAtLevel=1",)
    start_timeout: float = 120.0


class CassandraNode:
    """A Cassandra on `address`, by itself or as a member of a cluster. A context manager that starts and closes it.

    `seeds`: addresses of the nodes to join, its own by default. `tokens`: those it owns; a node without any that joins
    others takes data over from them, as a new node of a cluster in use does. `directory`: where it works, else a
    temporary one. `settings`: the fields of :class:`Settings`. Nothing is started before :meth:`start`. When the
    process that started a node ends, even by SIGKILL, the node is killed and its temporary directory removed.

    Attributes: `address`, `datacenter`, `rack`, `settings`, `port`, `contact_points`, `log_path`, `stdout_path`, `pid`.
    """

    def __init__(
        self,
        address: str = "127.0.0.1",
        *,
        seeds: Sequence[str] = (),
        tokens: Sequence[int] = (),
        datacenter: str = "datacenter1",
        rack: str = "rack1",
        guard: Guard | None = None,
        **settings: Any,
    ) -> None:
        self.address = address
        self.datacenter = datacenter
        self.rack = rack
        self.settings = Settings(**settings)
        self._seeds = tuple(seeds) or (address,)
        self._tokens = tuple(tokens)
        self._given_guard = guard
        self._guard = guard
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False
        self._jmx_port = 0
        self._log_start = 0

    def __repr__(self) -> str:
        if not self.running:
            state = "stopped"
        else:
            state = f"{'paused' if self._paused else 'running'} pid={self.pid}"
        return f"<CassandraNode {self.address}:{self.port} {self.datacenter}/{self.rack} {state}>"

    def __enter__(self) -> CassandraNode:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The port for CQL clients."""
        return self.settings.port

    @property
    def contact_points(self) -> list[str]:
        """What a Cluster takes as its contact points."""
        return [self.address]

    @property
    def directory(self) -> str:
        """Where the node keeps its configuration, logs and data; made at the first start, gone after :meth:`close`."""
        if self._guard is None:
            self._guard = Guard("geventcql-cassandra-")
        return os.path.join(self._guard.directory, self.address)

    @property
    def log_path(self) -> str:
        """The server's own log."""
        return os.path.join(self.directory, "system.log")

    @property
    def stdout_path(self) -> str:
        """What the Java machine wrote to its standard output and error."""
        return os.path.join(self.directory, "stdout.log")

    @property
    def pid(self) -> int | None:
        """The process id, None unless the node runs."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def running(self) -> bool:
        """Whether the node's process is there (paused counts)."""
        return self._process is not None and self._process.poll() is None

    def is_listening(self, timeout: float = 1.0) -> bool:
        """Whether something accepts connections on the CQL port (a paused node does: its kernel accepts for it)."""
        return _accepts(self.address, self.port, timeout)

    def start(self) -> None:
        """Start the node and wait until it takes CQL clients; nothing happens if it runs.

        Raises StartError with the node's last log lines if it ends first, or is not ready within `start_timeout`.
        """
        self.begin_start()
        self.finish_start()

    def begin_start(self) -> None:
        """Start the node's process and do not wait; :meth:`finish_start` does. Raises StartError if a port is taken."""
        if self.running:
            return
        self.kill()  # what is left of a process that ended by itself: the guard is not to kill who has its id next
        for port in (self.port, STORAGE_PORT):
            if _accepts(self.address, port, timeout=1.0):
                raise StartError(f"{self.address}:{port} is already taken by another process")
        jars = cassandra_jars()
        os.makedirs(self.directory, exist_ok=True)
        self._jmx_port = _free_port()
        self._write_configuration()
        self._log_start = os.path.getsize(self.log_path) if os.path.exists(self.log_path) else 0
        with open(self.stdout_path, "ab") as output:
            self._process = subprocess.Popen(
                self._command(jars),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                start_new_session=True,
            )
        self._paused = False
        assert self._guard is not None
        self._guard.add(self._process.pid)

    def finish_start(self) -> None:
        """Wait until the node takes CQL clients. Raises StartError, after killing it, if that does not come about."""
        process = self._process
        if process is None:
            raise StartError("finish_start() without begin_start()")
        started = time.monotonic()
        ready = wait_for(
            lambda: process.poll() is not None or self._is_ready(), self.settings.start_timeout, interval=0.05
        )
        if ready and process.poll() is None:
            return
        if process.poll() is not None:
            reason = f"ended with status {process.poll()} after {time.monotonic() - started:.1f} s"
        else:
            reason = f"was not ready after {self.settings.start_timeout:g} s"
        report = self.last_words()
        self.kill()
        raise StartError(f"Cassandra on {self.address}:{self.port} {reason}\n{report}")

    def stop(self, timeout: float = 30.0) -> None:
        """End the node in good order (it says goodbye to its cluster and writes its data out), SIGKILL after `timeout`
        seconds. Its data stays for the next :meth:`start`. Nothing happens if it does not run."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            self.resume()
            process.terminate()
            wait_for(lambda: process.poll() is not None, timeout)
        self.kill()

    def kill(self) -> None:
        """End the node by SIGKILL, as a crash would. Its data stays. Nothing happens if it does not run."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.kill()
            wait_for(lambda: process.poll() is not None, timeout=30)
        self._process = None
        self._paused = False
        assert self._guard is not None
        self._guard.discard(process.pid)

    def restart(self) -> None:
        """:meth:`stop`, then :meth:`start` with the same data and address."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Stop the node's process (SIGSTOP): its connections stay open and answer nothing."""
        self._signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """Let a paused node go on."""
        if self._paused:
            self._signal(signal.SIGCONT)
            self._paused = False

    def close(self) -> None:
        """Kill the node and remove its directory (a node of a cluster: the cluster removes it). May be called again."""
        self.kill()
        if self._given_guard is None and self._guard is not None:
            self._guard.close()
            self._guard = None

    def nodetool(self, *arguments: str, timeout: float = 120.0) -> str:
        """Run Cassandra's nodetool on this node, for example ``nodetool('decommission')``; returns what it wrote.

        Raises RuntimeError with its words if it fails.
        """
        command = [
            *(find_java(), "-Xmx64m", "-XX:TieredStopAtLevel=1", *_packages()),
            f"-Dlogback.configurationFile=file://{self.directory}/logback-tools.xml",
            f"-Duser.home={self.directory}",  # where it keeps its history
            *("-cp", os.pathsep.join(cassandra_jars()), "org.apache.cassandra.tools.NodeTool"),
            *("-h", "127.0.0.1", "-p", str(self._jmx_port), *arguments),
        ]
        status, text = run(command, timeout)
        if status != 0:
            raise RuntimeError(f"nodetool {' '.join(arguments)} on {self.address} ended with status {status}:\n{text}")
        return text

    def log(self, since_start: bool = True) -> str:
        """The server's log, by default what it wrote since its last start."""
        if not os.path.exists(self.log_path):
            return ""
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            file.seek(self._log_start if since_start else 0)
            text: str = file.read()
        return text

    def sees_up(self, address: str) -> bool:
        """Whether this node has said in its log, since its start, that the node on `address` is up and owns tokens."""
        text, name = self.log(), f"/{address}:{STORAGE_PORT}"
        up, down = text.rfind(f"{name} is now UP"), text.rfind(f"{name} is now DOWN")
        return up > down and f"{name} state NORMAL" in text

    def made_role(self) -> bool:
        """Whether this node has made the role ``cassandra`` since its start."""
        return _ROLE_MADE in self.log()

    def _is_ready(self) -> bool:
        # A node by itself makes the superuser's role when it first starts, a moment after it listens. Of a cluster's
        # nodes any one makes it; the cluster waits for that.
        makes_role = self.settings.auth and self._log_start == 0 and self._seeds == (self.address,)
        return _LISTENING in self.log() and (not makes_role or self.made_role()) and self.is_listening()

    def last_words(self) -> str:
        """The last lines of its log and of its standard output, its errors first: for the message of a failure."""
        # An entry is a line that begins with a level, and the lines of a stack trace after it.
        entries = re.split(r"\n(?=[A-Z]+ +\[)", self.log().rstrip())
        errors = [entry for entry in entries if entry.startswith("ERROR")]
        noise = re.compile(r"DEBUG|.*(Flushing|LogTransaction|ColumnFamilyStore)")
        lines = [entry for entry in entries if not noise.match(entry)]
        with open(self.stdout_path, encoding="utf-8", errors="replace") as file:
            output = [line for line in file.read().splitlines() if not line.startswith("WARNING:")]
        parts = {"errors in its log": errors[-5:], "its log": lines[-20:], "its standard output": output[-40:]}
        return "\n".join(f"--- {title}:\n" + "\n".join(text) for title, text in parts.items() if text)

    def _signal(self, number: int) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            raise RuntimeError(f"{self!r} does not run")
        os.kill(process.pid, number)

    def _write_configuration(self) -> None:
        files = {
            # Cassandra reads YAML, of which JSON is a part.
            "cassandra.yaml": json.dumps(self._configuration(), indent=1),
            "logback.xml": _LOGBACK.format(log=self.log_path),
            "logback-tools.xml": '<configuration><root level="OFF"/></configuration>',
            "cassandra-rackdc.properties": f"dc={self.datacenter}\nrack={self.rack}\n",
        }
        for name, text in files.items():
            with open(os.path.join(self.directory, name), "w", encoding="utf-8") as file:
                file.write(text)

    def _configuration(self) -> dict[str, Any]:
        data = os.path.join(self.directory, "data")
        seeds = ",".join(f"{seed}:{STORAGE_PORT}" for seed in self._seeds)
        parameters = [{"seeds": seeds}]
        configuration: dict[str, Any] = {
            "cluster_name": self.settings.cluster_name,
            "num_tokens": len(self._tokens) or 16,
            "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
            "seed_provider": [
                {"class_name": "org.apache.cassandra.locator.SimpleSeedProvider", "parameters": parameters}
            ],
            "endpoint_snitch": "GossipingPropertyFileSnitch",
            "listen_address": self.address,
            "storage_port": STORAGE_PORT,
            "rpc_address": self.address,
            "native_transport_port": self.port,
            "data_file_directories": [os.path.join(data, "data")],
            "commitlog_directory": os.path.join(data, "commitlog"),
            "hints_directory": os.path.join(data, "hints"),
            "cdc_raw_directory": os.path.join(data, "cdc_raw"),
            "saved_caches_directory": os.path.join(data, "saved_caches"),
            "commitlog_sync": "periodic",
            "commitlog_sync_period": "10000ms",
            "authenticator": "PasswordAuthenticator" if self.settings.auth else "AllowAllAuthenticator",
            "user_defined_functions_enabled": True,
            "materialized_views_enabled": True,
            "auto_snapshot": False,
            # Small machines: little memory beside the heap, few threads.
            "memtable_allocation_type": "heap_buffers",
            "commitlog_segment_size": "8MiB",
            "concurrent_reads": 8,
            "concurrent_writes": 8,
            "file_cache_enabled": False,
            "networking_cache_size": "16MiB",
            "dynamic_snitch": False,
        }
        if self._tokens:
            configuration["initial_token"] = ",".join(map(str, self._tokens))
            configuration["auto_bootstrap"] = False
        if self.settings.tls is not None:
            configuration["client_encryption_options"] = self._encryption(self.settings.tls)
        configuration.update(self.settings.yaml)
        return {name: value for name, value in configuration.items() if value is not None}

    def _encryption(self, tls: Certificates) -> dict[str, Any]:
        return {
            "enabled": True,
            "optional": False,
            "require_client_auth": self.settings.client_auth,
            "ssl_context_factory": {"class_name": "org.apache.cassandra.security.PEMBasedSslContextFactory"},
            "keystore": tls.node_file,
            "truststore": tls.ca_file,
        }

    def _command(self, jars: Sequence[str]) -> list[str]:
        agent = next(jar for jar in jars if os.path.basename(jar).startswith("jamm-"))
        directory = self.directory
        return [
            find_java(),
            *(f"-Xms{self.settings.heap}", f"-Xmx{self.settings.heap}", "-Xss512k", "-XX:+UseSerialGC", "-da"),
            f"-javaagent:{agent}",
            f"-Dcassandra.config=file://{directory}/cassandra.yaml",
            f"-Dcassandra-rackdc.properties=file://{directory}/cassandra-rackdc.properties",
            f"-Dlogback.configurationFile=file://{directory}/logback.xml",
            f"-Dcassandra.storagedir={directory}/data",
            f"-Dcassandra.jmx.local.port={self._jmx_port}",
            f"-Djava.io.tmpdir={directory}",
            *("-Djdk.attach.allowAttachSelf=true", "-Djava.net.preferIPv4Stack=true"),
            # How long it looks for its seeds; a node that must find them to join gets more time.
            f"-Dcassandra.ring_delay_ms={1000 if self._tokens or self.address in self._seeds else 6000}",
            *_QUICK_START,
            *_packages(),
            *self.settings.jvm_options,
            *("-cp", os.pathsep.join(jars)),
            "org.apache.cassandra.service.CassandraDaemon",
        ]


def _packages() -> list[str]:
    """The options that open Java's own packages to Cassandra."""
    return [f"--add-{kind}={name}=ALL-UNNAMED" for kind, names in _OPENED.items() for name in names.split()]


def _accepts(address: str, port: int, timeout: float) -> bool:
    try:
        connection = socket.create_connection((address, port), timeout)
    except OSError:
        return False
    connection.close()
    return True


def _free_port() -> int:
    """A port that nothing on 127.0.0.1 listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
