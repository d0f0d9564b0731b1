"""The command line of the program, made from the modules' documentation: each option of a module becomes an option."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import argparse
import getpass
import json
import os
import re
import stat
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._program.verbs import Verb

Documents = t.Mapping[str, t.Any]

# Options with a secret. Every user of the host could see a value on the command line.
SECRETS = {"identity", "identity_passphrase", "key_passphrase", "login_password", "password", "private_key", "statements"}
# Options of the modules for a file with the secret.
_FILES = {"identity": "identity_file", "private_key": "private_key_file", "statements": "file"}
# The options of every verb: the spelling and the description of each.
COMMON = {
    "settings": (
        "--settings FILE",
        "Read the settings from FILE, else LASTGOOD_SETTINGS, else /etc/lastgood/settings.yml or .json",
    ),
    "json": ("--json", "Print results for programs"),
    "check": ("--check", "Change nothing, and show what would be done"),
    "diff": ("--diff", "Show what changes"),
    "verbose": ("--verbose, -v", "Print more"),
    "help": ("--help, -h", "Explain the verb"),
}
# The options that the program adds to the module's, and for which verbs.
OWN: dict[tuple[str, t.Callable[[Verb], bool]], tuple[str, str]] = {
    ("yes", lambda verb: verb.name == "restore"): ("--yes", "Replace a database without a question."),
    ("from_server", lambda verb: verb.from_server): ("--from-server", "Read from the SFTP server of the settings."),
    ("from_host", lambda verb: verb.from_server): (
        "--from-host NAME",
        "With --from-server, read the backups of the host with this name in the inventory.",
    ),
}
_TAKE_WORD = ("settings", "help", "completion")
_TAKE_VALUE = {"--settings"}
_MARKUP = re.compile(r"(?<![A-Z])(?:[BICVOMEP]|RV|L|U)\(((?:[^)\\]|\\.)*)\)")
_PREFIX = re.compile(r"lastgood\.database\.|ansible\.builtin\.")
_WORST_SECRET = 1 << 20  # bytes of a file with a secret


class Parser(argparse.ArgumentParser):
    """A parser that raises its errors, so that the program reports them like all others."""

    def error(self, message: str) -> t.NoReturn:
        raise ArgumentInvalid(f"{message}.".replace("..", "."), f"See `lastgood help {self.prog.split()[-1]}`.")


def verb_first(arguments: t.Sequence[str]) -> tuple[str | None, list[str]]:
    """Return the verb and all other arguments. The options of every verb may precede it."""
    before: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            return word, [*before, *rest]
        before.append(word)
        if word in _TAKE_VALUE and rest:
            before.append(rest.pop(0))
    return None, before


def parser_for(verb: Verb, documents: Documents) -> Parser:
    """Return the parser of a verb."""
    parser = Parser(prog=f"lastgood {verb.name}", add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("--settings", metavar="FILE", default=None)
    for name in ("json", "check", "diff"):
        parser.add_argument(f"--{name}", action="store_true", default=False)
    parser.set_defaults(yes=False, from_server=False, from_host=None)
    for (name, only), (words, _text) in OWN.items():
        if only(verb):
            parser.add_argument(hyphened(name), dest=name, action="store" if " " in words else "store_true")
    parser.add_argument("-v", "--verbose", action="count", default=0)
    parser.add_argument("-h", "--help", action="store_true", default=False)
    if verb.name in _TAKE_WORD:
        parser.add_argument("what", nargs="?", default=None)
    if verb.module is not None:
        for name, option in documents["modules"][verb.module]["options"].items():
            _add(parser, name, option)
            for below, suboption in (option.get("suboptions") or {}).items() if option["type"] == "dict" else ():
                _add(parser, f"{name}.{below}", suboption)
    return parser


def _add(parser: Parser, name: str, option: t.Mapping[str, t.Any]) -> None:
    """Add the arguments of one option of a module, ``a.b`` for a suboption."""
    if _is_file_of_secret(name):  # added with the secret
        return
    spellings = sorted({hyphened(name), f"--{name}"})
    secret = name.rpartition(".")[2] in SECRETS
    if secret:
        parser.add_argument(*spellings, dest=name, nargs="?", action=_Refuse)
        if spellings_of(name, option):
            file, ask = spellings_of(name, option)
            parser.add_argument(file, metavar="FILE", dest=f"{name}@file")
            parser.add_argument(ask, action="store_true", dest=f"{name}@ask")
    elif option.get("type") == "bool":
        parser.add_argument(*spellings, dest=name, nargs="?", const="true", metavar="yes|no")
        parser.add_argument(
            *(spelling.replace("--", "--no-", 1) for spelling in spellings), dest=name, action="store_const", const="false"
        )
    elif option["type"] in ("list", "dict"):
        parser.add_argument(*spellings, dest=name, action="append")
    else:
        parser.add_argument(*spellings, dest=name, choices=option.get("choices"))


def hyphened(name: str) -> str:
    """Return the spelling of a module's option on the command line. The name with underscores is accepted, too."""
    return f"--{name.replace('_', '-')}"


def spellings_of(name: str, option: t.Mapping[str, t.Any]) -> list[str]:
    """Return the arguments for an option of a module. A secret is read from a file, or typed at a prompt."""
    if _is_file_of_secret(name):
        return []
    last = name.rpartition(".")[2]
    if last in SECRETS:
        return [] if last in _FILES else [f"{hyphened(name)}-file", hyphened(f"ask-{name}")]
    return [hyphened(name), hyphened(f"no-{name}")] if option["type"] == "bool" else [hyphened(name)]


def _is_file_of_secret(name: str) -> bool:
    """Return whether an option names the file of a secret. The program reads that file itself: it may be the standard input."""
    return name.endswith("_password_file")


class _Refuse(argparse.Action):
    """Refuses a secret on the command line."""

    def __call__(self, parser: t.Any, namespace: t.Any, values: t.Any, option_string: str | None = None) -> t.NoReturn:
        raise _secret_refused(str(option_string), self.dest)


def _secret_refused(spelling: str, name: str) -> ArgumentInvalid:
    above, dot, last = name.rpartition(".")
    if last in _FILES:
        remedy = f"Give {hyphened(above + dot + _FILES[last])} FILE."
    else:
        remedy = f"Give {hyphened(name)}-file FILE, with - for the standard input, or {hyphened(f'ask-{name}')}."
    return ArgumentInvalid(f"{spelling} would show a secret to every user of the host.", remedy)


def options_from(namespace: argparse.Namespace, verb: Verb, documents: Documents) -> dict[str, t.Any]:
    """Return the module's options that the command line sets. Reads secrets from files, or prompts for them."""
    described = documents["modules"][verb.module]["options"]
    options: dict[str, t.Any] = {}
    for name, value in sorted(vars(namespace).items()):  # an option before its suboptions
        name, _at, how = name.partition("@")
        top, _dot, below = name.partition(".")
        if top not in described:
            continue
        option = described[top]["suboptions"][below] if below else described[top]
        if how:
            value = _asked(name) if how == "ask" else _content(name, value)
        elif option["type"] == "list":
            value = [one for text in value for one in _list(name, text)]
        elif option["type"] == "dict":
            value = _dict(name, value)
        if below:
            options.setdefault(top, {})[below] = value
        else:
            options[top] = value
    return options


def _list(name: str, text: str) -> list[t.Any]:
    """Return the elements in one argument: a JSON list, or texts separated by commas."""
    if text.lstrip().startswith(("[", "{")):
        found = _json(name, text)
        return found if isinstance(found, list) else [found]
    return text.split(",")


def _dict(name: str, texts: list[str]) -> dict[str, t.Any]:
    """Return the keys and values in arguments, each of which is a JSON object or ``key=value``."""
    found: dict[str, t.Any] = {}
    for text in texts:
        if text.lstrip().startswith("{"):
            found.update(_json(name, text))
        elif "=" in text:
            key, _equals, value = text.partition("=")
            found[key] = value
        else:
            raise ArgumentInvalid(
                f"--{name} is {text!r}, neither key=value nor a JSON object.", f"Give --{name} once for each key."
            )
    for key in SECRETS & found.keys():
        raise _secret_refused(f"{key} in --{name}", f"{name}.{key}")
    return found


def _json(name: str, text: str) -> t.Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ArgumentInvalid(f"--{name} is no valid JSON: {error}.", "Put it into single quotes for the shell.") from error


def _content(name: str, path: str) -> str:
    """Return the first line of a file with a secret."""
    option = f"{hyphened(name)}-file"
    try:
        descriptor = 0 if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with open(descriptor, encoding="utf-8", closefd=path != "-") as file:
            found = os.fstat(descriptor)
            if stat.S_ISREG(found.st_mode) and found.st_mode & 0o007:
                raise ArgumentInvalid(f"{option}: every user of the host can open {path}.", f"Run chmod 0600 {path}.")
            return file.readline(_WORST_SECRET).rstrip("\r\n")
    except OSError as error:
        raise ArgumentInvalid(f"{option}: {path} can't be read: {error.strerror}.", "Name another file.") from error
    except UnicodeDecodeError as error:
        raise ArgumentInvalid(f"{option}: {path} is no text in UTF-8.", "Name another file.") from error


def _asked(name: str) -> str:
    try:
        return getpass.getpass(f"{name}: ")
    except (EOFError, OSError) as error:
        file, ask = spellings_of(name, {})
        raise ArgumentInvalid(f"{ask} needs a terminal.", f"Give {file} FILE.") from error


def plain(text: str) -> str:
    """Return a text of the documentation without Ansible's markup."""
    return _PREFIX.sub("", _MARKUP.sub(lambda found: found[1].replace("\\", ""), text))
