"""Where an S3-compatible bucket is, by the settings: for whoever stores in it or lets requests reach it."""

import os
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket; `prefix` is empty or `some/folder`, `endpoint` the service's address without a slash at the end.

    `path_style` puts the bucket's name into the path (`https://host/bucket/key`), else it is part of the host.
    """

    name: str
    prefix: str
    region: str
    endpoint: str
    path_style: bool

    @classmethod
    def of(cls, url: str, endpoint: str | None, region: str | None, path_style: bool | None) -> Self:
        """Read `s3://bucket/prefix`. Without an endpoint it is Amazon's, else one in path style unless told otherwise.

        Raises ValueError, saying what is wrong.
        """
        parts = urlsplit(url)
        if parts.scheme != "s3" or not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError("the storage URL has the form s3://BUCKET or s3://BUCKET/PREFIX")
        region = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or DEFAULT_REGION
        if endpoint is None:
            ending = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
            service = f"https://s3.{region}.{ending}"
        else:
            service = endpoint.rstrip("/")
            where = urlsplit(service)
            if where.scheme not in ("http", "https") or not where.hostname or where.path or where.query:
                raise ValueError("the storage endpoint has the form https://HOST or http://HOST:PORT")
            # Clients leave a scheme's own port out of the Host header, which is part of what is signed.
            service = service.removesuffix(":443" if where.scheme == "https" else ":80")
        by_path = endpoint is not None if path_style is None else path_style
        return cls(parts.netloc, parts.path.strip("/"), region, service, by_path)

    @property
    def base(self) -> str:
        """What the address of every object begins with: scheme and host, in path style the bucket's name too."""
        if self.path_style:
            return f"{self.endpoint}/{self.name}"
        scheme, _, host = self.endpoint.partition("://")
        return f"{scheme}://{self.name}.{host}"

    @property
    def origin(self) -> str:
        """Scheme and host of every object's address."""
        scheme, _, rest = self.base.partition("://")
        return f"{scheme}://{rest.partition('/')[0]}"

    @property
    def store_endpoint(self) -> str:
        """The address as obstore wants it: with the bucket's name where that is part of the host, else without."""
        return self.endpoint if self.path_style else self.base

    def __str__(self) -> str:
        """Name the bucket for people."""
        return f"s3://{self.name}" + (f"/{self.prefix}" if self.prefix else "")
