"""Our signed URLs are the ones that botocore would make."""

from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from runflow.s3_location import Bucket
from runflow.storage.s3_presign import MAX_SECONDS, presigned

CREDENTIALS = [Credentials("AKID", "secret+/="), Credentials("AKID", "other", "token/+=")]
BUCKETS = [
    Bucket.of("s3://b", None, "eu-central-1", None),
    Bucket.of("s3://b/some prefix", "http://127.0.0.1:9000", "us-east-1", None),
    Bucket.of("s3://b", "https://minio.example.com:443", "auto", True),
]


def of_botocore(
    bucket: Bucket,
    credentials: Any,
    method: str,
    key: str,
    seconds: int,
    headers: Any,
    query: dict[str, str],
    date: str,
) -> str:
    path = quote(f"{bucket.prefix}/{key}" if bucket.prefix else key, safe="/~")
    asked = "&".join(f"{name}={quote(value, safe='~')}" for name, value in query.items())
    request = AWSRequest(method, f"{bucket.base}/{path}" + (f"?{asked}" if asked else ""), headers=headers)
    with patch("botocore.auth.get_current_datetime") as now:
        now.return_value = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        S3SigV4QueryAuth(credentials, "s3", bucket.region, expires=seconds).add_auth(request)
    return str(request.url)


def parts(url: str) -> tuple[str, dict[str, str]]:
    split = urlsplit(url)
    return f"{split.scheme}://{split.netloc}{split.path}", dict(parse_qsl(split.query, keep_blank_values=True))


names = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\"), min_size=1, max_size=20)


@given(
    bucket=st.sampled_from(BUCKETS),
    credentials=st.sampled_from(CREDENTIALS),
    key=st.lists(names.filter(lambda name: name not in (".", "..")), min_size=1, max_size=3).map("/".join),
    name=names,
    seconds=st.integers(1, MAX_SECONDS),
    size=st.integers(0, 10**10),
)
def test_as_botocore_signs(bucket: Bucket, credentials: Any, key: str, name: str, seconds: int, size: int) -> None:
    for method, headers, query in (
        (
            "GET",
            {},
            {"response-content-type": "image/png", "response-content-disposition": f'inline; filename="{name}"'},
        ),
        ("PUT", {"Content-Type": "a/b; c=d", "Content-Length": str(size)}, {}),
    ):
        ours = presigned(bucket, credentials, method, key, seconds=seconds, headers=headers, query=query)
        date = parts(ours)[1]["X-Amz-Date"]
        theirs = of_botocore(bucket, credentials, method, key, seconds, headers, query, date)
        assert parts(ours) == parts(theirs)


@pytest.mark.parametrize(("asked", "given_"), [(0, "1"), (-5, "1"), (60, "60"), (10**7, str(MAX_SECONDS))])
def test_no_longer_than_a_week(asked: int, given_: str) -> None:
    url = presigned(BUCKETS[0], CREDENTIALS[0], "GET", "a/b", seconds=asked)
    assert parts(url)[1]["X-Amz-Expires"] == given_
