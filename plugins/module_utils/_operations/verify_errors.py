"""Errors of the store that a verification reads from: they say nothing about a drill, and little about the backup."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._errors import ConnectionFailed, FileMissing, StoreFailed


class StoreLost(Exception):
    """The connection to the store is lost, so that the other backups can't be verified either."""

    def __init__(self, error: ConnectionFailed) -> None:
        super().__init__(str(error))
        self.error = error


class Deleted(Exception):
    """The backup was deleted since it was listed, such as by a prune: it gets no verdict."""


class Unread(Exception):
    """The payload can't be read, which proves nothing about it."""


@contextlib.contextmanager
def asking_store() -> t.Iterator[None]:
    """Distinguish errors of the store, such as a lost connection or a disk error, from those of a drill."""
    try:
        yield
    except ConnectionFailed as error:
        raise StoreLost(error) from error
    except FileMissing as error:
        raise Deleted from error
    except StoreFailed as error:
        raise Unread(str(error)) from error
