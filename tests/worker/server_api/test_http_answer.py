"""Answers as they may come: in any pieces, of any length, and such as nobody should believe."""

import pytest

from runflow.worker.server_api.http_answer import AnswerReader, BadAnswer

PLAIN = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;more=1\r\nlo\r\n0\r\nX-Trailer: 1\r\n\r\n"
)


def read(*pieces: bytes) -> AnswerReader:
    reader = AnswerReader()
    complete = [reader.feed(piece) for piece in pieces]
    assert not any(complete[:-1])
    assert complete[-1]
    return reader


@pytest.mark.parametrize("answer", [PLAIN, CHUNKED], ids=["length", "chunks"])
def test_an_answer_may_come_in_any_pieces(answer: bytes) -> None:
    for pieces in ([answer], [answer[place : place + 1] for place in range(len(answer))]):
        reader = read(*pieces)
        assert (reader.status, reader.body, reader.keeps_connection) == (200, b"hello", True)


def test_interim_answers_are_passed_over() -> None:
    assert read(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + PLAIN).body == b"hello"


@pytest.mark.parametrize("status", [204, 304])
def test_some_answers_have_no_body(status: int) -> None:
    reader = read(b"HTTP/1.1 %d X\r\nContent-Length: 7\r\n\r\n" % status)
    assert (reader.status, reader.body) == (status, b"")


def test_without_a_length_the_answer_ends_with_its_connection() -> None:
    reader = AnswerReader()
    assert not reader.feed(b"HTTP/1.1 200 OK\r\n\r\nhello")
    assert reader.end()
    assert (reader.body, reader.keeps_connection) == (b"hello", False)


@pytest.mark.parametrize("part", [b"", PLAIN[:20], PLAIN[:-1], CHUNKED[:-4]])
def test_a_connection_that_breaks_off_ends_no_answer(part: bytes) -> None:
    reader = AnswerReader()
    if part:
        assert not reader.feed(part)
    assert not reader.end()


@pytest.mark.parametrize(
    ("answer", "keeps"),
    [
        (b"HTTP/1.1 200 OK\r\nConnection: Upgrade, Close\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", True),
        (PLAIN + b"HTTP/1.1 200 OK\r\n", False),
        (CHUNKED + b"x", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", False),
    ],
    ids=["close", "1.0", "1.0 kept", "more than asked", "more than asked, chunks", "two lengths"],
)
def test_whether_the_connection_may_be_used_again(answer: bytes, keeps: bool) -> None:
    assert read(answer).keeps_connection is keeps


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: 1\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 5000,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    ],
    ids=lambda answer: repr(answer[:60]),
)
def test_what_is_no_answer_is_refused(answer: bytes) -> None:
    with pytest.raises(BadAnswer):
        AnswerReader().feed(answer)
