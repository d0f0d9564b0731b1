"""The page as HTML: that names stay text, what it allows, and what it says apart from the time."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import hashlib
import html.parser
import re
from datetime import timedelta
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.plugin_utils._report.data import report_of
from ansible_collections.lastgood.database.plugins.plugin_utils._report.page import page_of, statement
from ansible_collections.lastgood.database.tests.support.report import NOW, ago, backup, database, facts, host, registered

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)></noscript></script>{{ 7 * 7 }}&amp;"


def page(now: Any = NOW, **results: Any) -> str:
    return page_of(report_of(results, now))


class Elements(html.parser.HTMLParser):
    """Collects what elements a page has, their attributes, and the text in them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile_fleet() -> dict[str, Any]:
    """Return a fleet in which whatever a host may choose is hostile."""
    one = backup(ago(hours=5), HOSTILE, filename=HOSTILE, verification={"verdict": HOSTILE, "verified_at": ago(days=1)})
    failure = {"at": ago(days=1), "code": HOSTILE, "msg": HOSTILE}
    group = database(one, name=HOSTILE, source=HOSTILE, engine=HOSTILE, last_failure=failure)
    unreachable = {"unreachable": True, "msg": HOSTILE}
    return {HOSTILE: registered(facts([group], [one], directory=HOSTILE)), "db2": unreachable}


def test_hostile_names_are_text() -> None:
    made = Elements(page_of(report_of(hostile_fleet(), NOW)))
    assert made.tags.count("script") == 1
    assert "img" not in made.tags
    assert not [name for name, _value in made.attributes if name.startswith("on") or name in ("src", "style", "action")]
    assert made.text.count(HOSTILE) >= 5  # whole, as it is


def test_hostile_names_do_not_end_a_noscript_which_a_browser_with_scripts_reads_as_text() -> None:
    made = page_of(report_of(hostile_fleet(), NOW))
    assert made.count("</noscript>") == 2
    assert made.count("</script>") == 1


def test_an_encrypted_backup_has_the_ids_of_the_keys_that_open_it() -> None:
    encrypted, plain = (backup(ago(hours=5), recipients=keys) for keys in (["age1one", "SHA256:two"], None))
    assert "readable by age1one, SHA256:two" in page(db1=registered(facts([database(encrypted)], [encrypted])))
    assert "readable by" not in page(db1=registered(facts([database(plain)], [plain])))


def test_the_page_allows_its_own_script_and_style_by_their_digests_and_nothing_else() -> None:
    made = page(db1=host())
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', made)
    directives = dict(directive.split(" ", 1) for directive in policy.split("; "))
    assert directives["default-src"] == "'none'"
    for name, tag in (("script-src", "script"), ("style-src", "style")):
        [text] = re.findall(rf"<{tag}>(.*?)</{tag}>", made, re.DOTALL)
        assert directives[name] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
    assert (directives["base-uri"], directives["form-action"]) == ("'none'", "'none'")


def test_the_page_refers_to_nothing_outside_itself() -> None:
    references = [value for name, value in Elements(page(db1=host())).attributes if name in ("src", "href", "action", "srcset")]
    assert references and all(value is not None and value.startswith("#") for value in references)


def test_each_link_of_a_tile_leads_to_a_row() -> None:
    made = Elements(page(db1=host("db1"), db2=None, db3=host("db3", ago(days=4))))
    links = {value for name, value in made.attributes if name == "href"}
    ids = {f"#{value}" for name, value in made.attributes if name == "id"}
    assert len(links) == 4 and links <= ids


def test_the_statement_does_not_change_with_time_alone() -> None:
    early, late = page(db1=host()), page(NOW + timedelta(hours=5), db1=host())
    assert early != late
    assert statement(early) == statement(late)


@pytest.mark.parametrize(
    "changed",
    [
        host("db1", ago(hours=4)),
        host("db1", ago(hours=5), drilled_at=ago(days=1)),
        host("db1", ago(hours=5), sizes=[1, 1_887_437]),
        host("db1", ago(hours=5), last_failure={"code": "x", "msg": "y"}),
        None,
    ],
)
def test_the_statement_changes_with_what_the_page_says(changed: Any) -> None:
    assert statement(page(db1=host("db1", ago(hours=5)))) != statement(page(db1=changed))


def test_the_statement_changes_when_a_host_becomes_late() -> None:
    assert statement(page(db1=host())) != statement(page(NOW + timedelta(days=2), db1=host()))


def test_the_statement_has_a_line_for_each_host_database_and_backup() -> None:
    lines = statement(page(db1=host("db1", ago(hours=5))))
    assert lines[1:] == [
        "db1 safe 1 database, 2026-02-01T01:30:00Z",
        "safe db1 app postgresql /var/run/postgresql:5432 2026-02-01T01:30:00Z 2026-02-01 01:30 1.8 MiB never never never",
        "backup_app_2026-02-01_01-30-00.dump.gz db1 app good 2026-02-01T01:30:00Z 1.8 MiB never never",
    ]


def test_a_chart_starts_from_zero_so_that_a_shrunken_backup_is_seen() -> None:
    made = page(db1=host(sizes=[0, 1000, 500]))
    assert '<polyline points="2,22 48,2 94,12"/>' in made
    assert 'aria-label="Content of the last 3 backups: 0 B to 1000 B"' in made


def test_one_size_makes_no_chart() -> None:
    assert "<svg" not in page(db1=host(sizes=[1000]))


def test_the_headline_and_the_title_say_how_safe_the_fleet_is() -> None:
    assert "<h1>All backups are safe</h1>" in page(db1=host())
    troubled = page(db1=host("db1", ago(days=4)), db2=None)
    assert "<h1>0 of 2 hosts are safe</h1>" in troubled
    assert "<title>Backups: 1 late, 1 unknown</title>" in troubled


def test_the_statement_of_a_page_that_others_wrote_has_no_control_characters() -> None:
    lines = statement("<tr><td>a\x1b[2Jb&#x202e;c\n<meta http-equiv='\x9b'>\n<li>safe\n")
    assert lines == ["a\\x1b[2Jb\\u202ec", "<meta http-equiv='\\x9b'>", "safe"]
