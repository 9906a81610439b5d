"""Who we are to a bucket: given keys, or whatever the machine provides (profile, role, container, environment)."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import botocore.session
import structlog
from botocore.credentials import Credentials, RefreshableCredentials

from runflow import errors

if TYPE_CHECKING:
    from obstore.store import S3Credential

log = structlog.get_logger()

LOOK_SECONDS = 60
"""How often temporary credentials are looked at; botocore renews them a quarter of an hour before they end."""


class BucketCredentials:
    """Credentials that can be read at any time without waiting."""

    def __init__(self, source: Any) -> None:
        """Take botocore's credentials. Blocking where they come over the network."""
        self._source = source
        self._frozen = source.get_frozen_credentials()
        self._renewing: asyncio.Task[None] | None = None

    @classmethod
    async def find(cls, access_key: str | None, secret_key: str | None) -> "BucketCredentials":
        """Return the given keys, else what AWS's usual chain finds. Raises `Unavailable` when there is nothing."""
        if access_key is not None and secret_key is not None:
            return cls(Credentials(access_key, secret_key))
        found = await asyncio.to_thread(_of_this_machine)
        if isinstance(found._source, RefreshableCredentials):
            found._renewing = asyncio.create_task(found._keep_fresh(), name="bucket credentials")
        return found

    @property
    def current(self) -> Any:
        """What to sign with now: `access_key`, `secret_key`, `token`."""
        return self._frozen

    def for_obstore(self) -> "S3Credential":
        """Return the same in obstore's form; it asks again when they may have changed."""
        until = None if self._renewing is None else datetime.now(UTC) + timedelta(seconds=2 * LOOK_SECONDS)
        credential: S3Credential = {
            "access_key_id": self._frozen.access_key,
            "secret_access_key": self._frozen.secret_key,
            "token": self._frozen.token,
            "expires_at": until,
        }
        return credential

    async def close(self) -> None:
        """Stop renewing."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                self._frozen = await asyncio.to_thread(self._source.get_frozen_credentials)
            except Exception as error:
                # botocore raises whatever its sources do. The old ones may hold a while longer.
                log.warning("the bucket's credentials could not be renewed, trying again", error=str(error))


def _of_this_machine() -> BucketCredentials:
    try:
        source = botocore.session.get_session().get_credentials()
        if source is not None:
            return BucketCredentials(source)
        reason = "none were found"
    except Exception as error:
        reason = str(error)
    raise errors.Unavailable(
        f"There are no credentials for the bucket of RUNFLOW_STORAGE_URL ({reason}). Set RUNFLOW_STORAGE_ACCESS_KEY "
        "and RUNFLOW_STORAGE_SECRET_KEY, or give this machine a role or a profile in AWS's usual ways."
    )
