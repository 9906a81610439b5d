"""Answers of HTTP/1.1, read from the bytes of a connection as they come (RFC 9112)."""

_LONGEST_HEAD = 64 * 1024
_LONGEST_CHUNK_LINE = 4096
MOST_BYTES = 64 * 1024 * 1024
"""An answer is read into memory, and an engine can say whatever a node makes it say."""
_HEXADECIMAL = frozenset(b"0123456789abcdefABCDEF")
_WITHOUT_BODY = (204, 304)


class BadAnswer(ConnectionError):
    """What came is no answer of HTTP/1.1."""


class AnswerTooLong(BadAnswer):
    """The answer has more bytes than are read of it."""


class AnswerReader:
    """Reads one answer to a request that is not HEAD. `status` and `body` are set when it is complete.

    It has at most `most_bytes`.
    """

    __slots__ = (
        "_buffer",
        "_chunks",
        "_has_head",
        "_is_chunked",
        "_length",
        "_most_bytes",
        "body",
        "has_begun",
        "keeps_connection",
        "status",
    )

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.status = 0
        self.body = b""
        self.has_begun = False
        """Whether anything of it came."""
        self.keeps_connection = False
        """Whether the connection may carry another request afterwards."""
        self._buffer = bytearray()
        self._has_head = False
        self._length: int | None = None
        self._is_chunked = False
        self._chunks = bytearray()
        self._most_bytes = most_bytes

    def feed(self, data: bytes) -> bool:
        """Take what came; return whether the answer is complete. Raises `BadAnswer`."""
        self.has_begun = True
        self._buffer += data
        if len(self._buffer) + len(self._chunks) > self._most_bytes:
            raise AnswerTooLong(f"The answer has more than {self._most_bytes >> 20} MiB")
        if not self._has_head and not self._read_head():
            return False
        if self._is_chunked:
            return self._read_chunks()
        if self._length is None or len(self._buffer) < self._length:
            return False
        self.body = bytes(self._buffer[: self._length])
        self._is_complete(self._length)
        return True

    def end(self) -> bool:
        """Take the end of the connection; return whether it is the end of the answer, too."""
        if not self._has_head or self._is_chunked or self._length is not None:
            return False
        self.body = bytes(self._buffer)
        self.keeps_connection = False
        return True

    def _read_head(self) -> bool:
        """Read the head of the final answer; interim ones (1xx) are passed over."""
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if max(end, len(self._buffer) if end < 0 else 0) > _LONGEST_HEAD:
                raise BadAnswer("The head of the answer is too long")
            if end < 0:
                return False
            first, *fields = bytes(self._buffer[:end]).split(b"\r\n")
            del self._buffer[: end + 4]
            version, code = first[:9], first[9:12]
            if version not in (b"HTTP/1.1 ", b"HTTP/1.0 ") or len(code) < 3 or not code.isdigit():
                raise BadAnswer("The answer is not HTTP/1.1")
            self.status = int(code)
            if not 100 <= self.status < 200:
                self._has_head = True
                self._read_fields(fields, is_newer=version == b"HTTP/1.1 ")
                return True
            if self.status == 101:
                raise BadAnswer("The answer leaves HTTP/1.1")

    def _read_fields(self, fields: list[bytes], *, is_newer: bool) -> None:
        wishes: set[bytes] = set()
        for field in fields:
            name, colon, value = field.partition(b":")
            if not colon or not name or name[-1:].isspace() or name[:1].isspace():
                raise BadAnswer("A header of the answer cannot be read")
            match name.lower():
                case b"content-length":
                    self._length = self._read_length(value.strip())
                case b"transfer-encoding":
                    if value.strip().lower() != b"chunked":
                        raise BadAnswer("The transfer encoding of the answer is not known")
                    self._is_chunked = True
                case b"connection":
                    wishes |= {wish.strip() for wish in value.lower().split(b",")}
        self.keeps_connection = b"close" not in wishes if is_newer else b"keep-alive" in wishes
        if self.status in _WITHOUT_BODY:
            self._length, self._is_chunked = 0, False
        elif self._is_chunked and self._length is not None:
            # Somebody on the way may have believed the other one.
            self.keeps_connection = False

    def _read_length(self, value: bytes) -> int:
        if not value.isdigit() or self._length not in (None, int(value)):
            raise BadAnswer("The length of the answer cannot be read")
        return int(value)

    def _read_chunks(self) -> bool:
        while True:
            end = self._buffer.find(b"\r\n")
            if end < 0 or end > _LONGEST_CHUNK_LINE:
                if len(self._buffer) > _LONGEST_CHUNK_LINE:
                    raise BadAnswer("The length of a part of the answer is too long")
                return False
            text = bytes(self._buffer[:end]).partition(b";")[0].strip()
            if not text or not _HEXADECIMAL.issuperset(text):
                raise BadAnswer("The length of a part of the answer cannot be read")
            size = int(text, 16)
            if size == 0:
                return self._read_trailer(end)
            after = end + 2 + size
            if len(self._buffer) < after + 2:
                return False
            if self._buffer[after : after + 2] != b"\r\n":
                raise BadAnswer("A part of the answer does not end where it should")
            self._chunks += self._buffer[end + 2 : after]
            del self._buffer[: after + 2]

    def _read_trailer(self, start: int) -> bool:
        end = self._buffer.find(b"\r\n\r\n", start)
        if end < 0:
            if len(self._buffer) > _LONGEST_HEAD:
                raise BadAnswer("The end of the answer is too long")
            return False
        self.body = bytes(self._chunks)
        self._is_complete(end + 4)
        return True

    def _is_complete(self, end: int) -> None:
        if len(self._buffer) > end:
            # More than was asked for: what follows cannot be trusted to be the next answer.
            self.keeps_connection = False
