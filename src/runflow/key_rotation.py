"""A new master key for an installation, so that an interrupted rotation is finished by running it again.

The old key stays in force until everything is done under the new one: stored secrets are sealed anew in one transaction
(each tells under which key it is), then the database roles get their new passwords, and last the new key takes the old
one's place in a single rename. Until then no server starts (`RotationUnfinished`).
"""

from collections.abc import Callable

from runflow.db import roles
from runflow.db.exclusive import exclusive, require_no_server
from runflow.deliveries.secrets import reseal_all
from runflow.installation import Installation
from runflow.master_key import MasterKey


async def rotate(installation: Installation, next_key: Callable[[], MasterKey]) -> int:
    """Put everything that depends on the installation's key under a new one; return how many secrets were sealed anew.

    The caller then puts the new key in force. Run again after an interruption it does what is left. `next_key` is asked
    once no server runs: a rotation that was refused has not begun, and leaves nothing that keeps servers from starting.
    Raises `ServersRun`, and `CannotDecrypt` when a stored secret opens under neither key.
    """
    async with exclusive(installation.owner_url) as owner:
        new = next_key()
        # Gives the roles their passwords under the old key, whatever an interrupted rotation left.
        async with installation.database() as db, db.system() as transaction:
            count = await reseal_all(transaction, installation.key, new)
        await require_no_server(owner)
        await roles.provision(owner, new)
    return count
