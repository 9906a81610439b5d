"""Whether a request's credentials are right: remembered, checked against the file, or to be tried again later."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from aiohttp import web

from .. import comfyui
from . import basic_auth
from .login_throttle import LoginThrottle
from .password_file import NAME, Account, Damaged, PasswordFile

_LOOK_EVERY = 1.0
_MOST_WAITING = 16
_MOST_REMEMBERED = 256


@dataclass(frozen=True)
class AuthResult:
    """What becomes of credentials. `wait`: seconds before they are looked at; 0 where they were."""

    accepted: bool
    wait: int = 0


_RIGHT, _WRONG = AuthResult(True), AuthResult(False)


class HeaderCache:
    """The last headers of one kind that were checked, so that a page of 300 requests costs one hash and not 300.

    They are kept as digests under a key of this process, never as they are.

    Looking one up takes a time that depends on its digest, which nobody outside can compute.
    """

    def __init__(self, most: int) -> None:
        """Remember at most so many."""
        self._most = most
        self._key = secrets.token_bytes(32)
        self._digests: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, header: str) -> bool:
        """Whether this header is remembered."""
        digest = self.digest(header)
        if digest not in self._digests:
            return False
        self._digests.move_to_end(digest)
        return True

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._digests)

    def add(self, header: str) -> None:
        """Remember a header; the one that was not seen for the longest time may go."""
        self._digests[self.digest(header)] = None
        if len(self._digests) > self._most:
            self._digests.popitem(last=False)

    def forget(self) -> None:
        """Forget all, the key included."""
        self._digests.clear()
        self._key = secrets.token_bytes(32)

    def digest(self, header: str) -> bytes:
        """The keyed digest of a header."""
        return hmac.digest(self._key, header.encode("utf-8", "surrogatepass"), hashlib.sha256)


class Authenticator:
    """The password of one ComfyUI. Hashes are computed one after the other, in a thread of their own."""

    def __init__(self, file: PasswordFile, clock: Callable[[], float] = time.monotonic) -> None:
        """Guard what `file` says, and look now and then whether it has changed."""
        self.file = file
        self.throttle = LoginThrottle(clock)
        self._clock = clock
        self._looked = -_LOOK_EVERY
        self._mark: object = object()
        self._account: Account | Damaged | None = None
        self._right = HeaderCache(_MOST_REMEMBERED)
        self._wrong = HeaderCache(_MOST_REMEMBERED)
        self._checks: dict[bytes, asyncio.Task[bool]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="runflow-password")
        self.socket_token = ""
        self.look()

    @classmethod
    def of_comfyui(cls) -> Authenticator:
        """The one of this ComfyUI, whose file is in its folder."""
        return cls(PasswordFile(comfyui.root_folder() / NAME))

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
            comfyui.LOG.error(
                "Runflow: %s is damaged (%s). ComfyUI answers nobody until you restore it, or delete it, which "
                "switches the password off.",
                self.file.path,
                self._account.reason,
            )

    async def authenticate(self, header: str, address: str) -> AuthResult:
        """Judge an Authorization header. One that was right before is never kept waiting."""
        account = self.account
        if not isinstance(account, Account):
            return AuthResult(account is None)
        if header in self._right:
            return _RIGHT
        if header in self._wrong:
            return _WRONG  # a browser repeats a stale password with every request of a page: that is one guess
        credentials = basic_auth.read(header)
        if credentials is None:
            return _WRONG
        digest = self._right.digest(header)
        check = self._checks.get(digest)
        if check is None:
            if wait := self._wait(address):
                return AuthResult(False, wait)
            self.throttle.begin(address)
            check = asyncio.ensure_future(self._check(account, credentials, address))
            self._checks[digest] = check
            check.add_done_callback(lambda done: self._forget_check(digest, done))
        right = await asyncio.shield(check)
        if self._account is not account:
            return _WRONG  # changed in the meantime
        (self._right if right else self._wrong).add(header)
        return _RIGHT if right else _WRONG

    async def verify_password(self, password: str, address: str) -> AuthResult:
        """Judge the current password of a person who wants to change it: a guess like any other."""
        account = self.account
        if not isinstance(account, Account):
            return AuthResult(account is None)
        if wait := self._wait(address):
            return AuthResult(False, wait)
        self.throttle.begin(address)
        credentials = basic_auth.Credentials(account.username, basic_auth.normal(password))
        return AuthResult(await self._check(account, credentials, address))

    def holds_socket_token(self, token: str) -> bool:
        """Whether this is the token that a page with the right password got for its websocket."""
        return hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self.socket_token.encode())

    def _wait(self, address: str) -> int:
        if len(self._checks) >= _MOST_WAITING:
            return 1
        return self.throttle.wait(address)

    async def _check(self, account: Account, credentials: basic_auth.Credentials, address: str) -> bool:
        loop = asyncio.get_running_loop()
        password = await loop.run_in_executor(self._thread, account.password.matches, credentials.password)
        names = (name.encode("utf-8", "surrogatepass") for name in (credentials.username, account.username))
        right = hmac.compare_digest(*names) and password
        if right:
            self.throttle.right(address)
        else:
            comfyui.LOG.warning("Runflow: wrong username or password from %s", address)
        return right

    def _forget_check(self, digest: bytes, done: asyncio.Task[bool]) -> None:
        if self._checks.get(digest) is done:
            del self._checks[digest]


AUTHENTICATOR: web.AppKey[Authenticator] = web.AppKey("runflow_authenticator", Authenticator)
"""Where the application keeps the password of its ComfyUI."""
