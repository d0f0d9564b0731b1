"""The settings of a host: a file with this host's values of the variables of the role ``backup``.

``run``, ``status`` and every verb without ``--directory`` and ``--sftp`` use them. The file may have passwords, so that it is
refused if others can read it. An option whose name ends in ``_file`` avoids that: it names a file or a credential of systemd.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import difflib
import json
import os
import re
import stat
import sys
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.lastgood.database.plugins.module_utils._access import (
    Objection,
    objection_to_owner,
    objection_to_way,
)
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._text import one_line

VARIABLE = "LASTGOOD_SETTINGS"  # in the environment
PLACES = ("/etc/lastgood/settings.yml", "/etc/lastgood/settings.json")
STANDARD_INPUT = "-"
VERSION = 1  # the version of settings that this program writes; it also reads older ones
HIDDEN = "********"

_HOST = "inventory_hostname"
_MOST_BYTES = 1 << 20
_CONTROLLER_S = {"backup_progress", "backup_summary"}  # variables that only a play uses
_SERVICE = "lastgood.service"
_CREDENTIALS = "CREDENTIALS_DIRECTORY"  # in the environment of a service that has some
_CREDENTIAL = re.compile(rf"\$(?:{_CREDENTIALS}|\{{{_CREDENTIALS}\}})/([^/]+)")

Variables = t.Mapping[str, t.Any]
Documents = t.Mapping[str, t.Any]
Options = t.Mapping[str, t.Any]  # an argument_spec of the role


@dataclass(frozen=True)
class Settings:
    """The variables of the role with its defaults, and the name that the host has in the inventory.

    If the file names a credential of systemd for a secret, ``variables`` has the secret itself, under the option for it.
    ``unused`` has the names of the defaults that only other entry points of the role use.
    """

    path: str
    host: str
    variables: Variables
    unused: t.AbstractSet[str] = frozenset()


# --- Read -------------------------------------------------------------------------------------------------------


def find(option: str | None, environment: t.Mapping[str, str]) -> str:
    """Return the path of the settings: the option's, else the environment's, else the first default path that exists."""
    if option is not None:
        return option
    if VARIABLE in environment:
        return environment[VARIABLE]
    return next((place for place in PLACES if os.path.lexists(place)), PLACES[0])


def load(path: str, documents: Documents) -> Settings:
    """Read the settings with the credentials that they name. Raises ArgumentInvalid."""
    return with_credentials(read(path, documents))


def read(path: str, documents: Documents) -> Settings:
    """Read the settings as they are written. Raises ArgumentInvalid."""
    found = _parse(path, _text(path))
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise _unreadable(path, "they are not a mapping")
    version = found.pop("version", VERSION)
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise _unreadable(path, f"version is {version!r}")
    if version > VERSION:
        raise ArgumentInvalid(
            f"The settings {_name(path)} have version {version}, and this program reads versions up to {VERSION}.",
            "Install the program that belongs to them (the role's tasks_from: schedule), or write them anew.",
        )
    host = found.pop(_HOST, None)
    if host is not None and not (isinstance(host, str) and host):
        raise _unreadable(path, f"{_HOST} is {host!r}")
    variables = {name: value for name, value in found.items() if value is not None}
    defaults = documents["defaults"]
    unused = defaults.keys() - documents["role"]["schedule"]["options"].keys() | _CONTROLLER_S
    return Settings(path, host or os.uname().nodename, {**defaults, **variables}, unused - variables.keys())


def _text(path: str) -> str:
    try:
        if path == STANDARD_INPUT:
            content = sys.stdin.buffer.read(_MOST_BYTES + 1)
        else:
            objection_to_its_way = objection_to_way(os.path.join(os.getcwd(), path))
            with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
                _check_access(path, os.fstat(file.fileno()), objection_to_its_way)
                content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise _unreadable(path, "they have more than 1 MiB")
        return content.decode()
    except FileNotFoundError as error:
        raise ArgumentInvalid(
            f"The settings {path} do not exist.",
            "Write them, have the role save them (tasks_from: schedule), or name others by --settings.",
        ) from error
    except OSError as error:
        raise _unreadable(path, str(error.strerror)) from error
    except UnicodeDecodeError as error:
        raise _unreadable(path, "they are no text in UTF-8") from error


def _check_access(path: str, facts: os.stat_result, objection_to_its_way: Objection | None) -> None:
    """Raise ArgumentInvalid for a file that another user can read, could have written, or can replace."""
    if not stat.S_ISREG(facts.st_mode):
        raise _unreadable(path, "that is no regular file")
    objection = objection_to_owner(path, facts) or objection_to_its_way
    if objection is not None:
        raise ArgumentInvalid(
            f"The file of settings {path} {objection.problem}. Whoever can change the settings decides what is run.",
            objection.next_step,
        )
    if facts.st_mode & 0o077:
        raise ArgumentInvalid(
            f"The settings {path} have mode {stat.S_IMODE(facts.st_mode):04o}, so that others have access to them, and they may "
            "hold a password.",
            f"Run: chmod 600 {path}",
        )


def _parse(path: str, text: str) -> t.Any:
    if path == STANDARD_INPUT or path.endswith(".json"):
        return _parse_json(path, text)
    try:
        import yaml
    except ImportError:
        try:
            return json.loads(text)
        except ValueError:
            raise ArgumentInvalid(
                f"The settings {path} are YAML, and the host's Python has no library for it.",
                "Install python3-yaml, or write them as JSON into settings.json.",
            ) from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)  # the error's text has the line itself, which may have a password
        where = "" if mark is None else f" in line {mark.line + 1}, column {mark.column + 1}"
        raise _unreadable(path, f"they are no YAML{where}") from None


def _parse_json(path: str, text: str) -> t.Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise _unreadable(path, f"they are no JSON in line {error.lineno}, column {error.colno}") from None


def _name(path: str) -> str:
    return "on the standard input" if path == STANDARD_INPUT else path


def _unreadable(path: str, cause: str) -> ArgumentInvalid:
    return ArgumentInvalid(
        f"The settings {_name(path)} can't be used: {cause}.",
        "Correct them, or have the role save them anew (tasks_from: schedule).",
    )


# --- Credentials ------------------------------------------------------------------------------------------------


def lacks_credentials(settings: Settings) -> bool:
    """Return whether the settings name credentials that this process lacks: only the service has them."""
    return _CREDENTIALS not in os.environ and _names_credentials(settings.variables)


def with_credentials(settings: Settings) -> Settings:
    """Return the settings with the content of each credential that they name. Raises ArgumentInvalid if one can't be read."""
    return replace(settings, variables=_with_credentials(settings.variables, os.environ.get(_CREDENTIALS)))


def _names_credentials(value: t.Any) -> bool:
    if isinstance(value, dict):
        return any(_credential(name, item) or _names_credentials(item) for name, item in value.items())
    return isinstance(value, list) and any(map(_names_credentials, value))


def _credential(option: t.Any, value: t.Any) -> str | None:
    """Return the name of the credential that an option names, None if it names none."""
    if not isinstance(value, str) or not str(option).endswith("_file"):
        return None
    found = _CREDENTIAL.fullmatch(value)
    return found[1] if found else None


def _with_credentials(value: t.Any, folder: str | None) -> t.Any:
    """Return settings with the content of each credential in place of its name.

    The program itself reads them, since the users of the sources may lack access.
    """
    if isinstance(value, list):
        return [_with_credentials(item, folder) for item in value]
    if not isinstance(value, dict):
        return value
    found: dict[str, t.Any] = {}
    for option, item in value.items():
        name = _credential(option, item)
        if name is None:
            found[option] = _with_credentials(item, folder)
        else:
            found[option[: -len("_file")]] = _content(option, name, folder)
    return found


def _content(option: str, name: str, folder: str | None) -> str:
    if folder is None:
        raise ArgumentInvalid(
            f"{option} is the credential {name}, which only {_SERVICE} has.", f"Run: systemctl start {_SERVICE}"
        )
    try:
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            text = file.read(_MOST_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise ArgumentInvalid(
            f"{option} is the credential {name}, which can't be read: {cause}.",
            f"Give it to the service: LoadCredential={name}:/path (backup_schedule.credentials).",
        ) from error
    return text[:-1] if text.find("\n") == len(text) - 1 else text  # without the line break at the end of a file with one line


# --- Show -------------------------------------------------------------------------------------------------------


def show(settings: Settings, documents: Documents) -> list[str]:
    """Return the settings as lines of a settings file, in which secrets are masked."""
    return _document(settings, _hidden(settings.variables, settings.variables, role_options(documents)))


def changes(before: Settings | None, after: Settings, documents: Documents) -> list[str]:
    """Return the lines of a diff between settings, without secrets. A secret that differs is marked as such."""
    options = role_options(documents)
    old = [] if before is None else show(before, documents)
    new = show(after, documents) if before is None else _document(after, _hidden(after.variables, before.variables, options))
    return list(difflib.unified_diff(old, new, "before", "after", lineterm="", n=1))


def role_options(documents: Documents) -> dict[str, t.Any]:
    """Return the variables of all entry points of the role. Only those of a backup can be required."""
    found: dict[str, t.Any] = {}
    for entry_point in documents["role"].values():
        for name, option in entry_point["options"].items():
            found[name] = {**option, "required": False}
    return {**found, **documents["role"]["main"]["options"]}


def _document(settings: Settings, variables: dict[str, t.Any]) -> list[str]:
    written = {name: value for name, value in sorted(variables.items()) if name not in settings.unused}
    document = {"version": VERSION, _HOST: settings.host, **written}
    return json.dumps(document, indent=2, ensure_ascii=False).splitlines()


def _hidden(value: t.Any, before: t.Any, options: Options) -> t.Any:
    """Return a value without its secrets. Unknown options are masked too: one may be a secret with a misspelt name.

    ``before`` is the value to compare it with.
    """
    if isinstance(value, list):
        olds = before if isinstance(before, list) else []
        return [_hidden(item, olds[at] if at < len(olds) else None, options) for at, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    old = before if isinstance(before, dict) else {}
    return {one_line(str(name)): _hidden_option(name, item, old.get(name), options) for name, item in value.items()}


def _hidden_option(name: str, value: t.Any, before: t.Any, options: Options) -> t.Any:
    option = options.get(name)
    if option is None or option.get("no_log"):
        return HIDDEN if value == before else f"{HIDDEN} (changed)"
    if name == "per_database" and isinstance(value, dict):  # options of a source, for each database
        old = before if isinstance(before, dict) else {}
        return {database: _hidden(own, old.get(database), options) for database, own in value.items()}
    below = option.get("options")
    return value if below is None else _hidden(value, before, below)
