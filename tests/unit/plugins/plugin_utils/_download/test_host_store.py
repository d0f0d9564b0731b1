"""What a host says is data: names and paths that lead elsewhere are refused, before anything is written."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
from typing import Any, cast

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._errors import ServerInvalid
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import EVERYTHING
from ansible_collections.lastgood.database.plugins.plugin_utils._download.host_store import HostStore
from ansible_collections.lastgood.database.plugins.plugin_utils._download.transfer import Transfer
from ansible_collections.lastgood.database.tests.support.backups import PAYLOAD, manifest_of

NAME = "backup_app_2026-02-28_12-00-00.dump.gz"
LONGEST = f"backup_{'n' * (255 - 35)}_2026-01-31_01-00-00.dump.gz"
MANIFEST = base64.b64encode(manifest_of().to_bytes()).decode()


def store(answer: Any = None, **file: Any) -> HostStore:
    files = [{"filename": NAME, "bytes": len(PAYLOAD), "modified": 1.0, "manifest": MANIFEST, **file}]
    return HostStore("db7", {"location": "/backups", "time": 2.0, "files": files, **(answer or {})}, cast(Transfer, None))


def test_a_listed_backup_is_good_with_its_manifest_and_unverified_without() -> None:
    assert [backup.state for backup in Catalog(store()).select(EVERYTHING)] == ["good"]
    assert [backup.state for backup in Catalog(store(manifest=None)).select(EVERYTHING)] == ["unverified"]
    assert store().path(NAME) == f"db7:/backups/{NAME}"


def test_a_name_that_leaves_no_room_for_its_partial_is_unverified() -> None:
    assert len(LONGEST) == 255
    assert [backup.state for backup in Catalog(store(filename=LONGEST)).select(EVERYTHING)] == ["unverified"]


@pytest.mark.parametrize(
    "name",
    [
        "../../.ssh/authorized_keys",
        f"../{NAME}",
        f"/etc/{NAME}",
        f"{NAME}\n",
        "backup_a\nb_2026-01-31_01-00-00.dump.gz",
        "backup_../x_2026-01-31_01-00-00.dump.gz",
        "backup_a\0_2026-01-31_01-00-00.dump.gz",
        ".lastgood.lock",
        "",
        None,
        7,
        ["x"],
    ],
)
def test_what_is_no_name_of_a_backup_is_refused(name: Any) -> None:
    with pytest.raises(ServerInvalid, match="db7"):
        store(filename=name)


@pytest.mark.parametrize(
    "file", [{"bytes": -1}, {"bytes": "12"}, {"bytes": 2**70}, {"modified": float("nan")}, {"modified": None}, {"manifest": 7}]
)
def test_values_that_no_file_has_are_refused(file: dict[str, Any]) -> None:
    with pytest.raises(ServerInvalid):
        store(**file)


@pytest.mark.parametrize(
    "answer",
    [
        {"location": "/backups\n!touch /tmp/x"},  # sftp would execute the second line on the controller
        {"location": "/backups\\x0a!touch /tmp/x"},
        {"location": "backups"},
        {"location": None},
        {"time": "soon"},
        {"time": 1e300},
        {"files": None},
        {"files": [None]},
        {"files": [{}]},
    ],
)
def test_an_answer_of_another_kind_is_refused(answer: dict[str, Any]) -> None:
    with pytest.raises(ServerInvalid):
        store(answer)
