# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from ansible_collections.lastgood.database.plugins.module_utils import _errors
from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    ConnectionFailed,
    FileForbidden,
    FileMissing,
    HostExhausted,
    NoSpace,
    SeveralFailed,
    StoreFailed,
    host_errors,
    store_errors,
    summary_of,
)

# Playbooks rely on these: one may be added, none may change.
CODES = {
    "ArgumentInvalid": "argument_invalid",
    "AuthenticationFailed": "authentication_failed",
    "BackupAmbiguous": "backup_ambiguous",
    "BackupError": "backup_failed",
    "BackupMissing": "backup_missing",
    "BannerMissing": "no_ssh_banner",
    "ConnectionFailed": "connection_failed",
    "ConnectionLost": "connection_lost",
    "ConnectionPooled": "connection_pooled",
    "ConnectionRefused": "connection_refused",
    "ConnectionTimeout": "connection_timeout",
    "ContentInvalid": "content_invalid",
    "DatabaseClosed": "database_closed",
    "DatabaseExists": "database_exists",
    "DatabaseInUse": "database_in_use",
    "DatabaseLocked": "database_locked",
    "DatabaseMissing": "database_missing",
    "DeleteFailed": "delete_failed",
    "DestinationUnusable": "destination_unusable",
    "DirectoryMissing": "directory_missing",
    "DirectoryNotWritable": "directory_not_writable",
    "DirectoryUnusable": "directory_unusable",
    "ExtensionUnavailable": "extension_unavailable",
    "HostExhausted": "host_exhausted",
    "HostKeyChanged": "host_key_changed",
    "HostKeyRevoked": "host_key_revoked",
    "HostKeyUnknown": "host_key_unknown",
    "HostNotFound": "host_not_found",
    "Inconclusive": "inconclusive",
    "Interrupted": "interrupted",
    "LocksUnavailable": "locks_unavailable",
    "Unexpected": "unexpected",
    "KeyUnreadable": "key_unreadable",
    "LastGoodRefused": "last_good_refused",
    "LibraryMissing": "library_missing",
    "Locked": "locked",
    "NameConflict": "name_conflict",
    "NameRefused": "name_refused",
    "NoSpace": "no_space",
    "NotADirectory": "not_a_directory",
    "NotOwner": "not_owner",
    "NothingFound": "nothing_found",
    "PassphraseWrong": "wrong_passphrase",
    "PayloadCorrupt": "payload_corrupt",
    "ProgramFailed": "program_failed",
    "ProgramMissing": "program_missing",
    "ProgramTimeout": "timeout",
    "QueryFailed": "query_failed",
    "ReadBackDiffers": "read_back_differs",
    "ServerInvalid": "server_invalid",
    "SftpUnavailable": "sftp_unavailable",
    "RecipientInvalid": "recipient_invalid",
    "RolesMissing": "roles_missing",
    "ServerReadOnly": "server_read_only",
    "ServerTooOld": "server_too_old",
    "SourceBusy": "source_busy",
    "SourceInvalid": "source_invalid",
    "StoreFailed": "store_failed",
    "VerificationFailed": "verification_failed",
}


def kinds() -> dict[str, type[BackupError]]:
    found = {name: kind for name, kind in vars(_errors).items() if isinstance(kind, type) and issubclass(kind, BackupError)}
    del found["SeveralFailed"]  # has the code of what it sums up
    del found["StoreError"]  # is never raised itself
    del found["FileMissing"], found["FileForbidden"]  # have the code of StoreFailed
    return found


def test_the_codes_that_there_were_stay_as_they_are() -> None:
    assert {name: kind.code for name, kind in kinds().items() if name in CODES} == CODES


def test_each_error_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in kinds().values()]
    assert sorted(codes) == sorted(set(codes))


def test_an_error_says_the_problem_then_the_remedy() -> None:
    error = NoSpace("The disk is full.", "Make room.", free=7)
    assert str(error) == "The disk is full. Make room."
    assert (error.problem, error.remedy) == ("The disk is full.", "Make room.")
    assert str(BackupError("In its own words", "Go on.")) == "In its own words. Go on."


def test_an_errors_result_has_its_code_and_its_details() -> None:
    assert json.loads(json.dumps(NoSpace("Full.", "Make room.", free=7).as_result())) == {"code": "no_space", "free": 7}


def test_several_databases_that_failed_have_the_code_and_the_details_of_the_first() -> None:
    error = SeveralFailed("2 of 3 failed.", "See backups.", ConnectionFailed("No.", "Go.", host="h"))
    assert error.as_result() == {"code": "connection_failed", "host": "h"}
    assert str(error) == "2 of 3 failed. See backups."
    assert SeveralFailed("", "", NoSpace("", "")).code == "no_space"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_no_room_for_a_file_is_no_space(number: int) -> None:
    with pytest.raises(NoSpace, match=f"^Writing x: {os.strerror(number)}") as caught, store_errors("Writing x"):
        raise OSError(number, os.strerror(number), "/a/path")
    assert isinstance(caught.value.__cause__, OSError)


def test_whatever_else_the_system_says_is_an_error_of_the_store(tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match=r"^Reading x: No such file or directory\.") as caught, store_errors("Reading x"):
        (tmp_path / "missing").read_bytes()
    assert isinstance(caught.value.__cause__, FileNotFoundError)


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOENT, FileMissing), (errno.EACCES, FileForbidden), (errno.EPERM, FileForbidden)], ids=str
)
def test_a_missing_and_a_forbidden_file_are_kinds_of_it_with_the_same_code(number: int, kind: type[StoreFailed]) -> None:
    with pytest.raises(StoreFailed) as caught, store_errors("Reading x"):
        raise OSError(number, os.strerror(number))
    assert caught.value.__class__ is kind
    assert caught.value.code == "store_failed"


def test_an_error_without_a_number_has_its_own_words() -> None:
    with pytest.raises(StoreFailed, match=r"^Reading x: it went wrong\."), store_errors("Reading x"):
        raise OSError("it went wrong")


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EIO, StoreFailed), (errno.ENOSPC, NoSpace), (errno.EMFILE, HostExhausted)], ids=str
)
def test_a_call_of_the_system_that_nobody_foresaw_has_a_code_as_well(number: int, kind: type[BackupError]) -> None:
    with pytest.raises(kind, match=os.strerror(number)), host_errors():
        raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("error", [NoSpace("Full.", "Make room."), KeyError("x"), ValueError("x")])
def test_errors_that_are_none_of_the_systems_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, store_errors("Reading x"):
        raise error
    assert caught.value is error


def test_a_summary_has_each_reason_once_and_no_more_than_a_few() -> None:
    assert summary_of([("app", "It is full."), ("shop", "It is full."), ("blog", "It is away.")]) == (
        "[app, shop] It is full. [blog] It is away."
    )
    many = summary_of([(f"app{number}", f"Reason {number}. " + "x" * 10_000) for number in range(500)])
    assert many.endswith("And 497 more.")
    assert len(many) < 2000
    assert "[a0, a1, a2, a3, a4 and 95 more] No." in summary_of([(f"a{number}", "No.") for number in range(100)])
