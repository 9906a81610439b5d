"""An S3 of our own as a process: moto's server, which believes everyone, behind a door that checks signed URLs.

    python tests/storage/s3_server.py PORT ACCESS_KEY SECRET_KEY [CERTIFICATE KEY]

It checks them as S3 does: AWS Signature Version 4 in the query, written from the specification and not with the
library that signs: expiry, signature, and that every signed header came as it was signed. Requests that sign in a
header pass. With `UNCONDITIONAL` in the environment it knows no `If-None-Match`, as some services do not.
"""

import hashlib
import hmac
import os
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, quote

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

Respond = Callable[..., Any]
UNCONDITIONAL = "S3_SERVER_UNCONDITIONAL"


class Door:
    """WSGI: lets a request pass, or answers 403 as S3 does."""

    def __init__(self, inner: Any, access_key: str, secret_key: str) -> None:
        self.inner, self.access_key, self.secret_key = inner, access_key, secret_key
        self.conditional = os.environ.get(UNCONDITIONAL) is None

    def __call__(self, environ: dict[str, Any], respond: Respond) -> Iterable[bytes]:
        query = dict(parse_qsl(environ["QUERY_STRING"], keep_blank_values=True))
        fault = None
        if environ["PATH_INFO"].startswith("/moto-api"):
            pass
        elif "X-Amz-Signature" in query:
            fault = self.fault(environ, query)
        elif environ["REQUEST_METHOD"] != "OPTIONS" and f"Credential={self.access_key}/" not in environ.get(
            "HTTP_AUTHORIZATION", ""
        ):
            fault = "InvalidAccessKeyId"
        if not self.conditional:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        if fault is None:
            return self.inner(environ, respond)  # type: ignore[no-any-return]
        respond("403 Forbidden", [("Content-Type", "application/xml"), ("Connection", "close")])
        return [f"<Error><Code>{fault}</Code><Message>Refused.</Message></Error>".encode()]

    def fault(self, environ: dict[str, Any], query: dict[str, str]) -> str | None:
        signature = query.pop("X-Amz-Signature")
        access_key, day, region, service, ending = query["X-Amz-Credential"].split("/")
        if access_key != self.access_key:
            return "InvalidAccessKeyId"
        signed_at = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if datetime.now(UTC) > signed_at + timedelta(seconds=int(query["X-Amz-Expires"])):
            return "AccessDenied"
        names = query["X-Amz-SignedHeaders"].split(";")
        request = "\n".join(
            [
                environ["REQUEST_METHOD"],
                environ["RAW_URI"].partition("?")[0],
                "&".join(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in sorted(query.items())),
                *(f"{name}:{header(environ, name)}" for name in names),
                "",
                ";".join(names),
                "UNSIGNED-PAYLOAD",
            ]
        )
        scope = f"{day}/{region}/{service}/{ending}"
        hashed = hashlib.sha256(request.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{query['X-Amz-Date']}\n{scope}\n{hashed}"
        key = f"AWS4{self.secret_key}".encode()
        for part in (day, region, service, ending):
            key = hmac.digest(key, part.encode(), "sha256")
        expected = hmac.digest(key, text.encode(), "sha256").hex()
        return None if hmac.compare_digest(expected, signature) else "SignatureDoesNotMatch"


def header(environ: dict[str, Any], name: str) -> str:
    """Return a header as it was sent."""
    key = name.upper().replace("-", "_")
    found = environ.get(key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}", "")
    return " ".join(str(found).split())


if __name__ == "__main__":
    port, access_key, secret_key, *certificate = sys.argv[1:]
    app = Door(DomainDispatcherApplication(create_backend_app), access_key, secret_key)
    tls = (certificate[0], certificate[1]) if certificate else None
    run_simple("127.0.0.1", int(port), app, threaded=True, ssl_context=tls)
