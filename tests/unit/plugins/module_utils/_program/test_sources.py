"""The sources of the settings: what each of them takes from the variables for all."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.lastgood.database.plugins.module_utils._program.settings import Settings
from ansible_collections.lastgood.database.plugins.module_utils._program.sources import sources_of

AGE = {"encryption": "age", "recipients": ["age1"], "recipients_file": None}


def test_each_source_is_encrypted_as_the_variable_says() -> None:
    sources = [{"databases": ["app"]}, {"engine": "sqlite", "databases": ["/a.db"]}]
    settings = Settings("/s", "db7", {"backup_directory": "/b", "backup_sources": sources, "backup_encryption": AGE})
    for source in sources_of(settings):
        assert (source.options["encryption"], source.options["recipients"]) == ("age", ["age1"])
        assert "recipients_file" not in source.options


def test_without_the_variable_nothing_is_encrypted() -> None:
    for encryption in (None, {}):
        variables = {"backup_directory": "/b", "backup_sources": [{}], "backup_encryption": encryption}
        [source] = sources_of(Settings("/s", "db7", variables))
        assert "encryption" not in source.options
