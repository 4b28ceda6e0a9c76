"""The whole round with a real daemon, its networks and its page: drop, see, open, take back, add, apply, see again."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from drawn_station import draw_frame, photographs
from PIL import Image
from playwright.sync_api import expect
from shown_station import OpenPage

WIDTH_PX = 700
START_SECONDS = 60.0
ROUND_MS = 60_000


@pytest.fixture
def daemon(tmp_path: Path, chromium: str, request: pytest.FixtureRequest) -> Iterator[tuple[Path, str]]:
    """Start a daemon with its page on; returns its folder and the page's address. No browser: skipped before that.

    The parameter, if there is one, has more variables for it.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPOTLESSD_")}
    subprocess.run([sys.executable, "-m", "spotlessd", "init", str(tmp_path)], check=True, env=environment)
    environment |= {
        "SPOTLESSD_REVIEW__ENABLED": "true",
        "SPOTLESSD_REVIEW__PORT": str(port),
        "SPOTLESSD_WATCH__SETTLE_SECONDS": "0.3",
        "SPOTLESSD_WATCH__RESCAN_SECONDS": "1",
        "SPOTLESSD_INPAINT__METHOD": "telea",
        "OMP_NUM_THREADS": "1",
        **getattr(request, "param", {}),
    }
    command = [sys.executable, "-m", "spotlessd", "run", "--config", str(tmp_path / "spotlessd.toml")]
    with (tmp_path / "daemon.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and process.poll() is None:
            with socket.socket() as asking:
                if asking.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        assert process.poll() is None, (tmp_path / "daemon.log").read_text()
        yield tmp_path, f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def read(folder: Path, name: str) -> Any:
    return tifffile.imread(folder / "restored" / name)


def test_a_person_takes_one_repair_back_adds_one_and_sees_the_new_version(
    daemon: tuple[Path, str], open_page: OpenPage
) -> None:
    folder, address = daemon
    page = open_page(address)
    expect(page.locator("#empty")).to_be_visible()
    drawn = draw_frame(photographs()["coffee"], WIDTH_PX, pieces=12, seed=5)
    tifffile.imwrite(folder / "scans" / "cup.tif", drawn.scan, photometric="rgb", resolution=(4000, 4000))

    expect(page.locator("#sheet li")).to_contain_text("Done", timeout=ROUND_MS)
    page.locator("#sheet li a").click()
    expect(page.locator("#main")).to_have_attribute("aria-busy", "false")
    first = page.url.rpartition("/")[2]
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.keyboard.press("f")
    page.keyboard.press("b")
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2 + 60, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 90, box["y"] + box["height"] / 2 + 10, steps=4)
    page.mouse.up()
    expect(page.locator("#outcome")).to_have_text("Takes back 1, adds 1; everything else stays as it is.")
    page.keyboard.press("Control+Enter")
    page.wait_for_url(lambda url: url.rpartition("/")[2] != first, timeout=ROUND_MS)

    expect(page.locator("#versions option")).to_have_count(2)
    expect(page.get_by_text("This is the new version, cup~2.tif.")).to_be_visible()
    receipt = json.loads((folder / "restored" / "receipts" / "cup~2.json").read_text())
    masks = [np.asarray(Image.open(folder / "restored" / "masks" / name)) > 0 for name in ("cup.png", "cup~2.png")]
    taken, added, kept = masks[0] & ~masks[1], masks[1] & ~masks[0], masks[0] & masks[1]
    scan, old, new = drawn.scan, read(folder, "cup.tif"), read(folder, "cup~2.tif")
    assert taken.any() and added.any() and kept.any()
    assert np.array_equal(new[~masks[1]], scan[~masks[1]])
    assert np.array_equal(new[kept], old[kept])
    assert (new[added] != scan[added]).any()
    detected, decision = receipt["decisions"]
    assert (detected["choice"], detected["by"]) == ("detected", "program")
    assert (decision["choice"], decision["by"], decision["via"]) == ("edited", "person", "review page")
    assert decision["taken_back_px"] == np.count_nonzero(taken)
    assert decision["added_px"] == np.count_nonzero(added)


@pytest.mark.parametrize("daemon", [{"SPOTLESSD_MASK__MAX_COVERAGE": "0.0001"}], indirect=True)
def test_a_held_frame_is_released_as_proposed_and_its_result_is_shown(
    daemon: tuple[Path, str], open_page: OpenPage
) -> None:
    folder, address = daemon
    drawn = draw_frame(photographs()["coffee"], WIDTH_PX, pieces=12, seed=5)
    tifffile.imwrite(folder / "scans" / "cup.tif", drawn.scan, photometric="rgb", resolution=(4000, 4000))
    page = open_page(address)

    expect(page.locator("#sheet li")).to_contain_text("Held", timeout=ROUND_MS)
    page.locator("#sheet li a").click()
    expect(page.locator("#reason")).not_to_be_empty()
    assert not (folder / "restored" / "cup.tif").exists()
    page.locator("#release-proposed").click()

    expect(page.locator("#state")).to_have_text("Done", timeout=ROUND_MS)
    expect(page.locator("[data-mode='after']")).to_be_enabled()
    (result,) = (folder / "restored").glob("cup*.tif")
    assert not np.array_equal(tifffile.imread(result), drawn.scan)
