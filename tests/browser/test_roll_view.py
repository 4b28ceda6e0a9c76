"""The roll view in a real browser, against the real application: what it shows, live, by keyboard, and how fast."""

import time
from collections.abc import Iterator

import pytest
from drawn_station import DrawnStation, OnePicture, draw_frame, photographs
from playwright.sync_api import Page, Response, expect
from shown_station import NASTY, OpenPage, Shown

from spotlessd.review.server import ReviewServer

MANY = 2_000
SHEET_SECONDS = 1.0
SLOW_MACHINE = 3.0
"""Times the limit: the test machine has two cores and runs other tests beside this one."""
MOST_BYTES = 200_000


def names(page: Page) -> list[str]:
    return page.locator("#sheet .name").all_inner_texts()


def test_every_frame_is_shown_with_its_state_in_a_word_and_what_was_repaired(shown: Shown, open_page: OpenPage) -> None:
    page = open_page(shown.address)

    done = page.locator("#sheet li", has_text="rocket.tif")
    expect(done.locator(".state")).to_have_text("Done")
    expect(done.locator(".state svg")).to_have_count(1)
    expect(done).to_contain_text("repairs ·")
    expect(page.locator("#sheet li", has_text="cat.tif")).to_contain_text("Held")
    expect(page.locator("#sheet li", has_text="cat.tif")).to_contain_text("more than the 0.5 % allowed")
    expect(page.locator("#sheet li", has_text="broken.tif")).to_contain_text("Quarantined")
    expect(page.locator("#sheet li", has_text="broken.tif")).to_contain_text("cannot be read")
    expect(page.locator("#sheet li", has_text="queued.tif")).to_contain_text("Waiting")
    expect(done.locator("img")).to_have_js_property("complete", value=True)


def test_a_waiting_file_is_named_with_its_reason(shown: Shown, open_page: OpenPage) -> None:
    shown.station.wait_for("roll 7/late.tif", "still growing")
    page = open_page(shown.address)

    page.locator("#unsettled summary").click()

    expect(page.locator("#unsettled li")).to_have_text("roll 7/late.tif still growing")


def test_a_new_frame_appears_first_without_a_reload(shown: Shown, open_page: OpenPage) -> None:
    page = open_page(shown.address)
    expect(page.locator("#sheet li").first).to_be_visible()
    page.evaluate("window.isSamePage = true")

    shown.station.frame("roll 8/fresh.tif", draw_frame(photographs()["coffee"], 300, pieces=2))

    expect(page.locator("#sheet .name").first).to_have_text("fresh.tif")
    assert page.evaluate("window.isSamePage")


def test_who_has_scrolled_is_told_of_a_new_frame_and_nothing_moves(shown: Shown, open_page: OpenPage) -> None:
    page = open_page(shown.address, viewport={"width": 480, "height": 320})
    expect(page.locator("#sheet li").first).to_be_visible()
    page.evaluate("scrollTo(0, 600)")
    watched = page.locator("#sheet li", has_text="portrait.tif")
    before = watched.bounding_box()

    shown.station.frame("roll 8/later.tif", draw_frame(photographs()["coffee"], 300, pieces=2))
    expect(page.locator("#arrived")).to_be_visible()

    after = watched.bounding_box()
    assert before is not None and after is not None
    assert abs(after["y"] - before["y"]) <= 1
    page.locator("#arrived").click()
    expect(page.locator("#sheet .name").first).to_have_text("later.tif")


def test_search_and_state_narrow_the_sheet_and_stay_in_the_address(shown: Shown, open_page: OpenPage) -> None:
    page = open_page(shown.address)
    expect(page.locator("#sheet li").first).to_be_visible()

    page.keyboard.press("/")
    page.keyboard.type("garage")
    expect(page.locator("#sheet li")).to_have_count(1)
    assert "q=garage" in page.url
    page.keyboard.press("Escape")
    page.reload()
    expect(page.locator("#sheet li")).to_have_count(1)
    page.locator("#search").fill("")
    page.keyboard.press("Escape")
    page.keyboard.press("3")

    expect(page.locator("#sheet li")).to_have_count(1)
    assert names(page) == ["cat.tif"]


def test_arrows_go_from_frame_to_frame_and_space_opens_one(shown: Shown, open_page: OpenPage) -> None:
    page = open_page(shown.address)
    expect(page.locator("#sheet li").first).to_be_visible()
    focused = "document.activeElement.querySelector('.name').textContent"

    page.keyboard.press("ArrowRight")
    first = page.evaluate(focused)
    page.keyboard.press("ArrowRight")
    second = page.evaluate(focused)
    page.keyboard.press("ArrowDown")
    below = page.evaluate(focused)
    page.keyboard.press("ArrowUp")

    listed = names(page)
    assert [first, second] == listed[:2]
    assert below not in listed[:2]
    assert page.evaluate(focused) == second
    page.keyboard.press(" ")
    page.wait_for_url("**/frame/*")


def test_a_hostile_name_is_text_in_both_views(shown: Shown, open_page: OpenPage) -> None:
    page = open_page(f"{shown.address}/?q=onerror")

    expect(page.locator("#sheet .name")).to_have_text(NASTY)
    page.locator("#sheet li a").click()

    expect(page.locator("#name")).to_have_text(NASTY)
    page.wait_for_load_state("load")
    assert page.locator("img[onerror]").count() == 0


def test_help_lists_the_keys_and_closes_again(shown: Shown, open_page: OpenPage) -> None:
    page = open_page(shown.address)
    expect(page.locator("#sheet li").first).to_be_visible()

    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("Escape")

    expect(page.locator("#help")).to_be_hidden()


@pytest.fixture(scope="module")
def long_roll(tmp_path_factory: pytest.TempPathFactory, chromium: str) -> Iterator[ReviewServer]:
    station = DrawnStation(tmp_path_factory.mktemp("long"))
    station.many(MANY)
    server = ReviewServer(station.settings, port=0, is_daemon=True, draw=OnePicture)
    server.start()
    yield server
    server.stop()


def test_the_first_contact_sheet_of_2000_frames_is_there_within_a_second(
    long_roll: ReviewServer, open_page: OpenPage
) -> None:
    page = open_page(long_roll.address)
    expect(page.locator("#sheet li").first).to_be_visible()

    took = page.evaluate("performance.getEntriesByName('contact-sheet')[0].startTime") / 1000

    print(f"first contact sheet of {MANY} frames: {took:.2f} s")
    assert took < SHEET_SECONDS * SLOW_MACHINE


def test_all_of_2000_frames_come_by_scrolling_and_stay_fluid(long_roll: ReviewServer, open_page: OpenPage) -> None:
    page = open_page(long_roll.address)
    expect(page.locator("#sheet li").first).to_be_visible()

    until = time.monotonic() + 30
    while page.locator("#sheet li").count() < MANY and time.monotonic() < until:
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        page.wait_for_timeout(50)
    longest = page.evaluate(
        """async () => {
            let last = performance.now(), longest = 0;
            for (let at = 0; at < 60; at++) {
                scrollTo(0, document.body.scrollHeight * (1 - at / 60));
                await new Promise(requestAnimationFrame);
                longest = Math.max(longest, performance.now() - last);
                last = performance.now();
            }
            return longest;
        }"""
    )

    assert page.locator("#sheet li").count() == MANY
    print(f"longest frame while scrolling through {MANY}: {longest:.0f} ms")
    assert longest < 500


@pytest.mark.parametrize("view", ["roll", "frame"])
def test_a_page_without_its_pictures_weighs_less_than_200_kb(view: str, shown: Shown, open_page: OpenPage) -> None:
    sizes: dict[str, int] = {}

    def weigh(answer: Response) -> None:
        if not any(part in answer.url for part in ("/thumb/", "/tiles/", "/events")):
            sizes[answer.url] = len(answer.body())

    page = open_page(shown.address if view == "roll" else shown.frame("rocket"), on_answer=weigh)
    expect(page.locator("#main")).to_have_attribute("aria-busy", "false")
    page.wait_for_timeout(300)

    print(f"{view} without pictures: {sum(sizes.values()) / 1000:.0f} kB in {len(sizes)} answers")
    assert len(sizes) > 5
    assert sum(sizes.values()) < MOST_BYTES
