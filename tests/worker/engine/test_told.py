"""What the messages tell of a prompt's end, and when they leave it to the history."""

from collections.abc import Mapping
from typing import Any

import pytest

from runflow.worker.engine.told import MOST_CHARACTERS, Told

Message = tuple[str, Mapping[str, Any]]

FILE = {"images": [{"filename": "a.png", "subfolder": "runs/a", "type": "output"}]}
START: Message = ("execution_start", {"timestamp": 1000})
NOTHING_CACHED: Message = ("execution_cached", {"nodes": []})
SAVED: Message = ("executed", {"node": "2", "display_node": "2", "output": FILE})
SUCCESS: Message = ("execution_success", {"timestamp": 1042})


def told(*messages: Message) -> Told:
    story = Told()
    for kind, data in messages:
        story.take(kind, data)
    return story


def test_a_prompt_whose_every_node_ran_is_told_in_full() -> None:
    state: Message = ("progress_state", {"nodes": {}})
    entry = told(START, NOTHING_CACHED, state, SAVED, SUCCESS, ("executing", {"node": None})).entry
    assert entry is not None
    assert entry["outputs"] == {"2": FILE}
    assert entry["status"]["status_str"] == "success"
    assert [message[1]["timestamp"] for message in entry["status"]["messages"]] == [1000, 1042]


def test_an_expanded_node_has_its_output_under_its_own_id() -> None:
    saved: Message = ("executed", {"node": "2.0.1", "display_node": "2", "output": FILE})
    entry = told(START, NOTHING_CACHED, saved, SUCCESS).entry
    assert entry is not None
    assert entry["outputs"] == {"2.0.1": FILE}


@pytest.mark.parametrize(
    "messages",
    [
        (NOTHING_CACHED, SAVED, SUCCESS),
        (START, SAVED, SUCCESS),
        (START, NOTHING_CACHED, SAVED),
        (START, ("execution_cached", {"nodes": ["1"]}), SAVED, SUCCESS),
        (START, NOTHING_CACHED, ("executed", {"node": "3", "output": None}), SAVED, SUCCESS),
        (START, NOTHING_CACHED, SAVED, ("execution_error", {"node_id": "2"})),
        (START, NOTHING_CACHED, SAVED, ("execution_interrupted", {"node_id": "2"})),
    ],
    ids=["no start", "no word of the cache", "no success", "cached", "a twin", "failed", "interrupted"],
)
def test_the_history_is_asked_where_messages_leave_a_doubt(messages: tuple[Message, ...]) -> None:
    assert told(*messages).entry is None


def test_a_lost_message_leaves_a_doubt() -> None:
    story = told(START, NOTHING_CACHED)
    story.doubt()
    for message in (SAVED, SUCCESS):
        story.take(*message)
    assert story.entry is None


def test_what_is_told_at_too_great_a_length_is_not_kept() -> None:
    story = told(START, NOTHING_CACHED)
    for number in range(4):
        story.take("executed", {"node": str(number), "output": FILE}, MOST_CHARACTERS // 3)
    story.take(*SUCCESS)
    assert story.entry is None, "the history has a bound of its own"
