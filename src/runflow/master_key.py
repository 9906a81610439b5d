"""The installation's master key: one secret from which every other internal key is derived.

Stored secrets are sealed with AES-256-GCM under a key of their purpose. An envelope is: format (1 byte), id of the
master key (8), nonce (12), ciphertext and tag. What it belongs to is authenticated along, so an envelope that is copied
to another row does not open there.
"""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from runflow.private_file import make_private, sync_folder

MINIMUM_LENGTH = 32

FILE = "secret.key"
NEXT_FILE = "secret.key.new"
"""In the home folder: the key in force, and during a rotation the one to come."""
FORMAT = b"\x01"
KEY_ID_BYTES = 8
NONCE_BYTES = 12
_HEADER_BYTES = len(FORMAT) + KEY_ID_BYTES


class MasterKeyError(Exception):
    """The master key cannot be read or is too short."""


class RotationUnfinished(MasterKeyError):
    """A rotation of the master key was interrupted. Run `runflow keys rotate-master` again: it goes on and finishes."""

    def __str__(self) -> str:
        return type(self).__doc__ or ""


class CannotDecrypt(MasterKeyError):
    """A stored secret does not open under this master key."""


class OtherMasterKey(CannotDecrypt):
    """A stored secret was encrypted under another master key."""


class MasterKey:
    """Derives independent keys by purpose; its own value never leaves this object."""

    def __init__(self, value: str) -> None:
        """Take the key's text; raises `MasterKeyError` under 32 characters."""
        if len(value) < MINIMUM_LENGTH:
            raise MasterKeyError(f"RUNFLOW_SECRET_KEY has {len(value)} characters; use at least {MINIMUM_LENGTH}.")
        self._value = value.encode()

    def __repr__(self) -> str:
        return "MasterKey(…)"

    def derive(self, purpose: str) -> bytes:
        """Return the 32-byte key for one purpose, e.g. `"urls"`; no key tells anything about another."""
        return hmac.new(self._value, b"runflow/" + purpose.encode(), hashlib.sha256).digest()

    @property
    def id(self) -> bytes:
        """8 bytes that tell this key from others and nothing else about it."""
        return self.derive("id")[:KEY_ID_BYTES]

    def encrypt(self, purpose: str, plain: bytes, belongs_to: str) -> bytes:
        """Seal `plain`. `belongs_to` names the one row that the envelope is for, e.g. its id."""
        header = FORMAT + self.id
        nonce = os.urandom(NONCE_BYTES)
        return header + nonce + self._cipher(purpose).encrypt(nonce, plain, header + belongs_to.encode())

    def decrypt(self, purpose: str, envelope: bytes, belongs_to: str) -> bytes:
        """Open what `encrypt` sealed for the same purpose and row.

        Raises `OtherMasterKey`, and `CannotDecrypt` for an envelope that was altered or belongs to something else.
        """
        header, nonce = envelope[:_HEADER_BYTES], envelope[_HEADER_BYTES : _HEADER_BYTES + NONCE_BYTES]
        if header[: len(FORMAT)] == FORMAT and not self.sealed(envelope):
            raise OtherMasterKey(
                "A stored secret was encrypted under another master key. Start the server with the RUNFLOW_SECRET_KEY "
                "(or secret.key) of then, or make the secret anew."
            )
        try:
            return self._cipher(purpose).decrypt(nonce, envelope[len(header + nonce) :], header + belongs_to.encode())
        except (InvalidTag, ValueError):
            raise CannotDecrypt("A stored secret was altered, or belongs to another row. Make it anew.") from None

    def sealed(self, envelope: bytes) -> bool:
        """Tell whether an envelope was made under this key: in a rotation, whether it is done already."""
        return envelope[len(FORMAT) : _HEADER_BYTES] == self.id

    def _cipher(self, purpose: str) -> AESGCM:
        return AESGCM(self.derive(f"encrypt/{purpose}"))


def load_or_create(home: Path, configured: str | None) -> MasterKey:
    """Return the configured key, else the one in `home/secret.key`, which is made on first use (mode 0600).

    Two processes that start together end up with the same key. Raises `MasterKeyError` when the file cannot be read,
    and `RotationUnfinished` while a new key waits beside it.
    """
    if configured:
        return MasterKey(configured)
    if (home / NEXT_FILE).exists():
        raise RotationUnfinished
    return _read_or_make(home / FILE)


def load_current(home: Path, configured: str | None) -> MasterKey:
    """Return the key that is in force, also in the middle of a rotation. Raises `MasterKeyError`."""
    return MasterKey(configured) if configured else _read_or_make(home / FILE)


def load_or_create_next(home: Path) -> MasterKey:
    """Return the key that a rotation leads to; one that was interrupted goes on with the key that it made."""
    return _read_or_make(home / NEXT_FILE)


def discard_next(home: Path) -> None:
    """Forget the key that a rotation led to, which changed nothing: servers start again."""
    (home / NEXT_FILE).unlink(missing_ok=True)


def promote_next(home: Path) -> None:
    """Put the next key in the place of the current one, whole or not at all: the rotation's last step."""
    (home / NEXT_FILE).replace(home / FILE)
    sync_folder(home)


def _read_or_make(path: Path) -> MasterKey:
    if not path.exists():
        # Of two processes that start together the first one's key is the one.
        make_private(path, secrets.token_hex(32) + "\n")
    try:
        text = path.read_text().strip()
    except OSError as error:
        raise MasterKeyError(
            f"Cannot read the master key {path}: {error.strerror}. Run as the user that owns it."
        ) from error
    except UnicodeDecodeError:
        text = ""
    if len(text) < MINIMUM_LENGTH:
        raise MasterKeyError(
            f"The master key {path} is empty, cut off or no text ({len(text)} characters). Restore it from the backup. "
            "Only where this home keeps nothing yet, remove the file: the next start makes a new one."
        )
    return MasterKey(text)
