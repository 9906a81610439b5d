"""What can go wrong with an outgoing request. Each message is a sentence that names the host and never more of the URL:

paths and query strings of strangers hold tokens, and these sentences end up in records and logs.
"""


class OutgoingError(Exception):
    """An outgoing request did not succeed."""

    def __init__(self, host: str, message: str) -> None:
        """Keep the host (`name` or `name:port`) beside the sentence."""
        self.host = host
        super().__init__(message)


class InvalidUrl(OutgoingError):
    """The URL is not one that may be requested: not http(s), without a host, or with credentials in it."""


class BlockedAddress(OutgoingError):
    """The target, or a redirect of it, leads to an address or a scheme that outgoing requests may not reach."""


class TooManyRedirects(OutgoingError):
    """The target redirects more often than we follow."""


class OutgoingTimeout(OutgoingError):
    """The target did not answer in the time that the whole request has."""


class OutgoingConnectionError(OutgoingError):
    """The name does not resolve, the connection fails, or what comes back is not HTTP."""


class TooLarge(OutgoingError):
    """The answer is larger than the caller accepts."""

    def __init__(self, host: str, limit: int) -> None:
        """`limit` in bytes."""
        self.limit = limit
        super().__init__(host, f"{host} sent more than the {limit} bytes that are accepted here.")


class EncodedContent(OutgoingError):
    """The answer is compressed although it was asked for as it is; it is not unpacked, because that has no bound."""

    def __init__(self, host: str, encoding: str) -> None:
        """`encoding` is the answer's Content-Encoding."""
        super().__init__(
            host, f"{host} sent the file with Content-Encoding {encoding[:40]!r}. Serve it without compression."
        )


class HttpStatusError(OutgoingError):
    """The answer's status is not a success."""

    def __init__(self, host: str, status: int) -> None:
        """`status` is the answer's HTTP status."""
        self.status = status
        super().__init__(host, f"{host} answered with HTTP status {status}.")
