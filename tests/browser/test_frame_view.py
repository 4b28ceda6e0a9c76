"""The frame view in a real browser, against the real application and its pictures: looking, editing, deciding."""

import io
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from drawn_station import draw_frame, photographs
from PIL import Image
from playwright.sync_api import Page, expect
from shown_station import DECISION, OpenPage, Shown

WIDTH = 1200


def open_frame(open_page: OpenPage, shown: Shown, name: str, **options: object) -> Page:
    page = open_page(shown.frame(name), **options)
    expect(page.locator("#main")).to_have_attribute("aria-busy", "false")
    return page


def sent(page: Page, press: Callable[[], object]) -> dict[str, Any]:
    """Do something that decides, and return what was sent."""
    with page.expect_request("**/decide") as request:
        press()
    return dict(json.loads(request.value.post_data or ""))


def colour_in_the_middle(page: Page) -> list[int]:
    """Return the colour of the picture's middle on the screen, once it stays the same."""
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    clip = {"x": box["x"] + box["width"] / 2 - 2, "y": box["y"] + box["height"] / 2 - 2, "width": 4, "height": 4}
    until = time.monotonic() + 10
    last, shown_now = None, page.screenshot(clip=clip)
    while last != shown_now and time.monotonic() < until:
        page.wait_for_timeout(250)
        last, shown_now = shown_now, page.screenshot(clip=clip)
    pixels = np.asarray(Image.open(io.BytesIO(shown_now)).convert("RGB"), float)
    return [round(value) for value in pixels.mean((0, 1))]


def test_a_defect_is_taken_back_and_applied_by_the_keyboard_alone(shown: Shown, open_page: OpenPage) -> None:
    page = open_page(f"{shown.address}/?q=rocket")
    expect(page.locator("#sheet li")).to_have_count(1)
    before = len(shown.station.requests())

    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_url("**/frame/*")
    expect(page.locator("#main")).to_have_attribute("aria-busy", "false")
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.locator("#outcome")).to_have_text("Takes back 1; everything else stays as it is.")
    said = sent(page, lambda: page.keyboard.press("Control+Enter"))
    expect(page.locator("#follow")).to_contain_text("written down", ignore_case=True)

    lowest = min(frame_json(page, shown, "rocket")["defects"], key=lambda one: one["score"])
    assert said == {"choice": "edited", "take_back": [lowest["index"]], "strokes": [], "boxes": []}
    asked = shown.station.requests()
    assert len(asked) == before + 1
    assert asked[-1].name == "reprocess"
    assert asked[-1].arguments["rel"] == "roll 7/rocket.tif"
    assert asked[-1].arguments["mask"] is not None
    assert asked[-1].arguments["decision"]["by"] == DECISION["by"]


def frame_json(page: Page, shown: Shown, name: str) -> dict[str, Any]:
    return dict(page.request.get(f"{shown.address}/api/frame/{shown.ids[name]}").json())


def test_a_repair_taken_back_shows_the_scan_at_once(shown: Shown, open_page: OpenPage) -> None:
    page = open_frame(open_page, shown, "coffee")
    page.locator("#defects .go", has_text="speck").first.click()
    repaired = colour_in_the_middle(page)

    page.keyboard.press("x")
    taken = colour_in_the_middle(page)
    page.keyboard.down(" ")
    held = colour_in_the_middle(page)
    page.keyboard.up(" ")
    page.keyboard.press("x")

    assert np.abs(np.subtract(taken, held)).max() <= 3
    assert np.abs(np.subtract(taken, repaired)).max() > 20
    assert np.abs(np.subtract(colour_in_the_middle(page), repaired)).max() <= 3
    expect(page.locator("#apply")).to_be_disabled()


@pytest.mark.parametrize("zoom", ["fit", "1", "2"])
@pytest.mark.parametrize("ratio", [1, 2])
def test_a_brush_stroke_lies_where_it_was_drawn_at_every_zoom(
    zoom: str, ratio: int, shown: Shown, open_page: OpenPage
) -> None:
    page = open_frame(open_page, shown, "garage", device_scale_factor=ratio)
    page.locator(f"[data-zoom='{zoom}']").click()
    page.keyboard.press("b")
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    facts = frame_json(page, shown, "garage")
    fit = min((box["width"] * ratio - 24) / facts["width"], (box["height"] * ratio - 24) / facts["height"])
    scale = fit if zoom == "fit" else float(zoom)
    offsets = [(-60, -40), (20, 35)]

    page.mouse.move(box["x"] + box["width"] / 2 - 60, box["y"] + box["height"] / 2 - 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 20, box["y"] + box["height"] / 2 + 35, steps=6)
    page.mouse.up()
    page.locator("#discard").wait_for()
    stored = page.evaluate("JSON.parse(sessionStorage.getItem('edits-' + document.body.dataset.id))")

    (stroke,) = stored["strokes"]
    wanted = [(facts["width"] / 2 + x * ratio / scale, facts["height"] / 2 + y * ratio / scale) for x, y in offsets]
    assert stroke["mode"] == "add"
    for point, (x, y) in zip((stroke["points"][0], stroke["points"][-1]), wanted, strict=True):
        # The view lies on whole screen px, and points are thinned to a quarter of the brush.
        assert abs(point[0] - x) <= 1.5 * ratio / scale + stroke["radius"] / 4
        assert abs(point[1] - y) <= 1.5 * ratio / scale + stroke["radius"] / 4


def test_boxes_erasing_undo_and_redo_are_counted_in_the_sentence(shown: Shown, open_page: OpenPage) -> None:
    page = open_frame(open_page, shown, "garage")
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def drag() -> None:
        page.mouse.move(x - 30, y - 30)
        page.mouse.down()
        page.mouse.move(x + 30, y + 30, steps=4)
        page.mouse.up()

    page.keyboard.press("r")
    drag()
    page.keyboard.press("e")
    drag()
    expect(page.locator("#outcome")).to_have_text("Erases in 1 place, adds 1; everything else stays as it is.")
    page.keyboard.press("Control+z")
    expect(page.locator("#outcome")).to_have_text("Adds 1; everything else stays as it is.")
    page.keyboard.press("Control+Shift+z")
    expect(page.locator("#outcome")).to_contain_text("Erases in 1 place")
    page.keyboard.press("Control+z")
    said = sent(page, lambda: page.locator("#apply").click())

    assert [one["mode"] for one in said["boxes"]] == ["add"]
    top, left, bottom, right = said["boxes"][0]["box"]
    assert top < bottom and left < right
    expect(page.locator("#follow")).to_be_visible()


def test_edits_are_kept_over_a_reload_and_leaving_warns(shown: Shown, open_page: OpenPage) -> None:
    page = open_frame(open_page, shown, "stars")
    asked: list[str] = []
    page.on("dialog", lambda one: asked.append(one.type))
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.locator("#outcome")).to_contain_text("Takes back 1")

    page.reload()

    expect(page.locator("#outcome")).to_contain_text("Takes back 1")
    assert asked == ["beforeunload"]
    page.locator("#discard").click()
    expect(page.locator("#outcome")).to_have_text("Nothing is changed yet.")


def test_the_new_version_is_shown_when_it_is_ready(shown: Shown, open_page: OpenPage) -> None:
    page = open_frame(open_page, shown, "portrait")
    page.keyboard.press("j")
    page.keyboard.press("x")
    sent(page, lambda: page.keyboard.press("Control+Enter"))
    expect(page.locator("#follow")).to_be_visible()

    drawn = draw_frame(photographs()["portrait"], WIDTH, seed=3, pieces=5)
    newest = shown.station.frame("roll 7/portrait.tif", drawn, recipe="edited", decisions=[DECISION])

    page.wait_for_url(f"**/frame/{newest}")
    expect(page.locator("#versions option")).to_have_count(2)
    expect(page.locator("#follow")).to_be_hidden()
    page.locator("#facts-box summary").click()
    expect(page.locator("#notes")).to_contain_text("A person edited the mask")


@pytest.mark.parametrize(("button", "choice"), [("#release-proposed", "proposed"), ("#release-original", "original")])
def test_a_held_frame_is_released_by_one_button(button: str, choice: str, shown: Shown, open_page: OpenPage) -> None:
    page = open_frame(open_page, shown, "cat")
    expect(page.locator("#reason")).to_contain_text("more than the 0.5 % allowed")
    expect(page.locator("#release-edited")).to_be_disabled()

    said = sent(page, lambda: page.locator(button).click())
    expect(page.locator("#follow")).to_be_visible()

    assert said == {"choice": choice}
    assert shown.station.requests()[-1].arguments["decision"]["choice"] == choice


def test_a_held_frame_is_released_with_a_mask_of_ones_own(shown: Shown, open_page: OpenPage) -> None:
    page = open_frame(open_page, shown, "cat")

    page.keyboard.press("j")
    page.keyboard.press("x")
    said = sent(page, lambda: page.locator("#release-edited").click())
    expect(page.locator("#follow")).to_be_visible()

    assert said["choice"] == "edited"
    assert len(said["take_back"]) == 1


def test_a_frame_is_detected_again_with_another_sensitivity(shown: Shown, open_page: OpenPage) -> None:
    page = open_frame(open_page, shown, "stars")

    page.locator("#again-box summary").click()
    page.locator("#sensitivity").select_option("high")
    said = sent(page, lambda: page.locator("#again").click())
    expect(page.locator("#follow")).to_be_visible()

    assert said == {"choice": "again", "sensitivity": "high"}


def test_a_quarantined_frame_says_why_and_can_be_tried_again(shown: Shown, open_page: OpenPage) -> None:
    page = open_frame(open_page, shown, "broken")
    expect(page.locator("#reason")).to_have_text("cannot be read.")

    page.locator("#retry").click()
    expect(page.locator("#follow")).to_be_visible()

    asked = shown.station.requests()[-1]
    assert (asked.name, asked.arguments["jobs"]) == ("retry", [shown.ids["broken"]])


def test_a_refused_decision_is_told_and_the_edits_stay(shown: Shown, open_page: OpenPage) -> None:
    page = open_frame(open_page, shown, "stars", may_fail=True)
    page.evaluate("document.querySelector('meta[name=csrf-token]').content = 'of yesterday'")
    page.keyboard.press("j")
    page.keyboard.press("x")

    page.keyboard.press("Control+Enter")

    expect(page.locator("#told")).to_contain_text("load it again")
    expect(page.locator("#outcome")).to_contain_text("Takes back 1")


def test_two_fingers_zoom_and_one_draws_with_the_brush(shown: Shown, open_page: OpenPage) -> None:
    page = open_frame(
        open_page, shown, "garage", viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = page.context.new_cdp_session(page)

    def fingers(kind: str, *points: tuple[float, float]) -> None:
        places = [{"x": left, "y": top, "id": index} for index, (left, top) in enumerate(points)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    before = page.locator("#scale").inner_text()
    fingers("touchStart", (x - 20, y), (x + 20, y))
    for step in range(1, 6):
        fingers("touchMove", (x - 20 - 12 * step, y), (x + 20 + 12 * step, y))
    fingers("touchEnd")
    after = page.locator("#scale").inner_text()
    page.locator("[data-tool='brush']").tap()
    fingers("touchStart", (x, y))
    fingers("touchMove", (x + 30, y + 10))
    fingers("touchEnd")

    assert float(after.rstrip(" %")) > 2 * float(before.rstrip(" %"))
    expect(page.locator("#outcome")).to_have_text("Adds 1; everything else stays as it is.")


def test_a_frame_that_is_not_done_yet_says_so(shown: Shown, open_page: OpenPage) -> None:
    page = open_frame(open_page, shown, "queued")

    expect(page.locator("#state")).to_have_text("Waiting")
    expect(page.locator("#bump")).to_be_visible()
    expect(page.locator("#edit-tools")).to_be_hidden()
