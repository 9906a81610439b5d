"""The one HTTP client for addresses that others chose: callback targets, webhooks, inputs by URL.

`GuardedClient` resolves a host itself, checks every address and connects to exactly the one it checked, so neither a
redirect nor a second DNS answer leads into a private network (docs/security.md, "Outgoing requests").
"""

from runflow.outgoing.addresses import InvalidNetworks, parse_networks
from runflow.outgoing.client import Answer, Fetched, GuardedClient, HeadersFor, Opened
from runflow.outgoing.errors import (
    BlockedAddress,
    EncodedContent,
    HttpStatusError,
    InvalidUrl,
    OutgoingConnectionError,
    OutgoingError,
    OutgoingTimeout,
    TooLarge,
    TooManyRedirects,
)
from runflow.outgoing.urls import check_url

__all__ = [
    "Answer",
    "BlockedAddress",
    "EncodedContent",
    "Fetched",
    "GuardedClient",
    "HeadersFor",
    "HttpStatusError",
    "InvalidNetworks",
    "InvalidUrl",
    "Opened",
    "OutgoingConnectionError",
    "OutgoingError",
    "OutgoingTimeout",
    "TooLarge",
    "TooManyRedirects",
    "check_url",
    "parse_networks",
]
