"""The sources of the settings: what to back up, to which directory, as which user.

roles/backup/vars/main.yml makes the same sources for a play.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._program.settings import Settings

Options = dict[str, t.Any]

_PATTERN = re.compile(r"([*?[])")
_OF_ROLE = {"become_user", "directory", "per_database", "retention"}  # options of a source that db_backup does not have
_LOGIN = {"bin_directory", "ca_cert", "session_role"}  # with the options that begin with login_ or ssl_
_SERVER_REQUIRES = ("host", "user", "remote_directory")


@dataclass(frozen=True)
class Source:
    """Databases with the same login and directory. ``options`` are those of ``db_backup``."""

    title: str
    directory: str
    user: str | None
    options: Options
    retention: Options

    @property
    def engine(self) -> str:
        return str(self.options.get("engine", "postgresql"))

    @property
    def login(self) -> Options:
        """The options of the login, which ``db_backup`` shares with other modules."""
        return {name: value for name, value in self.options.items() if name in _LOGIN or name.startswith(("login_", "ssl_"))}


def sources_of(settings: Settings) -> list[Source]:
    """Return the sources in order. Raises ArgumentInvalid if there is none, or if one has no directory."""
    variables = settings.variables
    found = _divided(variables.get("backup_sources") or [])
    if not found:
        raise ArgumentInvalid("There is nothing to back up: backup_sources is empty.", f"Set it in {settings.path}.")
    directories = [source.get("directory") or variables.get("backup_directory") or "" for source in found]
    if not all(directories):
        raise ArgumentInvalid("A source has no directory.", "Give it a directory of its own, or set backup_directory.")
    defaults = {
        "interval": variables.get("backup_interval"),
        "origin": settings.host,
        "shrink_warning": variables.get("backup_shrink_warning"),
        **_set(variables.get("backup_encryption")),
    }
    return [
        Source(
            title=_title(source, directory),
            directory=directory,
            user=source.get("become_user"),
            options={**defaults, **{name: value for name, value in _set(source).items() if name not in _OF_ROLE}},
            retention=_set(source.get("retention", variables.get("backup_retention"))),
        )
        for source, directory in zip(found, directories)
    ]


def places_of(sources: t.Iterable[Source]) -> list[Source]:
    """Return the first source of each directory, as whose user the directory is read."""
    found: dict[str, Source] = {}
    for source in sources:
        found.setdefault(source.directory, source)
    return list(found.values())


def server_of(settings: Settings, host: str | None = None) -> Options | None:
    """Return the SFTP server, and the directory on it of this host or of another one. None if the settings have no server."""
    server = _set(settings.variables.get("backup_sftp"))
    if not server:
        return None
    lacks = [name for name in _SERVER_REQUIRES if name not in server]
    if lacks:
        raise ArgumentInvalid(f"backup_sftp lacks {' and '.join(lacks)}.", "Add that, or set backup_sftp to {} to use no server.")
    directory = f"{str(server['remote_directory']).rstrip('/')}/{host or settings.host}"
    return {"create_directory": True, **server, "remote_directory": directory}


def server_rules_of(settings: Settings) -> Options:
    """Return the retention on the server, empty if nothing is deleted there."""
    return _set(settings.variables.get("backup_sftp_retention")) if _set(settings.variables.get("backup_sftp")) else {}


def _set(options: t.Mapping[str, t.Any] | None) -> Options:
    return {name: value for name, value in (options or {}).items() if value is not None}


def _divided(sources: t.Iterable[t.Mapping[str, t.Any]]) -> list[Options]:
    """Return the sources in order, then one more source for each database with its own settings."""
    whole, parts = [], []
    for source in map(dict, sources):
        settings = source.get("per_database") or {}
        if not settings:
            whole.append(source)
            continue
        shared = {name: value for name, value in source.items() if name not in ("per_database", "databases")}
        globals_once = {} if source.get("engine") == "sqlite" else {"include_globals": False}
        own = [
            {**shared, "databases": [name], "exclude_databases": [], **globals_once, **(options or {})}
            for name, options in settings.items()
        ]
        named = source.get("databases") or []
        others = [name for name in named if name not in settings]
        if named and not others:
            whole.append(own[0])
            parts += own[1:]
            continue
        if others:
            rest = {**shared, "databases": others}
        else:
            patterns = [_PATTERN.sub(r"[\1]", name) for name in settings]
            rest = {**shared, "exclude_databases": [*(source.get("exclude_databases") or []), *patterns]}
        whole.append(rest)
        parts += own
    return whole + parts


def _title(source: t.Mapping[str, t.Any], directory: str) -> str:
    at = str(source.get("login_host") or source.get("login_unix_socket") or "")
    if "login_port" in source:
        at = f"{at}:{source['login_port']}"
    return f"{source.get('engine', 'postgresql')}{f' at {at}' if at else ''} in {directory}"
