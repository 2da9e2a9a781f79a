"""HTTP to an OpenAI-compatible server: one request, one answer, and the key stays between the two."""

import asyncio
import ipaddress
import json
import time
from collections.abc import Mapping
from typing import Self
from urllib.parse import urlsplit

import httpx2

from leadpp.errors import LLMError
from leadpp.text.address import checked_address
from leadpp.text.answers import Answer, Completion, PassingError, check_answer, read_completion, read_model_names

LARGEST_BYTES = 1 << 20
"""Bytes of an answer that are read."""
_LISTED = 8


class Endpoint:
    """A server that speaks the protocol, under one address.

    Redirects are not followed, so that the key goes where it was meant to and nowhere else. A server on this machine is
    reached directly; others through the proxy that the environment names, if it names one.

    Attributes:
        where: The address, for messages.
    """

    def __init__(self, base_url: str, *, key: str, timeout_s: float) -> None:
        """Connect to nothing yet.

        Args:
            base_url: Without ``/chat/completions``; it usually ends in ``/v1``.
            key: Sent as a bearer token; empty sends none.
            timeout_s: Seconds after which an answer is no longer waited for.

        Raises:
            LLMError: No web address, or one with a password or key in it.
        """
        self.where = checked_address(base_url)
        self._key, self._timeout_s = key, timeout_s
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        self._client = httpx2.AsyncClient(
            headers=headers | ({"Authorization": f"Bearer {key}"} if key else {}),
            timeout=timeout_s,
            limits=httpx2.Limits(max_connections=None),
            trust_env=not self.is_local,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections."""
        await self._client.aclose()

    @property
    def is_local(self) -> bool:
        """Whether the server runs on this machine."""
        host = urlsplit(self.where).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    @property
    def shows_key(self) -> bool:
        """Whether the key travels in plain sight."""
        return bool(self._key) and not self.is_local and urlsplit(self.where).scheme == "http"

    async def complete(self, body: Mapping[str, object]) -> Completion:
        """Have a conversation completed.

        Args:
            body: The request, as the protocol has it; ``model`` and ``messages`` among it.

        Raises:
            PassingError: No answer this time.
            RefusedError: The server refuses this request.
            LLMError: The server cannot be used as asked.
        """
        answer = await self._exchange("POST", "/chat/completions", body)
        try:
            check_answer(answer, where=self.where, scrub=self._scrub, now=time.time())
        except LLMError as error:
            names = await self._model_names() if answer.status == 404 else []
            if names:
                raise LLMError(f"{error}; its models: {', '.join(names)}") from error
            raise
        return read_completion(answer, where=self.where, scrub=self._scrub)

    async def _model_names(self) -> list[str]:
        """Return the first models that the server names; none if it does not want to."""
        try:
            answer = await self._exchange("GET", "/models", None)
        except PassingError:
            return []
        names = [self._scrub(name)[:80] for name in read_model_names(answer.body)]
        return [*names[:_LISTED], *(["…"] if len(names) > _LISTED else [])]

    async def _exchange(self, method: str, path: str, body: Mapping[str, object] | None) -> Answer:
        try:
            async with asyncio.timeout(self._timeout_s):  # of the whole exchange; the client's own is between two bytes
                return await self._send(method, path, body)
        except (TimeoutError, httpx2.ReadTimeout, httpx2.WriteTimeout) as error:
            raise PassingError(f"{self.where} did not answer within {self._timeout_s:g} s", taken_on=True) from error
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
            reason = self._scrub(str(error)) or type(error).__name__
            raise PassingError(f"{self.where} cannot be reached ({reason})", unreachable=True) from error
        except httpx2.RequestError as error:
            reason = self._scrub(str(error)) or type(error).__name__
            raise PassingError(f"{self.where} broke off its answer ({reason})", taken_on=True) from error

    async def _send(self, method: str, path: str, body: Mapping[str, object] | None) -> Answer:
        content = None if body is None else json.dumps(body).encode()
        kind = {} if body is None else {"Content-Type": "application/json"}
        async with self._client.stream(method, self.where + path, content=content, headers=kind) as response:
            read = bytearray()
            async for piece in response.aiter_bytes():
                read += piece
                if len(read) > LARGEST_BYTES:
                    raise PassingError(f"{self.where} answers more than {LARGEST_BYTES >> 20} MiB", taken_on=True)
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answer(status=response.status_code, headers=headers, body=bytes(read))

    def _scrub(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text
