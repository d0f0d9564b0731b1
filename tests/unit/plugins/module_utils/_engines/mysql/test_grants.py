"""What the answer of SHOW GRANTS allows."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.grants import (
    Privileges,
    check_position_available,
    check_privileges,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.survey import Server
from ansible_collections.lastgood.database.plugins.module_utils._errors import BinaryLogOff, GrantMissing

MARIADB = Server("MariaDB", "10.11.19-MariaDB", (10, 11, 19), "x", "/s")
MYSQL = Server("MySQL", "9.7.0", (9, 7, 0), "x", "/s")
ALL = "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON"


@pytest.mark.parametrize(
    ("grant", "database", "held"),
    [
        ("GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION", "app", True),
        ("GRANT INSERT, SELECT ON `app`.* TO `a`@`%`", "app", True),
        ("GRANT SELECT ON `app`.* TO `a`@`%`", "app2", False),
        (r"GRANT SELECT ON `app\_%`.* TO `a`@`%`", "app_prod", True),
        (r"GRANT SELECT ON `app\_%`.* TO `a`@`%`", "appxprod", False),
        ("GRANT SELECT ON `app_1`.* TO `a`@`%`", "appx1", True),
        ("GRANT SELECT ON `we``ird`.* TO `a`@`%`", "we`ird", True),
        ("GRANT SELECT ON `app`.`t` TO `a`@`%`", "app", False),
        ("GRANT SELECT (`a`, `b`) ON `app`.* TO `a`@`%`", "app", False),
        ("GRANT `reader`@`%` TO `a`@`%`", "app", False),
        ("GRANT USAGE ON *.* TO `a`@`%` IDENTIFIED BY PASSWORD '*0'", "app", False),
    ],
)
def test_a_grant_holds_for_the_databases_of_its_pattern(grant: str, database: str, held: bool) -> None:
    assert Privileges([grant]).has("SELECT", database) is held


@pytest.mark.parametrize(
    ("server", "more"),
    [
        (MARIADB, "GRANT SELECT ON `mysql`.`proc` TO `a`@`%`"),
        (MARIADB, "GRANT SHOW CREATE ROUTINE ON `app`.* TO `a`@`%`"),
        (MYSQL, "GRANT SHOW_ROUTINE ON *.* TO `a`@`%`"),
        (MYSQL, "GRANT SELECT ON *.* TO `a`@`%`"),
    ],
)
def test_the_source_of_routines_needs_a_right_of_its_own(server: Server, more: str) -> None:
    own = f"{ALL} `app`.* TO `a`@`%`"
    check_privileges(Privileges([own, more]), "app", server, "`a`@`%`")
    with pytest.raises(GrantMissing, match="source of routines"):
        check_privileges(Privileges([own]), "app", server, "`a`@`%`")


@pytest.mark.parametrize(
    ("grants", "missing"),
    [
        ("SELECT", "RELOAD, REPLICATION CLIENT"),
        ("RELOAD", "REPLICATION CLIENT"),
        ("FLUSH_TABLES", "REPLICATION CLIENT"),
        ("REPLICATION CLIENT", "RELOAD"),
        ("RELOAD, REPLICATION CLIENT", None),
        ("FLUSH_TABLES, SUPER", None),
        ("ALL PRIVILEGES", None),
    ],
)
def test_the_position_of_mysql_needs_privileges_of_its_own(grants: str, missing: str | None) -> None:
    held, server = Privileges([f"GRANT {grants} ON *.* TO `a`@`%`"]), replace(MYSQL, has_binary_log=True)
    if missing is None:
        check_position_available(held, server, "`a`@`%`")
        return
    with pytest.raises(GrantMissing) as caught:
        check_position_available(held, server, "`a`@`%`")
    assert caught.value.remedy.endswith(f"GRANT {missing} ON *.* TO `a`@`%`;")


def test_the_position_of_mariadb_needs_a_binary_log_only() -> None:
    check_position_available(Privileges([]), replace(MARIADB, has_binary_log=True), "`a`@`%`")
    with pytest.raises(BinaryLogOff):
        check_position_available(Privileges([]), MARIADB, "`a`@`%`")
