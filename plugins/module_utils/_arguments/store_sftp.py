"""Options of a directory on an SFTP server."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import functools
import posixpath
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import Spec, together_or_single
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._parameters import Params, duration_of
from ansible_collections.lastgood.database.plugins.module_utils._process import Runner

if t.TYPE_CHECKING:  # loaded only where a task names a server
    from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.settings import SftpSettings
    from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.store import SftpStore

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

# For modules that also accept the server's options one by one.
SERVER_OR_SFTP_SPEC: Spec = {
    **{option: {key: value for key, value in spec.items() if key != "required"} for option, spec in SFTP_SPEC.items()},
    "sftp": {"type": "dict", "options": SFTP_SPEC},
}


def sftp_connector(params: Params, *, check_mode: bool, runner: Runner) -> t.Callable[[], SftpStore]:
    """Return a factory of stores with these options. The runner ends their waits when the run is stopped."""
    settings = sftp_from(params, check_mode=check_mode)
    return lambda: _store(settings, runner)


def sftp_trials(params: Params, runner: Runner) -> list[t.Callable[[], SftpStore]]:
    """Return factories of stores to try: for the directory, then, if it may be made, for those above it."""
    settings = dataclasses.replace(sftp_from(params, check_mode=True), create_directory=False)
    return [
        functools.partial(_store, dataclasses.replace(settings, remote_directory=directory), runner)
        for directory in trial_directories(settings.remote_directory, params["create_directory"])
    ]


def trial_directories(directory: str, may_be_made: bool) -> list[str]:
    """Return a directory, and if it may be made those above it, the nearest first."""
    directories = [directory]
    while may_be_made and directories[-1] not in ("/", "."):
        directories.append(posixpath.dirname(directories[-1].rstrip("/")) or ".")
    return directories


def server_or_sftp_store(params: Params, *, check_mode: bool, runner: Runner) -> SftpStore:
    """Return the store in ``sftp`` or in the single options."""
    return _store(server_or_sftp_from(params, check_mode=check_mode), runner)


def _store(settings: SftpSettings, runner: Runner) -> SftpStore:
    from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.store import SftpStore

    return SftpStore(settings, runner.stopping)


def server_or_sftp_from(params: Params, *, check_mode: bool) -> SftpSettings:
    """Return the SFTP server in ``sftp`` or in the single options. Raises ArgumentInvalid for both at once, and for neither."""
    server = together_or_single(params, "sftp", SFTP_SPEC)
    missing = [option for option, spec in SFTP_SPEC.items() if spec.get("required") and server[option] is None]
    if missing:
        raise ArgumentInvalid(f"The SFTP server lacks {' and '.join(missing)}.", "Set that, or the whole server in sftp.")
    return sftp_from(server, check_mode=check_mode)


def sftp_from(params: Params, *, check_mode: bool) -> SftpSettings:
    """Return the SFTP server's settings. Raises ArgumentInvalid for options that contradict each other."""
    if not 0 < params["port"] < 65536:
        raise ArgumentInvalid(f"port is {params['port']}, which is no port.", "Give one from 1 to 65535.")
    if params["host_key_policy"] == "pinned" and not (params["host_key"] or "").strip():
        raise ArgumentInvalid("host_key_policy is pinned, and there is no host_key.", "Give the key that is the right one.")
    if params["host_key_policy"] != "pinned" and params["host_key"]:
        raise ArgumentInvalid(
            f"host_key is given, and host_key_policy is {params['host_key_policy']}, which ignores it.",
            "Set host_key_policy to pinned, or leave host_key out.",
        )
    if params["auth_method"] == "password" and params["password"] is None:
        raise ArgumentInvalid("auth_method is password, and there is no password.", "Give it, or take another method.")
    directory = _remote_directory(params["remote_directory"])
    timeout = duration_of("timeout", params["timeout"]).total_seconds()
    if not timeout:
        raise ArgumentInvalid("timeout is 0, and no server answers in no time.", "Give a longer one, such as 30s.")
    from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.settings import SftpSettings

    return SftpSettings(
        **{option: params[option] for option in SFTP_SPEC if option not in ("timeout", "remote_directory")},
        timeout=timeout,
        remote_directory=directory,
        remembers=not check_mode,
    )


def _remote_directory(text: str) -> str:
    """Return the directory as an SFTP path: servers resolve a relative path from the account's home, but not ``~``."""
    if not text:
        raise ArgumentInvalid("remote_directory is empty.", "Name a directory; a dot is the one after the login.")
    if not text.startswith("~"):
        return text
    home, _slash, below = text.partition("/")
    if home != "~":
        raise ArgumentInvalid(
            f"remote_directory is {text!r}, and SFTP knows the home of no other account.", "Give an absolute path."
        )
    return below.lstrip("/") or "."
