"""The help of the program, and the completion for shells, from the documentation of the modules."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import textwrap
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._program.command_line import (
    COMMON,
    OWN,
    Documents,
    hyphened,
    plain,
    spellings_of,
)
from ansible_collections.lastgood.database.plugins.module_utils._program.verbs import VERBS, Verb

_WIDTH = 100
_HOW = {
    "settings": [
        "settings show prints the settings without their secrets.",
        "settings check tries whether they can work; with --settings FILE, those in FILE before they are put in place.",
    ],
    "help": ["help VERB explains a verb and all its options."],
    "completion": [
        "bash: lastgood completion bash > /etc/bash_completion.d/lastgood",
        "zsh: source <(lastgood completion zsh)",
        "fish: lastgood completion fish > /etc/fish/completions/lastgood.fish",
    ],
    "run": ["It takes everything from the settings, and ends with 75 if another run with them is under way."],
    "status": ["It ends with 3 if a database is failing, late or unknown."],
}
_EXITS = "Exit status: 0 done, 1 failed, 2 wrong usage, 3 something is late or not good (status, check), 75 locked."


def overview() -> list[str]:
    """Return the help of the whole program."""
    width = max(map(len, VERBS))
    return [
        "Usage: lastgood VERB [OPTIONS]",
        "",
        *(f"  {name:{width}}  {verb.summary}" for name, verb in VERBS.items()),
        "",
        "Every verb takes:",
        *_common(),
        "",
        _EXITS,
        "`lastgood help VERB` explains a verb.",
    ]


def explanation(verb: Verb, documents: Documents) -> list[str]:
    """Return the help of a verb: the documentation of its module, and each option with its description."""
    lines = [f"Usage: lastgood {verb.name} [OPTIONS]", "", f"{verb.summary}.", "", *_HOW.get(verb.name, [])]
    if verb.module is None:
        return [*lines, "", *_common()]
    document = documents["modules"][verb.module]
    lines += [line for text in _texts(document["description"]) for line in textwrap.wrap(text, _WIDTH)]
    if verb.per:
        lines += ["", f"Without --directory and --sftp, it is done for each {verb.per} of the settings."]
    lines.append("")
    for words, text in _own(verb):
        lines += [f"  {words}", *textwrap.wrap(text, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)]
    for name, option in document["options"].items():
        lines += _option(name, option, verb.defaults.get(name, option.get("default")))
        suboptions = option.get("suboptions") or {} if option["type"] == "dict" else {}
        for below, suboption in suboptions.items():
            lines += _option(f"{name}.{below}", suboption, suboption.get("default"))
    return [*lines, "", "Every verb takes:", *_common(), "", _EXITS]


def _common() -> list[str]:
    return [f"  {words:18}  {text}" for words, text in COMMON.values()]


def _own(verb: Verb) -> t.Iterator[tuple[str, str]]:
    """Yield the options that the program adds to a verb."""
    yield from (words for (name, only), words in OWN.items() if only(verb))


def _option(name: str, option: t.Mapping[str, t.Any], default: t.Any) -> list[str]:
    words = hyphened(name)
    if option["type"] == "bool":
        words = f"{words}, {words.replace('--', '--no-', 1)}"
    else:
        words = f"{words} {'|'.join(map(str, option.get('choices') or [])) or option['type'].upper()}"
    said = " (required)" if option.get("required") else "" if default in (None, [], {}) else f" (default: {default})"
    text = " ".join(_texts(option["description"]))
    return [f"  {words}{said}", *textwrap.wrap(text, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)]


def _texts(description: str | list[str]) -> list[str]:
    return [plain(text) for text in ([description] if isinstance(description, str) else description)]


# --- Completion -------------------------------------------------------------------------------------------------


def completion(shell: str | None, documents: Documents) -> list[str]:
    """Return the script that a shell reads to complete the program's words."""
    words = {name: sorted(_words(verb, documents)) for name, verb in VERBS.items()}
    if shell == "bash":
        return _bash(words)
    if shell == "zsh":
        return ["autoload -U +X compinit && compinit", "autoload -U +X bashcompinit && bashcompinit", *_bash(words)]
    if shell == "fish":
        return _fish(words)
    raise ArgumentInvalid("completion needs the name of a shell.", "Give bash, zsh or fish.")


def _words(verb: Verb, documents: Documents) -> t.Iterator[str]:
    yield from (words.split()[0] for words, _text in COMMON.values())
    yield from (words.split()[0] for words, _text in _own(verb))
    options = {} if verb.module is None else documents["modules"][verb.module]["options"]
    for name, option in options.items():
        yield from spellings_of(name, option)
        for below, suboption in (option.get("suboptions") or {}).items() if option["type"] == "dict" else ():
            yield from spellings_of(f"{name}.{below}", suboption)
    if verb.name == "help":
        yield from VERBS
    if verb.name == "settings":
        yield from ("show", "check")
    if verb.name == "completion":
        yield from ("bash", "zsh", "fish")


def _bash(words: t.Mapping[str, list[str]]) -> list[str]:
    return [
        "_lastgood() {",
        '    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} verb="" choice words',
        '    for choice in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
        "        case $choice in -*) ;; *) verb=$choice; break ;; esac",
        "    done",
        "    case $verb in",
        *(f"        {name}) words='{' '.join(found)}' ;;" for name, found in words.items()),
        f"        *) words='{' '.join(words)}' ;;",
        "    esac",
        '    case $before in *-file|--settings|--directory|--dest|--database) COMPREPLY=($(compgen -f -- "$word")) ;;',
        '        *) COMPREPLY=($(compgen -W "$words" -- "$word")) ;;',
        "    esac",
        "}",
        "complete -F _lastgood lastgood",
    ]


def _fish(words: t.Mapping[str, list[str]]) -> list[str]:
    lines = [f"complete -c lastgood -n __fish_use_subcommand -f -a {name} -d '{VERBS[name].summary}'" for name in words]
    for name, found in words.items():
        for word in found:
            how = f"-l {word[2:]}" if word.startswith("--") else f"-f -a {word}"
            lines.append(f"complete -c lastgood -n '__fish_seen_subcommand_from {name}' {how}")
    return lines
