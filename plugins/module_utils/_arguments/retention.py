"""Options for retention: the rules, and the groups to which they apply."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
import zoneinfo
from datetime import timezone, tzinfo

from ansible_collections.lastgood.database.plugins.module_utils._arguments.common import Spec, together_or_single
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Group
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import Kind
from ansible_collections.lastgood.database.plugins.module_utils._parameters import Params, at_least, duration_from, list_from
from ansible_collections.lastgood.database.plugins.module_utils._retention import Rules

RETENTION_SPEC: Spec = {
    **{f"keep_{rule}": {"type": "int", "default": 0} for rule in ("last", "hourly", "daily", "weekly", "monthly", "yearly")},
    "keep_within": {"type": "str"},
    "timezone": {"type": "str", "default": "UTC"},
}

# For modules that also accept the rules one by one.
RULES_OR_RETENTION_SPEC: Spec = {**RETENTION_SPEC, "retention": {"type": "dict", "options": RETENTION_SPEC}}

_NAMES = tuple(field for field in Group._fields if field != "partial")
_MASKS = ("********", "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER")  # Ansible's replacements of secrets in results


def rules_from(params: Params) -> Rules:
    """Return the rules of retention. Raises ArgumentInvalid if no rule retains anything."""
    return Rules(
        last=at_least(params, "keep_last", -1),
        hourly=at_least(params, "keep_hourly", -1),
        daily=at_least(params, "keep_daily", -1),
        weekly=at_least(params, "keep_weekly", -1),
        monthly=at_least(params, "keep_monthly", -1),
        yearly=at_least(params, "keep_yearly", -1),
        within=duration_from(params, "keep_within"),
        timezone=_time_zone(params["timezone"]),
    )


def rules_or_retention_from(params: Params) -> Rules:
    """Return the rules in ``retention`` or in the single options. Raises ArgumentInvalid for both at once, and for neither."""
    return rules_from(together_or_single(params, "retention", RETENTION_SPEC))


def groups_from(params: Params) -> frozenset[Group] | None:
    """Return the selected groups, None for all. Raises ArgumentInvalid for an item that is not a group."""
    values = list_from(params, "groups")
    return None if values is None else frozenset(map(_group_from, values))


def _group_from(value: dict[str, t.Any]) -> Group:
    """Return the group that a module's record describes. Ignores other keys of the record."""
    remedy = "Give them as db_backup returns them in backups, or backup_facts in databases."
    missing = [field for field in _NAMES if field not in value]
    if missing:
        raise ArgumentInvalid(f"groups has an item that does not say its {', '.join(missing)}.", remedy)
    partial = value.get("partial_arguments") or []
    if not isinstance(partial, list):
        raise ArgumentInvalid(f"groups has an item whose partial_arguments is {partial!r}.", remedy)
    if any(mask in str(text) for text in (*(value[field] for field in _NAMES), *partial) for mask in _MASKS):
        raise ArgumentInvalid(
            "groups has an item in which Ansible has masked a password that looks like a part of it.",
            "Take another password, or choose by databases.",
        )
    if value["kind"] not in t.get_args(Kind):
        raise ArgumentInvalid(f"groups has an item whose kind is {value['kind']!r}.", remedy)
    # An instance may be digits, which YAML reads as a number.
    names = (None if value[field] is None else str(value[field]) for field in _NAMES)
    return Group._make((*names, tuple(map(str, partial))))


def _time_zone(name: str) -> tzinfo:
    if name == "UTC":
        return timezone.utc  # works on hosts without a time zone database
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ArgumentInvalid(
            f"timezone is {name!r}, and the host knows no such time zone.",
            "Give a name such as Europe/Berlin, or install tzdata on the host, as a system's or as a Python package.",
        ) from error
