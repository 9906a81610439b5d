"""Which storage an installation has."""

from runflow import extras
from runflow.errors import Unavailable
from runflow.master_key import MasterKey
from runflow.settings import Settings
from runflow.storage.local import LocalStorage
from runflow.storage.store import Storage
from runflow.tls import authorities


async def open_storage(settings: Settings, key: MasterKey) -> Storage:
    """Open the bucket of `RUNFLOW_STORAGE_URL`, else the folder below the home. Close it when done.

    Raises `Unavailable`, saying what to correct, when files cannot be stored there, and `CertificateUnusable`.
    """
    bucket = settings.bucket
    if bucket is None:
        return LocalStorage(settings.storage_dir, key, reserve_bytes=settings.storage_reserve_bytes)
    # Here, so that who has no bucket does not carry what one needs: 15 MB and a tenth of a second at the start.
    try:
        from runflow.storage.s3 import S3Storage
        from runflow.storage.s3_credentials import BucketCredentials
    except ModuleNotFoundError as error:
        raise Unavailable(extras.explained(error) or str(error)) from error

    access_key, secret_key = settings.storage_access_key, settings.storage_secret_key
    credentials = await BucketCredentials.find(
        access_key.get_secret_value() if access_key else None, secret_key.get_secret_value() if secret_key else None
    )
    storage = S3Storage(bucket, credentials, key, authorities=authorities(settings.ca_file))
    try:
        await storage.check()
    except BaseException:
        await storage.close()
        raise
    return storage
