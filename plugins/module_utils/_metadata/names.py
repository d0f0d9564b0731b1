"""Composes and parses the file names of backups.

    backup_<database>_<YYYY-MM-DD_HH-MM-SS>.dump[.gz|.zst][.age|.gpg]

The stamp anchors at the end, so ``app`` never matches ``app_prod``. Times are UTC.
"""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools
import hashlib
import re
import typing as t
import urllib.parse
from datetime import datetime

from ansible_collections.lastgood.database.plugins.module_utils._codecs.encoding import ENCODINGS, Encoding

Kind = t.Literal["database", "globals"]

MANIFEST_SUFFIX = ".manifest.json"
PARTIAL_SUFFIX = ".partial"
GLOBALS_LABEL = "@globals"

_ARCHIVE_PREFIX = ".lastgood.archive."
_STAMP_FORMAT = "%Y-%m-%d_%H-%M-%S"
_LONGEST_LABEL = 150  # bytes; the names of payload, manifest and partial then fit into the 255 of file systems
_HASH_DIGITS = 16
_ENDINGS = {f".dump{encoding.suffix}": encoding for encoding in ENCODINGS}  # what follows the stamp
_STEM = re.compile(r"backup_(?:(.+)_)?([0-9]{4}-[0-9]{2}-[0-9]{2})_([01][0-9]|2[0-3])-([0-9]{2})-([0-9]{2})")
_UPLOAD_ENDING = re.compile(r"\.[0-9a-f]{16}$")
_LABEL = re.compile(r"@globals|(?!\.)(?:[A-Za-z0-9._-]|%[0-9A-F]{2})+(?:~[0-9a-f]{16})?")


class BackupName(t.NamedTuple):
    """A payload's file name, parsed.

    ``label`` is the encoded database in the name, empty if an older tool's name has none.
    """

    filename: str
    label: str
    stamp: datetime
    encoding: Encoding

    @property
    def compression(self) -> str:
        return self.encoding.compression

    @property
    def encrypted(self) -> bool:
        return self.encoding.encrypted

    @property
    def kind(self) -> Kind:
        return "globals" if self.label == GLOBALS_LABEL else "database"

    @property
    def database(self) -> str | None:
        """The database's name; None if the file name has none, or only its beginning."""
        if not self.label or self.label == GLOBALS_LABEL or "~" in self.label:
            return None
        if "%" not in self.label:
            return self.label
        raw = urllib.parse.unquote_to_bytes(self.label)
        try:
            return raw.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:  # not a name of ours
            return raw.decode("utf-8", "surrogateescape")


def parse(filename: str) -> BackupName | None:
    """Parse a file name. Return None if it is not the name of a backup."""
    stem, dot, ending = filename.rpartition(".dump")
    encoding = _ENDINGS.get(dot + ending)
    if encoding is None:
        return None
    match = _STEM.fullmatch(stem)
    if match is None:
        return None
    label, day, hour, minute, second = match.groups("")
    if label and not _is_label(label):
        return None
    try:
        stamp = datetime.fromisoformat(f"{day}T{hour}:{minute}:{second}+00:00")
    except ValueError:
        return None
    return BackupName(filename, label, stamp, encoding)


def is_backup_file(filename: str) -> bool:
    """Return whether a file is a payload or a manifest, by its name."""
    return parse(filename.removesuffix(MANIFEST_SUFFIX)) is not None


def compose(label: str, stamp: datetime, encoding: Encoding) -> str:
    """Return the file name of a payload."""
    return f"backup_{label}_{stamp.strftime(_STAMP_FORMAT)}.dump{encoding.suffix}"


def label_for(kind: Kind, database: str | None) -> str:
    """Return the label of a database, or of a cluster's globals, in file names."""
    if kind == "globals" or database is None:
        return GLOBALS_LABEL
    return _database_label(database)


@functools.lru_cache(maxsize=1024)
def _is_label(text: str) -> bool:
    return _LABEL.fullmatch(text) is not None


@functools.lru_cache(maxsize=1024)
def _database_label(database: str) -> str:
    raw = database.encode("utf-8", "surrogatepass")  # different names, different bytes
    # quote() keeps "~", which marks a name that was cut.
    label = urllib.parse.quote(raw, safe="").replace("~", "%7E")
    if label.startswith("."):
        label = "%2E" + label[1:]
    if len(label) <= _LONGEST_LABEL:
        return label
    digest = hashlib.sha256(raw).hexdigest()[:_HASH_DIGITS]
    cut = label[: _LONGEST_LABEL - _HASH_DIGITS - 1]
    return f"{re.sub('%.?$', '', cut)}~{digest}"


def manifest_name(payload: str) -> str:
    """Return the file name of a payload's manifest."""
    return payload + MANIFEST_SUFFIX


def partial_name(payload: str) -> str:
    """Return the file name of the partial of a payload."""
    return f".{payload}{PARTIAL_SUFFIX}"


def copy_name(payload: str) -> str:
    """Return the file name of an engine's copy of a database, from which a payload is made. It is a partial as well."""
    return f".{payload}.copy{PARTIAL_SUFFIX}"


def upload_name(payload: str, sha256: str) -> str:
    """Return the file name of the partial of an upload. Payloads with one name and different content get different ones."""
    return f".{payload}.{sha256[:_HASH_DIGITS]}{PARTIAL_SUFFIX}"


def archive_partial_name(filename: str) -> str:
    """Return the file name of the partial of an archive: one that no other program uses."""
    return f"{_ARCHIVE_PREFIX}{filename}{PARTIAL_SUFFIX}"


def is_archive_partial(filename: str) -> bool:
    """Return whether a file name is that of the partial of an archive."""
    return filename.startswith(_ARCHIVE_PREFIX) and filename.endswith(PARTIAL_SUFFIX)


def is_reserved(filename: str) -> bool:
    """Return whether a file name could be that of a backup, a manifest, a partial, or another file of this collection."""
    payload = filename[: -len(MANIFEST_SUFFIX)] if filename.endswith(MANIFEST_SUFFIX) else filename
    return parse(payload) is not None or parse_partial(filename) is not None or filename.startswith(".lastgood.")


def is_transfer(filename: str) -> bool:
    """Return whether a partial is of an upload: its writer holds no lock that this host can see."""
    return filename.endswith(PARTIAL_SUFFIX) and _UPLOAD_ENDING.search(filename[: -len(PARTIAL_SUFFIX)]) is not None


def parse_partial(filename: str) -> BackupName | None:
    """Return the name of the payload that a partial is of, None if it is not the name of a partial."""
    if not (filename.startswith(".") and filename.endswith(PARTIAL_SUFFIX)):
        return None
    inner = _UPLOAD_ENDING.sub("", filename[1 : -len(PARTIAL_SUFFIX)])
    for ending in (".copy", MANIFEST_SUFFIX):
        inner = inner[: -len(ending)] if inner.endswith(ending) else inner
    return parse(inner)
