"""Checks settings: first the file by itself, then whether each source can be backed up on this host."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import difflib
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._arguments.retention import RETENTION_SPEC, rules_from
from ansible_collections.lastgood.database.plugins.module_utils._arguments.store_sftp import SFTP_SPEC, sftp_from
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid, BackupError
from ansible_collections.lastgood.database.plugins.module_utils._parameters import duration_of
from ansible_collections.lastgood.database.plugins.module_utils._program.calling import Call, Caller, Result
from ansible_collections.lastgood.database.plugins.module_utils._program.planning import calls_of
from ansible_collections.lastgood.database.plugins.module_utils._program.settings import Documents, Settings, role_options
from ansible_collections.lastgood.database.plugins.module_utils._program.sources import sources_of
from ansible_collections.lastgood.database.plugins.module_utils._program.verbs import VERBS

Problems = t.Iterator[str]
Converted = dict[str, t.Any]


def problems_of(settings: Settings, documents: Documents) -> list[str]:
    """Return the problems of the settings themselves, each with its remedy. Valid settings have none."""
    options = role_options(documents)
    unknown = [_unknown(name, options) for name in sorted(settings.variables.keys() - options.keys())]
    known = {name: value for name, value in settings.variables.items() if name in options}
    problems, converted = _convert(known, options)
    if not problems:
        problems = [*_sources(converted, options), *_retentions(converted), *_server(converted), *_durations(converted)]
    return unknown + problems


def trials_of(settings: Settings, documents: Documents, caller: Caller) -> list[str]:
    """Return the problems that valid settings have on this host: those of the verb check, and those of a run in check mode."""
    try:
        checks = calls_of(VERBS["check"], {}, lambda: settings, caller, documents)
        problems = [problem for call in checks for problem in _found(call, _result(caller, call))]
        if not problems:  # otherwise a run fails for the same reason
            dumps = [
                Call("db_backup", {"directory": source.directory, **source.options}, source.title, source.user)
                for source in sources_of(settings)
            ]
            problems = [problem for call in dumps for problem in _found(call, _result(caller, call, check_mode=True))]
        return problems
    except BackupError as error:
        return [str(error)]


def _result(caller: Caller, call: Call, *, check_mode: bool | None = None) -> Result:
    try:
        return caller(call, check_mode=check_mode)
    except BackupError as error:
        return {"failed": True, "msg": str(error)}


def _found(call: Call, result: Result) -> Problems:
    """Yield the errors in a module's result. A warning does not make a backup fail."""
    if "problems" in result:
        for problem in result["problems"]:
            if problem["severity"] == "error":
                yield f"{call.title}: {problem['problem']} {problem['remedy']}"
    elif result.get("failed"):
        yield f"{call.title}: {result['msg']}"


def _unknown(name: str, options: t.Mapping[str, t.Any]) -> str:
    near = difflib.get_close_matches(name, options, 1)
    return f"The role has no variable {name}. " + (f"It may be {near[0]}." if near else "Take it out.")


def _convert(variables: t.Mapping[str, t.Any], options: t.Mapping[str, t.Any]) -> tuple[list[str], Converted]:
    """Return the problems that Ansible's own check of the options finds, and the options with their types and defaults."""
    from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
    from ansible.module_utils.common.parameters import remove_values

    result = ArgumentSpecValidator(dict(options)).validate(dict(variables))
    secrets = frozenset(result._no_log_values)
    words = [str(remove_values(message, secrets)).rstrip(".") for message in result.error_messages]
    return [f"{message}. Correct it." for message in words], result.validated_parameters


def _sources(variables: Converted, options: t.Mapping[str, t.Any]) -> Problems:
    if not variables["backup_sources"]:
        yield "There is nothing to back up: backup_sources is empty. Set it."
    for number, source in enumerate(variables["backup_sources"], 1):
        if not (source["directory"] or variables.get("backup_directory")):
            yield f"Source {number} has no directory. Give it a directory of its own, or set backup_directory."
        for database, own in (source["per_database"] or {}).items():
            if not isinstance(own, dict):
                yield f"Source {number} has settings for the database {database} that are no options. Correct them."
                continue
            problems, _converted = _convert(own, options["backup_sources"]["options"])
            yield from (f"Source {number}, database {database}: {problem}" for problem in problems)


def _retentions(variables: Converted) -> Problems:
    rules = [(name, variables.get(name)) for name in ("backup_retention", "backup_sftp_retention")]
    for number, source in enumerate(variables["backup_sources"], 1):
        rules.append((f"The retention of source {number}", source["retention"]))
    for name, given in rules:
        chosen = {option: value for option, value in (given or {}).items() if value is not None}
        if chosen:  # without a rule nothing is deleted
            yield from _tried(name, lambda chosen=chosen: rules_from({**_defaults(RETENTION_SPEC), **chosen}))  # type: ignore[misc]


def _server(variables: Converted) -> Problems:
    given = {option: value for option, value in (variables.get("backup_sftp") or {}).items() if value is not None}
    if set(given) <= {"create_directory"}:  # which has a default
        return
    missing = [option for option, spec in SFTP_SPEC.items() if spec.get("required") and option not in given]
    if missing:
        yield f"backup_sftp lacks {' and '.join(missing)}. Add that, or set backup_sftp to {{}} to use no server."
        return
    yield from _tried("backup_sftp", lambda: sftp_from({**_defaults(SFTP_SPEC), **given}, check_mode=True))


def _durations(variables: Converted) -> Problems:
    given = {"backup_interval": variables.get("backup_interval")}
    for age, value in (variables.get("backup_max_age") or {}).items():
        given[f"backup_max_age.{age}"] = value
    for number, source in enumerate(variables["backup_sources"], 1):
        for option in ("interval", "timeout", "lock_timeout"):
            given[f"{option} of source {number}"] = source[option]
    for name, value in given.items():
        if value is not None:
            yield from _tried("", lambda name=name, value=value: duration_of(name, value))  # type: ignore[misc]


def _tried(name: str, act: t.Callable[[], object]) -> Problems:
    try:
        act()
    except ArgumentInvalid as error:
        yield f"{name}: {error}" if name else str(error)


def _defaults(spec: t.Mapping[str, t.Any]) -> Converted:
    return {option: one.get("default") for option, one in spec.items()}
