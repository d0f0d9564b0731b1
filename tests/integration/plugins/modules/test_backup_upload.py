"""backup_upload against a real OpenSSH server: what arrives is whole, and what does not arrive spoils nothing."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Verification
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import upload_name
from ansible_collections.lastgood.database.tests.support.backups import NOW, ago, put_backup
from ansible_collections.lastgood.database.tests.support.modules import Outcome, run_module, running_module
from ansible_collections.lastgood.database.tests.support.observe import (
    MANIFEST,
    assert_whole,
    contents,
    leftovers,
    manifest,
    manifest_path,
    payloads,
    rewrite_manifest,
    wait_until,
)
from ansible_collections.lastgood.database.tests.support.proxy import failing_network
from ansible_collections.lastgood.database.tests.support.sftp import SftpServer, sftp_server

SIZE = 3_000_001


class Site:
    """A directory of backups, and one on the server."""

    def __init__(self, server: SftpServer, here: Path, there: Path) -> None:
        self.server = server
        self.here = here
        self.there = there
        here.mkdir()
        there.mkdir()

    def put(self, size: int = SIZE, **over: Any) -> str:
        return put_backup(self.here, over.pop("created_at", ago(hours=1)), os.urandom(size), **over)

    def options(self, *, sftp: dict[str, Any] | None = None, **over: Any) -> dict[str, Any]:
        return {"directory": str(self.here), "sftp": self.server.options(self.there, **(sftp or {})), **over}

    def upload(self, *, check: bool = False, diff: bool = False, **over: Any) -> Outcome:
        return run_module("backup_upload", check=check, diff=diff, **self.options(**over))

    def partial(self, name: str) -> Path:
        digest = hashlib.sha256((self.here / name).read_bytes()).hexdigest()
        return self.there / upload_name(name, digest)

    def assert_arrived(self, *names: str) -> None:
        assert {path.name for path in payloads(self.there)} == set(names)
        assert_whole(self.there)
        for name in names:
            assert (self.there / name).read_bytes() == (self.here / name).read_bytes()


@pytest.fixture
def site(sftp: SftpServer, tmp_path: Path) -> Site:
    return Site(sftp, tmp_path / "here", tmp_path / "there")


# --- What is sent, and what is not ----------------------------------------------------------------


def test_what_the_server_lacks_is_sent_and_a_second_run_changes_nothing(site: Site) -> None:
    names = [site.put(created_at=ago(hours=hours), database=f"app{hours}") for hours in range(4)]
    first = site.upload()
    assert (first.changed, first.result["uploaded"], first.result["bytes"]) == (True, sorted(names), 4 * SIZE)
    site.assert_arrived(*names)
    assert {(site.there / name).stat().st_mode & 0o777 for name in os.listdir(site.there)} == {0o600}
    second = site.upload()
    assert (second.changed, second.result["uploaded"], second.result["refreshed"]) == (False, [], [])
    assert second.result["up_to_date"] == names[::-1]  # the oldest first


def test_the_selection_says_which(site: Site) -> None:
    old, new = site.put(created_at=ago(hours=5)), site.put(created_at=ago(hours=4))
    other = site.put(database="other")
    assert site.upload(databases=["app"], newest=1).result["uploaded"] == [new]
    assert site.upload(names=[other]).result["uploaded"] == [other]
    assert site.upload(names=[old]).result["uploaded"] == [old]


def not_sent(outcome: Outcome) -> dict[str, str]:
    return {one["filename"]: one["reason"] for one in outcome.result["not_sent"]}


def test_what_was_deleted_there_by_other_means_is_not_sent_again_unless_it_is_named(site: Site) -> None:
    names = [site.put(1000, created_at=ago(days=days)) for days in (3, 2, 1)]
    other = site.put(1000, created_at=ago(days=9), database="other")
    assert site.upload().result["uploaded"] == sorted([*names, other])
    for name in names[:2]:
        (site.there / name).unlink()
        manifest_path(site.there / name).unlink()
    for check in (True, False):
        again = site.upload(check=check)
        assert (again.changed, again.result["uploaded"]) == (False, [])
        assert not_sent(again).keys() == set(names[:2])
        assert "newer" in not_sent(again)[names[0]]
    new = site.put(1000, created_at=ago(hours=1))
    assert site.upload().result["uploaded"] == [new]
    assert site.upload(names=[names[0]]).result["uploaded"] == [names[0]]


def test_an_older_one_that_a_run_had_begun_to_send_is_sent(site: Site) -> None:
    old, new = site.put(created_at=ago(days=2)), site.put(created_at=ago(days=1))
    assert site.upload(names=[new]).changed
    site.partial(old).write_bytes((site.here / old).read_bytes()[:1000])
    assert site.upload().result["resumed"] == [old]
    site.assert_arrived(old, new)


def test_what_the_server_s_rules_would_delete_is_not_sent_and_nothing_is_sent_and_deleted_in_turn(site: Site) -> None:
    rules = {"keep_last": 2, "keep_weekly": 2}
    names = []
    for days in range(20, 0, -2):
        names.append(site.put(1000, created_at=ago(days=days)))
        site.upload(retention=rules)
        run_module("backup_prune", sftp=site.server.options(site.there), **rules)
    kept = {path.name for path in payloads(site.there)}
    assert 2 < len(kept) < len(names)
    assert not site.upload(retention=rules).changed
    assert not_sent(site.upload(retention=rules)).keys() == set(names) - kept
    assert not run_module("backup_prune", sftp=site.server.options(site.there), **rules).changed


def test_what_the_server_s_rules_keep_is_sent_though_it_is_older(site: Site) -> None:
    old, new = site.put(1000, created_at=ago(days=2)), site.put(1000, created_at=ago(days=1))
    assert site.upload(names=[new]).changed
    assert site.upload(retention={"keep_last": 2}).result["uploaded"] == [old]


def test_rules_that_keep_nothing_are_refused(site: Site) -> None:
    site.put(1000)
    assert site.upload(retention={"keep_last": 0}).error_code == "argument_invalid"


@pytest.mark.parametrize("over", [{"names": ["backup_app_2026-01-01_00-00-00.dump.gz"]}, {"databases": ["shop"]}])
def test_a_backup_that_is_named_and_is_not_there_is_an_error(site: Site, over: dict[str, Any]) -> None:
    site.put()
    outcome = site.upload(**over)
    assert outcome.error_code == "backup_missing"
    assert outcome.result["error"]["missing"] == next(iter(over.values()))
    assert os.listdir(site.there) == []


def test_a_directory_that_is_not_here_is_an_error_unless_a_run_was_to_make_it(site: Site) -> None:
    nowhere = str(site.here / "none")
    assert site.upload(directory=nowhere).error_code == "directory_missing"
    assert not site.upload(directory=nowhere, check=True).changed
    assert not site.upload().changed  # an empty one has nothing to send


def test_the_newest_good_one_is_sent_where_a_newer_one_is_bad(site: Site) -> None:
    good, corrupt = site.put(created_at=ago(hours=2)), site.put(created_at=ago(hours=1))
    os.truncate(site.here / corrupt, 5)
    outcome = site.upload(newest=1)
    assert outcome.result["uploaded"] == [good]
    assert [one["filename"] for one in outcome.result["not_sent"]] == [corrupt]


def test_what_is_not_good_is_not_sent_and_is_told(site: Site) -> None:
    corrupt = site.put(created_at=ago(hours=3))
    os.truncate(site.here / corrupt, 5)
    suspect = site.put(created_at=ago(hours=2), verification=Verification("restore", "failed", NOW, "no"))
    bare = site.put(created_at=ago(hours=1))
    (site.here / f"{bare}{MANIFEST}").unlink()
    outcome = site.upload()
    assert outcome.changed is False
    assert {one["filename"]: one["reason"] for one in outcome.result["not_sent"]} == {
        corrupt: "it is corrupt",
        suspect: "it is suspect",
        bare: "it is unverified",
    }
    assert os.listdir(site.there) == []


def test_check_mode_and_diff_tell_what_would_be_sent_and_write_nothing(site: Site) -> None:
    name = site.put()
    outcome = site.upload(check=True, diff=True)
    assert (outcome.changed, outcome.result["uploaded"]) == (True, [name])
    assert outcome.result["diff"]["before"] == ""
    assert outcome.result["diff"]["after"] == f"{name}\n"
    assert os.listdir(site.there) == []


def test_a_missing_directory_is_made_when_that_is_asked_for(site: Site) -> None:
    name = site.put()
    site.there.rmdir()
    assert site.upload().error_code == "directory_missing"
    (site.here / name).unlink()
    for check in (True, False):
        assert site.upload(sftp={"create_directory": True}, check=check).changed  # for the directory alone
    assert not site.upload(sftp={"create_directory": True}).changed
    site.there.rmdir()
    name = site.put()
    outcome = site.upload(sftp={"create_directory": True})
    assert outcome.result["uploaded"] == [name]
    assert site.there.stat().st_mode & 0o777 == 0o700


# --- Bookkeeping ----------------------------------------------------------------------------------


def test_a_later_confirmation_goes_along_and_is_no_change(site: Site) -> None:
    name = site.put()
    site.upload()
    rewrite_manifest(site.here / name, confirmed_at="2026-03-01T11:59:00Z")
    outcome = site.upload()
    assert (outcome.changed, outcome.result["refreshed"]) == (False, [name])
    assert manifest(site.there / name)["confirmed_at"] == "2026-03-01T11:59:00Z"
    assert site.upload().result["refreshed"] == []


def test_a_server_that_replaces_nothing_itself_has_one_whole_manifest_or_the_other(tmp_path: Path) -> None:
    with sftp_server("Subsystem sftp internal-sftp -P posix-rename") as server:
        site = Site(server, tmp_path / "here", tmp_path / "there")
        name = site.put()
        site.upload()
        rewrite_manifest(site.here / name, confirmed_at="2026-03-01T11:59:00Z")
        assert site.upload().result["refreshed"] == [name]
        assert manifest(site.there / name)["confirmed_at"] == "2026-03-01T11:59:00Z"
        assert_whole(site.there)


def test_a_verdict_stays_with_the_copy_that_it_was_made_on(site: Site) -> None:
    verdict = {"level": "checksum", "verdict": "passed", "verified_at": "2026-03-01T11:00:00Z", "detail": ""}
    name = site.put(verification=Verification("structure", "passed", NOW, "here"))
    site.upload()
    assert manifest(site.there / name)["verification"] is None
    rewrite_manifest(site.there / name, verification=verdict)
    rewrite_manifest(site.here / name, confirmed_at="2026-03-01T11:59:00Z")
    assert site.upload().result["refreshed"] == [name]
    assert manifest(site.there / name)["verification"] == verdict


# --- Names that are taken -------------------------------------------------------------------------


def test_another_backup_of_the_same_name_is_never_replaced(site: Site) -> None:
    name = site.put()
    site.upload()
    theirs = contents(site.there)
    site.put()  # of the same time, and another content
    other = site.put(database="other")
    outcome = site.upload()
    assert outcome.error_code == "name_conflict"
    assert name in outcome.msg
    assert outcome.result["uploaded"] == [other]
    assert theirs.items() <= contents(site.there).items()


def test_one_that_fails_its_own_manifest_is_sent_anew(site: Site) -> None:
    name = site.put()
    site.upload()
    os.truncate(site.there / name, 7)
    assert site.upload().result["uploaded"] == [name]
    site.assert_arrived(name)


def test_one_that_rotted_is_sent_anew_once_a_look_at_it_is_on_record(site: Site) -> None:
    name = site.put()
    site.upload()
    rotten = bytearray((site.there / name).read_bytes())
    rotten[SIZE // 2] ^= 1
    (site.there / name).write_bytes(rotten)
    assert site.upload().result["up_to_date"] == [name]  # the copy is not read
    looked = run_module("backup_verify", sftp=site.server.options(site.there), level="checksum")
    assert looked.error_code == "verification_failed"
    assert site.upload(check=True).result["uploaded"] == [name]
    assert site.upload().result["uploaded"] == [name]
    site.assert_arrived(name)
    assert manifest(site.there / name)["verification"] is None


@pytest.mark.parametrize("level, replaced", [("checksum", True), ("structure", False), ("restore", False)])
def test_another_backup_of_the_same_name_is_replaced_only_where_a_failed_checksum_is_on_record(
    site: Site, level: str, replaced: bool
) -> None:
    name = site.put()
    site.upload()
    theirs = (site.there / name).read_bytes()
    failed = {"level": level, "verdict": "failed", "verified_at": "2026-03-01T11:00:00Z", "detail": ""}
    rewrite_manifest(site.there / name, verification=failed)
    site.put()  # of the same time, and another content
    assert site.upload().error_code == (None if replaced else "name_conflict")
    assert ((site.there / name).read_bytes() == theirs) is not replaced
    assert_whole(site.there)


def test_two_hosts_that_use_one_directory_never_spoil_each_others_backups(site: Site, tmp_path: Path) -> None:
    other = Site(site.server, tmp_path / "other", tmp_path / "unused")
    other.there = site.there
    names = {site.put(6_000_000), other.put(6_000_000)}
    assert len(names) == 1
    outcomes: list[Outcome] = []
    threads = [threading.Thread(target=lambda one=one: outcomes.append(one.upload(verify="sha256"))) for one in (site, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcome.status for outcome in outcomes) == [0, 1]
    [path] = payloads(site.there)
    said = manifest(path)
    assert said["payload_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


# --- Uploads that are cut off ---------------------------------------------------------------------


@contextlib.contextmanager
def cut_off(site: Site, name: str, percent: int) -> Iterator[Outcome]:
    """An upload whose server is killed when so much of the payload is there."""
    size = (site.here / name).stat().st_size
    with sftp_server() as server:
        options = {"directory": str(site.here), "sftp": server.options(site.there)}
        with running_module("backup_upload", **options, bandwidth_limit="4M") as process:
            wait_until(lambda: process.ended or size_of(site.partial(name)) >= size * percent // 100)
            server.kill()
            yield process.wait()


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@pytest.mark.parametrize("percent", [10, 50, 99])
def test_an_upload_that_was_cut_off_goes_on_from_there(site: Site, percent: int) -> None:
    size = (8 << 20) + 80_000  # the last piece, less than a percent, goes a moment after the others
    name = site.put(size)
    with cut_off(site, name, percent) as outcome:
        assert outcome.error_code == "connection_lost"
        assert "local backups are safe" in outcome.msg
        assert payloads(site.there) == []
    begun = size_of(site.partial(name))
    assert begun > 0
    again = site.upload(verify="sha256")
    assert (again.result["uploaded"], again.result["resumed"]) == ([name], [name])
    assert again.result["bytes"] == size - begun
    site.assert_arrived(name)


@pytest.mark.parametrize("size", [SIZE, 40_000_000], ids=["within the window", "beyond all buffers"])
def test_a_server_that_takes_no_more_is_left_in_time_and_the_next_run_goes_on(site: Site, size: int) -> None:
    name = site.put(size)
    pinned = {"host_key_policy": "pinned", "host_key": site.server.host_key()}
    with failing_network(site.server.port, 1_000_000, "to server", "stall") as proxy:
        outcome = site.upload(sftp={"port": proxy.port, "timeout": "2s", **pinned})
        assert proxy.failed.is_set()
    [failed] = outcome.result["failed_uploads"]
    assert failed["error"]["code"] == "connection_timeout"
    assert f"127.0.0.1:{proxy.port}" in outcome.msg
    assert site.partial(name).exists()
    assert site.upload().result["resumed"] == [name]
    site.assert_arrived(name)


@pytest.mark.parametrize("place", [0, 1_000_000, 1_999_999])
def test_a_partial_with_a_flipped_bit_is_not_trusted(site: Site, place: int) -> None:
    name = site.put()
    begun = bytearray((site.here / name).read_bytes()[:2_000_000])
    begun[place] ^= 1
    site.partial(name).write_bytes(begun)
    assert site.upload().result["uploaded"] == [name]
    site.assert_arrived(name)


def test_a_partial_that_is_too_long_is_begun_anew(site: Site) -> None:
    name = site.put()
    site.partial(name).write_bytes(os.urandom(SIZE + 5))
    outcome = site.upload()
    assert (outcome.result["uploaded"], outcome.result["resumed"]) == ([name], [])
    site.assert_arrived(name)


def test_a_run_that_is_told_to_stop_says_so_and_the_next_goes_on(site: Site) -> None:
    name = site.put(8_000_000)
    with running_module("backup_upload", **site.options(bandwidth_limit="2M")) as process:
        wait_until(lambda: process.ended or size_of(site.partial(name)) > 1_000_000)
        process.send_signal(signal.SIGTERM)
        outcome = process.wait()
    assert outcome.error_code == "interrupted"
    assert payloads(site.there) == []
    assert site.upload().result["resumed"] == [name]
    site.assert_arrived(name)


def test_a_run_that_is_told_to_stop_tells_what_it_has_sent(site: Site) -> None:
    first, second, third = (site.put(4_000_000, created_at=ago(hours=hours)) for hours in (3, 2, 1))
    with running_module("backup_upload", **site.options(bandwidth_limit="4M", connections=1)) as process:
        wait_until(lambda: process.ended or size_of(site.partial(second)) > 0)
        process.send_signal(signal.SIGTERM)
        outcome = process.wait()
    assert outcome.error_code == "interrupted"
    assert (outcome.result["changed"], outcome.result["uploaded"]) == (True, [first])
    assert {failed["filename"] for failed in outcome.result["failed_uploads"]} == {second, third}
    assert [path.name for path in payloads(site.there)] == [first]
    assert site.upload().result["uploaded"] == [second, third]
    site.assert_arrived(first, second, third)


def test_a_run_that_is_killed_leaves_only_a_partial(site: Site) -> None:
    name = site.put(8_000_000)
    with running_module("backup_upload", **site.options(bandwidth_limit="2M")) as process:
        wait_until(lambda: process.ended or size_of(site.partial(name)) > 1_000_000)
        process.kill()
    assert leftovers(site.there) == [site.partial(name).name]
    assert payloads(site.there) == []
    assert site.upload().result["resumed"] == [name]


# --- Servers and disks that fail ------------------------------------------------------------------


def test_a_full_disk_on_the_server_fails_the_upload_and_spoils_nothing(site: Site, small_disk: Callable[[str], Path]) -> None:
    site.there = small_disk("size=4m")
    first = site.put(created_at=ago(hours=2))
    assert site.upload().result["uploaded"] == [first]
    earlier = contents(site.there)
    site.put(created_at=ago(hours=1))
    outcome = site.upload()
    assert outcome.error_code == "no_space"
    assert earlier.items() <= contents(site.there).items()
    assert len(payloads(site.there)) == 1


@pytest.mark.parametrize(
    "over, code",
    [({"port": 1}, "connection_refused"), ({"known_hosts_file": os.devnull}, "host_key_unknown")],
    ids=["out of reach", "not known"],
)
def test_a_server_that_can_not_be_used_is_an_error(site: Site, over: dict[str, Any], code: str) -> None:
    site.put()
    outcome = site.upload(sftp=over)
    assert outcome.error_code == code


def test_a_backup_that_has_rotted_here_is_not_passed_on(site: Site) -> None:
    rotten, good = site.put(created_at=ago(hours=2)), site.put(created_at=ago(hours=1))
    data = bytearray((site.here / rotten).read_bytes())
    data[SIZE // 2] ^= 1
    (site.here / rotten).write_bytes(data)
    outcome = site.upload()
    assert outcome.error_code == "payload_corrupt"
    assert outcome.result["uploaded"] == [good]
    site.assert_arrived(good)
    assert leftovers(site.there) == []


def test_what_is_no_amount_is_refused(site: Site) -> None:
    assert site.upload(bandwidth_limit="fast").error_code == "argument_invalid"
    assert site.upload(bandwidth_limit="0K").error_code == "argument_invalid"


def test_backups_that_were_sent_are_listed_and_pruned_there(site: Site) -> None:
    names = [site.put(1000, created_at=ago(days=days)) for days in range(3)]
    site.upload()
    there = site.server.options(site.there)
    facts = run_module("backup_facts", sftp=there).result["ansible_facts"]["database_backups"]
    assert (facts["count"], facts["databases"][0]["newest_good"]) == (3, names[0])
    pruned = run_module("backup_prune", sftp=there, keep_last=1)
    assert [one["filename"] for one in pruned.result["deleted"]] == [names[2], names[1]]
    assert run_module("backup_prune", sftp=there, keep_last=1).changed is False
    site.assert_arrived(names[0])


def test_an_account_that_may_not_delete_or_replace_takes_uploads_and_loses_nothing(tmp_path: Path) -> None:
    with sftp_server("Subsystem sftp internal-sftp -P remove,posix-rename") as server:
        site = Site(server, tmp_path / "here", tmp_path / "there")
        names = [site.put(created_at=ago(hours=hours)) for hours in (2, 1)]
        checked = run_module("sftp_check", server.options(site.there))
        assert (checked.changed, checked.result["writable"], os.listdir(site.there)) == (False, None, [])
        assert "may delete none" in checked.warnings[0]
        assert sorted(site.upload(verify="sha256").result["uploaded"]) == sorted(names)
        assert not site.upload().changed
        rewrite_manifest(site.here / names[0], confirmed_at="2026-03-01T11:59:00Z")
        refused = site.upload()
        assert (refused.changed, refused.result["refreshed"]) == (False, [])
        assert "confirmation" in refused.warnings[0]
        assert leftovers(site.there) == []
        before = contents(site.there)
        pruned = run_module("backup_prune", sftp=server.options(site.there), keep_last=1)
        assert pruned.error_code == "delete_failed"
        assert contents(site.there) == before
