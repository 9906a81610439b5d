"""What callers order while faults strike: each a colour of its own, repeated until the server has said yes."""

import contextlib
import io
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx
from PIL import Image

from benchmarks.chaos.callbacks import Callbacks
from benchmarks.chaos.machine import Hang
from benchmarks.workflows import Prompt, trivial

CALLERS = 12
ANSWER_SECONDS = 4.0
WAIT_SECONDS = 2
PAUSE_SECONDS = 0.2
CORNER_PIXELS = 64
NOISE_PIXELS = 840
AGAIN = (408, 409, 429)
"""Answers after which a caller tries again, beside all of 500 and above (docs/api.md, "Errors")."""


@dataclass
class Order:
    """One run as its caller knows it. `refusals` are answers that no caller should get."""

    ref: str
    colour: int
    workflow: str
    run_id: str | None = None
    run: dict[str, Any] | None = None
    pictures: list[int | str] = field(default_factory=list)
    """The colour of each output's corner; text where there is none."""
    refusals: list[str] = field(default_factory=list)
    tries: int = 0


def slow() -> Prompt:
    """The same picture in the corner of a large one of noise.

    The engine needs about a second for it, so that faults meet runs that are executed, and its 2 MB are more than a
    completion brings along, so that they meet uploads.
    """
    prompt = trivial()
    large = {"width": 2048, "height": 2048, "upscale_method": "lanczos", "crop": "disabled"}
    noisy = {**large, "width": NOISE_PIXELS, "height": NOISE_PIXELS}
    prompt["3"] = {"class_type": "ImageScale", "inputs": {"image": ["2", 0], **large}}
    prompt["4"] = {"class_type": "ImageScale", "inputs": {"image": ["3", 0], **noisy}}
    prompt["5"] = {"class_type": "ImageAddNoise", "inputs": {"image": ["4", 0], "seed": ["1", 0], "strength": 1.0}}
    corner = {"destination": ["5", 0], "source": ["2", 0], "x": 0, "y": 0, "resize_source": False}
    prompt["6"] = {"class_type": "ImageCompositeMasked", "inputs": corner}
    prompt["9"]["inputs"]["value"] = ["6", 0]
    return prompt


class Refused(Exception):
    """An answer that says no for good."""


class Callers:
    """Dispatches orders and follows each to its picture, from threads of its own."""

    def __init__(self, url: str, key: str, callbacks: Callbacks, patience: float) -> None:
        """`url` leads through the network that fails; `patience` is how long nothing may move at all, in seconds."""
        self.orders: list[Order] = []
        self._callbacks = callbacks
        self._patience = patience
        self._moved = time.monotonic()
        self._http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=ANSWER_SECONDS,
            limits=httpx.Limits(max_connections=CALLERS * 2), trust_env=False,
        )  # fmt: skip
        self._threads = ThreadPoolExecutor(CALLERS, thread_name_prefix="chaos-caller")
        self._futures: dict[str, Future[None]] = {}
        self._lock = threading.Lock()
        self._workflows: list[str] = []
        self._closing = False

    def deploy(self) -> None:
        """Deploy the two workflows."""
        for name, prompt in (("Quick", trivial()), ("Slow", slow())):
            body = {"name": name, "workflow_json": prompt}
            made = self._ask(None, "POST", "/v1/comfyui-workflows", json=body, key=f"deploy-{name}")
            self._workflows.append(made.json()["path"])

    def order(self, count: int) -> list[Order]:
        """Begin so many orders, every other with the slow workflow, and return them."""
        made = []
        self._moved = time.monotonic()
        for _ in range(count):
            with self._lock:
                number = len(self.orders)
                order = Order(f"order-{number}", (1 + number * 2_654_435) % 2**24, self._workflows[number % 2])
                self.orders.append(order)
            self._futures[order.ref] = self._threads.submit(self._follow, order)
            made.append(order)
        return made

    def ended(self) -> bool:
        """Tell whether every order has come to its end. Raises `Hang` when nothing moves any more."""
        for future in self._futures.values():
            if not future.done():
                if time.monotonic() - self._moved > self._patience:
                    raise Hang(f"no run has ended for {self._patience:.0f} s")
                return False
            future.result()
        return True

    def close(self) -> None:
        """Give up what is under way."""
        self._closing = True
        self._threads.shutdown(cancel_futures=True)
        self._http.close()

    def _follow(self, order: Order) -> None:
        try:
            self._dispatch(order)
            while order.run is None or not order.run["is_terminal"]:
                path = f"/v1/runs/{order.run_id}?wait={WAIT_SECONDS}"
                order.run = self._ask(order, "GET", path, timeout=ANSWER_SECONDS + WAIT_SECONDS).json()
            for output in (order.run["output"] or {}).get("outputs", []):
                order.pictures.append(_colour(self._ask(order, "GET", output["url"]).content))
        except Refused:
            pass
        self._moved = time.monotonic()

    def _dispatch(self, order: Order) -> None:
        body = {
            "input": {"colour": order.colour},
            "client_ref": order.ref,
            "callback_url": self._callbacks.url(order.ref),
        }
        path = f"/v1/comfyui-workflows/{order.workflow}/runs"
        order.run_id = self._ask(order, "POST", path, json=body, key=order.ref).json()["id"]

    def _ask(self, order: Order | None, method: str, path: str, *, key: str = "", **more: Any) -> httpx.Response:
        """Send a request until it is answered. Raises `Refused`."""
        headers = {"Idempotency-Key": key} if key else {}
        while not self._closing:
            if order is not None:
                order.tries += 1
            with contextlib.suppress(httpx.TransportError):
                answer = self._http.request(method, path, headers=headers, **more)
                if answer.is_success:
                    return answer
                if answer.status_code < 500 and answer.status_code not in AGAIN:
                    said = f"{method} {path.partition('?')[0]}: {answer.status_code} {answer.text[:200]}"
                    if order is not None:
                        order.refusals.append(said)
                    raise Refused(said)
            time.sleep(PAUSE_SECONDS)
        raise Refused("the callers were closed")


def _colour(content: bytes) -> int | str:
    try:
        with Image.open(io.BytesIO(content)) as picture:
            corner = picture.convert("RGB").crop((0, 0, CORNER_PIXELS, CORNER_PIXELS))
            colours = corner.getcolors(maxcolors=1)
    except OSError as error:
        return f"no picture: {error}"
    if colours is None:
        return "a corner of several colours"
    red, green, blue = colours[0][1]  # type: ignore[misc]
    return int(red) << 16 | int(green) << 8 | int(blue)
