"""Identifiers in order of time, tokens in the alphabet that clients accept."""

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

from runflow.ids import new_id, new_token, smallest_id, token_hash


def test_ids_are_uuid7_in_order() -> None:
    ids = [new_id() for _ in range(100)]
    assert ids == sorted(ids) and len(set(ids)) == 100
    assert {one.version for one in ids} == {7}


def test_the_smallest_id_of_a_moment() -> None:
    before, fresh = datetime.now(UTC) - timedelta(seconds=1), new_id()
    assert smallest_id(before) < fresh < smallest_id(before + timedelta(seconds=10))
    assert smallest_id(datetime(1970, 1, 1, tzinfo=UTC)) == UUID(int=0)


def test_tokens_match_what_the_js_sdk_accepts() -> None:
    token = new_token("rf_live_")
    assert re.fullmatch(r"rf_live_[a-z0-9]{40}", token)
    assert token != new_token("rf_live_")
    assert len(token_hash(token)) == 32
