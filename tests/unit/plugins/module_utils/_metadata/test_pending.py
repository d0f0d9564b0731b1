"""A payload on its way: whole under its name, or gone, whatever happens and whenever."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._codecs.encoding import Encoding
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    Interrupted,
    Locked,
    NoSpace,
    StoreFailed,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata import listing as listing_module
from ansible_collections.lastgood.database.plugins.module_utils._metadata.backup import Backup, Group
from ansible_collections.lastgood.database.plugins.module_utils._metadata.catalog import Catalog
from ansible_collections.lastgood.database.plugins.module_utils._metadata.listing import Listing
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest, Verification
from ansible_collections.lastgood.database.plugins.module_utils._metadata.names import (
    copy_name,
    manifest_name,
    partial_name,
)
from ansible_collections.lastgood.database.plugins.module_utils._metadata.pending import Pending, pending
from ansible_collections.lastgood.database.plugins.module_utils._metadata.selection import EVERYTHING
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.attributes import PRIVATE, FileAttributes
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.lock_file import LOCK_NAME
from ansible_collections.lastgood.database.plugins.module_utils._stores.local.store import LocalStore
from ansible_collections.lastgood.database.tests.support.backups import (
    NOW,
    PAYLOAD,
    ago,
    manifest_of,
    put_backup,
    put_payload,
)
from ansible_collections.lastgood.database.tests.support.observe import state_of
from ansible_collections.lastgood.database.tests.support.places import only_root, tiny_file_system
from ansible_collections.lastgood.database.tests.support.processes import (
    HANGS_AFTER_SECONDS,
    child,
    death_of,
    hear,
)

NAME = "backup_app_2026-03-01_12-00-00.dump.gz"
PARTIAL = partial_name(NAME)
COPY = copy_name(NAME)
SIDECAR = manifest_name(NAME)
SIDECAR_PARTIAL = partial_name(SIDECAR)
LONG = HANGS_AFTER_SECONDS


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    store = LocalStore(str(tmp_path))
    yield store
    store.close()


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    with tiny_file_system(tmp_path / "tiny") as path:
        yield path


class Impatient(LocalStore):
    """Waits for no lock."""

    def lock(self, seconds: float = 0) -> AbstractContextManager[None]:
        return super().lock(0)


def claim(
    store: LocalStore,
    label: str = "app",
    compression: str = "gzip",
    now: datetime = NOW,
    timeout: float = 0,
) -> AbstractContextManager[Pending]:
    return pending(store, label, Encoding(compression), lambda: now, timeout, lambda: False)


def make(store: LocalStore, label: str = "app", data: bytes = PAYLOAD) -> str:
    """Make a whole backup, and return its name."""
    with claim(store, label) as payload:
        payload.write(data)
        payload.commit(told_by(payload))
    return payload.filename


def told_by(payload: Pending) -> Manifest:
    return manifest_of()._replace(
        created_at=payload.created_at, payload_bytes=payload.bytes_written, payload_sha256=payload.sha256
    )


def files(folder: Path) -> set[str]:
    """All that is there, the lock file left out."""
    return {path.name for path in folder.iterdir()} - {LOCK_NAME}


def backups(folder: Path) -> dict[str, str]:
    """What a user is told of: the name and the state of each backup."""
    found: list[Backup] = list(Catalog(LocalStore(str(folder))).select(EVERYTHING))
    return {backup.name.filename: backup.state for backup in found}


class TestTheOrder:
    """A new backup is the newest of its group, whatever the clock says."""

    GROUP = Group("db1", "postgresql", "7300000000000000001", "database", "app")

    def claimed(self, store: LocalStore, **over: Any) -> tuple[datetime, int, str]:
        with pending(
            store, "app", Encoding("gzip"), lambda: NOW, 0, lambda: False, group=over.get("group", self.GROUP)
        ) as payload:
            return payload.created_at, payload.clock_behind, payload.filename

    def test_it_is_a_second_newer_than_one_that_is_ahead_of_the_clock(self, store: LocalStore, tmp_path: Path) -> None:
        put_backup(tmp_path, ago(minutes=-30))
        created_at, behind, filename = self.claimed(store)
        assert (created_at, behind) == (ago(minutes=-30, seconds=-1), 1800)
        assert filename == "backup_app_2026-03-01_12-30-01.dump.gz"

    def test_backups_of_one_second_are_in_order_and_the_clock_is_not_to_blame(self, store: LocalStore, tmp_path: Path) -> None:
        put_backup(tmp_path, NOW)
        assert self.claimed(store)[:2] == (ago(seconds=-1), 0)

    def test_one_that_may_count_again_one_day_is_passed_as_well(self, store: LocalStore, tmp_path: Path) -> None:
        put_backup(tmp_path, ago(minutes=-30), verification=Verification("structure", "failed", NOW, "words"))
        assert self.claimed(store)[1] == 1800

    @pytest.mark.parametrize("over", [{"created_at": ago(hours=-2)}, {"instance": "other", "created_at": ago(minutes=-30)}])
    def test_one_of_another_group_or_of_a_time_that_has_not_come_is_not(
        self, store: LocalStore, tmp_path: Path, over: dict[str, Any]
    ) -> None:
        put_backup(tmp_path, **over)
        assert self.claimed(store)[:2] == (NOW, 0)


class TestTheListing:
    """A run of many databases lists the directory once, and again when another run was there."""

    @pytest.fixture
    def listed(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        real, found = LocalStore.names, list[str]()

        def names(store: LocalStore) -> list[str]:
            found.append(store.location)
            return real(store)

        monkeypatch.setattr(LocalStore, "names", names)
        return found

    def run(self, store: LocalStore, listing: Listing, label: str, commit: bool = True) -> Pending:
        with pending(store, label, Encoding("gzip"), lambda: NOW, 0, lambda: False, listing=listing) as payload:
            payload.make_copy_file()
            payload.write(PAYLOAD)
            if commit:
                payload.commit(told_by(payload))
        return payload

    def test_what_the_run_itself_does_needs_no_new_one(self, store: LocalStore, listed: list[str], tmp_path: Path) -> None:
        listing = Listing(store)
        for number in range(10):
            self.run(store, listing, f"app{number}", commit=number % 2 == 0)
        assert len(listed) == 1
        assert len(files(tmp_path)) == 10
        assert self.run(store, listing, "app0").filename == "backup_app0_2026-03-01_12-00-01.dump.gz"

    def test_what_another_run_did_is_seen(self, store: LocalStore, listed: list[str], tmp_path: Path) -> None:
        listing = Listing(store)
        self.run(store, listing, "app")
        other = LocalStore(str(tmp_path))
        self.run(other, Listing(other), "app")
        other.close()
        assert self.run(store, listing, "app").filename == "backup_app_2026-03-01_12-00-02.dump.gz"
        assert len(listed) == 3

    def test_another_run_that_writes_the_same_is_waited_for(self, store: LocalStore, tmp_path: Path) -> None:
        listing = Listing(store)
        self.run(store, listing, "app")
        other = LocalStore(str(tmp_path))
        with claim(other), pytest.raises(Locked):
            self.run(store, listing, "app")
        other.close()

    def test_what_came_without_the_lock_is_seen_after_a_while(
        self, store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(listing_module, "_EXPIRES_SECONDS", -1.0)
        listing = Listing(store)
        self.run(store, listing, "other")
        put_backup(tmp_path, NOW, compression="zstd")
        assert self.run(store, listing, "app").filename == "backup_app_2026-03-01_12-00-01.dump.gz"

    def test_where_no_mark_can_be_left_it_is_made_each_time(
        self, store: LocalStore, listed: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*arguments: Any, **keywords: Any) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "utime", refuse)
        listing = Listing(store)
        for number in range(2):
            self.run(store, listing, f"app{number}")
        assert len(listed) == 6  # at each claim, commit and release


class TestClaiming:
    """The name that a payload is to have."""

    def test_a_backup_is_named_after_the_second_in_which_it_was_claimed(self, store: LocalStore) -> None:
        with claim(store, now=NOW + timedelta(microseconds=999_999)) as payload:
            assert payload.filename == NAME
            assert payload.created_at == NOW

    @pytest.mark.parametrize(
        "there",
        [
            "backup_app_2026-03-01_12-00-00.dump",
            "backup_app_2026-03-01_12-00-00.dump.gz",
            "backup_app_2026-03-01_12-00-00.dump.zst",
            "backup_app_2026-03-01_12-00-00.dump.gz.age",
            "backup_app_2026-03-01_12-00-00.dump.gpg",
            "backup_app_2026-03-01_12-00-00.dump.zst.manifest.json",
        ],
    )
    @pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
    def test_a_second_that_is_taken_is_passed_over_whatever_the_compression(
        self, store: LocalStore, tmp_path: Path, there: str, compression: str
    ) -> None:
        (tmp_path / there).write_bytes(b"earlier")
        with claim(store, compression=compression) as payload:
            assert payload.filename.startswith("backup_app_2026-03-01_12-00-01.dump")
            payload.commit(told_by(payload))
        assert (tmp_path / there).read_bytes() == b"earlier"

    def test_the_first_second_that_is_free_is_taken(self, store: LocalStore, tmp_path: Path) -> None:
        made = [make(store) for _time in range(3)]
        put_payload(tmp_path, "backup_app_2026-03-01_12-00-04.dump")
        made += [make(store), make(store)]
        assert [name[len("backup_app_2026-03-01_") : -len(".dump.gz")] for name in made] == [
            "12-00-00",
            "12-00-01",
            "12-00-02",
            "12-00-03",
            "12-00-05",
        ]

    @pytest.mark.parametrize("other", ["app_prod", "prod_app", "app_2026-03-01_12-00-00", "app.dump", "@globals"])
    def test_other_databases_backups_take_no_second_of_ours(self, store: LocalStore, other: str) -> None:
        make(store, other)
        assert make(store) == NAME

    @pytest.mark.parametrize("label", ["app.dump", "app.dump.gz", "backup_app_2026-03-01_12-00-00.dump.gz", "app.partial"])
    def test_a_label_that_looks_like_a_file_name_is_one_like_any_other(self, store: LocalStore, label: str) -> None:
        assert [make(store, label), make(store, label)] == [
            f"backup_{label}_2026-03-01_12-00-00.dump.gz",
            f"backup_{label}_2026-03-01_12-00-01.dump.gz",
        ]

    @pytest.mark.parametrize("planted", [NAME, SIDECAR, PARTIAL, COPY, SIDECAR_PARTIAL])
    @pytest.mark.parametrize("plant", [Path.mkdir, lambda path: path.symlink_to("/nowhere")], ids=["directory", "link"])
    def test_a_second_whose_names_somebody_else_took_is_passed_over(
        self, store: LocalStore, tmp_path: Path, planted: str, plant: Callable[[Path], None]
    ) -> None:
        plant(tmp_path / planted)
        assert make(store) == "backup_app_2026-03-01_12-00-01.dump.gz"
        assert planted in files(tmp_path)

    def test_what_is_claimed_is_for_its_owner_alone(self, store: LocalStore, tmp_path: Path) -> None:
        with claim(store) as payload:
            payload.make_copy_file()
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir() if path.name != LOCK_NAME}
        assert modes == {PARTIAL: 0o600, COPY: 0o600}

    def test_a_second_claim_of_the_same_database_waits_and_then_says_so(self, store: LocalStore, tmp_path: Path) -> None:
        with claim(store) as payload:
            payload.write(b"data")
            for other in (store, LocalStore(str(tmp_path))):
                with pytest.raises(Locked) as caught, claim(other, compression="none", now=NOW + timedelta(hours=1)):
                    pass
                assert str(tmp_path) in str(caught.value)
            assert files(tmp_path) == {PARTIAL}

    def test_a_second_claim_of_the_same_database_comes_when_the_first_is_done(self, store: LocalStore, tmp_path: Path) -> None:
        waits = threading.Event()

        class Waiting(LocalStore):
            def is_held(self, name: str) -> bool:
                held = super().is_held(name)
                waits.set()
                return held

        def second() -> None:
            with claim(Waiting(str(tmp_path)), timeout=LONG) as payload:
                payload.commit(told_by(payload))

        thread = threading.Thread(target=second)
        with claim(store) as payload:
            thread.start()
            assert waits.wait(LONG)
            payload.commit(told_by(payload))
        thread.join()
        assert set(backups(tmp_path)) == {NAME, "backup_app_2026-03-01_12-00-01.dump.gz"}

    def test_one_who_waits_can_be_told_to_stop(self, store: LocalStore) -> None:
        with claim(store), pytest.raises(Interrupted), pending(store, "app", Encoding("gzip"), lambda: NOW, LONG, lambda: True):
            pass

    def test_in_one_run_databases_of_one_name_go_on_side_by_side(self, store: LocalStore, tmp_path: Path) -> None:
        writing: set[str] = set()
        with pending(store, "app", Encoding("gzip"), lambda: NOW, 0, lambda: False, writing=writing) as first:
            with pending(store, "app", Encoding("gzip"), lambda: NOW, 0, lambda: False, writing=writing) as second:
                assert writing == {NAME, "backup_app_2026-03-01_12-00-01.dump.gz"} == {first.filename, second.filename}
                second.commit(told_by(second))
            with pytest.raises(Locked), claim(store):  # of another run
                pass
            first.commit(told_by(first))
        assert (len(backups(tmp_path)), writing) == (2, set())

    def test_other_databases_go_on_side_by_side(self, store: LocalStore, tmp_path: Path) -> None:
        labels = ["app", "app_prod", "ap", "@globals"]
        with contextlib.ExitStack() as stack:
            payloads = [stack.enter_context(claim(store, label)) for label in labels]
            for payload, label in zip(payloads, labels, strict=True):
                payload.write(label.encode())
            for payload in payloads:
                payload.commit(told_by(payload))
        for payload, label in zip(payloads, labels, strict=True):
            assert (tmp_path / payload.filename).read_bytes() == label.encode()
        assert len(files(tmp_path)) == 2 * len(labels)

    def test_a_claim_fails_where_another_run_does_not_let_go_of_the_lock(self, store: LocalStore, tmp_path: Path) -> None:
        with store.lock(0), pytest.raises(Locked), claim(Impatient(str(tmp_path))):
            pass
        assert files(tmp_path) == set()

    def test_without_a_moment_to_wait_for_a_database_it_still_waits_for_the_lock(self, store: LocalStore, tmp_path: Path) -> None:
        with contextlib.ExitStack() as held:

            def let_go() -> bool:
                held.close()
                return False

            held.enter_context(store.lock(0))
            assert make(LocalStore(str(tmp_path), is_stopped=let_go)) == NAME  # which it asks while it waits


class TestCommitting:
    """All at once, or not at all."""

    def test_nothing_has_a_backups_name_before_the_commit(self, store: LocalStore, tmp_path: Path) -> None:
        with claim(store) as payload:
            payload.write(PAYLOAD)
            payload.make_copy_file()
            assert files(tmp_path) == {PARTIAL, COPY}
            assert backups(tmp_path) == {}

    def test_after_the_commit_there_is_a_good_backup_and_nothing_else(self, store: LocalStore, tmp_path: Path) -> None:
        with claim(store) as payload:
            payload.make_copy_file()
            payload.write(PAYLOAD[:5])
            payload.write(memoryview(PAYLOAD)[5:])
            assert payload.bytes_written == len(PAYLOAD)
            assert payload.sha256 == hashlib.sha256(PAYLOAD).hexdigest()
            payload.commit(told_by(payload))
        assert files(tmp_path) == {NAME, SIDECAR}
        assert (tmp_path / NAME).read_bytes() == PAYLOAD
        assert (tmp_path / SIDECAR).read_bytes() == told_by(payload).to_bytes()
        assert backups(tmp_path) == {NAME: "good"}

    def test_files_have_the_mode_that_was_asked_for(self, tmp_path: Path) -> None:
        make(LocalStore(str(tmp_path), FileAttributes(mode=0o640)))
        assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in (NAME, SIDECAR)} == {0o640}

    def test_the_payload_is_on_the_disk_then_comes_the_manifest_and_the_name_comes_last(self, tmp_path: Path) -> None:
        seen: list[tuple[str, set[str], bool]] = []

        class Watched(LocalStore):
            def _note(self, what: str) -> None:
                seen.append((what, files(tmp_path), self.is_held(LOCK_NAME)))

            def finish(self, descriptor: int, attributes: FileAttributes | None = None) -> None:
                super().finish(descriptor, attributes)
                self._note("on the disk")

            def rename(self, name: str, new_name: str) -> None:
                self._note(f"before {new_name}")
                super().rename(name, new_name)

        make(Watched(str(tmp_path)))
        assert seen == [
            ("on the disk", {PARTIAL}, False),
            ("on the disk", {PARTIAL, SIDECAR_PARTIAL}, True),
            (f"before {SIDECAR}", {PARTIAL, SIDECAR_PARTIAL}, True),
            (f"before {NAME}", {PARTIAL, SIDECAR}, True),
        ]

    def test_each_step_is_on_the_disk_before_the_next(
        self, store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        synced: list[tuple[str, set[str]]] = []
        real_fsync = os.fsync

        def fsync(descriptor: int) -> None:
            real_fsync(descriptor)
            synced.append((os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")), files(tmp_path)))

        monkeypatch.setattr(os, "fsync", fsync)
        make(store)
        assert synced == [
            (PARTIAL, {PARTIAL}),
            (SIDECAR_PARTIAL, {PARTIAL, SIDECAR_PARTIAL}),
            (tmp_path.name, {PARTIAL, SIDECAR}),
            (tmp_path.name, {NAME, SIDECAR}),
        ]

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
    def test_one_that_is_not_committed_leaves_nothing(
        self, store: LocalStore, tmp_path: Path, error: type[BaseException], nothing_left: None
    ) -> None:
        before = put_backup(tmp_path, ago(days=1))
        with pytest.raises(error), claim(store) as payload:
            payload.write(PAYLOAD)
            payload.make_copy_file()
            raise error
        with claim(store) as payload:
            payload.write(PAYLOAD)
        assert files(tmp_path) == {before, manifest_name(before)}
        store.close()

    @pytest.mark.parametrize("name", [NAME, SIDECAR])
    @pytest.mark.parametrize("appear", [Path.touch, Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere")])
    def test_nothing_that_appeared_in_between_is_overwritten(
        self, store: LocalStore, tmp_path: Path, name: str, appear: Callable[[Path], None]
    ) -> None:
        with claim(store) as payload:
            payload.write(PAYLOAD)
            appear(tmp_path / name)
            before = state_of(tmp_path / name)
            with pytest.raises(StoreFailed, match="appeared"):
                payload.commit(told_by(payload))
        assert state_of(tmp_path / name) == before
        assert files(tmp_path) == {name}

    def test_a_commit_fails_where_another_run_does_not_let_go_of_the_lock(self, store: LocalStore, tmp_path: Path) -> None:
        with claim(Impatient(str(tmp_path))) as payload:
            payload.write(PAYLOAD)
            with store.lock(0), pytest.raises(Locked):
                payload.commit(told_by(payload))
        assert files(tmp_path) == set()

    def test_one_that_fails_at_the_manifest_leaves_nothing(self, store: LocalStore, tmp_path: Path) -> None:
        with claim(store) as payload:
            payload.write(PAYLOAD)
            (tmp_path / SIDECAR_PARTIAL).mkdir()
            with pytest.raises(StoreFailed):
                payload.commit(told_by(payload))
        assert files(tmp_path) == {SIDECAR_PARTIAL}

    def test_one_that_fails_at_the_rename_leaves_nothing(self, store: LocalStore, tmp_path: Path) -> None:
        with claim(store) as payload:
            payload.write(PAYLOAD)
            (tmp_path / PARTIAL).unlink()
            with pytest.raises(StoreFailed):
                payload.commit(told_by(payload))
        assert files(tmp_path) == set()

    @pytest.mark.parametrize("when", ["rename", "fsync"])
    def test_once_it_has_its_name_it_is_stored_whatever_the_disk_says(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
    ) -> None:
        """A network's file system may lose the answer to a rename that it did."""
        real_rename, real_fsync = os.rename, os.fsync

        def rename(name: str, new_name: str, **folders: int) -> None:
            real_rename(name, new_name, **folders)
            if when == "rename" and new_name == NAME:
                raise OSError(errno.EIO, "Input/output error")

        def fsync(descriptor: int) -> None:
            real_fsync(descriptor)
            if when == "fsync" and stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise OSError(errno.EIO, "Input/output error")

        store = LocalStore(str(tmp_path))
        with claim(store) as payload, monkeypatch.context() as patch:
            payload.write(PAYLOAD)
            patch.setattr(os, "rename", rename)
            patch.setattr(os, "fsync", fsync)
            payload.commit(told_by(payload))
        store.close()
        assert payload.is_committed
        assert backups(tmp_path) == {NAME: "good"}
        assert files(tmp_path) == {NAME, SIDECAR}
        assert any(f"{tmp_path / NAME} is stored" in warning for warning in store.warnings) == (when == "fsync")

    def test_a_partial_that_can_not_be_removed_is_left_to_the_next_run(
        self, store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(store: LocalStore, name: str) -> bool:
            raise StoreFailed(f"Deleting {name}: Input/output error.", "Look.")

        with monkeypatch.context() as patch, pytest.raises(NoSpace), claim(store):
            patch.setattr(LocalStore, "remove", refuse)
            raise NoSpace("Full.", "Make room.")
        assert "Input/output error" in store.warnings[0]
        make(store)
        assert files(tmp_path) == {NAME, SIDECAR}

    @pytest.mark.parametrize("error", [StoreFailed("Input/output error.", "Look."), KeyboardInterrupt()])
    @pytest.mark.parametrize("when", ["payload", "manifest", "the manifest's name"])
    def test_one_that_fails_when_it_is_brought_to_the_disk_leaves_nothing(
        self, tmp_path: Path, error: BaseException, when: str
    ) -> None:
        """No disk here fails on demand: the store says so, where the system call would, after the rest was done."""

        class Failing(LocalStore):
            def finish(self, descriptor: int, attributes: FileAttributes | None = None) -> None:
                super().finish(descriptor, attributes)
                is_manifest = os.readlink(f"/proc/self/fd/{descriptor}").endswith(SIDECAR_PARTIAL)
                if when == ("manifest" if is_manifest else "payload"):
                    raise error

            def rename(self, name: str, new_name: str) -> None:
                super().rename(name, new_name)
                if when == "the manifest's name" and new_name == SIDECAR:
                    raise error

        before = put_backup(tmp_path, ago(days=1))
        with pytest.raises(type(error)), claim(Failing(str(tmp_path))) as payload:
            payload.write(PAYLOAD)
            payload.commit(told_by(payload))
        assert files(tmp_path) == {before, manifest_name(before)}

    @only_root
    def test_one_that_fills_the_disk_leaves_nothing(self, tiny: Path) -> None:
        before = put_backup(tiny, ago(days=1))
        store = LocalStore(str(tiny))
        with pytest.raises(NoSpace), claim(store) as payload:
            for _time in range(100):
                payload.write(b"x" * 1024)
        assert files(tiny) == {before, manifest_name(before)}
        assert backups(tiny) == {before: "good"}

    @only_root
    def test_one_whose_manifest_has_no_room_any_more_leaves_nothing(self, tiny: Path) -> None:
        before = put_backup(tiny, ago(days=1))
        store = LocalStore(str(tiny))
        with claim(store) as payload:
            payload.write(b"x" * store.free_bytes())
            with pytest.raises(NoSpace):
                payload.commit(told_by(payload))
        assert files(tiny) == {before, manifest_name(before)}
        assert backups(tiny) == {before: "good"}


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


class DyingStore(LocalStore):
    """A store in which the run is killed before, or after, a file gets a name."""

    def __init__(self, directory: str, *, before: str = "", after: str = "") -> None:
        super().__init__(directory, PRIVATE)
        self._before = before
        self._after = after

    def rename(self, name: str, new_name: str) -> None:
        if new_name == self._before:
            die()
        super().rename(name, new_name)
        if new_name == self._after:
            die()


def die_when_claimed(folder: str) -> None:
    with claim(LocalStore(folder)):
        die()


def die_in_the_middle(folder: str) -> None:
    with claim(LocalStore(folder)) as payload:
        payload.write(PAYLOAD[:5])
        die()


def die_with_a_copy(folder: str) -> None:
    with claim(LocalStore(folder)) as payload:
        Path(payload.make_copy_file()).write_bytes(b"half")
        die()


def die_before_the_manifest(folder: str) -> None:
    make(DyingStore(folder, before=SIDECAR))


def die_after_the_manifest(folder: str) -> None:
    make(DyingStore(folder, after=SIDECAR))


def die_before_the_rename(folder: str) -> None:
    make(DyingStore(folder, before=NAME))


def die_after_the_rename(folder: str) -> None:
    make(DyingStore(folder, after=NAME))


DEATHS: list[tuple[Callable[[str], None], set[str]]] = [
    (die_when_claimed, {PARTIAL}),
    (die_in_the_middle, {PARTIAL}),
    (die_with_a_copy, {PARTIAL, COPY}),
    (die_before_the_manifest, {PARTIAL, SIDECAR_PARTIAL}),
    (die_after_the_manifest, {PARTIAL, SIDECAR}),
    (die_before_the_rename, {PARTIAL, SIDECAR}),
]


class TestDeadRuns:
    """What a run that was killed leaves, and what the next one makes of it."""

    @pytest.mark.parametrize(("death", "left"), DEATHS)
    def test_what_it_leaves_is_no_backup(self, tmp_path: Path, death: Callable[[str], None], left: set[str]) -> None:
        earlier = put_backup(tmp_path, ago(days=1))
        assert death_of(lambda: death(str(tmp_path))) == -signal.SIGKILL
        assert files(tmp_path) == {earlier, manifest_name(earlier), *left}
        assert backups(tmp_path) == {earlier: "good"}

    @pytest.mark.parametrize(("death", "left"), DEATHS)
    @pytest.mark.parametrize("label", ["app", "another"])
    def test_the_next_run_sweeps_it_and_says_so(
        self, store: LocalStore, tmp_path: Path, death: Callable[[str], None], left: set[str], label: str
    ) -> None:
        earlier = put_backup(tmp_path, ago(days=1))
        assert death_of(lambda: death(str(tmp_path))) == -signal.SIGKILL
        with claim(store, label) as payload:
            assert set(payload.swept) == left
            assert len(payload.swept) == len(left)
            payload.write(PAYLOAD)
            payload.commit(told_by(payload))
        assert files(tmp_path) == {name for kept in (earlier, payload.filename) for name in (kept, manifest_name(kept))}
        assert backups(tmp_path)[earlier] == "good"

    def test_a_backup_whose_run_was_killed_after_the_commit_is_good_and_stays(self, store: LocalStore, tmp_path: Path) -> None:
        assert death_of(lambda: die_after_the_rename(str(tmp_path))) == -signal.SIGKILL
        with claim(store) as payload:
            assert payload.swept == []
        assert files(tmp_path) == {NAME, SIDECAR}
        assert backups(tmp_path) == {NAME: "good"}

    def test_the_next_run_of_the_same_database_need_not_wait(self, store: LocalStore, tmp_path: Path) -> None:
        assert death_of(lambda: die_in_the_middle(str(tmp_path))) == -signal.SIGKILL
        with claim(store, timeout=0) as payload:
            assert payload.swept == [PARTIAL]

    def test_what_lives_is_kept_and_what_is_dead_is_swept(self, store: LocalStore, tmp_path: Path) -> None:
        def live(talk: Connection) -> None:
            with claim(LocalStore(str(tmp_path)), "living") as payload:
                payload.make_copy_file()
                payload.write(PAYLOAD)
                talk.send(payload.filename)
                talk.recv()
                payload.commit(told_by(payload)._replace(database="living"))
            talk.send("done")
            talk.recv()

        with child(live) as (_process, talk):
            living = hear(talk)
            assert death_of(lambda: die_with_a_copy(str(tmp_path))) == -signal.SIGKILL
            with claim(store, "third") as payload:
                assert set(payload.swept) == {PARTIAL, COPY}
                assert files(tmp_path) == {partial_name(living), copy_name(living), partial_name(payload.filename)}
            talk.send("go on")
            assert hear(talk) == "done"
        assert backups(tmp_path) == {living: "good"}

    def test_a_copy_that_is_only_just_made_is_not_swept(self, tmp_path: Path) -> None:
        swept = []

        class Slow(LocalStore):
            def create(self, name: str) -> int:
                descriptor = super().create(name)
                if name == COPY:  # another run starts before anybody can have its lock
                    with claim(LocalStore(str(tmp_path)), "another") as other:
                        swept.extend(other.swept)
                return descriptor

        with claim(Slow(str(tmp_path))) as payload:
            copy = payload.make_copy_file()
            assert Path(copy).exists()
        assert swept == []

    def test_a_manifest_without_a_payload_is_left_alone_where_no_run_died(self, store: LocalStore, tmp_path: Path) -> None:
        (tmp_path / SIDECAR).write_bytes(manifest_of().to_bytes())
        with claim(store) as payload:
            assert payload.swept == []
            assert payload.filename != NAME
        assert files(tmp_path) == {SIDECAR}
        assert backups(tmp_path) == {}

    def test_a_manifest_that_was_being_renewed_is_kept_as_it_was(self, store: LocalStore, tmp_path: Path) -> None:
        make(store)
        before = (tmp_path / SIDECAR).read_bytes()

        def die_while_renewing() -> None:
            dying = DyingStore(str(tmp_path), before=SIDECAR)
            with dying.lock(0):
                dying.replace(SIDECAR, b"renewed")

        assert death_of(die_while_renewing) == -signal.SIGKILL
        assert files(tmp_path) == {NAME, SIDECAR, SIDECAR_PARTIAL}
        with claim(store) as payload:
            assert payload.swept == [SIDECAR_PARTIAL]
        assert (tmp_path / SIDECAR).read_bytes() == before
        assert backups(tmp_path) == {NAME: "good"}

    def test_a_partial_beside_a_payload_of_its_name_takes_nothing_with_it(self, store: LocalStore, tmp_path: Path) -> None:
        make(store)
        (tmp_path / PARTIAL).write_bytes(b"somebody's")
        with claim(store) as payload:
            assert payload.swept == [PARTIAL]
        assert backups(tmp_path) == {NAME: "good"}

    def test_what_is_not_ours_is_not_swept(self, store: LocalStore, tmp_path: Path) -> None:
        for name in (".report.partial", "backup_app_2026-03-01_12-00-00.dump.gz.partial", ".x", ".backup_app.dump.partial"):
            (tmp_path / name).touch()
        (tmp_path / ".backup_app_2026-01-01_12-00-00.dump.gz.partial").mkdir()
        (tmp_path / ".backup_app_2026-01-02_12-00-00.dump.gz.partial").symlink_to(".x")
        os.mkfifo(tmp_path / ".backup_app_2026-01-03_12-00-00.dump.gz.partial")
        before = files(tmp_path)
        with claim(store) as payload:
            assert payload.swept == []
        assert files(tmp_path) == before

    def test_a_store_that_is_gone_by_the_end_is_an_error_and_no_traceback(self, tmp_path: Path, nothing_left: None) -> None:
        place = tmp_path / "place"
        place.mkdir()
        store = LocalStore(str(place))
        with claim(store) as payload:
            payload.write(PAYLOAD)
            shutil.rmtree(place)
            with pytest.raises(StoreFailed):
                payload.commit(told_by(payload))
        store.close()
