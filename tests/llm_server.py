"""A chat endpoint on loopback that speaks the OpenAI protocol, records every request, and fails as it is told.

    with LLMServer(answer=lambda asked: f"A bird called {asked.words}.") as server:
        ...  # base URL: server.url

Each request is answered by the next of ``faults`` while there are any, then by ``answer``, which returns a text, or a
:class:`Told` for anything else. ``server.asked`` holds all chat requests in the order in which they came.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request for a completion."""

    body: dict[str, Any]
    """What was sent: ``model``, ``messages``, ``max_tokens`` and so on."""
    headers: dict[str, str]
    """With names in lower case."""
    at_s: float
    """When it came, by the monotonic clock."""

    @property
    def messages(self) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = self.body["messages"]
        return messages

    @property
    def words(self) -> str:
        """All texts of the conversation, one after another; pictures are left out."""
        return "\n".join(text for message in self.messages for text in texts_of(message["content"]))


def texts_of(content: Any) -> list[str]:  # noqa: ANN401 - JSON of any shape
    """Return the texts of a message's content, a string or a list of parts."""
    return [content] if isinstance(content, str) else [part["text"] for part in content if "text" in part]


@dataclass(frozen=True, kw_only=True)
class Told:
    """An answer in all its details; with nothing but ``text`` it is a good one."""

    text: str | None = "All is well."
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """What is sent instead of a completion."""
    content_type: str = "application/json"
    delay_s: float = 0.0
    cut: bool = False
    """Whether the connection is cut halfway through the body."""
    finish: str = "stop"
    usage: bool = True
    """Whether the tokens are counted."""


def too_many(retry_after: str | None = None) -> Told:
    """Return 429, with or without ``Retry-After``."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return Told(status=429, headers=headers, body=error_body("too many requests"))


def failing(status: int, words: str = "something broke") -> Told:
    return Told(status=status, body=error_body(words))


def error_body(words: str) -> bytes:
    return json.dumps({"error": {"message": words, "type": "error", "code": None}}).encode()


HTML = Told(body=b"<!DOCTYPE html><html><body>Welcome</body></html>", content_type="text/html")
MALFORMED = Told(body=b'{"choices": [{"message": {"content": "half a')
WRONG_SCHEMA = Told(body=b'{"result": "a bird"}')
CUT = Told(cut=True)
REFUSAL = Told(text="I'm sorry, but I can't help with that.")
ENDLESS = Told(text="feathers " * 11_112)
"""A reply of 100,000 characters."""


class LLMServer:
    """The server; listens from the beginning of its ``with`` block to the end.

    Attributes:
        asked: The chat requests so far.
        faults: Answers that come first; may be added to at any time.
        most_at_once: The most requests that were under way at one time.
    """

    def __init__(
        self,
        *,
        answer: Callable[[Asked], str | Told] = lambda asked: "All is well.",
        faults: Iterable[Told] = (),
        key: str = "",
        models: tuple[str, ...] = ("small",),
        latency_s: float = 0.0,
        tokens: Callable[[str], int] = lambda text: len(text.split()),
        port: int = 0,
    ) -> None:
        """Make a server.

        Args:
            answer: Returns the answer to a request.
            faults: Answers that come first, whatever is asked.
            key: If given, requests without it are refused.
            models: Names of the models; requests for another one are refused.
            latency_s: Seconds that every completion takes.
            tokens: Counts the tokens of a text; words count as tokens when left out.
            port: Where to listen; 0 takes a free one.
        """
        self.answer, self.faults, self.key, self.models, self.latency_s = answer, list(faults), key, models, latency_s
        self.tokens = tokens
        self.asked: list[Asked] = []
        self.most_at_once = 0
        self._at_once = 0
        self._turn = threading.Lock()
        self._server = _Listener(("127.0.0.1", port), _handler_of(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def decide(self, asked: Asked) -> Told:
        """Record a request and return what it is answered."""
        with self._turn:
            self.asked.append(asked)
            if self.key and asked.headers.get("authorization") != f"Bearer {self.key}":
                return failing(401, f"Incorrect API key provided: {asked.headers.get('authorization', 'none')}.")
            if asked.body["model"] not in self.models:
                return failing(404, f"The model {asked.body['model']} does not exist")
            if self.faults:
                return self.faults.pop(0)
        found = self.answer(asked)
        return Told(text=found) if isinstance(found, str) else found

    @contextlib.contextmanager
    def counting(self) -> Any:  # noqa: ANN401 - a context without a value
        """Count a request while it is under way."""
        with self._turn:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            yield
        finally:
            with self._turn:
                self._at_once -= 1


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that are killed leave broken pipes behind, which tests mean to happen."""


def _handler_of(server: LLMServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: object) -> None:
            del format, args

        def do_GET(self) -> None:
            if self.path != "/v1/models":
                self._send(failing(404, "no such path"))
                return
            listing = {"object": "list", "data": [{"id": name, "object": "model"} for name in server.models]}
            self._send(Told(body=json.dumps(listing).encode()))

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path != "/v1/chat/completions":
                self._send(failing(404, "no such path"))
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(body=json.loads(sent), headers=headers, at_s=time.monotonic())
            with server.counting():
                told = server.decide(asked)
                time.sleep(told.delay_s or server.latency_s)
            self._send(told, asked)

        def _send(self, told: Told, asked: Asked | None = None) -> None:
            body = (
                told.body if told.body is not None or asked is None else completion(told, asked, tokens=server.tokens)
            )
            content = body or b""
            self.send_response(told.status)
            self.send_header("Content-Type", told.content_type)
            self.send_header("Content-Length", str(len(content)))
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if told.cut else content)
            self.close_connection = told.cut

    return Handler


def completion(told: Told, asked: Asked, *, tokens: Callable[[str], int]) -> bytes:
    """Return a completion as the protocol has it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": told.text}, "finish_reason": told.finish}
    counts = {"prompt_tokens": tokens(asked.words), "completion_tokens": tokens(told.text or "")}
    content: dict[str, Any] = {"id": "x", "object": "chat.completion", "model": asked.body["model"]}
    content |= {"choices": [choice]} | ({"usage": counts} if told.usage else {})
    return json.dumps(content, ensure_ascii=False).encode()
