"""The program ``lastgood``: a command line for the modules of the collection, on a host without Ansible."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import sys
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid, BackupError, Locked
from ansible_collections.lastgood.database.plugins.module_utils._program import settings as settings_file
from ansible_collections.lastgood.database.plugins.module_utils._program.calling import Call, Caller, Result
from ansible_collections.lastgood.database.plugins.module_utils._program.command_line import (
    Documents,
    options_from,
    overview,
    parser_for,
    verb_first,
)
from ansible_collections.lastgood.database.plugins.module_utils._program.output import Output
from ansible_collections.lastgood.database.plugins.module_utils._program.run import run
from ansible_collections.lastgood.database.plugins.module_utils._program.verbs import VERBS, Verb

OK, FAILED, USAGE, NOT_GOOD, LOCKED = 0, 1, 2, 3, 75


def main(arguments: t.Sequence[str], documents: Documents, program: str) -> int:
    """Execute a command line. Return the exit status."""
    word, rest = verb_first(arguments)
    output = _output("--json" in rest)
    try:
        if word is None and "--version" in rest:
            output.lines([f"lastgood {documents['version']}"])
            return OK
        if word is None or word == "help":
            output.lines(overview())
            return OK if word or {"-h", "--help"} & set(rest) else USAGE
        verb = VERBS.get(word)
        if verb is None:
            raise ArgumentInvalid(f"There is no verb {word!r}.", "`lastgood help` lists them.")
        return _execute(verb, rest, documents, program, output)
    except BackupError as error:
        output.complain(str(error))
        return status_of({"failed": True, "error": error.as_result()})


def _execute(verb: Verb, rest: list[str], documents: Documents, program: str, output: Output) -> int:
    given = parser_for(verb, documents).parse_args(rest)
    caller = Caller(program, given.check, given.diff, given.verbose)

    def load() -> settings_file.Settings:
        return settings_file.load(settings_file.find(given.settings, os.environ), documents)

    if verb.name == "settings":
        return _settings(given.what, load(), documents, output)
    if verb.name == "run":
        result = run(load(), caller)
    else:
        if verb.module is None:
            raise ArgumentInvalid(f"{verb.name} is not yet built.", "Use another verb.")
        options = {**verb.defaults, **options_from(given, verb, documents)}
        result = caller(Call(verb.module, options))
    output.document(result)
    return status_of(result)


def _settings(what: str | None, settings: settings_file.Settings, documents: Documents, output: Output) -> int:
    if what == "show":
        output.lines(settings_file.show(settings))
        return OK
    if what == "check":
        problems = settings_file.check(settings, documents)
        output.lines(problems or ["The settings are valid."])
        return FAILED if problems else OK
    raise ArgumentInvalid("settings needs a word: show or check.", "Give one.")


def _output(as_json: bool) -> Output:
    is_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    return Output(sys.stdout, sys.stderr, as_json, is_terminal and not os.environ.get("NO_COLOR"))


def status_of(result: Result) -> int:
    """Return the exit status for a module's result."""
    if not result.get("failed"):
        return OK
    code = (result.get("error") or {}).get("code", ArgumentInvalid.code)  # Ansible's own checks of the options have no code
    return {ArgumentInvalid.code: USAGE, Locked.code: LOCKED}.get(code, FAILED)
