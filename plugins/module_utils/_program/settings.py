"""The settings of a host: the variables of the role ``backup``, as they stand for this host, in one file.

``run``, ``status`` and every verb without a place of its own (``--directory``, ``--sftp``) use them.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import typing as t
from dataclasses import dataclass

from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid

VARIABLE = "LASTGOOD_SETTINGS"  # in the environment
PLACES = ("/etc/lastgood/settings.yml", "/etc/lastgood/settings.json")


@dataclass(frozen=True)
class Settings:
    """The variables of the role with its defaults, and the name that the host has in the inventory.

    Passwords that the file names by a file or a credential are in ``variables`` under the options that need them.
    """

    path: str
    host: str
    variables: t.Mapping[str, t.Any]


def find(option: str | None, environment: t.Mapping[str, str]) -> str:
    """Return the path of the settings: of the option, else of the environment, else the first place that exists."""
    if option is not None:
        return option
    if VARIABLE in environment:
        return environment[VARIABLE]
    return next((place for place in PLACES if os.path.lexists(place)), PLACES[0])


def load(path: str, documents: t.Mapping[str, t.Any]) -> Settings:
    """Read the settings. Raises ArgumentInvalid."""
    try:
        with open(path, encoding="utf-8") as file:
            variables = json.load(file)
    except FileNotFoundError as error:
        raise ArgumentInvalid(f"The settings {path} do not exist.", "Name others by --settings.") from error
    except (OSError, ValueError) as error:
        raise ArgumentInvalid(f"The settings {path} can't be read: {error}.", "Correct them.") from error
    host = variables.get("inventory_hostname") or os.uname().nodename
    return Settings(path, host, {**documents["defaults"], **variables})


def show(settings: Settings) -> list[str]:
    """Return the settings for people, without secrets."""
    return [f"{name}: set" for name in settings.variables]


def check(settings: Settings, documents: t.Mapping[str, t.Any]) -> list[str]:
    """Return the problems of the settings, each with what to do."""
    return []
