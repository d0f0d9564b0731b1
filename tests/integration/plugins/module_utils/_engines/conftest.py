"""The engine, with the real runner, on real servers of every version that is here."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule

from ansible_collections.lastgood.database.plugins.module_utils._ansible import ModuleRunner
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.connection import Login
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.dump import PostgresqlDumper
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.options import PostgresqlDumpOptions
from tests.support.arguments import patch_module_args
from tools.throwaway_postgresql import Installation, Server, find_installations

INSTALLATIONS = find_installations()


@pytest.fixture(scope="session", params=INSTALLATIONS, ids=lambda one: f"pg{one.major}")
def postgresql(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of each version that is here. Where there is none, the tests are skipped."""
    programs: Installation = request.param
    with Server.start(programs) as server:
        yield server


@pytest.fixture
def database(postgresql: Server, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database with what the test's file has in ``DATA``."""
    name = "app"
    postgresql.create_database(name)
    postgresql.psql(request.module.DATA, name)
    yield name
    postgresql.psql(f"drop database {name} with (force)")


@pytest.fixture
def engine(postgresql: Server, database: str) -> Callable[..., PostgresqlDumper]:
    """Return how to make the engine for that database."""

    def make(**options: Any) -> PostgresqlDumper:
        login = Login(unix_socket=str(postgresql.socket_directory), port=postgresql.port, user=postgresql.user)
        with patch_module_args({}):
            runner = ModuleRunner(AnsibleModule(argument_spec={}))
        over = {"databases": (database,), "bin_directory": str(postgresql.bin_directory), **options}
        return PostgresqlDumper(PostgresqlDumpOptions(login=login, **over), runner)

    return make


@pytest.fixture
def dump() -> Callable[[PostgresqlDumper], bytes]:
    """Return how to dump the one thing that an engine is to dump."""

    def do(engine: PostgresqlDumper) -> bytes:
        [target] = engine.survey().targets
        found = bytearray()
        buffer = memoryview(bytearray(65536))
        with engine.dumping(target, lambda: "") as content:
            while count := content.readinto(buffer):
                found += buffer[:count]
            content.finish()
        return bytes(found)

    return do
