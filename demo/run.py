"""The demonstration: databases of real servers and an SQLite file are backed up three times, sent away, and restored.

Run by ``make demo``, with PostgreSQL, and with MariaDB where it is installed. All it makes is in .cache/demo and in temporary
folders, and is gone at the end, except .cache/report.html.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import typing as t
from datetime import datetime, timezone
from pathlib import Path

from ansible_collections.lastgood.database.plugins.module_utils._operations.inventory import InventoryRequest, inventory
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.tests.support.contexts import context_at
from demo.sftp_server import sftp_server
from tools.throwaway_mysql import Server as MariadbServer
from tools.throwaway_mysql import find_mariadb
from tools.throwaway_postgresql import Server, installation

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".cache" / "demo"
BACKUPS = FOLDER / "backups"
BACKUPS_OF_MARIADB = FOLDER / "mariadb"
NOTES = FOLDER / "notes.db"
AWAY = FOLDER / "away"
REPORT = ROOT / ".cache" / "report.html"


def main() -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(workspace())
        server = stack.enter_context(Server.start(installation(18)))
        sftp = stack.enter_context(sftp_server(AWAY))
        say(f"A throw-away PostgreSQL {server.major} runs, with a small shop in it; beside it there is an SQLite file.")
        mariadb = start_mariadb(stack)
        print("An SFTP server runs, too, for backups that are kept elsewhere. Can this host send there?")
        run_module("sftp_check", {**sftp, "create_directory": True})
        fill(server)
        variables = write_variables(server, mariadb, sftp)

        say("1. The first run backs up everything, and sends it to the SFTP server.")
        run_playbook(variables)
        show_backups()
        show_sent()

        say("2. One customer changes her name, and nothing else: one new backup.")
        server.psql("UPDATE customer SET name = 'Ada' WHERE id = 1", "shop")
        run_playbook(variables)
        show_backups()

        say("3. Nothing has changed: the third run stores nothing and sends nothing (changed=0).")
        run_playbook(variables)
        show_backups()
        show_sent()

        say("4. Somebody deletes what must not be deleted. The last good backup is read again, to see that it is good...")
        show_rows(server)
        server.psql("TRUNCATE customer CASCADE", "shop")
        show_rows(server)
        run_module("backup_verify", {"directory": str(BACKUPS), "level": "structure", "newest": 1, **bin_directory(server)})
        print("   ... and restored beside the damaged database; then the two change their names.")
        run_module("db_restore", {"directory": str(BACKUPS), "database": "shop", "if_exists": "replace", **login(server)})
        show_rows(server)
        if mariadb is not None:
            lose_and_restore(mariadb)

        say("5. A restore drill: each newest backup is restored to a server that is started for it and thrown away.")
        run_drill(variables)

        say("6. One page shows whether the whole fleet is safe. It is a file, for a browser or a mail.")
        run_report(variables)

        say("7. The disk with the backups is lost, and so is the data. What was sent away brings it back.")
        shutil.rmtree(BACKUPS)
        server.psql("TRUNCATE customer CASCADE", "shop")
        show_rows(server)
        there = {**sftp, "remote_directory": f"{sftp['remote_directory']}/demo"}
        run_module("db_restore", {"sftp": there, "database": "shop", "if_exists": "replace", **login(server)})
        show_rows(server)
    say("The servers are stopped, and all of this is gone again. Next: README.md, and make test.")
    print(f"The report remains: {REPORT}")


@contextlib.contextmanager
def workspace() -> t.Iterator[None]:
    """Make the demonstration's folder, and remove it at the end."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(mode=0o700, parents=True)
    try:
        yield
    finally:
        shutil.rmtree(FOLDER)


def fill(server: Server) -> None:
    """Load the shop into PostgreSQL, and notes into SQLite."""
    server.create_database("shop")
    server.psql((ROOT / "demo" / "shop.sql").read_text(), "shop")
    with contextlib.closing(sqlite3.connect(NOTES)) as notes:
        notes.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
        notes.executemany("INSERT INTO note (text) VALUES (?)", [(f"Note {number}",) for number in range(1, 501)])
        notes.commit()


def start_mariadb(stack: contextlib.ExitStack) -> MariadbServer | None:
    """Start a MariaDB server with a blog in it, where this machine has the programs, and say what was done."""
    programs = find_mariadb()
    if programs is None:
        print("MariaDB is not installed here, so the demonstration does without it (Debian: mariadb-server).")
        return None
    server = stack.enter_context(MariadbServer.start(programs))
    server.sql("create database blog; use blog; create table post as select seq as id, 'Hello' as title from seq_1_to_300")
    print("A throw-away MariaDB runs as well, with a blog.")
    return server


def lose_and_restore(mariadb: MariadbServer) -> None:
    """Show the same with MariaDB."""
    print("   The blog in MariaDB loses its posts, and gets them back: its tables change places with those of the backup.")
    show_posts(mariadb)
    mariadb.sql("delete from blog.post")
    show_posts(mariadb)
    options = {"database": "blog", "if_exists": "replace", **mariadb_login(mariadb)}
    run_module("db_restore", {"directory": str(BACKUPS_OF_MARIADB), **options})
    show_posts(mariadb)


def mariadb_login(server: MariadbServer) -> dict[str, t.Any]:
    return {"engine": "mysql", "login_unix_socket": str(server.socket), "login_user": server.user}


def login(server: Server) -> dict[str, t.Any]:
    """Return the options by which modules reach the server."""
    return {
        "login_unix_socket": str(server.socket_directory),
        "login_port": server.port,
        "login_user": server.user,
        **bin_directory(server),
    }


def bin_directory(server: Server) -> dict[str, t.Any]:
    return {"bin_directory": str(server.bin_directory)}


def write_variables(server: Server, mariadb: MariadbServer | None, sftp: dict[str, t.Any]) -> Path:
    """Write what an inventory would say of this host, and return the file."""
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "backup_directory": str(BACKUPS),
        "backup_interval": "0s",
        "backup_sources": [
            login(server),
            {"engine": "sqlite", "databases": [str(NOTES)]},
            *([] if mariadb is None else [{**mariadb_login(mariadb), "directory": str(BACKUPS_OF_MARIADB)}]),
        ],
        "backup_sftp": sftp,
    }
    file = FOLDER / "variables.json"
    file.write_text(json.dumps(variables, indent=2))
    return file


def run_playbook(variables: Path) -> None:
    """Run the collection's playbook as a user would, and show Ansible's own last line."""
    command = ["ansible-playbook", "lastgood.database.backup", "--inventory", "demo,", "--extra-vars", f"@{variables}"]
    print(f"   $ {' '.join(command[:4])} --extra-vars @variables.json")
    recap = next(line for line in run(command).splitlines() if line.startswith("demo "))
    print(f"   {' '.join(recap.split())}")


def run_drill(variables: Path) -> None:
    """Run the collection's playbook, and show the table at its end."""
    command = ["ansible-playbook", "lastgood.database.drill", "--inventory", "demo,", "--extra-vars", f"@{variables}"]
    print(f"   $ {' '.join(command[:4])} --extra-vars @variables.json")
    output = run(command, ANSIBLE_CALLBACK_RESULT_FORMAT="yaml")
    table = [line.strip().lstrip("- ") for line in output.splitlines()]
    rows = list(itertools.dropwhile(lambda line: line.split()[:2] != ["host", "database"], table))
    if not rows:
        sys.exit(f"The drill showed no table:\n{output}")
    for row in itertools.takewhile(bool, rows):
        print(f"   {row}")


def run_report(variables: Path) -> None:
    """Run the collection's playbook, and show what it says of the hosts."""
    command = ["ansible-playbook", "lastgood.database.report", "--inventory", "demo,", "--extra-vars", f"@{variables}"]
    print(f"   $ {' '.join(command[:4])} --extra-vars @variables.json --extra-vars backup_report=report.html")
    output = run([*command, "--extra-vars", f"backup_report={REPORT}"])
    words = next(line for line in output.splitlines() if "Hosts: " in line)
    print(f"   {words[words.index('Hosts: ') : words.index('The report')]}".rstrip())


def run_module(name: str, options: dict[str, t.Any]) -> None:
    """Run a module as a user would at 3 in the morning, and show the line in which Ansible says how it ended."""
    command = ["ansible", "demo", "--inventory", "demo,", "--connection", "local"]
    command += ["--extra-vars", json.dumps({"ansible_python_interpreter": sys.executable})]
    command += ["--module-name", f"lastgood.database.{name}", "--args", json.dumps(options)]
    print(f"   $ ansible demo -m lastgood.database.{name} -a ...")
    print(f"   {run(command).partition(' => ')[0]}")


def run(command: list[str], **environment: str) -> str:
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", **environment}
    finished = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if finished.returncode != 0:
        sys.exit(finished.stdout + finished.stderr)
    return finished.stdout


def show_rows(server: Server) -> None:
    """Show how many rows the shop's tables have."""
    counts = {table: server.psql(f"SELECT count(*) FROM {table}", "shop") for table in ("customer", "product", "purchase")}
    print("   " + ", ".join(f"{table} {count} rows" for table, count in counts.items()))


def show_posts(mariadb: MariadbServer) -> None:
    print(f"   post {mariadb.sql('select count(*) from blog.post')} rows")


def show_backups() -> None:
    """Show what is stored, as backup_facts tells it."""
    for folder in filter(Path.exists, (BACKUPS, BACKUPS_OF_MARIADB)):
        request = InventoryRequest(LocalStore(str(folder)), sort_by="created_at")
        facts = inventory(request, context_at(lambda: datetime.now(timezone.utc))).values["ansible_facts"]["database_backups"]
        for file in facts["files"]:
            name = file["database"] or file["kind"]
            print(f"   {file['state']:5} {name:9} {file['size_kb']:>7} KiB  {file['filename']}")


def show_sent() -> None:
    """Show how many backups are on the SFTP server."""
    names = sorted(path.name for path in (AWAY / "files").rglob("backup_*") if path.suffix != ".json")
    print(f"   On the SFTP server: {len(names)} backups.")


def say(text: str) -> None:
    print(f"\n{text}", flush=True)


if __name__ == "__main__":
    main()
