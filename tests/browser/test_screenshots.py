"""The README's pictures of the review page, of the drawn station; SPOTLESS_SCREENSHOTS=models makes them anew."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from drawn_station import DrawnStation, draw_frame, photographs
from PIL import Image
from shown_station import OpenPage

from spotlessd.job import JobState
from spotlessd.review.server import ReviewServer

WIDTH_PX = 1500


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, chromium: str) -> Iterator[tuple[str, dict[str, int]]]:
    assert chromium
    station = DrawnStation(tmp_path_factory.mktemp("screenshots"))
    ids = {}
    for roll in (7, 8):
        for at, (name, photo) in enumerate(photographs().items()):
            state = JobState.HELD if (roll, name) == (8, "cat") else JobState.DONE
            drawn = draw_frame(photo, WIDTH_PX, seed=10 * roll + at)
            ids[f"{roll} {name}"] = station.frame(f"roll {roll}/frame_{at + 1:02}.tif", drawn, state)
    station.job("roll 8/frame_07.tif", JobState.QUARANTINED, at=time.time())
    station.job("roll 8/frame_08.tif", JobState.QUEUED, at=time.time())
    server = ReviewServer(station.settings, port=0, is_daemon=True)
    server.start()
    yield server.address.rstrip("/"), ids
    server.stop()


def test_the_pictures_of_both_views_are_made(
    served: tuple[str, dict[str, int]], open_page: OpenPage, tmp_path: Path
) -> None:
    address, ids = served
    folder = Path(os.environ.get("SPOTLESS_SCREENSHOTS") or tmp_path)
    page = open_page(address + "/", color_scheme="dark")
    page.wait_for_selector("#sheet img")
    page.wait_for_load_state("networkidle")
    page.screenshot(path=folder / "review-roll.jpg", type="jpeg", quality=88)

    page = open_page(f"{address}/frame/{ids['7 rocket']}", color_scheme="dark")
    page.locator("#defects .go").first.wait_for()
    page.wait_for_load_state("networkidle")
    page.keyboard.press("3")
    page.keyboard.press("m")
    page.wait_for_timeout(800)
    page.screenshot(path=folder / "review-frame.jpg", type="jpeg", quality=88)

    for name in ("review-roll", "review-frame"):
        with Image.open(folder / f"{name}.jpg") as picture:
            assert picture.size == (1280, 800)
            assert len(picture.convert("RGB").resize((160, 100)).getcolors(16000) or ()) > 500, "photographs are seen"
