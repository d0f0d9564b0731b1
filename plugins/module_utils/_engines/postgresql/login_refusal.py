"""Finds the code by which a server refuses a login. libpq gives only the server's words, in the server's language.

Asks the server once more, at the address in libpq's message, by the beginning of PostgreSQL's protocol. Nothing secret is sent: a
server that asks for a proof of who we are is left at that point.
https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-START-UP
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import socket
import ssl
import struct
import typing as t

ASKS_FOR_PROOF = "asks for proof"  # no SQLSTATE: the server would go on with a password or the like

# libpq's part of a message, before the server's own: a severity, and two spaces.
_REFUSED = re.compile(
    r'connection to server (?:on socket "(?P<socket>[^"]+)"|at "(?P<host>[^"]*)"(?: \((?P<address>[^)]*)\))?, port (?P<port>\d+))'
    r" failed: \S+:  "
)
_SECONDS = 5.0
_LONGEST_MESSAGE = 64 * 1024  # bytes; a refusal has some hundred
_MOST_MESSAGES = 100
_PROTOCOL = 3 << 16
_TLS_REQUEST = (1234 << 16) + 5679


def code_of(words: str, user: str, database: str, *, tls: bool) -> str | None:
    """Return the SQLSTATE of a refusal that libpq reports with these words, ASKS_FOR_PROOF, or None where neither is known."""
    refusals = list(_REFUSED.finditer(words))  # one for each of several hosts
    if not refusals:
        return None
    try:
        with _connected(refusals[-1], tls) as end, end.makefile("rb") as stream:
            end.sendall(_startup(user, database))
            return _code_in(stream)
    except (OSError, ValueError, struct.error):
        return None


def _connected(refusal: re.Match[str], tls: bool) -> socket.socket:
    if refusal["socket"] is not None:
        end = socket.socket(socket.AF_UNIX)
        end.settimeout(_SECONDS)
        end.connect(refusal["socket"])
        return end
    end = socket.create_connection((refusal["address"] or refusal["host"], int(refusal["port"])), _SECONDS)
    if not tls:
        return end
    end.sendall(struct.pack("!ii", 8, _TLS_REQUEST))
    if end.recv(1) != b"S":
        return end
    context = ssl.create_default_context()
    context.check_hostname = False  # libpq has checked it as it was asked to, and nothing secret is sent
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(end)


def _startup(user: str, database: str) -> bytes:
    parameters = ("user", user, "database", database, "")
    body = struct.pack("!i", _PROTOCOL) + b"\0".join(text.encode("utf-8", "surrogateescape") for text in parameters) + b"\0"
    return struct.pack("!i", len(body) + 4) + body


def _code_in(stream: t.BinaryIO) -> str | None:
    for _message in range(_MOST_MESSAGES):
        kind, length = struct.unpack("!ci", stream.read(5))
        if not 4 <= length <= _LONGEST_MESSAGE:
            return None
        body = stream.read(length - 4)
        if kind == b"E":
            return next((field[1:].decode("ascii", "replace") for field in body.split(b"\0") if field.startswith(b"C")), None)
        if kind == b"R" and body[:4] != b"\0\0\0\0":
            return ASKS_FOR_PROOF
        if kind == b"Z":
            return None
    return None
