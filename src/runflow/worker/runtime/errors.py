"""What can go wrong while a runtime is built."""


class InstallError(Exception):
    """A runtime could not be built. The message names what failed, where, and the next step."""


class SourceRefused(InstallError):
    """The asked commit, version or source cannot be had here. The message says why and what can be had."""


class Declined(InstallError):
    """The person at the terminal, or the lack of one, said no to a large download."""


class EnvironmentDamaged(InstallError):
    """The Python environment has everything, but it does not import. The message says what and why."""
