"""Signed URLs of a bucket: AWS Signature Version 4 in the query, which every S3-compatible store checks.

botocore signs. obstore could, but neither headers nor the name and type under which a file is answered.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest

from runflow.bucket import Bucket

MAX_SECONDS = 7 * 24 * 3600
"""No such URL may live longer (AWS Signature Version 4)."""


def presigned(
    bucket: Bucket,
    credentials: Any,
    method: str,
    key: str,
    *,
    seconds: int,
    headers: Mapping[str, str] | None = None,
    query: Mapping[str, str | None] | None = None,
) -> str:
    """Return a URL that allows one request, which has to send exactly these headers, for `seconds` (a week at most)."""
    path = quote(f"{bucket.prefix}/{key}" if bucket.prefix else key, safe="/~")
    asked = urlencode({name: value for name, value in (query or {}).items() if value}, quote_via=quote)
    request = AWSRequest(method, f"{bucket.base}/{path}" + (f"?{asked}" if asked else ""), headers=dict(headers or {}))
    signer = S3SigV4QueryAuth(credentials, "s3", bucket.region, expires=max(1, min(seconds, MAX_SECONDS)))
    signer.add_auth(request)
    url: str = request.url
    return url
