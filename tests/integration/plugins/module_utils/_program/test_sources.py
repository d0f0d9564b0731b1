"""The program makes the same sources of the settings as the role does of its variables."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.database.plugins.module_utils._program.settings import Settings
from ansible_collections.lastgood.database.plugins.module_utils._program.sources import (
    places_of,
    server_of,
    server_rules_of,
    sources_of,
)
from ansible_collections.lastgood.database.tests.support.plays import LOCAL

ROLE = Path(__file__).resolve().parents[5] / "roles" / "backup"
SQLITE = {"engine": "sqlite", "databases": ["/srv/a.db", "/srv/b.db"]}
VARIABLES: dict[str, dict[str, Any]] = {
    "plain": {"backup_sources": [{}]},
    "titles": {
        "backup_sources": [
            {"login_host": "10.0.0.1", "login_port": 5433},
            {"login_unix_socket": "/run/postgresql"},
            {"login_port": 5433, "directory": "/c"},
            SQLITE,
        ]
    },
    "some_of_named": {"backup_sources": [{"databases": ["a", "b"], "per_database": {"b": {"format": "plain"}}}]},
    "all_of_named": {
        "backup_sources": [{**SQLITE, "per_database": {"/srv/a.db": {}, "/srv/b.db": {"retention": {"keep_last": 1}}}}]
    },
    "patterns": {
        "backup_sources": [
            {"exclude_databases": ["test_*"], "per_database": {"we[i]rd*?": {"interval": "1h"}, "x": {"directory": "/x"}}},
            {"per_database": {}},
        ]
    },
    "retention": {
        "backup_retention": {"keep_daily": 7},
        "backup_sources": [{"retention": {}}, {"retention": None}, {"become_user": "postgres"}],
    },
    "server": {
        "backup_sources": [{}],
        "backup_sftp": {"host": "h", "user": "u", "remote_directory": "/backups/"},
        "backup_sftp_retention": {"keep_last": 3},
    },
    "no_server": {"backup_sources": [{}], "backup_sftp": {}, "backup_sftp_retention": {"keep_last": 3}},
}
EXPRESSION = """{{ {
  'sources': _backup_sources, 'titles': _backup_titles, 'directories': _backup_directories, 'places': _backup_places,
  'retentions': _backup_retentions, 'server': _backup_sftp if _backup_has_server else none, 'rules': _backup_server_rules,
} | to_json }}"""


def test_the_program_and_the_role_agree(tmp_path: Path) -> None:
    hosts = {name: {**LOCAL, "backup_directory": "/b", **variables} for name, variables in VARIABLES.items()}
    (tmp_path / "inventory.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    write = {
        "ansible.builtin.copy": {"content": EXPRESSION, "dest": f"{tmp_path}/{{{{ inventory_hostname }}}}.result", "mode": "0600"}
    }
    play = {"hosts": "all", "gather_facts": False, "vars_files": [str(ROLE / "vars" / "main.yml")], "tasks": [write]}
    (tmp_path / "play.json").write_text(json.dumps([play]))
    command = ("ansible-playbook", "-i", str(tmp_path / "inventory.json"), str(tmp_path / "play.json"))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    for name, variables in VARIABLES.items():
        role = json.loads((tmp_path / f"{name}.result").read_text())
        settings = Settings("/s", name, {"backup_directory": "/b", **variables})
        sources = sources_of(settings)
        assert [source.title for source in sources] == role["titles"], name
        assert [source.directory for source in sources] == role["directories"], name
        assert [place.directory for place in places_of(sources)] == role["places"], name
        assert [source.retention for source in sources] == role["retentions"], name
        assert [source.user for source in sources] == [one.get("become_user") for one in role["sources"]], name
        of_role = {"become_user", "directory", "retention", "per_database"}
        ours = [
            {key: value for key, value in one.options.items() if key not in ("interval", "origin", "shrink_warning")}
            for one in sources
        ]
        theirs = [{key: value for key, value in one.items() if key not in {*of_role, "interval"}} for one in role["sources"]]
        assert ours == theirs, name
        assert server_of(settings) == role["server"], name
        assert server_rules_of(settings) == role["rules"], name
