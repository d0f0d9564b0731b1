# Copyright (c) The lastgood.database contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: it may change at any time. Playbooks use the modules and the role.

"""A connection to an SFTP server, step by step, so that each can be timed and can say what went wrong."""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import socket
import sys
import typing as t
import warnings
from dataclasses import dataclass, field

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    AuthenticationFailed,
    BannerMissing,
    ConnectionFailed,
    ConnectionLost,
    ConnectionRefused,
    ConnectionTimeout,
    HostKeyUnknown,
    HostNotFound,
    LibraryMissing,
    SftpUnavailable,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores._sftp import host_keys
from ansible_collections.lastgood.database.plugins.module_utils._stores._sftp.host_keys import HostKey
from ansible_collections.lastgood.database.plugins.module_utils._stores._sftp.keys import read_key, read_key_file
from ansible_collections.lastgood.database.plugins.module_utils._stores._sftp.session import Session

if t.TYPE_CHECKING:
    import paramiko

# Those that are in use today, the quickest first where they are as safe; of these, what the library has.
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
_HOST_KEYS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "rsa-sha2-512", "rsa-sha2-256")
_NO_LONGER = ["ssh-rsa", "ssh-dss", "ssh-rsa-cert-v01@openssh.com"]
_WINDOW_BYTES = 8 * 1024 * 1024  # what may be on its way to us: 100 MB/s where an answer takes 80 ms
_LARGEST_NUMBER = 2**31 - 1  # that an option of a socket takes
_USER_KEYS = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")

AuthMethod = t.Literal["auto", "password", "ssh_key"]
HostKeyPolicy = t.Literal["strict", "accept_new", "pinned", "off"]


@dataclass(frozen=True)
class SftpSettings:
    """Where the server is, how we know it, and who we are there. ``timeout`` is in seconds, for each step."""

    host: str
    user: str
    remote_directory: str
    port: int = 22
    auth_method: AuthMethod = "auto"
    password: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    private_key_file: str | None = None
    key_passphrase: str | None = field(default=None, repr=False)
    create_directory: bool = False
    host_key_policy: HostKeyPolicy = "strict"
    host_key: str | None = None
    known_hosts_file: str | None = None
    timeout: float = 30.0
    remembers: bool = True  # whether accept_new may write to the file

    @property
    def name(self) -> str:
        return f"{self.host}:{self.port}"


class Connection:
    """A connection in the making: ``resolve``, ``connect``, ``check_host_key``, ``authenticate``, ``open_sftp``."""

    def __init__(self, settings: SftpSettings) -> None:
        self.settings = settings
        self.methods: list[str] = []
        self.remembered = False  # whether accept_new met a key that was not known
        self._library = _import_paramiko()
        self._addresses: list[t.Any] = []
        self._transport: paramiko.Transport | None = None

    @property
    def transport(self) -> paramiko.Transport:
        if self._transport is None:
            raise AssertionError("connect() comes first")
        return self._transport

    @property
    def server_version(self) -> str | None:
        """What the server calls itself, None before it has."""
        return str(self._transport.remote_version) or None if self._transport is not None else None

    @property
    def host_key(self) -> HostKey:
        key = self.transport.get_remote_server_key()
        return HostKey(key.get_name(), base64.b64decode(key.get_base64()))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def resolve(self) -> None:
        """Look up the host's addresses."""
        try:
            self._addresses = socket.getaddrinfo(self.settings.host, self.settings.port, type=socket.SOCK_STREAM)
        except (OSError, ValueError) as error:  # as for a name that no resolver takes
            reason = getattr(error, "strerror", None) or str(error)
            raise HostNotFound(
                f"The host {self.settings.host} is not found: {reason}.", "Correct host, or look at the resolver."
            ) from error

    def connect(self) -> None:
        """Connect, and agree on keys. Whoever it is has not been checked yet."""
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
        options.key_types = _those_in(options.key_types, self._host_key_types())
        problem = f"{settings.name} can't be spoken to"
        try:
            transport.start_client(timeout=seconds)
        except (self._library.SSHException, OSError, EOFError) as error:
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
                f"{settings.name} said nothing for {seconds:g} seconds, where an SSH server says who it is.",
                "See what listens there, and correct host and port.",
            )
        if not transport.initial_kex_done:
            raise ConnectionTimeout(
                f"{problem}: keys were not agreed on within {seconds:g} seconds.", "See what holds it up, or raise timeout."
            )

    def check_host_key(self) -> str | None:
        """See that the server is the right one. Return a warning where nobody looks."""
        settings, key = self.settings, self.host_key
        name = host_keys.host_name(settings.host, settings.port)
        if settings.host_key_policy == "off":
            return (
                f"The host key of {name}, {host_keys.describe(key)}, was not checked: whoever is between can read and change"
                " what is sent. Set host_key_policy to strict, or to pinned with this key as host_key."
            )
        if settings.host_key_policy == "pinned":
            host_keys.check_pinned(settings.host_key or "", name, key)
            return None
        try:
            host_keys.read_known_hosts(self._files(), name).check(name, key)
        except HostKeyUnknown:
            if settings.host_key_policy != "accept_new":
                raise
            self.remembered = True
            if settings.remembers:
                host_keys.remember(settings.known_hosts_file or host_keys.USER_FILE, name, key)
        return None

    def authenticate(self) -> None:
        """Log in by what is given, in the order that the server offers a chance."""
        settings, library = self.settings, self._library
        keys = self._keys() if settings.auth_method != "password" else iter(())
        password = settings.password if settings.auth_method != "ssh_key" else None
        given = next(keys, None)  # a key that can't be read is told of before the server is asked
        try:
            self.methods = self._offered()
            if self.transport.is_authenticated():
                return
            while given is not None and "publickey" in self.methods:
                if self._passed(lambda given=given: self.transport.auth_publickey(settings.user, given)):  # type: ignore[misc]
                    return
                given = next(keys, None)
            if password is not None and "password" in self.methods:
                secret = password
                if self._passed(lambda: self.transport.auth_password(settings.user, secret, fallback=False)):
                    return
            if password is not None and "keyboard-interactive" in self.methods:
                answer = password
                if self._passed(
                    lambda: self.transport.auth_interactive(
                        settings.user, lambda _title, _words, asked: ["" if echo else answer for _prompt, echo in asked]
                    )
                ):
                    return
        except (library.SSHException, OSError, EOFError) as error:
            if _tells_of_time(error):
                raise ConnectionTimeout(
                    f"{settings.name} did not decide on the login within {settings.timeout:g} seconds.", "Raise timeout."
                ) from None
            if isinstance(error, library.AuthenticationException):
                raise self._refusal(str(error)) from None
            raise ConnectionLost(f"{settings.name} closed the connection during the login.", "See the server's log.") from None
        raise self._refusal("")

    def open_sftp(self) -> Session:
        """Begin to speak SFTP."""
        settings = self.settings
        problem, remedy = f"{settings.user} at {settings.name} has no SFTP", "See the server's Subsystem sftp, and its log."
        try:
            channel = self.transport.open_session(window_size=_WINDOW_BYTES, timeout=settings.timeout)
            channel.settimeout(settings.timeout)
            channel.invoke_subsystem("sftp")
        except socket.timeout as error:
            raise ConnectionTimeout(f"{settings.name} opened no session in time.", "Raise timeout.") from error
        except (self._library.SSHException, OSError, EOFError) as error:
            raise SftpUnavailable(f"{problem}: {error}.", remedy) from error
        try:
            return Session(channel, settings.timeout, settings.name)
        except ConnectionLost as error:
            raise SftpUnavailable(f"{problem}: the session ended at once.", remedy) from error

    def _tune(self, stream: socket.socket) -> None:
        stream.settimeout(self.settings.timeout)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or small requests wait for answers, 40 ms each
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # on Linux; the library goes on trying for ever to send what nobody takes
            milliseconds = min(max(1, int(self.settings.timeout * 1000)), _LARGEST_NUMBER)
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)

    def _open_stream(self) -> socket.socket:
        failure: OSError = OSError("no address")
        for family, kind, protocol, _name, address in self._addresses:
            try:
                stream = socket.socket(family, kind, protocol)
            except OSError as error:  # a family that the host has switched off
                failure = error
                continue
            try:
                self._tune(stream)
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
        if isinstance(failure, (socket.timeout, TimeoutError)):  # which are one from Python 3.10 on
            raise ConnectionTimeout(
                f"{name} did not answer within {self.settings.timeout:g} seconds.", "Look at the network and its firewalls."
            ) from failure
        raise ConnectionFailed(f"{name} can't be reached: {failure.strerror or failure}.", "Look at the network.") from failure

    def _files(self) -> list[str]:
        file = self.settings.known_hosts_file
        return [host_keys.USER_FILE, host_keys.SYSTEM_FILE] if file is None else [file]

    def _host_key_types(self) -> list[str]:
        """Return the algorithms in our order, those of the keys that are known first."""
        settings, known = self.settings, set()
        if settings.host_key_policy in ("strict", "accept_new"):
            name = host_keys.host_name(settings.host, settings.port)
            known = {key.kind for key in host_keys.read_known_hosts(self._files(), name).keys}
        elif settings.host_key:
            known = set(settings.host_key.split()[:1])
        if "ssh-rsa" in known:
            known |= {"rsa-sha2-512", "rsa-sha2-256"}
        return sorted(_HOST_KEYS, key=lambda kind: kind not in known)

    def _keys(self) -> t.Iterator[paramiko.PKey]:
        settings = self.settings
        if settings.private_key is not None:
            yield read_key(settings.private_key.encode(), "private_key", settings.key_passphrase)
        elif settings.private_key_file is not None:
            yield read_key_file(settings.private_key_file, settings.key_passphrase)
        elif settings.auth_method == "ssh_key" or settings.password is None:
            agent = self._library.Agent()
            try:
                yield from agent.get_keys()
            finally:
                agent.close()
            for path in map(os.path.expanduser, _USER_KEYS):
                if os.path.exists(path):
                    yield read_key_file(path, settings.key_passphrase)

    def _offered(self) -> list[str]:
        """Return the methods by which the server lets one log in."""
        try:
            self.transport.auth_none(self.settings.user)
        except self._library.BadAuthenticationType as error:
            return list(error.allowed_types)
        return []

    def _passed(self, attempt: t.Callable[[], list[str]]) -> bool:
        """Make an attempt, and return whether that was all the server asked for."""
        try:
            further = self._again_where_hung_up(attempt)
        except self._library.BadAuthenticationType as error:
            self.methods = list(error.allowed_types)
            return False
        except self._library.AuthenticationException as error:
            if not self.transport.is_active() or _tells_of_time(error):
                raise
            return False
        if further:
            self.methods = list(further)
        return self.transport.is_authenticated()

    def _again_where_hung_up(self, attempt: t.Callable[[], list[str]]) -> list[str]:
        """Make an attempt, on a new connection where the server does not bear a second one: the library asks anew each time."""
        try:
            return attempt()
        except self._library.BadAuthenticationType:
            raise
        except self._library.AuthenticationException:
            if self.transport.is_active():
                raise
        self.close()
        self.connect()
        self.check_host_key()
        return attempt()

    def _refusal(self, words: str) -> AuthenticationFailed:
        settings = self.settings
        methods = ", ".join(self.methods) or "no method"
        return AuthenticationFailed(
            f"{settings.name} does not let {settings.user} in{f': {words}' if words else ''}; it offers {methods}.",
            "Correct the user, the key or the password, or have the public key put into the account's authorized_keys.",
            methods=self.methods,
        )


def _tells_of_time(error: Exception) -> bool:
    """Whether the library gave up waiting: it has no class for that."""
    return "timeout" in str(error).lower()


def _those_in(available: t.Sequence[str], wanted: t.Sequence[str]) -> list[str]:
    return [name for name in wanted if name in available]


@contextlib.contextmanager
def _without(name: str) -> t.Iterator[None]:
    """Let a library that is only wished for not be found: paramiko's configuration files, unused here, take half its time."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # so says Python that there is none
    try:
        yield
    finally:
        del sys.modules[name]


def _import_paramiko() -> t.Any:
    try:
        with warnings.catch_warnings(), _without("invoke"):
            warnings.simplefilter("ignore")  # older ones warn of ciphers that are never used here
            import paramiko
    except ImportError as error:
        raise LibraryMissing(
            "SFTP needs the Python library paramiko.", "Install it, such as Debian's python3-paramiko.", library="paramiko"
        ) from error
    # Its log would go to standard error, with the words of servers in it.
    log = logging.getLogger("paramiko")
    log.addHandler(logging.NullHandler())
    log.setLevel(logging.CRITICAL + 1)
    log.propagate = False
    return paramiko
