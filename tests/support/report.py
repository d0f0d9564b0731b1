"""The facts of a fleet, as hosts return them to the report."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

NOW = datetime(2026, 2, 1, 6, 30, tzinfo=timezone.utc)
DIRECTORY = "/var/lib/postgresql/backups"


def text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def ago(**span: float) -> str:
    """Return a time before ``NOW``, as facts have it."""
    return text(NOW - timedelta(**span))


def backup(created: str, database: str | None = "app", **over: Any) -> dict[str, Any]:
    """Return the record of a backup."""
    stamp = created.replace(" ", "_").replace(":", "-")
    usual = {
        "filename": f"backup_{database or '@globals'}_{stamp}.dump.gz",
        "kind": "database" if database else "globals",
        "origin": "db1",
        "engine": "postgresql",
        "instance": "7300000000000000000",
        "database": database,
        "partial": False,
        "state": "good",
        "created_at": created,
        "confirmed_at": created,
        "size_bytes": 1_887_437,
        "verification": None,
        "uploaded_at": None,
    }
    return {**usual, **over}


def database(*backups: dict[str, Any], name: str | None = "app", **over: Any) -> dict[str, Any]:
    """Return the facts of a group with these backups, the newest last."""
    usual = {
        "origin": "db1",
        "engine": "postgresql",
        "instance": "7300000000000000000",
        "source": "/var/run/postgresql:5432",
        "kind": "database" if name else "globals",
        "database": name,
        "partial": False,
        "partial_arguments": [],
        "count": len(backups),
        "newest_good": backups[-1]["filename"] if backups else None,
        "age_seconds": 3600 if backups else None,
        "last_run": {"outcome": "created", "code": None, "msg": None},
        "last_failure": None,
        "uploaded_at": None,
        "verified_at": None,
        "drilled_at": None,
        "sizes": [one["size_bytes"] for one in backups][-30:],
    }
    return {**usual, **over}


def facts(databases: list[dict[str, Any]], files: list[dict[str, Any]], **over: Any) -> dict[str, Any]:
    """Return the facts about one directory."""
    last_run = {"outcome": "succeeded", "failed": 0}
    return {"directory": DIRECTORY, "databases": databases, "files": files, "last_run": last_run, "running": [], **over}


def registered(*directories: dict[str, Any], **max_age: str) -> dict[str, Any]:
    """Return what a host with these directories registers."""
    place = {"directory": DIRECTORY, "max_age": max_age}
    return {"results": [{"_backup_place": place, "ansible_facts": {"database_backups": one}} for one in directories]}


def host(name: str = "db1", created: str | None = None, /, **over: Any) -> dict[str, Any]:
    """Return what a host with one database and one backup registers. Other values are the database's."""
    one = backup(created or ago(hours=5), origin=name)
    return registered(facts([database(one, **{"origin": name, **over})], [one]))


def fleet(hosts: int, days: int) -> dict[str, dict[str, Any]]:
    """Return what many hosts register: each has two databases with a backup a day, and a few have problems."""
    results: dict[str, dict[str, Any]] = {}
    for number in range(1, hosts + 1):
        name = f"db{number}"
        if number % 40 == 9:
            results[name] = {"unreachable": True, "msg": "Failed to connect to the host via ssh: No route to host"}
            continue
        late = timedelta(days=3 if number % 40 in (3, 6) else 0)
        databases, files = [], []
        for position, title in enumerate(("app", "shop")):
            size, group = 40_000_000 * number % 3_000_000_000 + 5_000_000, []
            for day in range(days - 1, -1, -1):
                size = int(size * (1.01 + (number * 7 + day * 13) % 11 / 500 - 0.005 * position))
                created = (
                    NOW
                    - timedelta(days=day, hours=5, minutes=(number * 3 + position) % 50)
                    - (late if not position else timedelta())
                )
                verdict = {"level": "restore", "verdict": "passed", "verified_at": text(created + timedelta(hours=3))}
                uploaded = text(created + timedelta(minutes=4))
                checked = verdict if day % 7 == 2 else None
                group.append(
                    backup(text(created), title, origin=name, size_bytes=size, verification=checked, uploaded_at=uploaded)
                )
            over: dict[str, Any] = {"verified_at": ago(days=2, hours=2), "drilled_at": ago(days=2 + number % 20)}
            if number % 40 == 3 and not position:
                over["last_run"] = {"outcome": "failed"}
                over["last_failure"] = {
                    "at": ago(hours=5),
                    "code": "no_space",
                    "msg": f"{DIRECTORY} has 1.2 GiB left, and the dump of app needs about 3.4 GiB. Make room.",
                }
            databases.append(database(*group, name=title, origin=name, uploaded_at=group[-1]["uploaded_at"], **over))
            files += group
        results[name] = registered(facts(databases, files), backup="26h", verified="7d")
    return results
