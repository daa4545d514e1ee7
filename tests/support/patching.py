"""Monkey-patching at another time than before everything else: a pytest plugin for :mod:`tests.test_patching`.

`-p tests.support.patching --patch=after`: when pytest, the driver and all tests have been imported. `--patch=contexts`: before
the driver is imported, behind the making of all TLS contexts of the tests; needs `-p no:geventcql.testing.plugin`, as pytest
imports the driver else.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

import pytest
from gevent import monkey

from . import tls


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--patch", choices=("after", "contexts"), required=True)


def _patch() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", monkey.MonkeyPatchWarning)  # that it is late is the point
        monkey.patch_all()


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    if early_config.known_args_namespace.patch == "contexts":
        directory = tempfile.TemporaryDirectory()
        early_config.add_cleanup(directory.cleanup)
        tls.make(Path(directory.name))
        assert "geventcql" not in sys.modules
        _patch()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    if session.config.getoption("patch") == "after":
        _patch()
