"""Both views for everyone: phone, dark and light, no serious finding of axe-core (MPL-2.0, Deque)."""

import pytest
from playwright.sync_api import Page, expect
from shown_station import OpenPage, Shown

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

VIEWS = ["roll", "rocket", "cat", "broken"]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def open_view(open_page: OpenPage, shown: Shown, view: str, **options: object) -> Page:
    page = open_page(shown.address if view == "roll" else shown.frame(view), **options)
    expect(page.locator("#main")).to_have_attribute("aria-busy", "false")
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing_serious(view: str, scheme: str, shown: Shown, open_page: OpenPage) -> None:
    page = open_view(open_page, shown, view, color_scheme=scheme)
    if view == "rocket":
        page.keyboard.press("3")
        page.keyboard.press("j")
        page.keyboard.press("x")
        page.locator("#again-box summary").click()
        page.locator("#facts-box summary").click()

    found = axe.Axe().run(page).response["violations"]

    bad = [
        (one["id"], one["impact"], [node["html"][:120] for node in one["nodes"][:3]])
        for one in found
        if one["impact"] in {"serious", "critical"}
    ]
    assert bad == []


@pytest.mark.parametrize("view", VIEWS)
def test_a_phone_needs_no_sideways_scrolling(view: str, shown: Shown, open_page: OpenPage) -> None:
    page = open_view(open_page, shown, view, **PHONE)

    widths = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")

    assert widths == [390, 390]


def test_a_phone_takes_a_repair_back_by_tapping_it_in_the_picture(shown: Shown, open_page: OpenPage) -> None:
    page = open_view(open_page, shown, "rocket", **PHONE)
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    facts = page.request.get(f"{shown.address}/api/frame/{shown.ids['rocket']}").json()
    scale = min((box["width"] - 24) / facts["width"], (box["height"] - 24) / facts["height"])
    top, left, bottom, right = facts["defects"][0]["box"]

    page.touchscreen.tap(
        box["x"] + box["width"] / 2 + ((left + right) / 2 - facts["width"] / 2) * scale,
        box["y"] + box["height"] / 2 + ((top + bottom) / 2 - facts["height"] / 2) * scale,
    )
    page.locator("#chosen-toggle").tap()

    expect(page.locator("#outcome")).to_have_text("Takes back 1; everything else stays as it is.")


@pytest.mark.parametrize("view", ["roll", "rocket"])
def test_the_ground_is_neutral_and_dark_where_the_person_wants_it_dark(
    view: str, shown: Shown, open_page: OpenPage
) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        page = open_view(open_page, shown, view, color_scheme=scheme)
        text = page.evaluate("getComputedStyle(document.body).backgroundColor")
        grounds.append([int(part) for part in text.removeprefix("rgb(").removesuffix(")").split(",")])

    assert all(len(set(ground)) == 1 for ground in grounds)
    assert grounds[0][0] > 190
    assert grounds[1][0] < 60
