# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""Options that modules share: what Ansible is told of them, and what the core gets instead of them.

The documentation fragments in plugins/doc_fragments say the same to users.
"""

from __future__ import annotations

import os
import re
import typing as t
import zoneinfo
from datetime import timedelta, timezone, tzinfo

from ansible_collections.lastgood.database.plugins.module_utils._archives.base import ArchiveFormat
from ansible_collections.lastgood.database.plugins.module_utils._archives.registry import FORMATS, format_by_ending
from ansible_collections.lastgood.database.plugins.module_utils._engines._postgresql.connection import Login
from ansible_collections.lastgood.database.plugins.module_utils._engines._postgresql.restore import PostgresqlRestoreOptions
from ansible_collections.lastgood.database.plugins.module_utils._engines._sqlite.restore import SqliteRestoreEngine
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql import PostgresqlOptions
from ansible_collections.lastgood.database.plugins.module_utils._engines.registry import EngineOptions, RestoreOptions
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite import SqliteOptions
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Selection
from ansible_collections.lastgood.database.plugins.module_utils._retention import Rules
from ansible_collections.lastgood.database.plugins.module_utils._stores._sftp.connection import SftpSettings
from ansible_collections.lastgood.database.plugins.module_utils._stores.local import LocalStore
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp import SftpStore

Spec = dict[str, t.Any]
Params = t.Mapping[str, t.Any]

DIRECTORY_SPEC: Spec = {"directory": {"type": "path", "required": True}}

SFTP_SPEC: Spec = {
    "host": {"type": "str", "required": True},
    "port": {"type": "int", "default": 22},
    "user": {"type": "str", "required": True},
    "auth_method": {"type": "str", "choices": ["auto", "password", "ssh_key"], "default": "auto"},
    "password": {"type": "str", "no_log": True},
    "private_key": {"type": "str", "no_log": True},
    "private_key_file": {"type": "path", "no_log": False},
    "key_passphrase": {"type": "str", "no_log": True},
    "remote_directory": {"type": "str", "required": True},
    "create_directory": {"type": "bool", "default": False},
    "host_key_policy": {
        "type": "str",
        "choices": ["strict", "accept_new", "pinned", "off"],
        "default": "strict",
        "no_log": False,
    },
    "host_key": {"type": "str", "no_log": False},
    "known_hosts_file": {"type": "path"},
    "timeout": {"type": "str", "default": "30s"},
}

# For modules that take exactly one of the two.
STORE_SPEC: Spec = {"directory": {"type": "path"}, "sftp": {"type": "dict", "options": SFTP_SPEC}}

FILE_SPEC: Spec = {"owner": {"type": "str"}, "group": {"type": "str"}, "mode": {"type": "raw"}}

SELECTION_SPEC: Spec = {
    "names": {"type": "list", "elements": "str"},
    "databases": {"type": "list", "elements": "str"},
    "newest": {"type": "int"},
}

RETENTION_SPEC: Spec = {
    **{f"keep_{rule}": {"type": "int", "default": 0} for rule in ("last", "hourly", "daily", "weekly", "monthly", "yearly")},
    "keep_within": {"type": "str"},
    "timezone": {"type": "str", "default": "UTC"},
}

LOGIN_SPEC: Spec = {
    "login_host": {"type": "str"},
    "login_port": {"type": "int"},
    "login_user": {"type": "str"},
    "login_password": {"type": "str", "no_log": True},
    "login_unix_socket": {"type": "path"},
    "login_db": {"type": "str", "default": "postgres"},
    "ssl_mode": {"type": "str", "choices": ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]},
    "ca_cert": {"type": "path"},
    "ssl_cert": {"type": "path"},
    "ssl_key": {"type": "path", "no_log": False},
    "session_role": {"type": "str"},
    "bin_directory": {"type": "path"},
}

_DURATION = re.compile(r"([0-9]{1,6})([smhdw])")
_AMOUNT = re.compile(r"([0-9]{1,9})([KMG])")
_AMOUNTS = {"K": 1024, "M": 1024**2, "G": 1024**3}
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def directory_from(params: Params) -> str:
    """Return the directory. Raises ArgumentInvalid unless it says where it is, whoever asks from wherever."""
    directory: str = params["directory"]
    if not os.path.isabs(directory):
        raise ArgumentInvalid(f"directory is {directory!r}, which is not an absolute path.", "Name it from the root on.")
    return directory


def destination_from(params: Params) -> str:
    """Return the file that is to be written. Raises ArgumentInvalid unless it says where it is, and has a name."""
    destination: str = params["dest"]
    if not os.path.isabs(destination) or os.path.basename(destination) in ("", ".", ".."):
        raise ArgumentInvalid(
            f"dest is {destination!r}, which is not the absolute path of a file.", "Name the file from the root on."
        )
    return destination


def archive_format_from(params: Params) -> ArchiveFormat:
    """Return the format of an archive. Raises ArgumentInvalid where neither ``format`` nor the ending of ``dest`` says it."""
    name: str | None = params["format"]
    found = format_by_ending(params["dest"]) if name is None else FORMATS[name]
    if found is None:
        raise ArgumentInvalid(f"dest is {params['dest']!r}, which does not say what format it has.", "Give format as well.")
    return found


def sftp_from(params: Params, *, check_mode: bool) -> SftpSettings:
    """Return where the SFTP server is. Raises ArgumentInvalid for what does not go together."""
    if params["host_key_policy"] == "pinned" and not params["host_key"]:
        raise ArgumentInvalid("host_key_policy is pinned, and there is no host_key.", "Give the key that is the right one.")
    if params["auth_method"] == "password" and params["password"] is None:
        raise ArgumentInvalid("auth_method is password, and there is no password.", "Give it, or take another method.")
    if not params["remote_directory"]:
        raise ArgumentInvalid("remote_directory is empty.", "Name a directory; a dot is the one after the login.")
    timeout = _duration("timeout", params["timeout"]).total_seconds()
    if not timeout:
        raise ArgumentInvalid("timeout is 0, and no server answers in no time.", "Give a longer one, such as 30s.")
    return SftpSettings(
        **{option: params[option] for option in SFTP_SPEC if option != "timeout"},
        timeout=timeout,
        remembers=not check_mode,
    )


def store_from(params: Params, *, check_mode: bool, is_stopped: t.Callable[[], bool] = lambda: False) -> LocalStore | SftpStore:
    """Return the store that is meant by ``directory`` or by ``sftp``."""
    if params["sftp"] is None:
        return LocalStore(directory_from(params), is_stopped=is_stopped)
    return SftpStore(sftp_from(params["sftp"], check_mode=check_mode))


def duration_from(params: Params, option: str) -> timedelta | None:
    """Return an option's duration, None where it is not set. Raises ArgumentInvalid for what is no duration."""
    text: str | None = params[option]
    return None if text is None else _duration(option, text)


def strings_from(params: Params, option: str) -> tuple[str, ...] | None:
    """Return an option's list, None where it is not set. Raises ArgumentInvalid for an empty one."""
    values: list[str] | None = params[option]
    if values is None:
        return None
    if not values:
        raise ArgumentInvalid(f"{option} is an empty list, which names nothing.", f"Leave {option} out to mean all.")
    return tuple(values)


def at_least(params: Params, option: str, least: int) -> int:
    """Return an option's number. Raises ArgumentInvalid for one that is too small."""
    value: int = params[option]
    if value < least:
        raise ArgumentInvalid(f"{option} is {value}.", f"It must be {least} or more.")
    return value


def bandwidth_from(params: Params) -> int | None:
    """Return the bytes a second that may be sent, None for no limit. Raises ArgumentInvalid for what is no amount."""
    text: str | None = params["bandwidth_limit"]
    if text is None:
        return None
    match = _AMOUNT.fullmatch(text)
    if match is None or not int(match[1]):
        raise ArgumentInvalid(
            f"bandwidth_limit is {text!r}, which is no amount.", "Give a number and K, M or G, such as 500K or 10M."
        )
    return int(match[1]) * _AMOUNTS[match[2]]


def selection_from(params: Params) -> Selection:
    """Return which backups are meant."""
    newest = None if params["newest"] is None else at_least(params, "newest", 1)
    return Selection(strings_from(params, "names"), strings_from(params, "databases"), newest)


def rules_from(params: Params) -> Rules:
    """Return the rules of retention. Raises ArgumentInvalid where none of them keeps anything."""
    return Rules(
        last=at_least(params, "keep_last", -1),
        hourly=at_least(params, "keep_hourly", -1),
        daily=at_least(params, "keep_daily", -1),
        weekly=at_least(params, "keep_weekly", -1),
        monthly=at_least(params, "keep_monthly", -1),
        yearly=at_least(params, "keep_yearly", -1),
        within=duration_from(params, "keep_within"),
        timezone=_time_zone(params["timezone"]),
    )


def lock_timeout_from(params: Params) -> float:
    """Return for how many seconds to wait for a lock."""
    return _duration("lock_timeout", params["lock_timeout"]).total_seconds()


def engine_options_from(params: Params) -> EngineOptions:
    """Return what is to be dumped, and how. Raises ArgumentInvalid for an option that the engine has no use for."""
    return _sqlite_options(params) if params["engine"] == "sqlite" else _postgresql_options(params)


def restore_options_from(params: Params) -> RestoreOptions:
    """Return what is to be restored, and how. Raises ArgumentInvalid for an option that the engine has no use for."""
    if params["engine"] == "postgresql":
        return PostgresqlRestoreOptions(
            login=login_from(params),
            database=params["database"],
            keep_old=params["keep_old"],
            terminate_sessions=params["terminate_sessions"],
            no_owner=params["no_owner"],
            jobs=at_least(params, "jobs", 1),
            bin_directory=params["bin_directory"],
        )
    for option in ("terminate_sessions", "include_globals", "no_owner"):
        if params[option]:
            raise _useless_for_sqlite(option)
    return SqliteRestoreEngine(database=params["database"], keep_old=params["keep_old"])


def given_login_from(params: Params) -> Login | None:
    """Return where the server is, None where no option says so or who we are there."""
    own = ("login_db", "bin_directory")  # of no use alone
    return login_from(params) if any(params[option] is not None for option in LOGIN_SPEC if option not in own) else None


def login_from(params: Params) -> Login:
    """Return where the server is and who we are there."""
    password: str | None = params["login_password"]
    if password is not None and ("\n" in password or "\r" in password):
        raise ArgumentInvalid(
            "login_password has a line break in it, which PostgreSQL's password files can't hold.",
            "Take it out; a block in YAML ends in one unless it begins with |- or >-.",
        )
    return Login(
        host=params["login_host"],
        port=params["login_port"],
        user=params["login_user"],
        password=password,
        unix_socket=params["login_unix_socket"],
        database=params["login_db"],
        ssl_mode=params["ssl_mode"],
        ca_cert=params["ca_cert"],
        ssl_cert=params["ssl_cert"],
        ssl_key=params["ssl_key"],
        session_role=params["session_role"],
    )


def _duration(option: str, text: str) -> timedelta:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ArgumentInvalid(
            f"{option} is {text!r}, which is no duration.", "Give a number and s, m, h, d or w, such as 20h or 7d."
        )
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _time_zone(name: str) -> tzinfo:
    if name == "UTC":
        return timezone.utc  # for which a host needs no list of time zones
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ArgumentInvalid(
            f"timezone is {name!r}, and the host knows no such time zone.",
            "Give a name such as Europe/Berlin, or install tzdata on the host, as a system's or as a Python package.",
        ) from error


def _postgresql_options(params: Params) -> PostgresqlOptions:
    timeout = duration_from(params, "timeout")
    return PostgresqlOptions(
        login=login_from(params),
        databases=strings_from(params, "databases"),
        exclude_databases=tuple(params["exclude_databases"]),
        include_globals=params["include_globals"],
        format=params["format"],
        bin_directory=params["bin_directory"],
        extra_args=tuple(params["extra_args"]),
        timeout=None if timeout is None else timeout.total_seconds(),
        lock_timeout=lock_timeout_from(params),
    )


def _sqlite_options(params: Params) -> SqliteOptions:
    for option, given in (
        ("format=plain", params["format"] == "plain"),
        ("include_globals", params["include_globals"]),
        ("extra_args", params["extra_args"]),
        ("timeout", params["timeout"]),
    ):
        if given:
            raise _useless_for_sqlite(option)
    return SqliteOptions(
        paths=strings_from(params, "databases") or (),
        exclude=tuple(params["exclude_databases"]),
        lock_timeout=lock_timeout_from(params),
    )


def _useless_for_sqlite(option: str) -> ArgumentInvalid:
    return ArgumentInvalid(f"{option} means nothing for SQLite.", "Leave it out, or correct engine.")
