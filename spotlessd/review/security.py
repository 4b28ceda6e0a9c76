"""Stands before every address: who may ask, how much, and what every answer says about itself.

The page has power over a station's results, and a browser sends requests for any page it has open. So: the Host must be
one of ours (a foreign name that resolves to this machine is refused: DNS rebinding), a change needs our own Origin and
this process's CSRF token, a page of another site may not even load a picture, and off the loopback all of it needs the
token. Nothing here knows what the addresses do.
"""

import hashlib
import hmac
import ipaddress
import re
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
COOKIE = "spotlessd_review"
CSRF_HEADER = "x-csrf-token"
METHODS = frozenset({"GET", "POST"})
HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?\Z")
MOST_POSTS, POST_SECONDS = 120, 60.0
MOST_WRONG_TOKENS, WRONG_TOKEN_SECONDS = 10, 60.0
SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; img-src 'self' blob: data:; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask. `token`: needed by everyone; "" = none. `hosts`: names allowed in Host beside the loopback's.

    `takes_addresses`: any IP address is allowed as Host, for a page that is served beyond the loopback; a rebound name
    is never one.
    """

    token: str = ""
    hosts: frozenset[str] = frozenset()
    takes_addresses: bool = False
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @property
    def cookie(self) -> str:
        """What a browser keeps instead of the token: made from it, and no way back."""
        return hmac.new(self.token.encode(), b"spotlessd review page", hashlib.sha256).hexdigest()


class Limiter:
    """At most `most` events in `seconds`. `clock`: monotonic seconds."""

    def __init__(self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._seconds, self._clock = most, seconds, clock
        self._times: deque[float] = deque()

    @property
    def is_full(self) -> bool:
        """Whether one more would be too many."""
        now = self._clock()
        while self._times and now - self._times[0] >= self._seconds:
            self._times.popleft()
        return len(self._times) >= self._most

    def count(self) -> None:
        """Note one event."""
        self._times.append(self._clock())


class Refused(Exception):  # noqa: N818 - an answer, not an error of the program
    """A request that is not served: HTTP status and the sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence

    def answer(self) -> Response:
        """Return it as the page's error."""
        return JSONResponse({"error": self.sentence}, self.status)


class Guard:
    """The middleware. Answers what is refused by itself, and puts the headers on every answer."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access
        self._posts = Limiter(MOST_POSTS, POST_SECONDS)
        self._wrong_tokens = Limiter(MOST_WRONG_TOKENS, WRONG_TOKEN_SECONDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            answer = self._check(scope)
        except Refused as refused:
            answer = refused.answer()
        await (self._app if answer is None else answer)(scope, receive, send_with_headers)

    def _check(self, scope: Scope) -> Response | None:
        """Return an answer that is to be given instead of the page's, or None.

        Raises:
            Refused: the request is not served.
        """
        headers = Headers(scope=scope)
        host = self._host(headers)
        if scope["method"] not in METHODS:
            raise Refused(405, "only GET and POST are here.")
        is_foreign = headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}
        if is_foreign and (scope["method"] == "POST" or headers.get("sec-fetch-mode") != "navigate"):
            raise Refused(403, "this was asked for by a page of another site.")
        moved = self._authorise(scope, headers)
        if moved is not None:
            return moved
        if scope["method"] == "POST":
            self._check_change(headers, host)
        return None

    def _host(self, headers: Headers) -> str:
        given = headers.getlist("host")
        found = HOST.match(given[0]) if len(given) == 1 else None
        if found is None:
            raise Refused(400, "a request needs one Host.")
        name = found["name"].lower()
        access = self._access
        if not (name in LOOPBACK_NAMES or name in access.hosts or (access.takes_addresses and _is_address(name))):
            raise Refused(421, "this name is not ours; put it into review.hosts if it should be.")
        return given[0].lower()

    def _authorise(self, scope: Scope, headers: Headers) -> Response | None:
        """Check the token, by cookie, header or once by the address; the last is answered with the cookie."""
        access = self._access
        if not access.token:
            return None
        if _is_same(_cookie(headers), access.cookie):
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        by_header = given.strip() if scheme.lower() == "bearer" else ""
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=100)
        by_query = next((value for key, value in query if key == "token"), "")
        if not by_header and not by_query:
            raise Refused(401, "a token is needed; `spotlessd review` on the station prints the address with it.")
        if self._wrong_tokens.is_full:
            raise Refused(429, "too many wrong tokens; wait a minute.")
        if not _is_same(by_header or by_query, access.token):
            self._wrong_tokens.count()
            raise Refused(401, "this token is not the station's; `spotlessd review` prints the right one.")
        if by_header:
            return None
        if scope["method"] == "POST":
            raise Refused(401, "a change takes its token from the header or the cookie.")
        rest = urlencode([(key, value) for key, value in query if key != "token"])
        # One slash: "//name" would lead to another site.
        path = "/" + scope.get("raw_path", scope["path"].encode()).decode("latin-1").lstrip("/\\")
        answer = Response(status_code=303, headers={"location": path + (f"?{rest}" if rest else "")})
        answer.set_cookie(COOKIE, access.cookie, httponly=True, samesite="strict", path="/")
        return answer

    def _check_change(self, headers: Headers, host: str) -> None:
        # Old browsers send no Sec-Fetch-Site; the Origin alone decides then.
        origin = headers.getlist("origin")
        if len(origin) != 1 or origin[0].lower() not in {f"http://{host}", f"https://{host}"}:
            raise Refused(403, "changes are taken from the page itself only.")
        if not _is_same(headers.get(CSRF_HEADER, ""), self._access.csrf):
            raise Refused(403, "this page is from before the station was restarted; load it again.")
        if self._posts.is_full:
            raise Refused(429, "too many changes at once; wait a minute.")
        self._posts.count()


def _is_same(given: str, right: str) -> bool:
    return secrets.compare_digest(given.encode(errors="surrogateescape"), right.encode())


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value
