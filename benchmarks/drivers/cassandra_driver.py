"""cassandra-driver on its gevent reactor. Protocol v4 only: on v5 that reactor breaks under concurrent requests."""

from gevent import monkey

monkey.patch_all()

from cassandra.cluster import Cluster  # noqa: E402  patched first, as its documentation asks
from cassandra.io.geventreactor import GeventConnection  # noqa: E402

from benchmarks.drivers.greenlets import Workloads  # noqa: E402
from benchmarks.drivers.measure import Recorder, read_plan  # noqa: E402


def main() -> None:
    """Measure what the plan on the command line asks for."""
    plan = read_plan()
    cluster = Cluster(
        [plan.host],
        port=plan.port,
        protocol_version=plan.protocol,
        compression=False,
        connection_class=GeventConnection,
    )
    recorder = Recorder(plan)
    Workloads(cluster.connect(), recorder).run()
    cluster.shutdown()
    recorder.finish()


if __name__ == "__main__":
    main()
