"""One request to an endpoint of the OpenAI chat protocol: bounded in time and size, errors in our words.

The address is the operator's own setting, so it may lie in a private network: the guard for addresses that others chose
has no say here. Redirects are not followed, so the key goes nowhere else.
"""

import re
from typing import Any

import httpx
import orjson

MAX_ANSWER_BYTES = 1024 * 1024
AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Statuses after which another try may succeed."""


class EndpointError(Exception):
    """The endpoint gave no answer. `is_final`: trying again would not help; `retry_after` in seconds, if it said so."""

    def __init__(self, reason: str, *, is_final: bool, status: int | None = None, retry_after: float = 0.0) -> None:
        self.reason = reason
        self.is_final = is_final
        self.status = status
        self.retry_after = retry_after
        super().__init__(reason)


class Endpoint:
    """`POST {url}/chat/completions`."""

    def __init__(self, url: str, model: str, api_key: str | None, timeout: float) -> None:
        """Take the base URL, e.g. `http://10.0.0.5:8000/v1`; `timeout` in seconds, for a whole request."""
        self._url = url.rstrip("/") + "/chat/completions"
        self._model = model
        # What is compressed can grow a thousandfold before its size is known.
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
        self._client = httpx.AsyncClient(headers=headers, timeout=timeout, follow_redirects=False)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def ask(self, messages: list[dict[str, Any]], response_format: dict[str, Any] | None) -> str:
        """Return the text of the model's answer. Raises `EndpointError`."""
        body: dict[str, Any] = {"model": self._model, "messages": messages, "temperature": 0, "max_tokens": 2000}
        if response_format is not None:
            body["response_format"] = response_format
        try:
            content = orjson.dumps(body)
            headers = {"Content-Type": "application/json"}
            async with self._client.stream("POST", self._url, content=content, headers=headers) as response:
                status, raw = response.status_code, await _read(response)
                retry_after = response.headers.get("retry-after", "")
        except httpx.TimeoutException:
            raise EndpointError("it did not answer in time", is_final=False) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise EndpointError(f"it cannot be reached ({type(error).__name__})", is_final=False) from error
        if status != 200:
            seconds = float(retry_after) if re.fullmatch(r"[0-9]{1,9}", retry_after) else 0.0
            reason = f"it answered with HTTP status {status}"
            raise EndpointError(reason, is_final=status not in AGAIN, status=status, retry_after=seconds)
        return _text(raw)


async def _read(response: httpx.Response) -> bytes:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise EndpointError("it sent a compressed answer, which was not asked for", is_final=False)
    held = bytearray()
    async for chunk in response.aiter_raw():
        held += chunk
        if len(held) > MAX_ANSWER_BYTES:
            raise EndpointError(f"its answer is larger than {MAX_ANSWER_BYTES} bytes", is_final=False)
    return bytes(held)


def _text(raw: bytes) -> str:
    try:
        text = orjson.loads(raw)["choices"][0]["message"]["content"]
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError):
        raise EndpointError("its answer is not one of the chat protocol", is_final=False) from None
    if not isinstance(text, str):
        raise EndpointError("its answer holds no text", is_final=False)
    return text
