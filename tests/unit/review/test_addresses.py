"""What each address of the review page answers."""

from pathlib import Path
from urllib.parse import quote

import pytest
import tifffile
from drawing_tiff import grainy
from review_station import DEFECTS, HEIGHT, NASTY, WIDTH, Page, ReviewStation, write_mask_png

from spotlessd.job import JobState
from spotlessd.monitoring.status import LEDGER_NAME
from spotlessd.review.edits import Choice
from spotlessd.review.static_files import StaticFiles

EDITS = {
    "choice": "edited",
    "take_back": [1],
    "strokes": [{"mode": "add", "radius": 3.0, "points": [[1.0, 2.0], [4.5, 2.0]]}],
    "boxes": [{"mode": "remove", "box": [0, 0, 5, 5]}],
}


@pytest.fixture
def station(tmp_path: Path) -> ReviewStation:
    return ReviewStation(tmp_path)


@pytest.fixture
def page(station: ReviewStation) -> Page:
    return Page(station)


def test_the_pages_carry_the_token_that_changes_need(page: Page, station: ReviewStation) -> None:
    job_id = station.job("a.tif")

    for url in ("/", f"/frame/{job_id}"):
        answer = page.get(url)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert f'content="{page.access.csrf}"' in answer.text


def test_the_roll_comes_as_json(page: Page, station: ReviewStation) -> None:
    station.job("a.tif", JobState.HELD)

    answer = page.get("/api/roll?root=scans&state=held&q=A&offset=0&limit=5")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert [item["rel"] for item in answer.json()["items"]] == ["a.tif"]
    assert set(answer.json()) == {"items", "total", "counts", "days", "roots", "waiting", "station"}


def test_a_frame_comes_with_its_pyramid(page: Page, station: ReviewStation) -> None:
    found = page.get(f"/api/frame/{station.job('a.tif')}").json()

    assert (found["tiles"], found["layers"]) == ({"size": 512, "levels": 1}, ["before", "after", "mask"])
    assert (found["width"], found["height"], found["trouble"]) == (WIDTH, HEIGHT, "")


def test_a_frame_whose_picture_cannot_be_drawn_says_why(page: Page, station: ReviewStation) -> None:
    found = page.get(f"/api/frame/{station.job('a.tif', JobState.HELD)}").json()

    assert (found["tiles"], found["layers"], found["trouble"]) == (None, [], "the scan cannot be read.")


def test_a_frame_of_a_folder_that_is_not_watched_any_more_is_told_without_files(
    page: Page, station: ReviewStation
) -> None:
    job_id = station.job("a.tif")
    page.frames._roots.clear()

    found = page.get(f"/api/frame/{job_id}").json()

    assert (found["tiles"], found["can"]["edit"]) == (None, False)
    assert page.get(f"/thumb/{job_id}.jpg").status_code == 404
    assert page.post(f"/api/frame/{job_id}/decide", {"choice": "original"}).status_code == 409


def test_pictures_may_be_kept_for_ever_under_their_key_only(page: Page, station: ReviewStation) -> None:
    job_id = station.job("a.tif")
    thumb = page.get("/api/roll").json()["items"][0]["thumb"]
    key = page.get(f"/api/frame/{job_id}").json()["key"]

    kept, other = page.get(thumb), page.get(f"/thumb/{job_id}.jpg?k=old")
    tile = page.get(f"/tiles/{job_id}/before/0/0_0.jpg?k={key}")
    mask = page.get(f"/tiles/{job_id}/mask/0/0_0.png?k={key}")

    assert (kept.content, kept.headers["content-type"]) == (b"a thumb", "image/jpeg")
    assert (tile.content, mask.content) == (b"a tile of before", b"a tile of mask")
    assert mask.headers["content-type"] == "image/png"
    assert all("immutable" in each.headers["cache-control"] for each in (kept, tile, mask))
    assert other.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "url",
    [
        "/tiles/1/before/0/1_0.jpg",
        "/tiles/1/before/0/0_0.png",
        "/tiles/1/mask/0/0_0.jpg",
        "/tiles/1/preview/0/0_0.jpg",
        "/tiles/1/before/-1/0_0.jpg",
        "/tiles/1/before/0/99999999999_0.jpg",
        "/tiles/1/before/0/0_0.jpg.jpg",
        "/tiles/1/before/0/٣_0.jpg",
        "/static/",
        "/static/app.py",
        "/static",
        "/docs",
        "/openapi.json",
        "/favicon.ico",
    ],
)
def test_what_is_not_there_is_404_with_a_sentence(page: Page, station: ReviewStation, url: str) -> None:
    station.job("a.tif")

    answer = page.get(url)

    assert answer.status_code == 404
    assert set(answer.json()) == {"error"}


def test_the_files_of_the_page_are_known_by_name_and_hash(tmp_path: Path) -> None:
    folder = tmp_path / "static"
    folder.mkdir()
    (folder / "a.js").write_text("export {};")
    (folder / "secret.txt").write_text("no")
    files = StaticFiles(folder)

    found = files.get("a.js")

    assert found is not None
    assert (found.body, found.kind) == (b"export {};", "text/javascript; charset=utf-8")
    assert files.address("a.js") == f"/static/a.js?v={found.digest}"
    assert (files.get("secret.txt"), files.get("../app.py"), files.get("")) == (None, None, None)


def test_an_edited_frame_becomes_a_request_with_its_base(page: Page, station: ReviewStation) -> None:
    job_id = station.job("roll/a.tif")

    answer = page.post(f"/api/frame/{job_id}/decide", EDITS)

    (request,) = station.requests()
    assert answer.status_code == 202
    assert answer.json() == {
        "request": request.id,
        "text": "written down; the station is not running and does it at its next start.",
    }
    assert request.name == "reprocess"
    assert request.arguments == {
        "root": "scans",
        "rel": "roll/a.tif",
        "mask": str(station.state / "review/drawn.png"),
        "sensitivity": None,
        "base_job": job_id,
        "decision": {
            "choice": "edited",
            "by": "person",
            "via": "review page",
            "at": "2026-09-21T14:13:20+00:00",
        },
    }
    ((files, edits, boxes),) = page.pictures.drawn
    assert (files.job, edits.choice, edits.take_back) == (job_id, Choice.EDITED, (1,))
    assert boxes == tuple(tuple(defect["box"]) for defect in DEFECTS)


@pytest.mark.parametrize(
    ("decision", "state"),
    [
        ({"choice": "proposed"}, JobState.HELD),
        ({"choice": "original"}, JobState.HELD),
        ({"choice": "original"}, JobState.DONE),
        ({"choice": "again", "sensitivity": "low"}, JobState.DONE),
    ],
)
def test_the_other_choices_need_no_mask(
    page: Page, station: ReviewStation, decision: dict[str, str], state: JobState
) -> None:
    job_id = station.job("a.tif", state)

    answer = page.post(f"/api/frame/{job_id}/decide", decision)

    (request,) = station.requests()
    assert answer.status_code == 202
    assert (request.arguments["mask"], request.arguments["base_job"]) == (None, job_id)
    assert request.arguments["sensitivity"] == decision.get("sensitivity")
    assert request.arguments["decision"]["choice"] == decision["choice"]
    assert page.pictures.drawn == []


@pytest.mark.parametrize(
    ("decision", "state"),
    [
        (EDITS, JobState.QUEUED),
        ({"choice": "original"}, JobState.QUARANTINED),
        ({"choice": "proposed"}, JobState.DONE),
        ({"choice": "again", "sensitivity": "low"}, JobState.RUNNING),
    ],
)
def test_a_choice_that_does_not_go_with_the_state_is_409(
    page: Page, station: ReviewStation, decision: dict[str, object], state: JobState
) -> None:
    answer = page.post(f"/api/frame/{station.job('a.tif', state)}/decide", decision)

    assert (answer.status_code, station.requests(), page.pictures.drawn) == (409, [], [])


def test_editing_a_mask_that_is_gone_is_409(page: Page, station: ReviewStation) -> None:
    job_id = station.job("a.tif")
    (station.restored / f"masks/{job_id}.png").unlink()

    answer = page.post(f"/api/frame/{job_id}/decide", EDITS)

    assert (answer.status_code, answer.json()) == (409, {"error": "the frame's mask is not in its folder any more."})


def test_retry_and_bump_are_asked_for_where_they_make_sense(page: Page, station: ReviewStation) -> None:
    bad, queued = station.job("bad.tif", JobState.QUARANTINED), station.job("next.tif", JobState.QUEUED)

    answers = [
        page.post(f"/api/frame/{bad}/retry"),
        page.post(f"/api/frame/{queued}/bump"),
        page.post(f"/api/frame/{bad}/bump"),
    ]

    assert [answer.status_code for answer in answers] == [202, 202, 409]
    assert [(request.name, request.arguments) for request in station.requests()] == [
        ("retry", {"jobs": [bad], "reason": ""}),
        ("bump", {"job": queued}),
    ]


def upload(page: Page, job_id: int, body: bytes) -> tuple[int, dict[str, str]]:
    answer = page.post(f"/api/frame/{job_id}/mask", headers=page.own_headers("image/png"), content=body)
    return answer.status_code, answer.json()


@pytest.fixture
def scanned(station: ReviewStation) -> int:
    """A done frame whose scan is a real one."""
    tifffile.imwrite(station.scans / "a.tif", grainy(HEIGHT, WIDTH, 3), photometric="rgb")
    return station.job("a.tif")


def test_an_uploaded_mask_is_kept_and_asked_for(page: Page, station: ReviewStation, scanned: int) -> None:
    body = write_mask_png(station.folder / "mask.png")

    status, _ = upload(page, scanned, body)

    (request,) = station.requests()
    assert status == 202
    assert Path(request.arguments["mask"]).read_bytes() == body
    assert Path(request.arguments["mask"]).parent == station.state / "given_masks"
    assert request.arguments["decision"]["via"] == "edited mask"
    assert list((station.state / "uploads").iterdir()) == []


def test_a_mask_of_another_size_is_400_with_both_sizes(page: Page, station: ReviewStation, scanned: int) -> None:
    status, answer = upload(page, scanned, write_mask_png(station.folder / "mask.png", WIDTH + 1))

    assert (status, station.requests()) == (400, [])
    assert f"{WIDTH + 1}" in answer["error"]
    assert "the mask" in answer["error"]
    assert not (station.state / "given_masks").exists()
    assert list((station.state / "uploads").iterdir()) == []


def test_a_name_with_markup_is_text_everywhere(page: Page, station: ReviewStation) -> None:
    job_id = station.job(NASTY)

    roll, frame, html = page.get("/api/roll"), page.get(f"/api/frame/{job_id}"), page.get(f"/frame/{job_id}")

    assert roll.json()["items"][0]["name"] == frame.json()["name"] == NASTY
    assert roll.headers["content-type"] == frame.headers["content-type"] == "application/json"
    assert "<img" not in html.text
    assert "&lt;img src=x onerror=alert(1)&gt;.tif" in html.text
    assert page.get(f"/api/roll?q={quote('<img')}").json()["total"] == 1


def test_a_ledger_that_cannot_be_read_is_503_with_a_sentence(page: Page, station: ReviewStation) -> None:
    (station.state / LEDGER_NAME).write_bytes(b"no database" * 100)

    answer = page.get("/api/roll")

    assert (answer.status_code, "cannot be read" in answer.json()["error"]) == (503, True)
