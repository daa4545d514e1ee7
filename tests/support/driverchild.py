"""A child process with cassandra-driver in it, away from gevent: an independent client of the fake node.

Runs as a program: reads one JSON request per line ({"arguments": of Cluster, "code": statements that see `cluster` and
assign `result`, "connect": whether they see a `session`, too}), answers each with one JSON line ({"result": repr} or
{"error": traceback}).
"""

from __future__ import annotations

import json
import ssl
import sys
import traceback
from typing import Any


def _run(arguments: dict[str, Any], code: str, connect: bool) -> str:
    from cassandra.auth import PlainTextAuthProvider
    from cassandra.cluster import Cluster

    if "ca_file" in arguments:
        arguments["ssl_context"] = ssl.create_default_context(cafile=arguments.pop("ca_file"))
        arguments["ssl_options"] = {"server_hostname": "127.0.0.1"}
    if "user" in arguments:
        arguments["auth_provider"] = PlainTextAuthProvider(*arguments.pop("user"))
    cluster = Cluster(**arguments)
    try:
        names: dict[str, Any] = {"cluster": cluster}
        if connect:
            names["session"] = cluster.connect()
        exec(code, names)
        return repr(names["result"])
    finally:
        cluster.shutdown()


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"result": _run(**request)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
