"""Every attack of the hostile suite by its name, with what it tries, as docs/security.md lists them.

Those that the pack or a workflow of stock nodes does by itself say so beside their code. The others need two tenants,
or somebody outside who ends processes, and are tests of tests/e2e/hostile by themselves: they stand here.
"""

from tests.support.hostile_pack.pack import ATTACKS, SMUGGLES
from tests.support.stock_attacks import LEAVINGS, READINGS

REACHING = (
    "worker-token",
    "master-key",
    "database",
    "home",
    "inherited-descriptors",
    "environment",
    "other-processes",
    "ptrace",
    "signals",
    "slow-down-others",
    "other-engine-sockets",
    "take-the-port",
    "become-root",
    "new-user-namespace",
    "mounts",
    "outside-root",
    "interpreter-overwrite",
    "devices",
    "kernel-settings",
    "kernel-interfaces",
    "loopback-services",
    "cloud-metadata",
    "private-networks",
    "internet",
    "raw-network",
    "vsock",
    "descriptors",
)
"""Attacks that tell by themselves, at once, what they got."""

SCENARIOS: dict[str, str] = {
    "model-by-name": "another tenant's uploaded model by its name, and one of its own in the place of the other's",
    "stored-by-folder": "another tenant's stored picture and thumbnail by a loader of data sets",
    "colours": "in 500 runs of two tenants in turns, under names that both use, a pixel of the other's colour",
}
"""Attacks that are whole tests."""


def every_attack() -> dict[str, str]:
    """Return what each attack tries, by its name, in the order of the page."""
    return {
        **{name: found.tries for name, found in ATTACKS.items()},
        **{name: found.tries for name, found in SMUGGLES.items()},
        **{name: found.tries for name, found in READINGS.items()},
        **{name: tries for name, (_, _, tries) in LEAVINGS.items()},
        **SCENARIOS,
    }
