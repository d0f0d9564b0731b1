"""Render the report as one HTML page, and compare two pages apart from their ages."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import functools
import hashlib
import html
import re
import typing as t
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ansible_collections.lastgood.database.plugins.module_utils._overview.freshness import STATES, Moment
from ansible_collections.lastgood.database.plugins.module_utils._overview.summary import age_in_words, size_in_words
from ansible_collections.lastgood.database.plugins.module_utils._text import one_line
from ansible_collections.lastgood.database.plugins.plugin_utils._report.data import BACKUP_STATES, REPLACED, Report

_DATABASE_STATES = (*STATES, REPLACED)
_FOLDER = Path(__file__).parent
_CHART_WIDTH, _CHART_HEIGHT, _CHART_MARGIN = 96, 24, 2
_TIME = re.compile(r'<time datetime="([^"]*)">[^<]*</time>')
_CHART = re.compile(r'<svg [^>]*aria-label="([^"]*)">')
_TAG = re.compile(r"<[^>]*>")
_SAID = ("<tr", "<li", "<meta http-equiv")  # the beginnings of lines with a row, a tile, or the digests of script and style


def page_of(report: Report) -> str:
    """Return the page. It loads nothing, and allows only its own script and style, by their digests."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(ago=functools.partial(_ago, now=report.made), size=size_in_words, chart=_chart, on=_on, utc=_utc)
    script, style = ((_FOLDER / name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    return environment.get_template("page.html.j2").render(
        report=report,
        states=STATES,
        database_states=_DATABASE_STATES,
        backup_states=BACKUP_STATES,
        rank={state: number for number, state in enumerate(_DATABASE_STATES)},
        first_rows=_first_rows(report),
        numbers={host.name: f"host-{number}" for number, host in enumerate(report.hosts)},
        script=Markup(script),
        style=Markup(style),
        script_digest=_digest(script),
        style_digest=_digest(style),
    )


def statement(page: str) -> list[str]:
    """Return a line for each host, database and backup of a page, without ages and without the time when it was made.

    Two pages with the same statement differ only in how long ago everything was.
    """
    lines = (line for line in page.splitlines() if line.startswith(_SAID))
    return [_words(line) for line in lines]


def _words(line: str) -> str:
    if line.startswith("<meta"):
        return one_line(line)
    for attribute in (_TIME, _CHART):
        line = attribute.sub(r" \1 ", line)
    return one_line(" ".join(html.unescape(_TAG.sub(" ", line)).split()))  # another program may have written it


def _first_rows(report: Report) -> dict[str, int]:
    """Return for each host its first row in the table of databases, which its tile links to."""
    first: dict[str, int] = {}
    for row, database in enumerate(report.databases):
        first.setdefault(database.host, row)
    return first


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


# --- Filters of the template ------------------------------------------------------------------------------------


def _ago(moment: Moment, *, now: datetime) -> Markup:
    """Return how long ago it was. The page sorts by the attribute, and ``statement`` uses it in place of the age."""
    if moment.at is None:
        return _absent(moment)
    seconds = max(0, int((now - moment.at).total_seconds()))
    words = age_in_words(seconds)
    ago = words if words == "just now" else f"{words} ago"
    return Markup('<time datetime="{}">{}</time>').format(_iso(moment), ago)


def _absent(moment: Moment) -> Markup:
    return Markup('<span class="none">{}</span>').format("never" if moment.is_known else "not known")


def _on(moment: Moment) -> Markup:
    """Return the time alone: with an age, each row would be two lines high."""
    return Markup('<time datetime="{}">{}</time>').format(_iso(moment), _utc(moment)) if moment.at else _absent(moment)


def _iso(moment: Moment) -> str:
    return "" if moment.at is None else moment.at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _utc(moment: Moment) -> str:
    return "" if moment.at is None else moment.at.strftime("%Y-%m-%d %H:%M")


def _chart(sizes: t.Sequence[int]) -> Markup:
    """Return the sizes of the last contents as a line from left to right, with a dot for the newest. The bottom is zero."""
    if len(sizes) < 2:
        return Markup("")
    top = max(*sizes, 1)
    step = (_CHART_WIDTH - 2 * _CHART_MARGIN) / (len(sizes) - 1)
    bottom, height = _CHART_HEIGHT - _CHART_MARGIN, _CHART_HEIGHT - 2 * _CHART_MARGIN
    points = [
        (round(_CHART_MARGIN + number * step, 1), round(bottom - size / top * height, 1)) for number, size in enumerate(sizes)
    ]
    line = " ".join(f"{x:g},{y:g}" for x, y in points)
    area = f"{_CHART_MARGIN},{bottom} {line} {points[-1][0]:g},{bottom}"
    label = f"Content of the last {len(sizes)} backups: {size_in_words(min(sizes))} to {size_in_words(max(sizes))}"
    return Markup(
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}"><polygon points="{}"/><polyline points="{}"/>'
        '<circle cx="{:g}" cy="{:g}" r="2"/></svg>'
    ).format(_CHART_WIDTH, _CHART_HEIGHT, label, area, line, *points[-1])
