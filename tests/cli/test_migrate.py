"""`geventcql migrate`: what it makes of an application's sources, what it tells, and what it leaves alone."""

from __future__ import annotations

import ast
import fnmatch
import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from geventcql.cli.commands import cli
from geventcql.cli.mapping import MODULES, REASONS, find, module_of
from geventcql.cli.rewriting import migrated
from tests.test_migration import documented


def rewritten(source: str) -> tuple[str, list[tuple[int, str]]]:
    after, problems = migrated(source.encode())
    return after.decode(), problems


def executed(source: str) -> None:
    """A name that nothing binds any more shows when it is used."""
    names: dict[str, Any] = {}
    exec(compile(source, "migrated", "exec"), names)
    assert names.keys() >= set(names.get("__all__", ()))


CASES = [
    # imports
    ("import cassandra\n", "import geventcql\n"),
    ("import cassandra.cluster, os  # both\n", "import geventcql.cluster, os  # both\n"),
    ("import cassandra.query as q\n", "import geventcql.query as q\n"),
    ("from cassandra import ConsistencyLevel as CL\n", "from geventcql import ConsistencyLevel as CL\n"),
    ("from cassandra import cluster, query\n", "from geventcql import cluster, query\n"),
    ("from cassandra.io.geventreactor import GeventConnection\n", "from geventcql.io.geventreactor import GeventConnection\n"),
    ("if x:\n\tfrom  cassandra.util import Date\n", "if x:\n\tfrom  geventcql.util import Date\n"),
    (
        "from cassandra.cluster import (\n    Cluster,  # the one\n\n    Session\n)\n",
        "from geventcql.cluster import (\n    Cluster,  # the one\n\n    Session\n)\n",
    ),
    # names that cassandra-driver's module only imports itself
    (
        "from cassandra.cluster import Cluster, ConsistencyLevel, SimpleStatement as S  # all\nx = 1\n",
        "from geventcql.cluster import Cluster  # all\nfrom geventcql import ConsistencyLevel\n"
        "from geventcql.query import SimpleStatement as S\nx = 1\n",
    ),
    (
        "from cassandra.cluster import (\n    Cluster,\n    PreparedStatement,\n)\n",
        "from geventcql.cluster import (\n    Cluster,\n)\nfrom geventcql.query import PreparedStatement\n",
    ),
    # uses
    (
        "import cassandra.cluster\nc: cassandra.cluster.Cluster = cassandra.cluster.Cluster().connect\n",
        "import geventcql.cluster\nc: geventcql.cluster.Cluster = geventcql.cluster.Cluster().connect\n",
    ),
    ("import cassandra\nraise cassandra.Timeout from None\n", "import geventcql\nraise geventcql.Timeout from None\n"),
    ("import cassandra\nreload(cassandra)\n", "import geventcql\nreload(geventcql)\n"),
    (
        "import cassandra.cluster\ndef f():\n    return cassandra.cluster.SimpleStatement\n",
        "import geventcql.cluster\ndef f():\n    return geventcql.query.SimpleStatement\n",
    ),
    (
        "import cassandra.cluster\ndef f(cassandra):\n    return cassandra.cluster\n",
        "import geventcql.cluster\ndef f(cassandra):\n    return cassandra.cluster\n",
    ),
    (
        "try:\n    import cassandra\nexcept ImportError:\n    cassandra = None\nprint(cassandra)\n",
        "try:\n    import geventcql as cassandra\nexcept ImportError:\n    cassandra = None\nprint(cassandra)\n",
    ),
    # strings
    *(
        (f"{imported}\n{before}\n", f"{imported}\n{after}\n")
        for imported, before, after in [
            (
                "from unittest import mock",
                "@mock.patch('cassandra.cluster.Session')\ndef f(): ...",
                "@mock.patch('geventcql.cluster.Session')\ndef f(): ...",
            ),
            (
                "from unittest.mock import patch",
                'patch("cassandra.cluster.SimpleStatement")',
                'patch("geventcql.query.SimpleStatement")',
            ),
            (
                "import unittest.mock as m",
                'm.patch.multiple("cassandra.cluster", Session=None)',
                'm.patch.multiple("geventcql.cluster", Session=None)',
            ),
            (
                "import pytest",
                'def test(monkeypatch):\n    monkeypatch.setattr("cassandra.cluster.Cluster.connect", f)',
                'def test(monkeypatch):\n    monkeypatch.setattr("geventcql.cluster.Cluster.connect", f)',
            ),
            (
                "import pytest",
                'def test(mocker):\n    mocker.patch("cassandra.cluster.Cluster")',
                'def test(mocker):\n    mocker.patch("geventcql.cluster.Cluster")',
            ),
            ("import logging", 'logging.getLogger("cassandra")', 'logging.getLogger("geventcql")'),
            ("import logging as log", 'log.getLogger("cassandra.pool.Host")', 'log.getLogger("geventcql.pool.Host")'),
            ("from logging import getLogger as get", "get('cassandra').setLevel(10)", "get('geventcql').setLevel(10)"),
            ("import importlib", 'importlib.import_module(r"cassandra.query")', 'importlib.import_module(r"geventcql.query")'),
            ("import os", '__import__("cassandra")', '__import__("geventcql")'),
        ]
    ),
    ('LOG = {"loggers": {"cassandra": {"level": "INFO"}}}\n', 'LOG = {"loggers": {"geventcql": {"level": "INFO"}}}\n'),
    ('LOG = dict(loggers={"cassandra.cluster": {}})\n', 'LOG = dict(loggers={"geventcql.cluster": {}})\n'),
    # comments of imports that fall into several
    (
        "if x:\n"
        "    from cassandra.cluster import (  # of the driver\n"
        "        # where all begins\n"
        "        Cluster,  # the one\n"
        "        # texts\n"
        "\n"
        "        # more texts\n"
        "        SimpleStatement as S,  # the other\n"
        "        PreparedStatement, ConsistencyLevel,\n"
        "        # the last\n"
        "        Session  # and so on\n"
        "        # the end\n"
        "    )  # behind\n",
        "if x:\n"
        "    from geventcql.cluster import (\n"
        "        # of the driver\n"
        "        # where all begins\n"
        "        Cluster,  # the one\n"
        "        # the last\n"
        "        # the end\n"
        "        Session,  # and so on\n"
        "    )  # behind\n"
        "    from geventcql.query import (\n"
        "        # texts\n"
        "        # more texts\n"
        "        SimpleStatement as S,  # the other\n"
        "        PreparedStatement,\n"
        "    )\n"
        "    from geventcql import ConsistencyLevel\n",
    ),
]


@pytest.mark.parametrize(("before", "after"), CASES, ids=range(len(CASES)))
def test_rewritten(before: str, after: str) -> None:
    assert rewritten(before) == (after, [])
    assert rewritten(after) == (after, [])
    ast.parse(after)


UNTOUCHED = [
    'host = "cassandra"\nrequests.patch("cassandra", json={})\nsetattr(x, "cassandra", 1)\nboard.patch("cassandra")\n',
    '"""cassandra-driver is what it was written for."""\nname = "my-cassandra-driver"\n',
    'x = {"cassandra": 1}\ny = b"cassandra.cluster"\nz = f"cassandra.cluster {x}"\n',
    "from .cassandra import Cluster\nfrom cassandra_models import X\nimport cassandra_x\n",
    "cassandra = make()\ncassandra.cluster.start()\n",
    "def f(cassandra):\n    return cassandra.cluster\n",
    '"""Talks to cassandra.cluster."""\n',
    "class A:\n    cassandra = 1\n    def f(self):\n        return self.cassandra.cluster\n",
    "def f(x: Literal['cassandra'], y: 'list[app.cassandra.query]', z: 'cassandra_x.y') -> 'cassandra': ...\n",
    "from unittest.mock import patch\npatch('app.cassandra.connect')\npatch('app.cassandra_x.cluster')\n",
    "import sys\nsys.modules['app.cassandra']\nx['cassandra']\n'cassandra' in x\nx.pop('cassandra', sys.path)\n",
]


@pytest.mark.parametrize("source", UNTOUCHED, ids=range(len(UNTOUCHED)))
def test_left_alone(source: str) -> None:
    assert rewritten(source) == (source, [])


LINES = [
    (
        "try: from cassandra.cluster import Cluster, SimpleStatement\nexcept ImportError: pass\n",
        "try: from geventcql.cluster import Cluster; from geventcql.query import SimpleStatement\nexcept ImportError: pass\n",
    ),
    (
        "from cassandra.cluster import Cluster, SimpleStatement; s = SimpleStatement('')\n",
        "from geventcql.cluster import Cluster; from geventcql.query import SimpleStatement; s = SimpleStatement('')\n",
    ),
    ("import cassandra as cassandra\ncassandra.cluster\n", "import geventcql as cassandra\ncassandra.cluster\n"),
    (
        "def f():\n    global cassandra\n    import cassandra\ndef g():\n    return cassandra.cluster\n",
        "def f():\n    global cassandra\n    import geventcql as cassandra\ndef g():\n    return cassandra.cluster\n",
    ),
    (
        "import cassandra\nclass A:\n    cassandra = cassandra\n",
        "import geventcql as cassandra\nclass A:\n    cassandra = cassandra\n",
    ),
    (
        "import cassandra\nclass A:\n    if 1:\n        cassandra = cassandra.ReadTimeout\n",
        "import geventcql as cassandra\nclass A:\n    if 1:\n        cassandra = cassandra.ReadTimeout\n",
    ),
    (
        "import cassandra\nclass A:\n    cassandra: cassandra.ReadTimeout\n",
        "import geventcql as cassandra\nclass A:\n    cassandra: cassandra.ReadTimeout\n",
    ),
    (
        "class A:\n    import cassandra\n    def f(self):\n        return self.cassandra.ReadTimeout\nA().f()\n",
        "class A:\n    import geventcql as cassandra\n    def f(self):\n        return self.cassandra.ReadTimeout\nA().f()\n",
    ),
    (
        "import cassandra.cluster\nclass A:\n    cassandra: int\n    def f(self):\n        return cassandra\nA().f()\n",
        "import geventcql.cluster\nclass A:\n    cassandra: int\n    def f(self):\n        return geventcql\nA().f()\n",
    ),
    (
        "import cassandra\n__all__ = ['cassandra']\ncassandra.Timeout\n",
        "import geventcql as cassandra\n__all__ = ['cassandra']\ncassandra.Timeout\n",
    ),
    (
        "import cassandra\n__all__: list[str] = []\n__all__ += ('cassandra',)\n",
        "import geventcql as cassandra\n__all__: list[str] = []\n__all__ += ('cassandra',)\n",
    ),
    ("import cassandra\n__all__ = ['x']\nx = cassandra\n", "import geventcql\n__all__ = ['x']\nx = geventcql\n"),
]


@pytest.mark.parametrize(("before", "after"), LINES, ids=range(len(LINES)))
def test_nothing_is_lost_or_unbound(before: str, after: str) -> None:
    made, problems = rewritten(before)
    assert made == after and problems == []
    assert rewritten(made)[0] == made
    executed(made)


FALLBACKS = [
    "try:\n    from geventcql.cluster import Cluster\nexcept ImportError:\n    from cassandra.cluster import Cluster\n",
    "if OLD:\n    from cassandra.cluster import Cluster\nelse:\n    from geventcql.cluster import Cluster\n",
    "if OLD:\n    import cassandra.cluster as c\nelse:\n    import geventcql.cluster as c\n",
    "if OLD:\n    import cassandra\n    e = cassandra.Timeout\nelse:\n    import geventcql\n    e = geventcql.Timeout\n",
    "def f():\n    print(cassandra, cassandra.Timeout)\n"
    "try:\n    import geventcql\nexcept ImportError:\n    import cassandra\n    f()\n",
]


@pytest.mark.parametrize("source", FALLBACKS)
def test_what_stands_in_for_geventcql_stays(source: str) -> None:
    made, [(_, text)] = rewritten(source)
    assert made == source and "imported where geventcql is not" in text


IMPORTS_THAT_STAY = [
    (
        "import cassandra.cqlengine\nx = cassandra.ConsistencyLevel.ONE\n",
        None,
        ["1: cassandra.cqlengine: the object", "2: cassandra.ConsistencyLevel.ONE: it is geventcql.ConsistencyLevel.ONE here"],
    ),
    (
        "def f():\n    return cassandra.Timeout, cassandra\nimport cassandra.io.asyncioreactor\nf()\n",
        None,
        ["2: cassandra.Timeout: it is", "2: cassandra: it is geventcql here", "3: cassandra.io.asyncioreactor: there is one"],
    ),
    (
        "import cassandra.cqlengine\nimport cassandra.query\nx = cassandra.Timeout\n",
        "import cassandra.cqlengine\nimport geventcql.query\nx = geventcql.Timeout\n",
        ["1: cassandra.cqlengine: the object"],
    ),
    (
        "import cassandra\ndef f():\n    import cassandra.cqlengine\n    return cassandra.Timeout\nx = cassandra, f()\n",
        "import geventcql\ndef f():\n    import cassandra.cqlengine\n    return cassandra.Timeout\nx = geventcql, f()\n",
        ["3: cassandra.cqlengine: the object", "4: cassandra.Timeout: it is geventcql.Timeout here, but its"],
    ),
    (
        "import cassandra.cqlengine, cassandra.query\nx = cassandra.query.dict_factory\n",
        "import cassandra.cqlengine, geventcql.query\nx = geventcql.query.dict_factory\n",
        ["1: cassandra.cqlengine: the object"],
    ),
]


@pytest.mark.parametrize(("before", "after", "told"), IMPORTS_THAT_STAY, ids=range(len(IMPORTS_THAT_STAY)))
def test_uses_stay_where_all_their_imports_do(before: str, after: str | None, told: list[str]) -> None:
    made, problems = rewritten(before)
    assert made == (before if after is None else after)
    assert [f"{line}: {text}"[: len(start)] for (line, text), start in zip(problems, told, strict=True)] == told
    assert rewritten(made)[0] == made
    executed(made)


PROBLEMS = [
    (
        "import cassandra.cluster as c\nc.ConsistencyLevel.ONE\n",
        "import geventcql.cluster as c\nc.ConsistencyLevel.ONE\n",
        "2: cassandra.cluster.ConsistencyLevel: it is geventcql.ConsistencyLevel here",
    ),
    (
        "import cassandra.cluster as c\nc.GraphExecutionProfile()\n",
        "import geventcql.cluster as c\nc.GraphExecutionProfile()\n",
        "2: cassandra.cluster.GraphExecutionProfile: refused when it is used",
    ),
    ("from cassandra.cqlengine import models\n", None, "1: cassandra.cqlengine.models: the object mapper"),
    ("import cassandra.cqlengine.models\n", None, "1: cassandra.cqlengine.models: the object mapper"),
    ("from cassandra.io.libevreactor import LibevConnection\n", None, "1: cassandra.io.libevreactor.LibevConnection: there"),
    (
        "\nfrom cassandra.cluster import Cluster, EXEC_PROFILE_GRAPH_DEFAULT\n",
        "\nfrom geventcql.cluster import Cluster\nfrom cassandra.cluster import EXEC_PROFILE_GRAPH_DEFAULT\n",
        "2: cassandra.cluster.EXEC_PROFILE_GRAPH_DEFAULT: DataStax Enterprise's graph",
    ),
    (
        "import cassandra.protocol\ncassandra.protocol.QueryMessage\n",
        "import geventcql.protocol\ncassandra.protocol.QueryMessage\n",
        "2: cassandra.protocol.QueryMessage: messages are encoded",
    ),
    (
        "from cassandra.cluster import GraphExecutionProfile\n",
        "from geventcql.cluster import GraphExecutionProfile\n",
        "1: cassandra.cluster.GraphExecutionProfile: refused when it is used",
    ),
    (
        "from cassandra.protocol import NumpyProtocolHandler\n",
        "from geventcql.protocol import NumpyProtocolHandler\n",
        "1: cassandra.protocol.NumpyProtocolHandler: not supported yet",
    ),
    (
        "from cassandra.auth import DSEGSSAPIAuthProvider as P\n",
        "from geventcql.auth import DSEGSSAPIAuthProvider as P\n",
        "1: cassandra.auth.DSEGSSAPIAuthProvider: GSSAPI (Kerberos) is not supported yet",
    ),
    (
        "from cassandra import cluster as c\nc.SimpleStatement\n",
        "from geventcql import cluster as c\nc.SimpleStatement\n",
        "2: cassandra.cluster.SimpleStatement: it is geventcql.query.SimpleStatement here",
    ),
    ("import cassandra.cluster\ncassandra = 1\n", None, "1: cassandra.cluster: the name cassandra is bound"),
    (
        "import cassandra.cluster\nclass A:\n    cassandra: cassandra.cluster.Session\n",
        None,
        "1: cassandra.cluster: the name cassandra is bound",
    ),
    ('x = "cassandra.cluster.Session"\n', None, "1: 'cassandra.cluster.Session': a string that may name"),
    (
        'from unittest.mock import patch\npatch("cassandra.cqlengine.connection.setup")\n',
        None,
        "2: cassandra.cqlengine.connection.setup: the object mapper",
    ),
    ('client.patch("cassandra.cluster")\n', None, "1: 'cassandra.cluster': a string that may name"),
    (
        'import api\ndef f():\n    api.setattr("cassandra.cluster", 1)\n',
        None,
        "3: 'cassandra.cluster': a string that may name",
    ),
    (
        'from mocking import mocker\nmocker.patch("cassandra.cluster.Cluster")\n',
        None,
        "2: 'cassandra.cluster.Cluster': a string that may name",
    ),
    ('structlog.get_logger("cassandra")\n', None, "1: 'cassandra': a string that may name a logger"),
    (
        'import logging\nlogging.getLogger("cassandra.cqlengine.connection")\n',
        None,
        "2: cassandra.cqlengine.connection: the object mapper",
    ),
    (
        'LOG = {"loggers": {"cassandra": {}, "cassandra.cqlengine": {}}}\n',
        'LOG = {"loggers": {"geventcql": {}, "cassandra.cqlengine": {}}}\n',
        "1: cassandra.cqlengine: the object mapper",
    ),
    ("import cassandra.cluster\n__all__ = ['cassandra']\n", None, "1: cassandra.cluster: the name cassandra is bound"),
    (
        "from unittest.mock import patch\npatch('app.db.cassandra.cluster.Cluster')\n",
        None,
        "2: 'app.db.cassandra.cluster.Cluster': may name a part of cassandra-driver that app.db imports",
    ),
    *(
        (f"import sys\nfrom unittest.mock import patch\n{use}\n", None, "3: 'cassandra': a string that may name a module")
        for use in [
            "sys.modules['cassandra'] = None",
            "sys.modules.pop('cassandra', None)",
            "'cassandra' in sys.modules",
            "patch.dict('sys.modules', {'cassandra': None})",
            "monkeypatch.setitem(sys.modules, 'cassandra', None)",
        ]
    ),
    (
        "def f() -> 'list[cassandra.query.Statement]': ...\n",
        None,
        "1: 'list[cassandra.query.Statement]': a string that may name a part",
    ),
    (
        'from importlib.metadata import version\nversion("cassandra-driver")\n',
        None,
        "2: 'cassandra-driver': names the package cassandra-driver",
    ),
    (
        'setup(install_requires=["cassandra-driver[lz4] >= 3.25; python_version > \'3\'"])\n',
        None,
        "1: \"cassandra-driver[lz4] >= 3.25",
    ),
    ("from cassandra.policies import *\n", "from geventcql.policies import *\n", "1: cassandra.policies.*: what it imports"),
    ("from cassandra.cqlengine import *\n", None, "1: cassandra.cqlengine: the object mapper"),
]


@pytest.mark.parametrize(("before", "after", "problem"), PROBLEMS, ids=range(len(PROBLEMS)))
def test_what_has_no_counterpart_is_told(before: str, after: str | None, problem: str) -> None:
    made, problems = rewritten(before)
    assert made == (before if after is None else after)
    [(line, text)] = problems
    assert f"{line}: {text}".startswith(problem)
    assert rewritten(made)[0] == made


# -- what the mapping knows


def test_every_module_of_cassandra_driver_is_known() -> None:
    root = Path(importlib.import_module("cassandra").__file__ or "").parent
    inside = {"cython_deps", "segment", "type_codes", "column_encryption._policies"}
    for path in root.rglob("*.py"):
        name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix("__init__").rstrip(".")
        if name not in inside and name.partition(".")[0] not in ("cqlengine", "datastax", "graph"):
            assert f"cassandra.{name}".rstrip(".") in MODULES


def test_every_missing_name_has_a_reason_and_every_reason_a_missing_name() -> None:
    missing = {f"{where}.{name}".lstrip(".") for where, names in documented().items() for name in names}
    used = set()
    refused = {"cqlengine", "graph", "datastax", "io.libevreactor"}
    refused |= {"protocol.NumpyProtocolHandler", "protocol.cython_protocol_handler", "connection.SniEndPoint"}
    for name in missing | refused | {"connection.UnixSocketEndPoint", "auth.DSEGSSAPIAuthProvider"}:
        used.add(next(pattern for pattern, _ in REASONS if fnmatch.fnmatchcase(name, pattern)))
    assert used == {pattern for pattern, _ in REASONS}


def test_modules_and_names() -> None:
    assert module_of("cassandra").module == "geventcql" and module_of("cassandra.io").module == "geventcql.io"
    for module in ("cassandra.cqlengine", "cassandra.graph", "cassandra.datastax", "cassandra.io.twistedreactor"):
        assert module_of(module).module is None and module_of(module).reason
    assert find("cassandra.cluster", "Cluster").module == "geventcql.cluster"
    assert find("cassandra.cluster", "_NOT_SET").module == "geventcql.cluster"
    assert find("cassandra", "policies").module == "geventcql"


# -- the command


@pytest.fixture
def application(tmp_path: Path) -> Path:
    for name, text in {
        "app.py": "from cassandra.cluster import Cluster\n",
        "sub/model.py": "from cassandra.cqlengine import models\n",
        "sub/other.py": "x = 1\n",
        ".hidden/a.py": "import cassandra\n",
        "env/pyvenv.cfg": "",
        "env/lib/a.py": "import cassandra\n",
        "notes.txt": "import cassandra\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def run(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, ["migrate", *map(str, arguments)], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def test_shows_a_diff(application: Path) -> None:
    code, out, err = run(application / "app.py")
    path = application / "app.py"
    assert code == 0 and out == (
        f"--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n"
        "-from cassandra.cluster import Cluster\n+from geventcql.cluster import Cluster\n"
    )
    assert "1 files to be changed" in err and path.read_text() == "from cassandra.cluster import Cluster\n"


def test_writes_once(application: Path) -> None:
    before = {path: path.read_bytes() for path in application.rglob("*.*") if path.is_file()}
    code, out, err = run("--write", application)
    path = application / "sub" / "model.py"
    assert code == 1 and out == f"changed {application / 'app.py'}\n"
    assert err.splitlines()[0] == (
        f"{path}:1: cassandra.cqlengine.models: the object mapper is not part of geventcql; execute statements with a Session"
    )
    assert "1 files changed, 1 places" in err
    changed = {path for path, text in before.items() if path.read_bytes() != text}
    assert changed == {application / "app.py"}
    assert run("--write", application)[1] == ""


def test_requirements_and_settings_are_told_and_left(tmp_path: Path) -> None:
    told = {
        "requirements-dev.txt": "pytest\nCassandra_Driver==3.29.1  # pinned\n",
        "requirements/base.in": "cassandra-driver\n",
        "setup.cfg": "[options]\ninstall_requires =\n    cassandra-driver>=3\n",
        "pyproject.toml": '[project]\ndependencies = [\n  "cassandra-driver[lz4]>=3",\n]\n',
        "logging.conf": "[logger_db]\nlevel=INFO\nqualname = cassandra\n",
        "app.yaml": "hosts:\n  - cassandra\nconnection_class: cassandra.io.geventreactor.GeventConnection\n",
    }
    silent = {
        "notes.txt": "cassandra-driver\n",
        "compose.yml": "image: cassandra:5\nname: my-cassandra-driver\ncassandra.cluster.local: 1\nx: cassandra-driver-x\n",
        "other.ini": "host = cassandra\nqualname = cassandra-x\nkey = cassandra_cluster\n",
    }
    for name, text in (told | silent).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    result = CliRunner().invoke(cli, ["migrate", "--write", str(tmp_path)])
    assert result.exit_code == 1
    lines = sorted(line.split(": ")[0].removeprefix(f"{tmp_path}/") for line in result.output.splitlines()[:-1])
    assert lines == [
        "app.yaml:3", "logging.conf:3", "pyproject.toml:3", "requirements-dev.txt:2", "requirements/base.in:1", "setup.cfg:3",
    ]  # fmt: skip
    assert all((tmp_path / name).read_text() == text for name, text in (told | silent).items())


def test_files_that_cannot_be_read(application: Path) -> None:
    (application / "broken.py").write_text("import cassandra\ndef (:\n")
    (application / "latin.py").write_bytes(b"import cassandra # \xff\n")
    code, _, err = run("--write", application)
    assert code == 2 and "broken.py: cannot be changed" in err and "latin.py: cannot be changed" in err
    assert (application / "app.py").read_text() == "from geventcql.cluster import Cluster\n"
    assert run(application / "nowhere.py")[0] == 2


def test_bytes_that_are_not_ours_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(b"# -*- coding: latin-1 -*-\r\nimport cassandra  # \xfc\r\nx = 1  \r\n\r\n")
    assert run("--write", path)[0] == 0
    assert path.read_bytes() == b"# -*- coding: latin-1 -*-\r\nimport geventcql  # \xfc\r\nx = 1  \r\n\r\n"


def test_as_a_command_without_its_packages(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "geventcql.cli", "--version"]
    assert subprocess.run(command, capture_output=True, check=True, text=True).stdout.startswith("geventcql, version")
    (tmp_path / "libcst.py").write_text("raise ModuleNotFoundError(name='libcst')")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from geventcql.cli.main import main; main()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert result.returncode == 1 and "pip install 'geventcql[cli]'" in result.stderr


def test_a_file_is_written_as_a_whole_or_not_at_all(application: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (application / "app.py").chmod(0o640)

    def fail(*args: object) -> None:
        raise OSError("no space left on device")

    before = (application / "app.py").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", fail)
        code, _, err = run("--write", application)
    assert code == 2 and "no space left" in err and (application / "app.py").read_bytes() == before
    assert not [path for path in application.rglob(".*") if path.is_file()]
    assert run("--write", application)[0] < 2
    assert (application / "app.py").read_bytes() != before and (application / "app.py").stat().st_mode & 0o777 == 0o640


def test_a_file_that_is_nested_too_deeply_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import cassandra\nx = " + "+".join(["1"] * 3000) + "\n")
    (tmp_path / "b.py").write_text("import cassandra\n")
    code, _, err = run("--write", tmp_path)
    assert code == 2 and "a.py: cannot be changed" in err
    assert (tmp_path / "b.py").read_text() == "import geventcql\n"
