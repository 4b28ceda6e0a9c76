"""The station that the browser tests look at, served; and how they open its pages."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from drawn_station import DrawnStation, draw_frame, photographs

from spotlessd.job import JobState
from spotlessd.review.server import ReviewServer

if TYPE_CHECKING:
    from playwright.sync_api import Page

WIDTH_PX = 1200
NASTY = "<img src=x onerror=alert(1)>.tif"
DECISION = {"choice": "edited", "by": "person", "via": "review page", "at": "2026-11-22T10:00:00+00:00"}


class OpenPage(Protocol):
    """Opens an address in a browser context of its own.

    `may_fail`: an answer of the station may be a refusal. `on_answer`: hears of every answer. `options`: of
    playwright's `new_context`.
    """

    def __call__(
        self, address: str, *, may_fail: bool = False, on_answer: Callable[..., None] | None = None, **options: object
    ) -> "Page": ...


class Shown:
    """The served station of one test session; `ids`: of its frames by name."""

    def __init__(self, folder: Path) -> None:
        self.station = DrawnStation(folder)
        self.ids: dict[str, int] = {}
        for at, (name, photo) in enumerate(photographs().items()):
            state = JobState.HELD if name == "cat" else JobState.DONE
            self.ids[name] = self.station.frame(f"roll 7/{name}.tif", draw_frame(photo, WIDTH_PX, seed=at), state)
        self.ids["broken"] = self.station.job("roll 7/broken.tif", JobState.QUARANTINED)
        self.ids["queued"] = self.station.job("roll 7/queued.tif", JobState.QUEUED)
        small = draw_frame(photographs()["coffee"], 300, pieces=3)
        self.ids["nasty"] = self.station.frame(NASTY, small)

    def serve(self) -> None:
        self.server = ReviewServer(self.station.settings, port=0, is_daemon=True)
        self.server.start()

    @property
    def address(self) -> str:
        return self.server.address.rstrip("/")

    def frame(self, name: str) -> str:
        return f"{self.address}/frame/{self.ids[name]}"
