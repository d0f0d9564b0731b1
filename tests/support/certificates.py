"""Certificates for tests of TLS, by openssl."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess
from pathlib import Path


def make_certificates(folder: Path) -> None:
    """Make an authority, another one, and a certificate of the first for the host localhost and for the user postgres."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for name in ("authority", "stranger"):
        files = ("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt")
        _openssl("req", "-x509", *key, "-days", "2", "-subj", f"/CN={name}", *files)
    for name, subject in (("server", "/CN=localhost"), ("client", "/CN=postgres")):
        request, certificate = folder / f"{name}.csr", folder / f"{name}.crt"
        _openssl("req", *key, "-subj", subject, "-keyout", folder / f"{name}.key", "-out", request)
        authority = ("-CA", folder / "authority.crt", "-CAkey", folder / "authority.key", "-CAcreateserial")
        _openssl("x509", "-req", "-days", "2", "-in", request, "-out", certificate, *authority)
        (folder / f"{name}.key").chmod(0o600)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(("openssl", *arguments), check=True, capture_output=True)
