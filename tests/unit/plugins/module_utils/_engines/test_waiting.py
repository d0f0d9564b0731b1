"""A server that does not answer can't prevent a stop."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading

import pytest

from ansible_collections.lastgood.database.plugins.module_utils._engines.waiting import unless_stopped
from ansible_collections.lastgood.database.plugins.module_utils._errors import ConnectionFailed, Interrupted


def test_a_connection_is_returned() -> None:
    assert unless_stopped(lambda: "connection", lambda: False) == "connection"


def test_the_error_of_an_attempt_is_raised() -> None:
    def connect() -> None:
        raise ConnectionFailed("It is down.", "Start it.")

    with pytest.raises(ConnectionFailed, match="It is down"):
        unless_stopped(connect, lambda: False)


def test_a_stop_ends_the_wait() -> None:
    answer = threading.Event()
    try:
        with pytest.raises(Interrupted):
            unless_stopped(answer.wait, lambda: True)
    finally:
        answer.set()
