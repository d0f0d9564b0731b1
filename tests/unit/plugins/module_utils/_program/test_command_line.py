"""The options of the modules, as options of a command line."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._program import command_line
from ansible_collections.lastgood.database.plugins.module_utils._program.command_line import (
    options_from,
    parser_for,
    plain,
    verb_first,
)
from ansible_collections.lastgood.database.plugins.module_utils._program.explaining import completion, explanation, overview
from ansible_collections.lastgood.database.plugins.module_utils._program.verbs import VERBS, face
from ansible_collections.lastgood.database.tests.support.specifications import program_documents, specification

DOCUMENTS = program_documents()
OF_MODULES = [verb for verb in VERBS.values() if verb.module is not None]
each_verb_of_a_module = pytest.mark.parametrize("verb", OF_MODULES, ids=lambda verb: verb.name)


def options(verb: str, *arguments: str) -> dict[str, Any]:
    return options_from(parser_for(VERBS[verb], DOCUMENTS).parse_args(arguments), VERBS[verb], DOCUMENTS)


@pytest.mark.parametrize(
    ("verb", "arguments", "expected"),
    [
        ("list", ["--directory", "/b", "--newest", "5"], {"directory": "/b", "newest": "5"}),
        ("list", ["--page_size", "0"], {"page_size": "0"}),
        ("list", ["--databases", "app,shop"], {"databases": ["app", "shop"]}),
        ("list", ["--databases", "app", "--databases", "shop"], {"databases": ["app", "shop"]}),
        ("list", ["--databases", '["a,b"]'], {"databases": ["a,b"]}),
        ("restore", ["--keep-old"], {"keep_old": "true"}),
        ("restore", ["--keep-old=no"], {"keep_old": "no"}),
        ("restore", ["--no-analyze"], {"analyze": "false"}),
        (
            "restore",
            ["--sftp", '{"host": "h", "port": 22}', "--sftp.user", "u"],
            {"sftp": {"host": "h", "port": 22, "user": "u"}},
        ),
        ("restore", ["--sftp.user", "u", "--sftp", "host=h"], {"sftp": {"host": "h", "user": "u"}}),
        ("label", ["--labels", "release=2", "--labels", "a=b=c"], {"labels": {"release": "2", "a": "b=c"}}),
        ("prune", ["--retention.keep-daily", "7"], {"retention": {"keep_daily": "7"}}),
    ],
)
def test_an_option_is_given_as_the_module_has_it(verb: str, arguments: list[str], expected: dict[str, Any]) -> None:
    assert options(verb, *arguments) == expected


@pytest.mark.parametrize(
    ("verb", "arguments", "words"),
    [
        ("list", ["--directory"], "expected one argument"),
        ("list", ["--dir", "/b"], "unrecognized arguments: --dir /b. See `lastgood help list`"),
        ("list", ["/b"], "unrecognized arguments: /b"),
        ("list", ["--yes"], "unrecognized arguments: --yes"),
        ("restore", ["--if-exists", "overwrite"], "invalid choice: 'overwrite'"),
        ("restore", ["--sftp", "{"], "--sftp is no valid JSON"),
        ("restore", ["--sftp", "host"], "neither key=value nor a JSON object"),
        ("restore", ["--login-password-file", "/nonexistent"], "/nonexistent can't be read: No such file"),
    ],
)
def test_a_wrong_option_is_refused_with_what_to_do(verb: str, arguments: list[str], words: str) -> None:
    with pytest.raises(ArgumentInvalid) as raised:
        options(verb, *arguments)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("verb", "arguments", "remedy"),
    [
        ("backup", ["--login-password", "s3cret"], "--login-password-file FILE"),
        ("backup", ["--login_password=s3cret"], "--ask-login-password"),
        ("list", ["--sftp.password", "s3cret"], "--sftp.password-file FILE"),
        ("list", ["--sftp", '{"password": "s3cret"}'], "--sftp.password-file FILE"),
        ("list", ["--sftp", "key_passphrase=s3cret"], "--sftp.key-passphrase-file FILE"),
        ("list", ["--sftp.private-key", "s3cret"], "Give --sftp.private-key-file FILE."),
        ("restore", ["--identity", "s3cret"], "Give --identity-file FILE."),
        ("verify", ["--identity-passphrase", "s3cret"], "--ask-identity-passphrase"),
        ("restore", ["--run-sql.statements", "ALTER ROLE a PASSWORD 's3cret'"], "Give --run-sql.file FILE."),
    ],
)
def test_a_secret_is_refused_on_the_command_line(verb: str, arguments: list[str], remedy: str) -> None:
    with pytest.raises(ArgumentInvalid) as raised:
        options(verb, *arguments)
    assert remedy in str(raised.value)
    assert "s3cret" not in str(raised.value)


def secrets_in(spec: dict[str, Any]) -> set[str]:
    own = {name for name, option in spec.items() if option.get("no_log")}
    return own.union(*(secrets_in(option.get("options") or {}) for option in spec.values()))


def test_every_secret_of_the_modules_is_known() -> None:
    specs = [specification(str(verb.module))["argument_spec"] for verb in OF_MODULES]
    assert set().union(*map(secrets_in, specs)) == command_line.SECRETS


def test_a_secret_is_read_from_a_file_that_is_private(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("s3cret\n")
    file.chmod(0o600)
    assert options("backup", "--login-password-file", str(file)) == {"login_password": "s3cret"}
    assert options("list", "--sftp.host", "h", "--sftp.password-file", str(file)) == {"sftp": {"host": "h", "password": "s3cret"}}
    file.chmod(0o644)
    with pytest.raises(ArgumentInvalid, match="every user of the host can open"):
        options("backup", "--login-password-file", str(file))


def test_a_secret_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_line.getpass, "getpass", lambda prompt: "s3cret")
    assert options("backup", "--ask-login-password") == {"login_password": "s3cret"}


@each_verb_of_a_module
def test_a_verb_has_every_option_of_its_module(verb: Any) -> None:
    spec = specification(verb.module)["argument_spec"]
    assert set(DOCUMENTS["modules"][verb.module]["options"]) == set(spec)
    assert face(verb.module).__module__.endswith(f".{verb.module}")


@each_verb_of_a_module
def test_the_help_of_a_verb_has_its_options_without_markup(verb: Any) -> None:
    text = "\n".join(explanation(verb, DOCUMENTS))
    assert f"Usage: lastgood {verb.name}" in text
    for name in DOCUMENTS["modules"][verb.module]["options"]:
        assert f"--{name.replace('_', '-')}" in text
    for markup in ("O(", "V(", "M(", "C(", "RV(", "lastgood.database."):
        assert markup not in text


def test_the_overview_has_every_verb_and_the_exit_statuses() -> None:
    text = "\n".join(overview())
    assert all(f"  {name}  " in text or f"  {name} " in text for name in VERBS)
    assert "75 locked" in text


def test_markup_becomes_plain_text() -> None:
    assert plain("See O(sftp) of M(lastgood.database.db_restore), V(a\\)b) and C(x).") == "See sftp of db_restore, a)b and x."


def test_options_for_every_verb_may_stand_before_it() -> None:
    assert verb_first(["--settings", "s.yml", "--json", "list", "--newest", "1"]) == (
        "list",
        ["--settings", "s.yml", "--json", "--newest", "1"],
    )
    assert verb_first(["--version"]) == (None, ["--version"])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_verbs_and_options(shell: str) -> None:
    script = "\n".join(completion(shell, DOCUMENTS))
    assert "restore" in script
    assert "--keep-old" in script or "-l keep-old" in script
    assert "--login-password " not in script


def test_another_shell_is_refused() -> None:
    with pytest.raises(ArgumentInvalid, match="bash, zsh or fish"):
        completion("csh", DOCUMENTS)
