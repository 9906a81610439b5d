"""Server-Sent Events of a run, followed through every break of the connection."""

import json
import time
from dataclasses import dataclass, field

from runflow.client.effects import Emit, Iteration, Pause, line, opened
from runflow.client.errors import RunflowError, RunflowUnreachable, RunTimeout
from runflow.client.exchange import Patience, Session, build, checked
from runflow.client.records import Event

NOTHING_MORE = 204
"""The server's answer to one who has seen the end."""


@dataclass
class Parser:
    """Puts lines together to events, as the HTML standard says: a field per line, an empty line at the end."""

    number: str = ""
    """Of the last event; what goes on behind it is asked for by it."""
    _kind: str = "message"
    _data: list[str] = field(default_factory=list)

    def feed(self, text: str) -> Event | None:
        """Take a line without its end; return the event that it ends."""
        name, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            self.number = value
        elif name == "event":
            self._kind = value
        elif name == "data":
            self._data.append(value)
        elif not text:
            kind, data = self._kind, self._data
            self._kind, self._data = "message", []
            return Event(self.number, kind, json.loads("\n".join(data))) if data else None
        return None


def follow(
    session: Session, run_id: str, last_event_id: str | None = None, timeout: float | None = None
) -> Iteration[Event]:
    """Emit the events of a run until its end, from behind `last_event_id` on: none is missing, none comes twice.

    Raises `ApiError`, `RunflowUnreachable` when the stream stays away for `retry_seconds`, and `RunTimeout` soon after
    `timeout` seconds: at the next event, or comment of the server's, which come every 15 seconds.
    """
    began = time.monotonic()
    last = last_event_id or ""
    patience = Patience(session)
    while True:
        try:
            headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
            request = build(session, "GET", f"/v1/runs/{run_id}/events", headers=headers)
            answer = checked(session, (yield from opened(request)))
            if answer.status == NOTHING_MORE:
                return
            parser = Parser(last)
            while (text := (yield from line())) is not None:
                patience.heard()  # a comment is enough: a node may compute for minutes
                if timeout is not None and time.monotonic() - began >= timeout:
                    raise RunTimeout(run_id, timeout)
                event = parser.feed(text)
                if event is None:
                    continue
                yield Emit(event)
                patience.renew()
                last = event.number
                if event.is_end:
                    return
            raise RunflowUnreachable(f"The events of the run {run_id} broke off.")
        except RunflowError as error:
            yield Pause(patience.pause(error))
