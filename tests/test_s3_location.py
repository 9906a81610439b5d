import pytest
from pydantic import ValidationError

from runflow.s3_location import Bucket
from runflow.settings import Settings


@pytest.mark.parametrize(
    ("url", "endpoint", "region", "path_style", "base"),
    [
        ("s3://b", None, None, None, "https://b.s3.us-east-1.amazonaws.com"),
        ("s3://b/some/folder/", None, "eu-central-1", None, "https://b.s3.eu-central-1.amazonaws.com"),
        ("s3://my.bucket", None, "cn-north-1", True, "https://s3.cn-north-1.amazonaws.com.cn/my.bucket"),
        ("s3://b", "http://minio:9000/", None, None, "http://minio:9000/b"),
        ("s3://b", "https://x.r2.cloudflarestorage.com", "auto", False, "https://b.x.r2.cloudflarestorage.com"),
    ],
)
def test_where_objects_are(
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    endpoint: str | None,
    region: str | None,
    path_style: bool | None,
    base: str,
) -> None:
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    bucket = Bucket.of(url, endpoint, region, path_style)
    assert bucket.base == base
    assert base.startswith(bucket.origin) and bucket.origin.count("/") == 2


def test_name_and_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    bucket = Bucket.of("s3://b/some/folder/", None, None, None)
    assert (bucket.name, bucket.prefix, bucket.region, str(bucket)) == (
        "b",
        "some/folder",
        "eu-west-1",
        "s3://b/some/folder",
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"storage_url": "https://b.example.com"}, "s3://BUCKET"),
        ({"storage_url": "s3://"}, "s3://BUCKET"),
        ({"storage_url": "s3://key:secret@b"}, "s3://BUCKET"),
        ({"storage_url": "s3://b", "storage_endpoint": "minio:9000"}, "https://HOST"),
        ({"storage_url": "s3://b", "storage_endpoint": "http://minio/path"}, "https://HOST"),
        ({"storage_access_key": "a"}, "belong together"),
        ({"output_retention_days": "0"}, "greater than or equal to 1"),
        ({"run_retention_days": "sometimes"}, "integer"),
    ],
)
def test_bad_settings_are_refused(values: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Settings(**values)  # type: ignore[arg-type]


def test_days_or_never() -> None:
    settings = Settings(output_retention_days="never", run_retention_days="400")  # type: ignore[arg-type]
    assert (settings.output_retention_days, settings.event_retention_days, settings.run_retention_days) == (
        None,
        7,
        400,
    )
