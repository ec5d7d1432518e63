"""Who may see the pages of a server of the package, and who may press their buttons.

A page belongs to whoever started its server. On this machine's own address everybody on the machine may open it;
on any other address a token is needed. Other web sites open in the same browser must neither read it (the `Host`
header is checked against DNS rebinding; no cross-origin reads) nor press its buttons (posts need the same origin and
a header that forms cannot send).
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import html
import ipaddress
import urllib.parse
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keras_actrec.errors import UserError

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
READING = ("GET", "HEAD")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Content security policy of all pages that set none of their own: this server, and nobody else."""
PROTECTION = {
    "content-security-policy": POLICY,
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
COOKIE_AGE_SEC = 30 * 24 * 3600
_SIGN_IN = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Token needed</title></head>
<body style="font: 16px/1.5 system-ui, sans-serif; margin: 3rem auto; max-width: 26rem; padding: 0 1rem">
<h1 style="font-size: 1.3rem">This page needs a token</h1>
<p>%s</p>
<form method="get"><label>Token <input type="password" name="token" required autofocus></label>
<button>Open</button></form></body></html>
"""


@dataclasses.dataclass(frozen=True)
class Door:
    """What one server's door is called.

    Attributes:
        name: of the server; its cookie's name begins with it.
        header: a request that changes something carries this header, with any value; a form of another site cannot
            send it.
        token: where the token is set, such as "swarm.token".
        host: where the address is set, likewise.
    """

    name: str
    header: str
    token: str
    host: str


def is_loopback(host: str) -> bool:
    """Return whether an address or name can be reached from this machine only."""
    return host.lower() == "localhost" or _property(host, "is_loopback")


def is_everywhere(host: str) -> bool:
    """Return whether an address means all addresses of this machine (0.0.0.0 or ::)."""
    return _property(host, "is_unspecified")


def require_token(door: Door, host: str, token: str | None) -> None:
    """Raise a `UserError` where a token is needed and missing."""
    if token is not None and not token:
        raise UserError(f"expected a token of at least one character in {door.token}, but it is empty")
    if token is None and not is_loopback(host):
        raise UserError(
            f"expected {door.token}, because the page at host {host} can be reached from other machines, but there is "
            f"none: set {door.token} to a long random word, or {door.host} to 127.0.0.1"
        )


class Gate:
    """ASGI middleware that lets a request through, or answers it: 401, 403.

    Args:
        app: what is behind it.
        door: what it is called.
        host: address that the server listens at.
        token: password; None: nobody is asked for one.
        open_paths: paths whose routes, and those below them, check for themselves who asks; with a slash at the end:
            those below alone. They are spared the token and the rules for posts, not the check of the `Host` header.
    """

    def __init__(
        self, app: ASGIApp, *, door: Door, host: str, token: str | None, open_paths: Sequence[str] = ()
    ) -> None:
        self._app = app
        self._door = door
        self._hosts = None if is_everywhere(host) else {*LOOPBACK_NAMES, host.lower().strip("[]")}
        self._takes_addresses = not is_loopback(host)
        self._keys = Keys(door, token) if token is not None else None
        self._open_paths = tuple(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._handle(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})  # the page has none

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope)
        cookie = self._new_cookie(scope) if refusal is None else None

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in PROTECTION.items():
                    headers.setdefault(name, value)
                if cookie is not None:
                    headers.append("set-cookie", cookie)
            await send(message)

        await (refusal or self._app)(scope, receive, protected)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if not self._is_ours(host_name(headers.get("host", ""))):
            names = ", ".join(sorted(self._hosts or ()))
            return PlainTextResponse(f"This server answers to the names {names} only.", 403)
        if any(_is_in(scope["path"], path) for path in self._open_paths):
            return None
        if self._keys is not None and not self._keys.fit(scope):
            return _ask_for_token(self._door, scope)
        if scope["method"] not in READING and not is_own_page(self._door, headers):
            return PlainTextResponse(
                f"Expected a request of this server's own page, with the header {self._door.header}; "
                "other sites may not post.",
                403,
            )
        return None

    def _is_ours(self, name: str) -> bool:
        # Where the server listens at a name, programs may know its address instead; rebinding needs a name.
        return self._hosts is None or name in self._hosts or (self._takes_addresses and _is_address(name))

    def _new_cookie(self, scope: Scope) -> str | None:
        if self._keys is None or not self._keys.in_query(scope):
            return None
        return self._keys.cookie(secure=scope.get("scheme") == "https")


class Keys:
    """The ways to prove that one knows the token: a header, a cookie, and once, to get the cookie, the address."""

    def __init__(self, door: Door, token: str) -> None:
        self._token = token.encode()
        digest = hashlib.sha256(self._token).hexdigest()
        # Browsers share cookies among the ports of a host: two servers with different tokens need different names.
        self._cookie_name = f"{door.name}-{digest[:8]}"
        self._cookie_value = hmac.new(
            self._token, f"cookie of the {door.name}'s page".encode(), hashlib.sha256
        ).hexdigest()

    def fit(self, scope: Scope) -> bool:
        """Return whether a request proves that it knows the token."""
        headers = Headers(scope=scope)
        kind, _, word = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return _equal(word.strip().encode("latin-1"), self._token)  # bytes as they were sent
        cookie = cookie_parser(headers.get("cookie", "")).get(self._cookie_name, "")
        return _equal(cookie.encode(), self._cookie_value.encode()) or self.in_query(scope)

    def in_query(self, scope: Scope) -> bool:
        """Return whether the address of a request that only reads has the token."""
        if scope["method"] not in READING:
            return False
        return _equal(QueryParams(scope["query_string"]).get("token", "").encode(), self._token)

    def cookie(self, *, secure: bool) -> str:
        """Return the value of a Set-Cookie header."""
        rules = f"Path=/; Max-Age={COOKIE_AGE_SEC}; HttpOnly; SameSite=Strict{'; Secure' if secure else ''}"
        return f"{self._cookie_name}={self._cookie_value}; {rules}"


def host_name(header: str) -> str:
    """Return the name in a Host header, without port and brackets, in lower case; "" where it holds none."""
    if not _is_plain(header):
        return ""
    try:
        return (urllib.parse.urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:  # brackets that are not closed, or hold no address
        return ""


def is_own_page(door: Door, headers: Headers) -> bool:
    """Return whether a post comes from the server's own page, or from a program that is no browser."""
    if door.header not in headers or headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == headers.get("host")


def _ask_for_token(door: Door, scope: Scope) -> Response:
    headers = {"www-authenticate": "Bearer"}
    if scope["path"].startswith("/api/"):
        return PlainTextResponse("Expected the token: Authorization: Bearer TOKEN", 401, headers)
    given = "token" in QueryParams(scope["query_string"])
    text = "The token is wrong." if given else f"It was set with {door.token}."
    return HTMLResponse(_SIGN_IN % html.escape(text), 401, headers)


def _is_in(path: str, opened: str) -> bool:
    return path == opened or path.startswith(opened if opened.endswith("/") else f"{opened}/")


def _equal(first: bytes, second: bytes) -> bool:
    return hmac.compare_digest(first, second)


def _is_plain(header: str) -> bool:
    return bool(header) and not set(header) & set("/?#@\\ \t")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _property(host: str, name: str) -> bool:
    host = host.strip("[]")
    return _is_address(host) and bool(getattr(ipaddress.ip_address(host), name))
