"""Log in to an SSH server with a key, a password or keyboard-interactive."""

# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

from ansible_collections.lastgood.database.plugins.module_utils._errors import (
    AuthenticationFailed,
    BackupError,
    KeyUnreadable,
    PassphraseWrong,
)
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.keys import read_key, read_key_file
from ansible_collections.lastgood.database.plugins.module_utils._stores.sftp.settings import SftpSettings

if t.TYPE_CHECKING:
    import paramiko

_USER_KEYS = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")


class Login:
    """Tries the methods of login one after another, in an order that the server accepts.

    ``transport`` returns the present connection, ``reconnect`` makes a new one.
    """

    def __init__(
        self,
        settings: SftpSettings,
        library: t.Any,
        transport: t.Callable[[], paramiko.Transport],
        reconnect: t.Callable[[], None],
    ) -> None:
        self.methods: list[str] = []
        self._settings = settings
        self._library = library
        self._transport = transport
        self._reconnect = reconnect
        self._keys = self._all_keys() if settings.auth_method != "password" else iter(())
        self._skipped: list[BackupError] = []  # default keys that can't be used
        self._key = next(self._keys, None)  # a key that was given and can't be read is reported before the server is asked

    def log_in(self) -> None:
        """Log in. Raises AuthenticationFailed if no method succeeds."""
        settings = self._settings
        password = settings.password if settings.auth_method != "ssh_key" else None
        if self._key is None and password is None and self._skipped:
            raise self._skipped[0]
        try:
            self.methods = self._offered()
            if self._transport().is_authenticated() or self._by_key() or (password is not None and self._by_password(password)):
                return
        except self._library.AuthenticationException as error:
            if tells_of_time(error):
                raise
            raise self._refusal(str(error)) from None
        raise self._refusal("")

    def _by_key(self) -> bool:
        user = self._settings.user
        while self._key is not None and "publickey" in self.methods:
            key = self._key
            if self._passed(lambda key=key: self._transport().auth_publickey(user, key)):  # type: ignore[misc]
                return True
            self._key = next(self._keys, None)
        return False

    def _by_password(self, password: str) -> bool:
        user = self._settings.user

        def answers(_title: str, _words: str, asked: list[tuple[str, bool]]) -> list[str]:
            return ["" if echo else password for _prompt, echo in asked]

        attempts: dict[str, t.Callable[[], list[str]]] = {
            "password": lambda: self._transport().auth_password(user, password, fallback=False),
            "keyboard-interactive": lambda: self._transport().auth_interactive(user, answers),
        }
        return any(method in self.methods and self._passed(attempt) for method, attempt in attempts.items())

    def _all_keys(self) -> t.Iterator[paramiko.PKey]:
        settings = self._settings
        if settings.private_key is not None:
            yield read_key(settings.private_key.encode(), "private_key", settings.key_passphrase)
        elif settings.private_key_file is not None:
            yield read_key_file(settings.private_key_file, settings.key_passphrase)
        elif settings.auth_method == "ssh_key" or settings.password is None:
            yield from self._agent_keys()
            yield from self._user_keys()

    def _agent_keys(self) -> t.Iterator[paramiko.PKey]:
        try:
            agent = self._library.Agent()
        except (self._library.SSHException, OSError) as error:
            self._skipped.append(
                KeyUnreadable(f"The agent at SSH_AUTH_SOCK gives no keys: {error}.", "Start it again, or unset SSH_AUTH_SOCK.")
            )
            return
        try:
            yield from agent.get_keys()
        finally:
            agent.close()

    def _user_keys(self) -> t.Iterator[paramiko.PKey]:
        """Yield the user's own keys. One that can't be used is skipped, as ssh does."""
        for path in map(os.path.expanduser, _USER_KEYS):
            if not os.path.exists(path):
                continue
            try:
                yield read_key_file(path, self._settings.key_passphrase)
            except (KeyUnreadable, PassphraseWrong) as error:
                self._skipped.append(error)

    def _offered(self) -> list[str]:
        """Return the login methods that the server offers."""
        try:
            self._transport().auth_none(self._settings.user)
        except self._library.BadAuthenticationType as error:
            return list(error.allowed_types)
        return []

    def _passed(self, attempt: t.Callable[[], list[str]]) -> bool:
        """Make an attempt, and return whether it completed the login."""
        try:
            further = self._again_where_hung_up(attempt)
        except self._library.BadAuthenticationType as error:
            self.methods = list(error.allowed_types)
            return False
        except self._library.AuthenticationException as error:
            if not self._transport().is_active() or tells_of_time(error):
                raise
            return False
        if further:
            self.methods = list(further)
        return self._transport().is_authenticated()

    def _again_where_hung_up(self, attempt: t.Callable[[], list[str]]) -> list[str]:
        """Make an attempt, again on a new connection if the server hung up: some do when the library requests login twice."""
        try:
            return attempt()
        except self._library.BadAuthenticationType:
            raise
        except self._library.AuthenticationException:
            if self._transport().is_active():
                raise
        self._reconnect()
        return attempt()

    def _refusal(self, words: str) -> AuthenticationFailed:
        settings = self._settings
        methods = ", ".join(self.methods) or "no method"
        skipped = "".join(f" Not tried: {error.problem.rstrip('.')}." for error in self._skipped)
        return AuthenticationFailed(
            f"{settings.name} does not let {settings.user} in{f': {words}' if words else ''}; it offers {methods}.{skipped}",
            "Correct the user, the key or the password, or have the public key put into the account's authorized_keys.",
            methods=self.methods,
        )


def tells_of_time(error: Exception) -> bool:
    """Return whether the library's error is a timeout: it has no class for that."""
    return "timeout" in str(error).lower()
