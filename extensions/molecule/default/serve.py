"""Run a throw-away PostgreSQL server, and an SQLite file, for as long as the file that describes them is there."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import sys
import time
from pathlib import Path

from tools.throwaway_postgresql import Server, installation

SHOP = Path("demo") / "shop.sql"
POLL_SECONDS = 0.2


def main(description: Path) -> None:
    notes = description.with_name("notes.db")
    with Server.start(installation(18)) as server:
        server.create_database("shop")
        server.psql(SHOP.read_text(), "shop")
        with contextlib.closing(sqlite3.connect(notes)) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS note (text TEXT)")
            connection.execute("INSERT INTO note VALUES ('kept')")
            connection.commit()
        describe(server, notes, description)
        while description.exists():
            time.sleep(POLL_SECONDS)
    notes.unlink()


def describe(server: Server, notes: Path, description: Path) -> None:
    """Write the file; a reader never finds half of it."""
    partial = description.with_suffix(".partial")
    partial.write_text(
        json.dumps(
            {
                "server_socket_directory": str(server.socket_directory),
                "server_port": server.port,
                "server_user": server.user,
                "server_bin_directory": str(server.bin_directory),
                "server_sqlite": str(notes),
            }
        )
    )
    os.replace(partial, description)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
