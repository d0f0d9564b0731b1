"""A connection to an SFTP server, made in steps, so that each step is timed and reports its own error."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import contextlib
import logging
import socket
import sys
import time
import typing as t
import warnings

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    BackupError,
    BannerMissing,
    ConnectionFailed,
    ConnectionLost,
    ConnectionRefused,
    ConnectionTimeout,
    HostKeyChanged,
    HostKeyUnknown,
    HostNotFound,
    Interrupted,
    LibraryMissing,
    SftpUnavailable,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp import host_keys
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.host_keys import HostKey
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.login import Login, tells_of_time
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.patience import Patience
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.session import Session
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.settings import SftpSettings

if t.TYPE_CHECKING:
    import paramiko

# The algorithms that are in use today, the fastest first among equally safe ones; the library may lack some.
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr")
_MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512")
_KEY_EXCHANGES = (
    "mlkem768x25519-sha256",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group14-sha256",
)
# By the type of key that they need; a server has at most one key of each type. An RSA key's own name comes last.
_HOST_KEY_KINDS = (
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256",),
    ("ecdsa-sha2-nistp384",),
    ("ecdsa-sha2-nistp521",),
    ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"),
)
_HOST_KEYS = [name for names in _HOST_KEY_KINDS for name in names if name != "ssh-rsa"]
_NO_LONGER = ["ssh-rsa", "ssh-dss", "ssh-rsa-cert-v01@openssh.com"]
_WINDOW_BYTES = 8 * 1024 * 1024  # bytes in flight: 100 MB/s with a delay of 80 ms
_SHORTEST_WAIT = 0.1
_LARGEST_NUMBER = 2**31 - 1  # for an option of a socket

Stopping = t.Callable[[t.Callable[[], object]], t.ContextManager[None]]


class Connection:
    """A connection, opened in steps: ``resolve``, ``connect``, ``check_host_key``, ``authenticate``, ``open_sftp``.

    Each step may take ``timeout``, whatever the server sends meanwhile. ``stopping`` calls a function when the run is
    stopped, as Runner.stopping does.
    """

    def __init__(self, settings: SftpSettings, stopping: Stopping) -> None:
        self.settings = settings
        self.remembered = False  # whether accept_new accepted an unknown key
        self._library = _import_paramiko()
        self._addresses: list[t.Any] = []
        self._transport: paramiko.Transport | None = None
        self._host_key_kinds = self._known_first()
        self._patience = Patience(settings.timeout, self._hang_up)
        self._open_contexts = contextlib.ExitStack()
        self._open_contexts.callback(self._patience.close)
        self._open_contexts.enter_context(stopping(self._patience.stop))

    @property
    def transport(self) -> paramiko.Transport:
        if self._transport is None:
            raise AssertionError("connect() comes first")
        return self._transport

    @property
    def server_version(self) -> str | None:
        """The server's own identification, None until it is received."""
        return str(self._transport.remote_version) or None if self._transport is not None else None

    @property
    def host_key(self) -> HostKey:
        key = self.transport.get_remote_server_key()
        return HostKey(key.get_name(), base64.b64decode(key.get_base64()))

    def close(self) -> None:
        self._open_contexts.close()
        self._hang_up()

    def _hang_up(self) -> None:
        if self._transport is not None:
            self._transport.close()

    @contextlib.contextmanager
    def _step(self, doing: str) -> t.Iterator[None]:
        """Limit a step's time, and raise every error of the library as one of ours: bad data can cause any exception in it."""
        settings = self.settings
        self._patience.begin()
        try:
            with self._patience:
                yield
        except Exception as error:
            if self._patience.is_stopped:
                raise Interrupted("The run was ended while it connected.", "Run it again.") from error
            if isinstance(error, BannerMissing):
                raise
            if self._patience.has_run_out or (not isinstance(error, BackupError) and tells_of_time(error)):
                raise ConnectionTimeout(
                    f"{settings.name} took longer than {settings.timeout:g} seconds {doing}.",
                    "See what holds it up, or raise timeout.",
                ) from None
            if isinstance(error, BackupError):
                raise
            raise ConnectionLost(
                f"{settings.name} closed the connection {doing}, or sent what can't be read: {error or type(error).__name__}.",
                "See the server's log.",
            ) from None

    def resolve(self) -> None:
        """Look up the host's addresses."""
        try:
            self._addresses = socket.getaddrinfo(self.settings.host, self.settings.port, type=socket.SOCK_STREAM)
        except (OSError, ValueError) as error:  # for example for a name that the resolver rejects
            reason = getattr(error, "strerror", None) or str(error)
            raise HostNotFound(
                f"The host {self.settings.host} is not found: {reason}.", "Correct host, or check the resolver."
            ) from error

    def connect(self) -> None:
        """Connect, and exchange keys. The server is not verified yet."""
        with self._step("to agree on keys"):
            self._connect()

    def _connect(self) -> None:
        self._hang_up()
        stream = self._open_stream()
        settings, seconds = self.settings, self.settings.timeout
        try:
            transport = self._library.Transport(stream, disabled_algorithms={"pubkeys": _NO_LONGER, "keys": _NO_LONGER})
        except BaseException:
            stream.close()
            raise
        self._transport = transport
        transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = seconds
        transport.channel_timeout = seconds
        options = transport.get_security_options()
        options.ciphers = _those_in(options.ciphers, _CIPHERS)
        options.digests = _those_in(options.digests, _MACS)
        options.kex = _those_in(options.kex, _KEY_EXCHANGES)
        options.key_types = _those_in(options.key_types, self._host_key_kinds)
        problem = f"{settings.name} can't be spoken to"
        try:
            transport.start_client(timeout=seconds)
        except Exception as error:  # of any class: the library raises its thread's exception
            if not transport.remote_version:
                raise BannerMissing(
                    f"{settings.name} answers, but not as an SSH server does within {seconds:g} seconds.",
                    "See what listens there, and correct host and port.",
                ) from error
            raise ConnectionFailed(
                f"{problem}: {error or 'the connection was closed'}.", "See which algorithms the server has, and its log."
            ) from error
        if not transport.remote_version:
            raise BannerMissing(
                f"{settings.name} did not say within {seconds:g} seconds that it is an SSH server.",
                "See what listens there, and correct host and port.",
            )
        if not transport.initial_kex_done:
            raise ConnectionTimeout(
                f"{problem}: keys were not agreed on within {seconds:g} seconds.", "See what holds it up, or raise timeout."
            )

    def check_host_key(self) -> str | None:
        """Verify the server's host key. Return a warning if the policy is off."""
        settings = self.settings
        name = host_keys.host_name(settings.host, settings.port)
        if settings.host_key_policy == "pinned":
            self._check_pinned(name)
            return None
        key = self.host_key
        if settings.host_key_policy == "off":
            return (
                f"The host key of {name}, {host_keys.describe(key)}, was not checked: whoever is between can read and change"
                " what is sent. Set host_key_policy to strict, or to pinned with this key as host_key."
            )
        try:
            host_keys.read_known_hosts(self._files(), name).check(name, key)
        except HostKeyUnknown:
            if settings.host_key_policy != "accept_new":
                raise
            self.remembered = True
            if settings.remembers:
                host_keys.remember(settings.known_hosts_file or host_keys.USER_FILE, name, key)
        return None

    def _check_pinned(self, name: str) -> None:
        """Verify the pinned key. A fingerprint does not give the type of its key: request all types in turn."""
        pinned = self.settings.host_key or ""
        try:
            host_keys.check_pinned(pinned, name, self.host_key)
        except HostKeyChanged:
            if not host_keys.is_fingerprint(pinned) or not self._finds_key_of_other_kind(pinned, name):
                raise

    def _finds_key_of_other_kind(self, pinned: str, name: str) -> bool:
        tried = {self.host_key.kind}
        for kinds in _HOST_KEY_KINDS:
            if tried.intersection(kinds):
                continue
            self._host_key_kinds = list(kinds)
            try:
                self.connect()
                host_keys.check_pinned(pinned, name, self.host_key)
            except ConnectionFailed:  # another key, or none of that kind
                if self._patience.has_run_out:
                    raise
                continue
            return True
        return False

    def authenticate(self) -> None:
        """Log in with the given credentials, in an order that the server accepts."""
        with self._step("to decide on the login"):
            Login(self.settings, self._library, lambda: self.transport, self._connect_again).log_in()

    def _connect_again(self) -> None:
        self._connect()
        self.check_host_key()

    def open_sftp(self) -> Session:
        """Open the SFTP session."""
        settings = self.settings
        problem, remedy = f"{settings.user} at {settings.name} has no SFTP", "See the server's Subsystem sftp, and its log."
        with self._step("to open a session"):
            try:
                channel = self.transport.open_session(window_size=_WINDOW_BYTES, timeout=settings.timeout)
                channel.invoke_subsystem("sftp")
            except (self._library.SSHException, OSError, EOFError) as error:
                if tells_of_time(error):
                    raise
                raise SftpUnavailable(f"{problem}: {error}.", remedy) from error
        self._patience.begin()
        try:
            return Session(channel, self._patience, settings.name)
        except ConnectionLost as error:
            raise SftpUnavailable(f"{problem}: the session ended at once.", remedy) from error

    def _tune(self, stream: socket.socket, seconds: float) -> None:
        stream.settimeout(seconds)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # otherwise small requests wait, 40 ms each
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # on Linux; otherwise the library retries for ever
            milliseconds = min(max(1, int(self.settings.timeout * 1000)), _LARGEST_NUMBER)
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)

    def _open_stream(self) -> socket.socket:
        failure: OSError = OSError("no address")
        ends, left = time.monotonic() + self.settings.timeout, len(self._addresses)
        for family, kind, protocol, _name, address in self._addresses:
            share, left = max(_SHORTEST_WAIT, (ends - time.monotonic()) / left), left - 1
            try:
                stream = socket.socket(family, kind, protocol)
            except OSError as error:  # the host has disabled the family
                failure = error
                continue
            try:
                self._tune(stream, share)
                stream.connect(address)
            except OSError as error:
                stream.close()
                failure = error
            else:
                return stream
        name = self.settings.name
        if isinstance(failure, ConnectionRefusedError):
            raise ConnectionRefused(
                f"{name} refused the connection.", "See that the server runs, and correct host and port."
            ) from failure
        if isinstance(failure, (socket.timeout, TimeoutError)):  # one class from Python 3.10 on
            raise ConnectionTimeout(
                f"{name} did not answer within {self.settings.timeout:g} seconds.", "Check the network and its firewalls."
            ) from failure
        raise ConnectionFailed(f"{name} can't be reached: {failure.strerror or failure}.", "Check the network.") from failure

    def _files(self) -> list[str]:
        file = self.settings.known_hosts_file
        return [host_keys.USER_FILE, host_keys.SYSTEM_FILE] if file is None else [file]

    def _known_first(self) -> list[str]:
        """Return the algorithms in our order, with those of known keys first."""
        settings, known = self.settings, set()
        if settings.host_key_policy in ("strict", "accept_new"):
            name = host_keys.host_name(settings.host, settings.port)
            known = {key.kind for key in host_keys.read_known_hosts(self._files(), name).keys}
        elif settings.host_key:
            known = set(settings.host_key.split()[:1])
        if "ssh-rsa" in known:
            known |= {"rsa-sha2-512", "rsa-sha2-256"}
        return sorted(_HOST_KEYS, key=lambda kind: kind not in known)


def _those_in(available: t.Sequence[str], wanted: t.Sequence[str]) -> list[str]:
    return [name for name in wanted if name in available]


@contextlib.contextmanager
def _without(name: str) -> t.Iterator[None]:
    """Hide an optional library: paramiko imports it for configuration files, unused here, which takes half its time."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # marks the module as missing
    try:
        yield
    finally:
        del sys.modules[name]


def _import_paramiko() -> t.Any:
    try:
        with warnings.catch_warnings(), _without("invoke"):
            warnings.simplefilter("ignore")  # older ones warn of ciphers that we never use
            import paramiko
    except ImportError as error:
        raise LibraryMissing(
            "SFTP needs the Python library paramiko.", "Install it, such as Debian's python3-paramiko.", library="paramiko"
        ) from error
    # Its log would go to standard error, with texts from servers in it.
    log = logging.getLogger("paramiko")
    log.addHandler(logging.NullHandler())
    log.setLevel(logging.CRITICAL + 1)
    log.propagate = False
    return paramiko
