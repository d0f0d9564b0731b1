"""Restore an SQLite database to a file beside the old one, and rename it over that.

The old file's journals are set aside before the new file gets the name: SQLite would apply them to it, and destroy it.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
import typing as t
from dataclasses import dataclass
from datetime import datetime, timedelta

from ansible_collections.lastgood.database.plugins.module_utils._engines.restoring import Swapped, TargetState
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.attributes import check_group, copy_attributes
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.closing import closed_to_others, openers
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.folder import (
    Folder,
    open_folder,
    replaced_name,
    scratch_name,
    sweep,
)
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.inspection import inspecting
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.opening import JOURNALS, find_file
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.options import SqliteRestoreOptions
from ansible_collections.lastgood.database.plugins.module_utils._engines.sqlite.run_sql import run_sql
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    ContentInvalid,
    DatabaseExists,
    Inconclusive,
    Interrupted,
    SourceInvalid,
    StoreFailed,
    store_errors,
)
from ansible_collections.lastgood.database.plugins.module_utils._io import close_quietly, write_all
from ansible_collections.lastgood.database.plugins.module_utils._locks import try_lock
from ansible_collections.lastgood.database.plugins.module_utils._metadata.manifest import Manifest
from ansible_collections.lastgood.database.plugins.module_utils._space import check_space, free_bytes

_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)  # file systems without hard links, such as vfat


@dataclass(frozen=True)
class SqliteRestorer:
    """Restores backups to one database file."""

    name: t.ClassVar[str] = "sqlite"
    unpacks: t.ClassVar[bool] = False
    in_use_remedy: t.ClassVar[str] = "Stop the application; the database is as it was."

    options: SqliteRestoreOptions
    is_stopped: t.Callable[[], bool]

    @property
    def database(self) -> str:
        return self.options.database

    @property
    def plan(self) -> tuple[str, ...]:
        sql = self.options.run_sql
        return () if sql is None else (sql.plan,)

    def describe_server(self, manifest: Manifest) -> str | None:
        return None

    def examine_target(self, manifest: Manifest) -> TargetState:
        path = self.database
        if not os.path.isabs(path):
            raise SourceInvalid(f"{path} is not an absolute path.", "Name the SQLite database by its whole path.")
        with open_folder(path) as folder:
            facts = folder.facts(os.path.basename(path) or ".")
            if facts is not None:
                _check_old(path, folder, facts)
            _check_room(folder, manifest)
            return TargetState(facts is not None, () if facts is None else openers(facts))

    @contextlib.contextmanager
    def restoring(self, manifest: Manifest, stamp: datetime, make_file: t.Callable[[], int]) -> t.Iterator[SqliteRestoration]:
        name = os.path.basename(self.database)
        with open_folder(self.database) as folder:
            swept = sweep(folder, name)
            while folder.has(replaced_name(name, stamp)) or folder.has(scratch_name(name, stamp)):
                stamp += timedelta(seconds=1)
            scratch = scratch_name(name, stamp)
            with store_errors(f"Making {folder.path_of(scratch)}"):
                descriptor = folder.create(scratch)
            try:
                try_lock(descriptor)
                yield SqliteRestoration(self, folder, scratch, descriptor, replaced_name(name, stamp), swept)
            finally:
                with contextlib.suppress(OSError):  # the next restore removes it
                    folder.remove(scratch)
                close_quietly(descriptor)


class SqliteRestoration:
    """A running restore."""

    def __init__(
        self,
        restorer: SqliteRestorer,
        folder: Folder,
        scratch: str,
        descriptor: int,
        replaced: str,
        warnings: list[str],
    ) -> None:
        self._path = restorer.database
        self._name = os.path.basename(restorer.database)
        self._may_replace = restorer.options.may_replace
        self._keep_old = restorer.options.keep_old
        self._run_sql = restorer.options.run_sql
        self._is_stopped = restorer.is_stopped
        self._folder = folder
        self._scratch = scratch
        self._descriptor = descriptor
        self._replaced = replaced
        self._warnings = warnings

    def write_globals(self, data: bytes | memoryview) -> None:
        """SQLite has no globals."""

    def write(self, data: bytes | memoryview) -> None:
        with store_errors(f"Writing {self._folder.path_of(self._scratch)}"):
            write_all(self._descriptor, data)

    def fill(self) -> None:
        scratch = self._folder.path_of(self._scratch)
        if self._run_sql is not None:
            run_sql(self._descriptor, self._run_sql, self._is_stopped)
        with store_errors(f"Finishing {scratch}"):
            os.fsync(self._descriptor)
        try:
            with inspecting(scratch, self._descriptor, self._is_stopped) as inspection:
                remark = inspection.check()
        except ContentInvalid as error:
            raise ContentInvalid(
                f"SQLite says of the restored database: {error.problem}", "Take another backup; the database is as it was."
            ) from error
        except Inconclusive as error:
            # The digest shows that the bytes are the backup's.
            self._warnings.append(f"The restored database was not checked. {error}")
        else:
            if remark:
                self._warnings.append(f"The restored database is as it was backed up, with its faults: {remark}.")

    def swap(self) -> Swapped:
        began = time.monotonic()
        if not self._may_replace or not self._folder.has(self._name):
            self._take_new_name()
            return Swapped(None, 0.0, tuple(self._warnings))
        old = find_file(self._folder.path_of(self._name))
        with closed_to_others(old):
            self._copy_attributes(old.facts)
            with self._undone_unless_swapped() as undo:
                if self._keep_old:
                    with store_errors(f"Keeping {self._path}"):
                        self._folder.link(self._name, self._replaced)
                    undo.callback(self._remove_second_name, old.facts)
                # Journals that SQLite did not merge into the old file are stale, or as unreadable as it is.
                aside = self._set_journals_aside(undo)
                self._take_name()
            self._tidy_up([] if self._keep_old else aside)
        kept = os.path.join(os.path.dirname(self._path), self._replaced) if self._keep_old else None
        return Swapped(kept, time.monotonic() - began, tuple(self._warnings))

    def _copy_attributes(self, facts: os.stat_result) -> None:
        with store_errors(f"Examining {self._path}"):
            old = self._folder.open_name(self._name)
        try:
            if not os.path.samestat(os.fstat(old), facts):
                raise StoreFailed(
                    f"{self._path} was replaced by somebody else.", "See who may write to its folder, and run again."
                )
            self._warnings += copy_attributes(self._path, old, self._descriptor)
        finally:
            close_quietly(old)

    @contextlib.contextmanager
    def _undone_unless_swapped(self) -> t.Iterator[contextlib.ExitStack]:
        """Yield a stack of undo steps. Leaving performs them, unless the restored database may have its name by then."""
        with contextlib.ExitStack() as undo:
            try:
                yield undo
            finally:
                if self._may_have_name():
                    undo.pop_all()

    def _may_have_name(self) -> bool:
        try:
            return self._folder.is_file(self._name, os.fstat(self._descriptor))
        except OSError:  # remove nothing that may be the only copy
            return True

    def _remove_second_name(self, facts: os.stat_result) -> None:
        """Remove the name under which the old database would be retained, if that is not its only one."""
        with contextlib.suppress(OSError):  # the next restore removes it
            if self._folder.is_file(self._name, facts):
                self._folder.remove(self._replaced)

    def _set_journals_aside(self, undo: contextlib.ExitStack) -> list[str]:
        """Rename the journals to match the retained database, and return their new names."""
        aside = []
        for ending in JOURNALS:
            journal, name = self._name + ending, self._replaced + ending
            with store_errors(f"Renaming {self._path}{ending} to {name}"), contextlib.suppress(FileNotFoundError):
                self._folder.rename(journal, name)
                undo.callback(self._put_back, name, journal)
                aside.append(name)
        return aside

    def _put_back(self, name: str, journal: str) -> None:
        with store_errors(f"Renaming {name} back to {journal}"):
            self._folder.rename(name, journal)

    def _take_name(self) -> None:
        with store_errors(f"Renaming {self._scratch} to {self._path}"):
            self._check_stopped()
            self._check_journals()
            with self._failing_unless_named():
                self._folder.rename(self._scratch, self._name)

    @contextlib.contextmanager
    def _failing_unless_named(self) -> t.Iterator[None]:
        """Turn an error into a warning if the restored database has its name anyway, as on a network file system."""
        try:
            yield
        except OSError as error:
            if not self._folder.is_file(self._name, os.fstat(self._descriptor)):
                raise
            self._warnings.append(f"{self._path} was restored, though its file system reported: {error.strerror}.")

    def _take_new_name(self) -> None:
        with store_errors(f"Naming the restored database {self._path}"):
            self._check_stopped()
            self._check_journals()
            try:
                with self._failing_unless_named():
                    self._name_it()
            except FileExistsError as error:
                raise DatabaseExists(
                    f"The database {self._path} came into being during the restore, and is as it was.",
                    "See who made it, and run again.",
                ) from error
        self._tidy_up([self._scratch])

    def _name_it(self) -> None:
        try:
            self._folder.link(self._scratch, self._name)  # a rename would replace a newer file
        except OSError as error:
            if error.errno not in _NO_LINKS or self._folder.has(self._name):
                raise
            self._folder.rename(self._scratch, self._name)

    def _check_stopped(self) -> None:
        """Raise Interrupted if the run was stopped. The rename that follows completes the restore, which is then reported."""
        if self._is_stopped():
            raise Interrupted("The run was ended before the restored database was put in place.", "Run it again.")

    def _check_journals(self) -> None:
        stale = [ending for ending in JOURNALS if self._folder.has(self._name + ending)]
        if stale:
            raise StoreFailed(
                f"{self._path}{stale[0]} is there, and SQLite would take it for the restored database's.",
                "See that no application runs, and remove it, or restore under another name.",
            )

    def _tidy_up(self, remains: list[str]) -> None:
        """Remove files that are no longer needed, and flush the names to the disk. Errors become warnings."""
        try:
            with store_errors("Removing what was there, and bringing the new name to the disk"):
                for name in remains:
                    self._folder.remove(name)
                self._folder.sync()
        except BackupError as error:
            self._warnings.append(f"{self._path} was restored. {error.problem}")


def _check_old(path: str, folder: Folder, facts: os.stat_result) -> None:
    """Raise an error if the file at a path can't be replaced."""
    if stat.S_ISLNK(facts.st_mode):
        raise SourceInvalid(f"{path} is a link.", f"Name the file that it leads to: {os.path.realpath(path)}")
    find_file(folder.path_of(os.path.basename(path)))
    check_group(path, facts, os.fstat(folder.descriptor))


def _check_room(folder: Folder, manifest: Manifest) -> None:
    free, purpose = free_bytes(folder.descriptor, folder.path), "the restored database, beside the old one,"
    check_space(folder.path, free, manifest.content_bytes or 0, purpose, "Make room; the database is as it was.")
