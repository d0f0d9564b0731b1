"""Plans the modules that a verb runs: one with the command line's options, or one for each place or source of the settings."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._arguments.retention import RETENTION_SPEC
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid, BackupAmbiguous, BackupMissing
from ansible_collections.lastgood.database.plugins.module_utils._program.calling import Call, Caller
from ansible_collections.lastgood.database.plugins.module_utils._program.command_line import Documents
from ansible_collections.lastgood.database.plugins.module_utils._program.settings import Settings
from ansible_collections.lastgood.database.plugins.module_utils._program.sources import (
    Options,
    Source,
    places_of,
    server_of,
    server_rules_of,
    sources_of,
)
from ansible_collections.lastgood.database.plugins.module_utils._program.verbs import Verb

_STORES = ("directory", "sftp")
_IDENTITY = ("identity", "identity_file", "identity_passphrase")
_SELECT_FOR_PRUNE = {*RETENTION_SPEC, "retention", "names"}

Load = t.Callable[[], Settings]


def calls_of(verb: Verb, options: Options, load: Load, caller: Caller, documents: Documents) -> list[Call]:
    """Return the modules to run. Raises BackupError if the settings can't be read, or do not determine which ones."""
    module = str(verb.module)
    with_defaults = {**verb.defaults, **options}
    takes = documents["modules"][module]["options"]
    if "directory" in options or (verb.name != "upload" and "sftp" in options) or module in ("sftp_check", "backup_metrics"):
        return [Call(module, with_defaults)]
    try:
        settings = load()
    except ArgumentInvalid as error:
        raise ArgumentInvalid(
            f"{verb.name} needs a place or settings. {error.problem}", f"Give --directory. {error.remedy}"
        ) from error
    sources = sources_of(settings)
    with_defaults = {**_identity_of(settings, options, takes), **with_defaults}
    if verb.from_server and options.get("from_server"):
        return [_at_server(module, with_defaults, settings, sources)]
    if verb.name == "restore":
        return [_restore(with_defaults, sources, caller)]
    if verb.name == "upload":
        return _uploads(with_defaults, settings, sources)
    if verb.name == "check":
        return _checks(with_defaults, settings, sources, takes)
    if verb.per == "source":
        return [_of_source(module, source, with_defaults, takes) for source in sources]
    places = places_of(sources)
    if verb.per != "place" and len(places) > 1:
        raise ArgumentInvalid(
            f"The settings have several directories: {', '.join(place.directory for place in places)}.",
            "Give one by --directory.",
        )
    if verb.name == "prune" and not _SELECT_FOR_PRUNE & options.keys():
        return [_prune(place, with_defaults, sources) for place in places if place.retention]
    return [_of_place(module, place, with_defaults, takes, sources) for place in places]


def _identity_of(settings: Settings, options: Options, takes: t.Container[str]) -> Options:
    """Return the options for the identity in the settings, none if the command line gives an identity."""
    if "identity_file" not in takes or not options.keys().isdisjoint(_IDENTITY):
        return {}
    found = {name: settings.variables.get(f"backup_{name}") for name in _IDENTITY}
    return {name: value for name, value in found.items() if value}


def _of_place(module: str, place: Source, options: Options, takes: t.Container[str], sources: list[Source]) -> Call:
    first_of: dict[str, Source] = {}  # of each engine
    for source in sources:
        if source.directory == place.directory:
            first_of.setdefault(source.engine, source)
    found = [source.options["bin_directory"] for source in first_of.values() if source.options.get("bin_directory")]
    own = {"bin_directory": found[0]} if found and "bin_directory" in takes else {}
    return Call(module, {"directory": place.directory, **own, **options}, place.directory, place.user)


def _of_source(module: str, source: Source, options: Options, takes: t.Container[str]) -> Call:
    own = {name: value for name, value in source.options.items() if name in takes}
    return Call(module, _over({"directory": source.directory, **own}, options), source.title, source.user)


def _over(own: Options, options: Options) -> Options:
    """Return the options of the settings, overridden by those of the command line."""
    replaced = {"login_password_file"} if "login_password" in options else set()
    return {**{name: value for name, value in own.items() if name not in replaced}, **options}


def _at_server(module: str, options: Options, settings: Settings, sources: list[Source]) -> Call:
    """Return the call that reads from the server of the settings, as the user of the first source that fits the options."""
    server = server_of(settings, options.pop("from_host", None))
    if server is None:
        raise ArgumentInvalid("The settings have no server.", f"Set backup_sftp in {settings.path}, or give --sftp.")
    del options["from_server"]
    source = sources[0]
    own: Options = {}
    if module == "db_restore":
        source = _fitting(options, sources)[0]
        own = {"engine": source.engine, **source.login}
    return Call(module, _over({"sftp": server, **own}, options), "the SFTP server", source.user)


def _uploads(options: Options, settings: Settings, sources: list[Source]) -> list[Call]:
    server = server_of(settings)
    if "sftp" not in options and "host" not in options:
        if server is None:
            raise ArgumentInvalid("The settings have no server.", f"Set backup_sftp in {settings.path}, or give --sftp.")
        options = {"sftp": server, **options}
    rules = server_rules_of(settings)
    own = {"retention": rules} if rules else {}
    return [
        Call("backup_upload", {"directory": place.directory, **own, **options}, place.directory, place.user)
        for place in places_of(sources)
    ]


def _checks(options: Options, settings: Settings, sources: list[Source], takes: t.Container[str]) -> list[Call]:
    """Return a check of each source. It includes the server once for each user, who has keys and known host keys of his own."""
    server = server_of(settings)
    seen: set[str | None] = set()
    calls = []
    for source in sources:
        own = {"sftp": server} if server and source.user not in seen else {}
        seen.add(source.user)
        calls.append(_of_source("backup_check", source, {**own, **options}, takes))
    return calls


def _prune(place: Source, options: Options, sources: list[Source]) -> Call:
    """Return the call that applies the retention of the settings to a directory."""
    if any(source.directory == place.directory and source.retention != place.retention for source in sources):
        raise ArgumentInvalid(
            f"The sources that share {place.directory} keep different backups, and only a dump shows which are whose.",
            "Give each a directory of its own, or give --databases with rules.",
        )
    return Call(
        "backup_prune", {"directory": place.directory, "retention": place.retention, **options}, place.directory, place.user
    )


# --- Restore ----------------------------------------------------------------------------------------------------


def _restore(options: Options, sources: list[Source], caller: Caller) -> Call:
    """Return the restore from the directory that has a good backup of the database, with the login of its source."""
    if not options.get("database"):
        raise ArgumentInvalid("restore needs --database.", "Name the database to restore.")
    found: dict[tuple[str, str], Source] = {}
    for source in _fitting(options, sources):
        found.setdefault((source.directory, source.engine), source)
    places = list(found.values())
    if len(places) > 1:
        places = [place for place in places if _has(place, options, caller)]
    wanted = options.get("source_database") or options["database"]
    if not places:
        raise BackupMissing(
            f"No directory of the settings has a good backup of {wanted}.", "See `lastgood list`, or give --from-server."
        )
    if len(places) > 1:
        listed = ", ".join(f"{place.directory} ({place.engine})" for place in places)
        raise BackupAmbiguous(
            f"Several directories have backups of {wanted}: {listed}.", "Give one by --directory, with the options of the login."
        )
    source = places[0]
    own = {"directory": source.directory, "engine": source.engine, **source.login}
    return Call("db_restore", _over(own, options), "", source.user)


def _fitting(options: Options, sources: list[Source]) -> list[Source]:
    """Return the sources whose engine can have the database. An absolute path is an SQLite file."""
    target = str(options.get("database"))
    engine = options.get("engine")
    if engine is None:
        found = [source for source in sources if (source.engine == "sqlite") == target.startswith("/")]
    else:
        found = [source for source in sources if source.engine == engine]
    if not found:
        kind = engine or ("sqlite" if target.startswith("/") else "servers")
        raise ArgumentInvalid(
            f"The settings have no source of {kind}.", "Give --directory, --engine and the options of the login."
        )
    own = [source for source in found if target in (source.options.get("databases") or [])]
    return own or found


def _has(place: Source, options: Options, caller: Caller) -> bool:
    """Return whether a directory has a good backup of the database."""
    wanted = str(options.get("source_database") or options["database"])
    names = {wanted, os.path.basename(wanted)}
    result = caller(Call("backup_facts", {"directory": place.directory, "page_size": 1}, place.title, place.user))
    groups = result.get("ansible_facts", {}).get("database_backups", {}).get("databases", [])
    return any(
        group["newest_good"] is not None and group["database"] in names and group["engine"] in (None, place.engine)
        for group in groups
    )
