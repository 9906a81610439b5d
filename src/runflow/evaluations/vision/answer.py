"""What the model has to answer, checked before anything of it is used. Pure."""

from enum import StrEnum
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

MAX_ISSUES = 10


class Category(StrEnum):
    """What a vision-language model may call a fault: statistics count by these."""

    ANATOMY = "anatomy"
    ARTIFACTS = "artifacts"
    COMPOSITION = "composition"
    CONTENT = "content"
    LIGHTING = "lighting"
    PROMPT_ADHERENCE = "prompt_adherence"
    REFERENCE_FIDELITY = "reference_fidelity"
    STYLE = "style"
    TEXT = "text"
    OTHER = "other"


class InvalidAnswer(ValueError):
    """The model's answer is not what was asked for; the text says what is wrong, for the model to mend."""


def _printable(text: str) -> str:
    return "".join(char for char in text if char.isprintable() or char == "\n").strip()


Sentence = Annotated[str, Field(max_length=2000), AfterValidator(_printable)]


class VisionIssue(BaseModel):
    """One fault that the model sees."""

    model_config = ConfigDict(extra="ignore")

    category: Category
    subcategory: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,59}$")]
    detail: Sentence
    severity: Annotated[str, Field(pattern="^(low|medium|high)$")]


class VisionAnswer(BaseModel):
    """The model's verdict. `check` repeats a word of the instructions, which a picture cannot know."""

    model_config = ConfigDict(extra="ignore")

    check: str
    passed: bool
    score: Annotated[float, Field(ge=0, le=1)]
    confidence: Annotated[float, Field(ge=0, le=1)]
    reasoning: Sentence
    strengths: Annotated[list[Sentence], Field(max_length=MAX_ISSUES)]
    issues: Annotated[list[VisionIssue], Field(max_length=MAX_ISSUES)]


def answer_schema() -> dict[str, Any]:
    """Return the JSON schema of the answer, in the form that strict structured output wants."""
    issue = {
        "category": {"type": "string", "enum": [category.value for category in Category]},
        "subcategory": {"type": "string", "description": "Two or three words in snake_case, e.g. extra_finger."},
        "detail": {"type": "string"},
        "severity": {"type": "string", "enum": ["low", "medium", "high"]},
    }
    fields = {
        "check": {"type": "string"},
        "passed": {"type": "boolean"},
        "score": {"type": "number", "description": "0 (unusable) to 1 (flawless)."},
        "confidence": {"type": "number", "description": "0 to 1."},
        "reasoning": {"type": "string"},
        "strengths": {"type": "array", "items": {"type": "string"}},
        "issues": {"type": "array", "items": _closed(issue)},
    }
    return _closed(fields)


def _closed(fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def read_answer(text: str, check: str) -> VisionAnswer:
    """Return the checked answer. Raises `InvalidAnswer`.

    A Markdown fence around the JSON is removed, because models without structured output like to write one.
    """
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        raise InvalidAnswer("The answer holds no JSON object.")
    try:
        content = orjson.loads(text[start : end + 1])
    except orjson.JSONDecodeError as error:
        raise InvalidAnswer(f"The answer is not valid JSON: {error.msg.split(':')[0]}.") from None
    try:
        answer = VisionAnswer.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InvalidAnswer(f"`{'.'.join(map(str, first['loc']))}`: {first['msg']}.") from None
    if answer.check != check:
        raise InvalidAnswer("`check` is not the word of the instructions.")
    if answer.passed != (answer.score >= 0.5):
        raise InvalidAnswer("`passed` and `score` contradict each other: a score of 0.5 and more is a pass.")
    return answer
