"""geventcql, with its defaults."""

from gevent import monkey

monkey.patch_all()

from benchmarks.drivers.greenlets import Workloads  # noqa: E402
from benchmarks.drivers.measure import Recorder, read_plan  # noqa: E402
from geventcql.cluster import Cluster  # noqa: E402  patched first, as an application does


def main() -> None:
    """Measure what the plan on the command line asks for."""
    plan = read_plan()
    cluster = Cluster([plan.host], port=plan.port, protocol_version=plan.protocol)
    recorder = Recorder(plan)
    Workloads(cluster.connect(), recorder).run()
    cluster.shutdown()
    recorder.finish()


if __name__ == "__main__":
    main()
