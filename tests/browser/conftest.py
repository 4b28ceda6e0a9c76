"""A browser, the station it looks at, and a watch over every page: no other host, no error, no dialog."""

import os
import shutil
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from shown_station import OpenPage, Shown

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the browser's program; skips where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no chromium on this machine; systemd/install-packages.sh tests installs it")
    return program


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator["sync_api.Browser"]:
    """Open a browser for one file: playwright keeps an event loop running, which other tests could not bear."""
    words = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=chromium, args=words)
        yield made
        made.close()


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory, chromium: str) -> Shown:
    return Shown(tmp_path_factory.mktemp("station"))


@pytest.fixture(scope="module")
def shown(drawn: Shown) -> Iterator[Shown]:
    """Serve the station for one file."""
    drawn.serve()
    yield drawn
    drawn.server.stop()


@pytest.fixture
def open_page(browser: "sync_api.Browser") -> Iterator[OpenPage]:
    """Opens pages; afterwards every one of them must have kept quiet."""
    faults: list[str] = []
    contexts = []

    def open_one(
        address: str, *, may_fail: bool = False, on_answer: Callable[..., None] | None = None, **options: object
    ) -> "sync_api.Page":
        options = {"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce", **options}
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        host = urlsplit(address).netloc
        if on_answer is not None:
            page.on("requestfinished", lambda request: on_answer(request.response()))

        def check(request: "sync_api.Request") -> None:
            parts = urlsplit(request.url)
            if parts.scheme not in {"data", "blob"} and parts.netloc != host:
                faults.append(f"foreign request: {request.url}")

        def hear(said: "sync_api.ConsoleMessage") -> None:
            is_refusal = may_fail and said.text.startswith("Failed to load resource")
            if said.type in {"error", "warning"} and not is_refusal:
                faults.append(said.text)

        def dialog(one: "sync_api.Dialog") -> None:
            if one.type != "beforeunload":
                faults.append(f"dialog: {one.message}")
            one.accept()

        page.on("request", check)
        page.on("console", hear)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", dialog)
        page.goto(address)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert faults == []
