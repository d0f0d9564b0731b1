# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._arguments.engines import (
    DUMP_REQUIRED_IF,
    ENGINE_SPEC,
    dump_options_from,
    examination_options_from,
    name_in_backups,
    restore_options_from,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.mysql.options import MysqlExaminationOptions
from ansible_collections.lastgood.database.plugins.module_utils._engines.postgresql.options import PostgresqlExaminationOptions
from ansible_collections.lastgood.database.plugins.module_utils._engines.registry import ENGINES
from ansible_collections.lastgood.database.plugins.module_utils._errors import ArgumentInvalid


def test_the_engines_are_the_choices_of_the_option() -> None:
    assert ENGINE_SPEC["engine"]["choices"] == list(ENGINES)
    assert DUMP_REQUIRED_IF == [("engine", "sqlite", ["databases"])]


@pytest.mark.parametrize("convert", [dump_options_from, restore_options_from, name_in_backups])
def test_an_unknown_engine_is_an_error_that_names_the_known_ones(convert: object) -> None:
    assert callable(convert)
    with pytest.raises(ArgumentInvalid, match=r"engine is oracle.*postgresql, sqlite"):
        convert({"engine": "oracle", "database": "app"})


def test_an_examination_has_the_options_of_each_engine() -> None:
    params = {"bin_directory": "/bin", "login_host": None, "login_port": None, "login_unix_socket": None}
    options = examination_options_from(params, check_mode=True)
    assert options == {
        "postgresql": PostgresqlExaminationOptions("/bin", login=None, check_mode=True),
        "sqlite": None,
        "mysql": MysqlExaminationOptions("/bin", login=None, check_mode=True),
    }
