"""How long the engine waits for a lock."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable

import psycopg2
import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.dump import PostgresqlDumper
from ansible_collections.lastgood.database.plugins.module_utils._errors import SourceBusy
from tools.throwaway_postgresql import Server

DATA = "create table t (n int)"


@pytest.mark.parametrize("lock_timeout", [0.0, 0.2])
def test_a_table_that_stays_locked_is_an_error_also_where_nobody_is_to_wait(
    engine: Callable[..., PostgresqlDumper],
    dump: Callable[..., bytes],
    postgresql: Server,
    database: str,
    lock_timeout: float,
) -> None:
    locker = psycopg2.connect(host=str(postgresql.socket_directory), port=postgresql.port, user=postgresql.user, dbname=database)
    try:
        locker.cursor().execute("lock table t in access exclusive mode")
        # The timeout is for the case that it waits for ever all the same.
        with pytest.raises(SourceBusy):
            dump(engine(lock_timeout=lock_timeout, timeout=60.0))
    finally:
        locker.close()


def test_a_lock_timeout_longer_than_the_server_knows_is_as_long_as_it_knows(
    engine: Callable[..., PostgresqlDumper], dump: Callable[..., bytes]
) -> None:
    assert dump(engine(lock_timeout=999_999 * 7 * 24 * 3600.0)).startswith(b"PGDMP")
