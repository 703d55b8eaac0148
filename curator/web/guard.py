"""Who may ask: this machine's own browser with the token, and nobody else. Pure ASGI, around everything.

A page of another site can make a browser send requests here, and a name that resolves to this machine can make it send
them with any `Host`; other users of the machine reach the port too. So each request is judged by its Host, by where the
browser says that it comes from, and by a token that the browser keeps as a cookie.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_LONGEST = 1_000  # characters of a path: numbers and names in it are short
_SAFE = ("GET", "HEAD")
_BODIES = ("application/json", "application/octet-stream", "image/")  # none of which a form of another site can send
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


@dataclass(frozen=True)
class Guard:
    """Lets a request through to `app`, or answers 403 with the reason in words.

    `hosts` are further names that may stand in `Host`, beside localhost and loopback addresses. Each of `once` lets in
    as the token does, one time: for an address that others may see, as in the command that opens a browser.
    """

    app: App
    port: int
    token: str
    hosts: tuple[str, ...] = ()
    once: set[str] = field(default_factory=set)

    @property
    def cookie(self) -> str:
        """Its name: one for each port, as cookies do not tell ports apart."""
        return f"curator-{self.port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        if len(scope["path"]) > _LONGEST:
            await _answer(send, 404, [(b"content-type", b"text/plain; charset=utf-8")], "This address is too long.\n")
            return
        headers = _headers(scope)
        problem = self._foreign(scope["method"], headers)
        pairs = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        if problem is None and scope["method"] == "GET" and "token" in dict(pairs):
            said = dict(pairs)["token"]
            if self._is_token(said) or said in self.once:
                self.once.discard(said)
                await self._welcome(scope["path"], [p for p in pairs if p[0] != "token"], send)
                return
            problem = "this token is not the one of this index"
        if problem is None and not self._may_enter(headers):
            problem = "open the address that `curator web` printed, which holds the token; it stays in this browser"
        if problem is not None:
            await _answer(send, 403, [(b"content-type", b"text/plain; charset=utf-8")], f"Refused: {problem}.\n")
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = dict(message) | {"headers": [*message.get("headers", []), *_own_headers()]}
            await send(message)

        await self.app(scope, receive, guarded)

    def _foreign(self, method: str, headers: dict[str, list[str]]) -> str | None:
        """Why a request is not of this page, in words; None where it may be."""
        hosts, origins, sites = (headers.get(name, []) for name in ("host", "origin", "sec-fetch-site"))
        if len(hosts) != 1 or not self._is_local(hosts[0]):
            return "this address is not this machine's own"
        if any(site not in ("same-origin", "none") for site in sites):
            return "the request comes from another site"
        if any(origin != f"http://{hosts[0]}" for origin in origins):
            return "the request comes from another origin"
        if method in _SAFE:
            return None
        if not (sites or origins or headers.get("authorization")):
            return "a change must say where it comes from"
        body = headers.get("content-type", [""])[0].lower()
        return None if body.startswith(_BODIES) else "a change takes application/json"

    def _is_local(self, host: str) -> bool:
        name, _, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
        if not name:
            name, port = host, "80"
        if (port or "80") != str(self.port):
            return False
        name = name.lower().removeprefix("[").removesuffix("]")
        if name == "localhost" or name in {host.lower() for host in self.hosts}:
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False

    def _is_token(self, said: str) -> bool:
        return hmac.compare_digest(said.encode(), self.token.encode())

    def _may_enter(self, headers: dict[str, list[str]]) -> bool:
        kind, _, said = next(iter(headers.get("authorization", [])), "").partition(" ")
        if kind.lower() == "bearer":
            return self._is_token(said.strip())
        # Other tools of this machine leave cookies here too, in whatever form.
        pairs = [pair.strip().partition("=") for line in headers.get("cookie", []) for pair in line.split(";")]
        return any(name == self.cookie and self._is_token(value) for name, _, value in pairs)

    async def _welcome(self, path: str, pairs: list[tuple[str, str]], send: Send) -> None:
        """Leave the token as a cookie, and take it out of the address."""
        place = "/" + path.lstrip("/") + (f"?{urlencode(pairs)}" if pairs else "")
        cookie = f"{self.cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/; Max-Age=31536000"
        await _answer(send, 303, [(b"location", place.encode("latin-1", "replace")), (b"set-cookie", cookie.encode())])


def _headers(scope: Scope) -> dict[str, list[str]]:
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return headers


def _own_headers() -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in _HEADERS.items()]


async def _answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], text: str = "") -> None:
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *_own_headers()]})
    await send({"type": "http.response.body", "body": text.encode()})
