"""Signed URLs of a bucket: AWS Signature Version 4 in the query, which every S3-compatible store checks.

Our own few lines, because they stand on the path of every file of every list: botocore takes 140 µs for a URL, this a
tenth of it, and obstore signs neither headers nor the name and type under which a file is answered. The tests compare
each URL with botocore's.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from runflow.s3_location import Bucket

MAX_SECONDS = 7 * 24 * 3600
"""No such URL may live longer (AWS Signature Version 4)."""
_ALGORITHM = "AWS4-HMAC-SHA256"


def presigned(
    bucket: Bucket,
    credentials: Any,
    method: str,
    key: str,
    *,
    seconds: int,
    headers: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
) -> str:
    """Return a URL that allows one request, which has to send exactly these headers, for `seconds` (a week at most)."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    day = stamp[:8]
    scope = f"{day}/{bucket.region}/s3/aws4_request"
    signed = {"host": bucket.origin.partition("://")[2]}
    signed |= {name.lower(): " ".join(value.split()) for name, value in (headers or {}).items()}
    names = ";".join(sorted(signed))
    asked = {
        "X-Amz-Algorithm": _ALGORITHM,
        "X-Amz-Credential": f"{credentials.access_key}/{scope}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(max(1, min(seconds, MAX_SECONDS))),
        "X-Amz-SignedHeaders": names,
        **(query or {}),
    }
    if credentials.token:
        asked["X-Amz-Security-Token"] = credentials.token
    url = f"{bucket.base}/{quote(f'{bucket.prefix}/{key}' if bucket.prefix else key, safe='/~')}"
    search = "&".join(f"{name}={quote(value, safe='~')}" for name, value in sorted(asked.items()))
    lines = [f"{name}:{signed[name]}" for name in sorted(signed)]
    request = "\n".join([method, url.removeprefix(bucket.origin), search, *lines, "", names, "UNSIGNED-PAYLOAD"])
    text = f"{_ALGORITHM}\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = hmac.digest(_signing_key(credentials.secret_key, day, bucket.region), text.encode(), "sha256").hex()
    return f"{url}?{search}&X-Amz-Signature={signature}"


@lru_cache(maxsize=4)
def _signing_key(secret_key: str, day: str, region: str) -> bytes:
    key = f"AWS4{secret_key}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
