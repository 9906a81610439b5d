"""Whether a request's credentials are right: remembered, checked against the file, or to be guessed later."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ..comfyui import LOG
from . import basic
from .guesses import Guesses
from .password_file import Account, Damaged, PasswordFile
from .remembered import Remembered

_LOOK_EVERY = 1.0
_MOST_WAITING = 16
_MOST_REMEMBERED = 256


@dataclass(frozen=True)
class Verdict:
    """What becomes of credentials. `wait`: seconds before they are looked at; 0 where they were."""

    right: bool
    wait: int = 0


_RIGHT, _WRONG = Verdict(True), Verdict(False)


class Gate:
    """The password of one ComfyUI. Hashes are computed one after the other, in a thread of their own."""

    def __init__(self, file: PasswordFile, clock: Callable[[], float] = time.monotonic) -> None:
        """Guard what `file` says, and look now and then whether it has changed."""
        self.file = file
        self.guesses = Guesses(clock)
        self._clock = clock
        self._looked = -_LOOK_EVERY
        self._mark: object = object()
        self._account: Account | Damaged | None = None
        self._right = Remembered(_MOST_REMEMBERED)
        self._wrong = Remembered(_MOST_REMEMBERED)
        self._checks: dict[bytes, asyncio.Task[bool]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="runflow-password")
        self.socket_token = ""
        self.look()

    @property
    def account(self) -> Account | Damaged | None:
        """Who may come in; None: everybody, the password is off."""
        if self._clock() - self._looked >= _LOOK_EVERY:
            self.look()
        return self._account

    def look(self) -> None:
        """Read the file if it has changed, and then forget every header that was right or wrong before."""
        self._looked = self._clock()
        mark = self.file.mark()
        if mark == self._mark:
            return
        self._mark = mark
        self._account = self.file.read()
        self._right.forget()
        self._wrong.forget()
        self._checks.clear()
        self.socket_token = secrets.token_urlsafe(32)
        if isinstance(self._account, Damaged):
            LOG.error(
                "Runflow: %s is damaged (%s). ComfyUI answers nobody until you restore it, or delete it, which "
                "switches the password off.",
                self.file.path,
                self._account.reason,
            )

    async def admit(self, header: str, address: str) -> Verdict:
        """Judge an Authorization header. One that was right before is never kept waiting."""
        account = self.account
        if not isinstance(account, Account):
            return Verdict(account is None)
        if header in self._right:
            return _RIGHT
        if header in self._wrong:
            return _WRONG  # a browser repeats a stale password with every request of a page: that is one guess
        credentials = basic.read(header)
        if credentials is None:
            return _WRONG
        digest = self._right.digest(header)
        check = self._checks.get(digest)
        if check is None:
            if wait := self._wait(address):
                return Verdict(False, wait)
            self.guesses.begin(address)
            check = asyncio.ensure_future(self._check(account, credentials, address))
            self._checks[digest] = check
            check.add_done_callback(lambda done: self._forget_check(digest, done))
        right = await asyncio.shield(check)
        if self._account is not account:
            return _WRONG  # changed in the meantime
        (self._right if right else self._wrong).add(header)
        return _RIGHT if right else _WRONG

    async def knows(self, password: str, address: str) -> Verdict:
        """Judge the current password of a person who wants to change it: a guess like any other."""
        account = self.account
        if not isinstance(account, Account):
            return Verdict(account is None)
        if wait := self._wait(address):
            return Verdict(False, wait)
        self.guesses.begin(address)
        credentials = basic.Credentials(account.username, basic.normal(password))
        return Verdict(await self._check(account, credentials, address))

    def holds_socket_token(self, token: str) -> bool:
        """Whether this is the token that a page with the right password got for its websocket."""
        return hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self.socket_token.encode())

    def _wait(self, address: str) -> int:
        if len(self._checks) >= _MOST_WAITING:
            return 1
        return self.guesses.wait(address)

    async def _check(self, account: Account, credentials: basic.Credentials, address: str) -> bool:
        loop = asyncio.get_running_loop()
        password = await loop.run_in_executor(self._thread, account.password.matches, credentials.password)
        names = (name.encode("utf-8", "surrogatepass") for name in (credentials.username, account.username))
        right = hmac.compare_digest(*names) and password
        if right:
            self.guesses.right(address)
        else:
            LOG.warning("Runflow: wrong username or password from %s", address)
        return right

    def _forget_check(self, digest: bytes, done: asyncio.Task[bool]) -> None:
        if self._checks.get(digest) is done:
            del self._checks[digest]
