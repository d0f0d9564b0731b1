"""The program ``lastgood``: a command line for the modules of the collection, on a host without Ansible."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import typing as t
from dataclasses import replace
from datetime import datetime, timezone

from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid, BackupError, Interrupted, Locked
from ansible_collections.lastgood.database.plugins.module_utils._program import settings as settings_file
from ansible_collections.lastgood.database.plugins.module_utils._program.calling import Call, Caller, Result
from ansible_collections.lastgood.database.plugins.module_utils._program.command_line import (
    Documents,
    options_from,
    parser_for,
    verb_first,
)
from ansible_collections.lastgood.database.plugins.module_utils._program.output import Output
from ansible_collections.lastgood.database.plugins.module_utils._program.verbs import VERBS, Verb

OK, FAILED, USAGE, NOT_GOOD, LOCKED = 0, 1, 2, 3, 75


def main(arguments: t.Sequence[str], documents: Documents, program: str) -> int:
    """Execute a command line. Return the exit status."""
    word, rest = verb_first(arguments)
    output = _output("--json" in rest)
    try:
        status = _reported(word, rest, documents, program, output)
        output.flush()
        return status
    except OSError as error:  # the reader ended, as in `lastgood list | head`, or the disk of the output is full
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that Python can flush at its end
        if not isinstance(error, BrokenPipeError):
            output.complain(": ".join(filter(None, (error.filename, error.strerror))))
        return FAILED
    except KeyboardInterrupt:
        output.complain("Interrupted.")
        return FAILED


def _reported(word: str | None, rest: list[str], documents: Documents, program: str, output: Output) -> int:
    """Execute a verb, and report its error."""
    try:
        if word is None:
            return _without_verb(rest, documents, output)
        return _execute(_verb(word), rest, documents, program, output)
    except BackupError as error:
        failure = {"failed": True, "msg": str(error), "error": error.as_result()}
        if output.json:
            output.document(failure)
        else:
            output.complain(str(error))
        return status_of(failure)


def _verb(word: str) -> Verb:
    if word not in VERBS:
        raise ArgumentInvalid(f"No verb is called {word!r}.", "`lastgood help` lists them.")
    return VERBS[word]


def _without_verb(rest: list[str], documents: Documents, output: Output) -> int:
    from ansible_collections.lastgood.database.plugins.module_utils._program.explaining import overview

    if "--version" in rest:
        output.lines([f"lastgood {documents['version']}"])
        return OK
    output.lines(overview())
    return OK if {"-h", "--help"} & set(rest) else USAGE


def _execute(verb: Verb, rest: list[str], documents: Documents, program: str, output: Output) -> int:
    given = parser_for(verb, documents).parse_args(rest)
    if given.help or verb.name in ("help", "completion"):
        return _explain(verb, given, documents, output)
    caller = Caller(program, given.check, given.diff, given.verbose)

    def load() -> settings_file.Settings:
        return settings_file.load(settings_file.find(given.settings, os.environ), documents)

    if verb.name == "settings":
        from ansible_collections.lastgood.database.plugins.module_utils._program.settings_verb import settings_verb

        path = settings_file.find(given.settings, os.environ)
        return OK if settings_verb(given.what, path, caller, documents, output) else FAILED
    if verb.name == "status":
        return _status(load(), caller, output)
    if verb.name == "run":
        return _run(load(), caller, output)
    caller.watch = _watch(output, getattr(given, "progress", 10))
    options = options_from(given, verb, documents)
    if verb.from_server and given.from_server:
        options.update(from_server=True, from_host=given.from_host)
    return _modules(verb, options, given, load, caller, documents, output)


def _explain(verb: Verb, given: argparse.Namespace, documents: Documents, output: Output) -> int:
    from ansible_collections.lastgood.database.plugins.module_utils._program.explaining import completion, explanation, overview

    if verb.name == "completion" and not given.help:
        output.lines(completion(given.what, documents))
    elif verb.name == "help" and given.what is None:
        output.lines(overview())
    else:
        output.lines(explanation(_verb(given.what) if verb.name == "help" else verb, documents))
    return OK


def _status(settings: settings_file.Settings, caller: Caller, output: Output) -> int:
    from ansible_collections.lastgood.database.plugins.module_utils._overview.freshness import SAFE
    from ansible_collections.lastgood.database.plugins.module_utils._program.showing import freshness, freshness_values
    from ansible_collections.lastgood.database.plugins.module_utils._program.status import status

    expected = status(settings, caller, lambda: datetime.now(timezone.utc))
    if caller.signal is not None:
        raise Interrupted("The run was ended.", "Run it again.")
    if output.json:
        output.document({"databases": freshness_values(expected)})
    else:
        freshness(expected, output)
    return OK if all(one.judgement.state == SAFE for one in expected) else NOT_GOOD


def _run(settings: settings_file.Settings, caller: Caller, output: Output) -> int:
    from ansible_collections.lastgood.database.plugins.module_utils._program.run import run
    from ansible_collections.lastgood.database.plugins.module_utils._program.run_output import RunOutput

    caller.watch = _watch(output, settings.variables.get("backup_progress", 10))
    shown = RunOutput(settings, output, check_mode=caller.check_mode)
    result = run(settings, caller, shown.of_source)
    shown.at_end(result)
    return FAILED if result.get("failed") else OK


def _modules(
    verb: Verb,
    options: dict[str, t.Any],
    given: argparse.Namespace,
    load: t.Callable[[], settings_file.Settings],
    caller: Caller,
    documents: Documents,
    output: Output,
) -> int:
    """Run all modules of a verb, even if one of them fails."""
    from ansible_collections.lastgood.database.plugins.module_utils._program.planning import calls_of
    from ansible_collections.lastgood.database.plugins.module_utils._program.showing import difference, show, trouble

    calls = calls_of(verb, options, load, caller, documents)
    results: list[Result] = []
    for call in calls:
        refused: Result | None = None
        if verb.name == "restore" and call.options.get("if_exists") == "replace" and not (given.yes or caller.check_mode):
            call, refused = _asked(call, caller)
        if caller.signal is not None:
            break
        result = refused or caller(call)
        results.append({**({"title": call.title} if call.title else {}), "module": call.module, **result})
        if not output.json:
            output.titled(call.title if len(calls) > 1 and verb.name not in ("list", "facts") else "")
            show(verb.name, result, output, check_mode=caller.check_mode)
            if caller.diff:
                difference(result, output)
            trouble(result, call.title if len(calls) > 1 else "", output)
    if output.json:
        output.document({"results": results})
    if not results and caller.signal is None:
        output.complain("Nothing to do: no rule and no place applies.")
    statuses = [_status_of_check(result) if verb.name == "check" else status_of(result) for result in results]
    return (
        FAILED
        if caller.signal is not None
        else next((status for status in (FAILED, USAGE, LOCKED, NOT_GOOD) if status in statuses), OK)
    )


def _asked(call: Call, caller: Caller) -> tuple[Call, Result | None]:
    """Ask whether to replace a database. Return the restore of exactly the backup that the question named.

    If the restore already fails in check mode, there is no question, and its result is returned too. Raises ArgumentInvalid
    without a terminal, and Interrupted if the answer is no.
    """
    if not sys.stdin.isatty():
        raise ArgumentInvalid("The restore would replace the database, and there is no terminal to ask.", "Give --yes.")
    would = caller(call, check_mode=True)
    restored = would.get("restored")
    if restored is None:
        return call, would
    sys.stderr.write(f"Replace {restored['target']} by {restored['filename']}, of {restored['created_at']} UTC? [y/N] ")
    sys.stderr.flush()
    answer = ""
    with contextlib.suppress(EOFError):
        answer = input()
    if answer.strip().lower() not in ("y", "yes"):
        raise Interrupted("Nothing was restored.", "Run it again to restore.")
    return replace(call, options={**call.options, "backup": restored["filename"]}), None


def _output(as_json: bool) -> Output:
    is_terminal = sys.stdout.isatty()
    colours = is_terminal and os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")
    return Output(sys.stdout, sys.stderr, as_json, is_terminal, bool(colours))


def _watch(output: Output, seconds: t.Any) -> t.Callable[[Call, str], object] | None:
    """Return the function that shows the progress: as a bar on a terminal, else as lines."""
    from ansible_collections.lastgood.database.plugins.module_utils._program.progress import Bar, Lines

    try:
        seconds = float(seconds)
    except (TypeError, ValueError) as error:
        raise ArgumentInvalid(f"progress is {seconds!r}.", "Give a number of seconds.") from error
    if output.json or not seconds:
        return None
    return Bar(sys.stderr) if sys.stderr.isatty() else Lines(sys.stderr, seconds)


def status_of(result: Result) -> int:
    """Return the exit status for a module's result."""
    if not result.get("failed"):
        return OK
    code = (result.get("error") or {}).get("code", ArgumentInvalid.code)  # Ansible's own checks of the options have no code
    return {ArgumentInvalid.code: USAGE, Locked.code: LOCKED}.get(code, FAILED)


def _status_of_check(result: Result) -> int:
    """Return the exit status of a check, which distinguishes a problem that it found from a check that could not be done."""
    if any(problem["severity"] == "error" for problem in result.get("problems") or []):
        return NOT_GOOD
    return status_of(result)
