"""The judge that looks at the picture as a person would: a vision-language model of the operator's choice.

It waits for another machine rather than computing, so it works in the server's event loop, on the small copies that the
judging process made: bytes that a caller sent never reach the model's endpoint as they are.
"""

import asyncio
import contextlib
import random
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Self

import structlog

from runflow.evaluations.vision.answer import InvalidAnswer, VisionAnswer, answer_schema, read_answer
from runflow.evaluations.vision.endpoint import Endpoint, EndpointError
from runflow.evaluations.vision.prompt import messages
from runflow.settings import Settings

log = structlog.get_logger()

ATTEMPTS = 3
PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 10.0
TOTAL_FACTOR = 2.0
"""All attempts together may take this many times the time limit of one."""

_FORMATS: tuple[dict[str, Any] | None, ...] = (
    {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": answer_schema()}},
    {"type": "json_object"},
    None,
)
"""Ways to ask for JSON, best first. Endpoints that do not know one answer 400 or 422, and the next one is taken."""


class VisionJudge:
    """Asks a vision-language model."""

    name = "vision_language"
    category = "vision"
    description = "A vision-language model finds the image fit for its task, true to its prompt and free of artifacts."
    weight = 2.0

    def __init__(self, endpoint: Endpoint, timeout: float) -> None:
        """Take the endpoint and the time limit of one request, in seconds."""
        self._endpoint = endpoint
        self._seconds = timeout * TOTAL_FACTOR
        self._format = 0

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        """Return the judge that the operator configured; None where there is no `RUNFLOW_VLM_URL`."""
        if settings.vlm_url is None:
            return None
        key = settings.vlm_api_key.get_secret_value() if settings.vlm_api_key else None
        timeout = settings.vlm_timeout_seconds
        return cls(Endpoint(settings.vlm_url, settings.vlm_model or "", key, timeout), timeout)

    async def close(self) -> None:
        """Close every connection."""
        await self._endpoint.close()

    async def judge(self, task: Mapping[str, Any], images: Sequence[tuple[str, bytes]]) -> dict[str, Any]:
        """Return the verdict in the form of the other judges' (`judges.process.spoken`).

        `images` are (what it is, JPEG bytes), the generated one first. Where the model gives no usable answer, the
        judge could not tell, and says why: its `passed` is None.
        """
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._seconds):
                answer = await self._ask(task, images)
        except TimeoutError:
            return self._could_not("it did not answer in time", started)
        except EndpointError as error:
            return self._could_not(error.reason, started)
        except InvalidAnswer as error:
            return self._could_not(f"its answers were not usable: {error}", started)
        return {
            **self._introduced(started),
            "passed": answer.passed,
            "score": answer.score,
            "confidence": answer.confidence,
            "reasoning": answer.reasoning,
            "strength": answer.strengths[0] if answer.strengths else None,
            "issues": [issue.model_dump(mode="json") for issue in answer.issues],
        }

    async def _ask(self, task: Mapping[str, Any], images: Sequence[tuple[str, bytes]]) -> VisionAnswer:
        check = secrets.token_hex(8)
        conversation = messages(task, images, boundary=secrets.token_hex(16), check=check)
        attempt = 0
        while True:
            attempt += 1
            try:
                text = await self._answer(conversation)
                try:
                    return read_answer(text, check)
                except InvalidAnswer as error:
                    if attempt >= ATTEMPTS:
                        raise
                    # The fault is told, the faulty answer is not repeated: it may hold what a picture dictated.
                    complaint = f"Your answer was not usable. {error} Answer again, with the JSON object only."
                    conversation = _with(conversation, complaint)
            except EndpointError as error:
                if error.is_final or attempt >= ATTEMPTS:
                    raise
                pause = max(error.retry_after, PAUSE_SECONDS * 2 ** (attempt - 1))
                await asyncio.sleep(min(pause, LONGEST_PAUSE_SECONDS) * random.uniform(0.8, 1.2))  # noqa: S311

    async def _answer(self, conversation: list[dict[str, Any]]) -> str:
        """Ask in the best way that this endpoint is known to understand."""
        while True:
            tried = self._format
            try:
                return await self._endpoint.ask(conversation, _FORMATS[tried])
            except EndpointError as error:
                if error.status not in (400, 422) or tried + 1 >= len(_FORMATS):
                    raise
                self._format = max(self._format, tried + 1)

    def _could_not(self, reason: str, started: float) -> dict[str, Any]:
        log.warning("the vision-language model gave no verdict", reason=reason)
        said = f"The vision-language model gave no verdict: {reason}. The other judges decided."
        nothing: dict[str, Any] = {"passed": None, "score": None, "confidence": 0.0, "strength": None, "issues": []}
        return {**self._introduced(started), **nothing, "reasoning": said}

    def _introduced(self, started: float) -> dict[str, Any]:
        return {
            "name": self.name,
            "description": self.description,
            "category": self.category,
            "is_gate": False,
            "weight": self.weight,
            "duration_ms": round((time.perf_counter() - started) * 1000),
        }


def _with(conversation: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """Add a text to the one user message: some models take no second one in a row."""
    system, user = conversation
    return [system, {**user, "content": [*user["content"], {"type": "text", "text": text}]}]


@contextlib.asynccontextmanager
async def configured_vision_judge(settings: Settings) -> AsyncIterator[VisionJudge | None]:
    """Give the configured judge, or None, and close it in the end."""
    judge = VisionJudge.from_settings(settings)
    try:
        yield judge
    finally:
        if judge is not None:
            await judge.close()
