"""The address under which this server is reached, for URLs that it gives out."""

from starlette.requests import Request

from runflow.settings import Settings


def base_url(request: Request, settings: Settings) -> str:
    """Return `RUNFLOW_PUBLIC_URL`, else the scheme and host that this request was sent to; no slash at the end."""
    if settings.public_url:
        return settings.public_url.rstrip("/")
    return f"{request.url.scheme}://{request.url.netloc}"
