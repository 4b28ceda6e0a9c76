"""Requests that nobody honest sends: each gets 4xx and changes nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tifffile
from drawing_tiff import grainy
from review_station import HEIGHT, HOST, ORIGIN, WIDTH, Page, ReviewStation, png_of

from spotlessd.job import JobState
from spotlessd.review import bodies
from spotlessd.review.security import MOST_POSTS, MOST_WRONG_TOKENS, SECURITY_HEADERS, Access, Limiter

TOKEN = "a-token-of-more-than-16-signs"  # noqa: S105 - made for these tests
CHANGES = ("decide", "mask", "retry", "bump")


@pytest.fixture
def station(tmp_path: Path) -> ReviewStation:
    station = ReviewStation(tmp_path)
    tifffile.imwrite(station.scans / "a.tif", grainy(HEIGHT, WIDTH, 3), photometric="rgb")
    station.job("a.tif")
    station.job("b.tif", JobState.QUARANTINED)
    return station


@pytest.fixture
def page(station: ReviewStation) -> Page:
    return Page(station)


@pytest.fixture(autouse=True)
def nothing_changes(station: ReviewStation) -> Iterator[None]:
    before = station.files()
    yield
    after = {name: body for name, body in station.files().items() if name not in ALLOWED}
    assert (after, station.requests()) == (before, [])


ALLOWED = {"state/review/1.jpg"}
"""A thumbnail that was asked for."""


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": f"http://{HOST}.evil.example"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": ""},
        {"origin": None},
        {"x-csrf-token": None},
        {"x-csrf-token": ""},
        {"x-csrf-token": "wrong"},
        {"x-csrf-token": "é".encode("latin-1")},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    ],
)
def test_a_change_from_elsewhere_is_refused(page: Page, change: str, headers: dict[str, Any]) -> None:
    given = {**page.own_headers(), **headers}

    answer = page.post(f"/api/frame/1/{change}", {}, headers={k: v for k, v in given.items() if v is not None})

    assert answer.status_code == 403
    assert set(answer.json()) == {"error"}


@pytest.mark.parametrize(
    ("host", "status"),
    [("evil.example", 421), ("127.0.0.1.evil.example", 421), ("", 400), ("a b", 400), ("10.0.0.1:8639", 421)],
)
@pytest.mark.parametrize("url", ["/", "/api/roll", "/thumb/1.jpg", "/events", "/nowhere"])
def test_a_foreign_name_for_this_machine_is_refused(page: Page, url: str, host: str, status: int) -> None:
    assert page.get(url, host=host).status_code == status


@pytest.mark.parametrize("host", ["localhost:9000", "[::1]:8639", "127.0.0.1", "LOCALHOST"])
def test_the_names_of_this_machine_are_taken_with_any_port(page: Page, host: str) -> None:
    assert page.get("/api/roll", host=host).status_code == 200


def test_names_from_the_config_are_taken(station: ReviewStation) -> None:
    page = Page(station, Access(hosts=frozenset({"scanner.lan"})))

    assert page.get("/api/roll", host="scanner.lan:8639").status_code == 200
    assert page.get("/api/roll", host="10.0.0.1").status_code == 421


def test_a_page_of_another_site_may_not_even_load_a_picture(page: Page) -> None:
    foreign = page.get("/thumb/1.jpg", sec_fetch_site="cross-site", sec_fetch_mode="no-cors")
    followed = page.get("/", sec_fetch_site="cross-site", sec_fetch_mode="navigate")

    assert (foreign.status_code, followed.status_code) == (403, 200)


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "POTATO"])
def test_other_methods_are_refused(page: Page, method: str) -> None:
    assert page.ask(method, "/api/frame/1/decide", page.own_headers()).status_code == 405


def test_changes_cannot_be_asked_for_by_looking(page: Page) -> None:
    assert [page.get(f"/api/frame/1/{change}").status_code for change in CHANGES] == [405] * 4


@pytest.mark.parametrize(
    "number", ["1e9", "-1", "0x1", "%2e%2e", "1%2f..", "1.0", "1 ", "9" * 30, "٣", "1;2", "%00", "999", "' OR 1=1"]
)
@pytest.mark.parametrize("url", ["/frame/{}", "/api/frame/{}", "/thumb/{}.jpg", "/tiles/{}/before/0/0_0.jpg"])
def test_an_id_that_is_none_is_404(page: Page, url: str, number: str) -> None:
    assert page.get(url.format(number)).status_code == 404


@pytest.mark.parametrize("number", ["1e9", "-1", "999", "..%2f1", "9" * 30])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_a_frame_that_is_none_is_404(page: Page, change: str, number: str) -> None:
    assert page.post(f"/api/frame/{number}/{change}", {"choice": "original"}).status_code == 404


@pytest.mark.parametrize("way", ["../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%5c", "....//", "/etc/"])
@pytest.mark.parametrize(
    "start", ["/", "/static/", "/tiles/1/", "/tiles/1/before/0/", "/thumb/", "/frame/", "/api/frame/"]
)
def test_no_way_leads_out(page: Page, start: str, way: str) -> None:
    for goal in ("spotlessd.toml", "app.py", "state/ledger.sqlite3", "etc/passwd"):
        answer = page.get(f"{start}{way * 3}{goal}")
        assert (answer.status_code, set(answer.json())) == (404, {"error"})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"edited"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"choice": "delete"}',
        b'{"choice": "edited", "take_back": [NaN]}',
        b'{"choice": "edited", "take_back": [Infinity]}',
        b'{"choice": "edited", "take_back": [2]}',
        b'{"choice": "edited", "take_back": [-1]}',
        b'{"choice": "edited", "take_back": [1e300]}',
        b'{"choice": "edited", "take_back": [' + b"9" * 5000 + b"]}",
        b'{"choice": "edited", "boxes": [{"mode": "add", "box": [0, 0, 41, 60]}]}',
        b'{"choice": "edited", "strokes": [{"mode": "add", "radius": 1e9, "points": [[1, 1]]}]}',
        b'{"choice": "edited", "strokes": [{"mode": "add", "radius": ' + b"9" * 4000 + b', "points": [[1, 1]]}]}',
        b'{"choice": "edited", "strokes": [{"mode": "add", "radius": 1, "points": [[1, ' + b"9" * 4000 + b"]]}]}",
        b'{"choice": "edited", "mask": "/etc/passwd"}',
        b'{"choice": "original", "rel": "../../x"}',
        b'{"choice": "again", "sensitivity": "all"}',
        b'{"choice": "again"}',
    ],
)
def test_a_decision_that_makes_no_sense_is_400(page: Page, body: bytes) -> None:
    answer = page.post("/api/frame/1/decide", content=body)

    assert (answer.status_code, set(answer.json())) == (400, {"error"})
    assert page.pictures.drawn == []


def test_a_decision_in_a_form_is_415(page: Page) -> None:
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", ""):
        assert page.post("/api/frame/1/decide", {}, headers=page.own_headers(kind)).status_code == 415


def stream_of(size: int) -> Any:
    async def chunks() -> Any:
        for _ in range(size // 100_000 + 1):
            yield b" " * 100_000

    return chunks()


def test_a_huge_decision_is_413_told_or_not(page: Page) -> None:
    told = page.post("/api/frame/1/decide", content=b" " * (bodies.MOST_JSON_BYTES + 1))
    untold = page.post("/api/frame/1/decide", content=stream_of(bodies.MOST_JSON_BYTES))

    assert (told.status_code, untold.status_code) == (413, 413)


@pytest.mark.parametrize("length", ["-1", "1e3", "zz", "99999999999999999999"])
def test_a_length_that_is_none_is_413(page: Page, length: str) -> None:
    headers = {**page.own_headers(), "content-length": length}

    assert page.post("/api/frame/1/decide", headers=headers, content=b"{}").status_code == 413


def test_a_huge_mask_is_413_and_leaves_nothing(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MOST_MASK_BYTES", 300_000)

    answer = page.post("/api/frame/1/mask", headers=page.own_headers("image/png"), content=stream_of(400_000))

    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("empty", b""),
        ("no PNG", b"GIF89a" + b"\0" * 100),
        ("cut off", png_of(WIDTH, HEIGHT, b"\0" * (WIDTH + 1) * HEIGHT)[:40]),
        ("other size", png_of(HEIGHT, WIDTH, b"\0" * (HEIGHT + 1) * WIDTH)),
        ("bomb that tells its size", png_of(60_000, 60_000, b"\0" * 50_000_000)),
        ("bomb that does not", png_of(WIDTH, HEIGHT, b"\0" * 50_000_000)[:-8]),
        ("too few rows", png_of(WIDTH, HEIGHT, b"\0" * (WIDTH + 1))),
    ],
)
def test_a_file_that_is_no_mask_of_the_scan_is_400(page: Page, name: str, body: bytes) -> None:
    answer = page.post("/api/frame/1/mask", headers=page.own_headers("image/png"), content=body)

    assert (answer.status_code, set(answer.json())) == (400, {"error"}), name
    assert str(page.station.folder) not in answer.text


def test_a_mask_of_another_kind_is_415(page: Page) -> None:
    for kind in ("image/tiff", "application/json", "image/pngx", ""):
        assert page.post("/api/frame/1/mask", headers=page.own_headers(kind), content=b"x").status_code == 415


def test_a_mask_for_a_frame_that_is_not_done_is_409(page: Page) -> None:
    assert page.post("/api/frame/2/mask", headers=page.own_headers("image/png"), content=b"x").status_code == 409


def test_too_many_changes_are_429(page: Page) -> None:
    answers = [page.post("/api/frame/1/decide", content=b"{").status_code for _ in range(MOST_POSTS + 2)]

    assert answers == [400] * MOST_POSTS + [429] * 2


@pytest.mark.parametrize(
    "url",
    [
        "/api/roll?state=everything",
        "/api/roll?offset=-1",
        "/api/roll?limit=1e9",
        "/api/roll?limit=99999999999",
        "/api/roll?q=" + "a" * 300,
        "/api/roll?offset=٣",
    ],
)
def test_a_roll_that_makes_no_sense_is_400(page: Page, url: str) -> None:
    assert page.get(url).status_code == 400


def test_every_answer_forbids_what_is_foreign(page: Page) -> None:
    urls = ("/", "/frame/1", "/api/roll", "/api/frame/1", "/thumb/1.jpg", "/nowhere", "/frame/999", "/static/none")
    answers = [*(page.get(url) for url in urls), page.get("/", host="evil.example"), page.post("/api/frame/1/decide")]

    for answer in answers:
        assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS
        assert "cache-control" in answer.headers
        assert "server" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers


@pytest.fixture
def guarded(station: ReviewStation) -> Page:
    return Page(station, Access(TOKEN, takes_addresses=True))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong-token-of-some-length"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": TOKEN},
        {"cookie": f"spotlessd_review={TOKEN}"},
        {"cookie": "spotlessd_review="},
        {"cookie": "; ;=;\x01"},
    ],
)
def test_without_the_token_nothing_is_served(guarded: Page, headers: dict[str, str]) -> None:
    for url in ("/", "/api/roll", "/thumb/1.jpg", "/static/roll.js", "/events", "/nowhere"):
        assert guarded.ask("GET", url, headers).status_code == 401
    assert guarded.ask("POST", "/api/frame/1/retry", {**guarded.own_headers(), **headers}).status_code == 401


def test_the_token_is_taken_from_the_header(guarded: Page) -> None:
    assert guarded.get("/api/roll", authorization=f"Bearer {TOKEN}").status_code == 200


def test_the_token_in_the_address_becomes_a_cookie_and_vanishes(guarded: Page) -> None:
    answer = guarded.get(f"/api/roll?q=a&token={TOKEN}&limit=3")
    cookie = answer.headers["set-cookie"]

    assert (answer.status_code, answer.headers["location"]) == (303, "/api/roll?q=a&limit=3")
    assert TOKEN not in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert guarded.get("/api/roll", cookie=cookie.partition(";")[0]).status_code == 200
    assert guarded.get("/api/roll?token=wrong-token", cookie="").status_code == 401


def test_the_way_from_token_to_cookie_leads_to_no_other_site(guarded: Page) -> None:
    for path in ("//evil.example/", "/%5c%5cevil.example", "/\\evil.example"):
        answer = guarded.get(f"http://{HOST}{path}?token={TOKEN}")
        assert answer.status_code in {303, 404}
        assert not answer.headers.get("location", "/x").startswith(("//", "/\\", "http"))


def test_a_change_with_the_token_in_its_address_is_refused(guarded: Page) -> None:
    assert guarded.post(f"/api/frame/1/retry?token={TOKEN}").status_code == 401


def test_guessing_the_token_is_slow(guarded: Page) -> None:
    answers = [
        guarded.get("/", authorization=f"Bearer guess-{number}").status_code for number in range(MOST_WRONG_TOKENS + 1)
    ]
    cookie = guarded.access.cookie

    assert answers == [401] * MOST_WRONG_TOKENS + [429]
    assert guarded.get("/api/roll", cookie=f"spotlessd_review={cookie}").status_code == 200


def test_a_limit_is_of_a_time() -> None:
    now = [0.0]
    limiter = Limiter(2, 10.0, lambda: now[0])
    limiter.count()
    now[0] = 5.0
    limiter.count()

    full = [limiter.is_full]
    now[0] = 10.0
    full.append(limiter.is_full)

    assert full == [True, False]


def test_each_process_has_its_own_csrf_token(page: Page) -> None:
    assert page.access.csrf != Access().csrf


def test_the_own_origin_by_https_is_taken_for_a_proxy_in_front(page: Page) -> None:
    headers = {**page.own_headers(), "origin": ORIGIN.replace("http:", "https:")}

    assert page.post("/api/frame/1/bump", headers=headers).status_code == 409
