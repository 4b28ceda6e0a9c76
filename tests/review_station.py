"""A station as the review page finds it: scans, results and receipts on disk, jobs in the ledger, and fake pictures."""

import asyncio
import json
import struct
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from spotlessd.configuration.settings import Settings, load_settings
from spotlessd.job import Identity, Job, JobState, Tally
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME
from spotlessd.review.app import make_app
from spotlessd.review.decisions import Decisions
from spotlessd.review.edits import Edits
from spotlessd.review.events import Events
from spotlessd.review.frame_files import FrameFiles
from spotlessd.review.frames import Frames
from spotlessd.review.picture_source import PictureError
from spotlessd.review.security import Access
from spotlessd.sqlite.board import Board, Command, WaitingFile
from spotlessd.sqlite.database import Database

WIDTH, HEIGHT = 60, 40
HOST = "127.0.0.1:8639"
ORIGIN = f"http://{HOST}"
NASTY = "<img src=x onerror=alert(1)>.tif"
NOW = 1_790_000_000.0
DEFECTS = (
    {"box": [5, 5, 9, 9], "area_px": 12, "length_um": 40.0, "kind": "speck", "score": 0.9, "method": "lama"},
    {"box": [20, 30, 24, 50], "area_px": 60, "length_um": 200.0, "kind": "hair", "score": 0.6, "method": "lama"},
)


class ReviewStation:
    """One station in `folder`; no daemon runs."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.folder = folder
        self.scans, self.restored, self.state = folder / "scans", folder / "restored", folder / "state"
        for each in (self.scans, self.restored, self.state):
            each.mkdir()
        config = folder / "spotlessd.toml"
        config.write_text(
            f'station_id = "dark"\n[[roots]]\nname = "scans"\ninput = "scans"\noutput = "restored"\n{more}'
        )
        self.settings: Settings = load_settings(config)
        Database.open(self.state / LEDGER_NAME).close()

    def job(self, rel: str, state: JobState = JobState.DONE, *, recipe: str = "r", at: float = NOW) -> int:
        """Add a job with its files, in `state`; returns its id. Done and held ones get their outputs."""
        scan = self.scans / rel
        scan.parent.mkdir(parents=True, exist_ok=True)
        if not scan.exists():
            scan.write_bytes(b"a scan")
        status = scan.stat()
        with Database.open(self.state / LEDGER_NAME) as database:
            ledger = Ledger(database)
            identity = Identity("scans", rel, status.st_size, status.st_mtime_ns)
            if state is JobState.QUARANTINED:
                job_id = ledger.refuse(identity, 1, recipe, "cannot be read.", at)
            else:
                job_id = ledger.enqueue(identity, 1, recipe, at)
            assert job_id is not None
            if state in {JobState.RUNNING, JobState.DONE, JobState.HELD}:
                job = ledger.claim(job_id, "me", at + 1)
                assert job is not None
                if state is not JobState.RUNNING:
                    self._finish(ledger, job, state, at + 2)
            return job_id

    def _finish(self, ledger: Ledger, job: Job, state: JobState, at: float) -> None:
        rel = job.identity.rel
        outputs = {
            "mask": f"masks/{job.id}.png",
            "preview": f"previews/{job.id}.jpg",
            "receipt": f"receipts/{job.id}.json",
        }
        if state is JobState.DONE:
            outputs["image"] = str(Path(rel).with_stem(f"{Path(rel).stem}~{job.id}"))
        for name in outputs.values():
            (self.restored / name).parent.mkdir(parents=True, exist_ok=True)
            (self.restored / name).write_bytes(b"an output")
        receipt = {
            "input": {"width": WIDTH, "height": HEIGHT, "bits": 16, "dpi": 4000.0, "um_per_px": 6.35},
            "options": {"mask": {"sensitivity": "high"}},
            "defects": DEFECTS,
            "coverage": 0.03,
            "notes": ["a note"],
        }
        (self.restored / outputs["receipt"]).write_text(json.dumps(receipt))
        assert ledger.finish(job, state, outputs, "", {}, at, Tally(len(DEFECTS), 0.03))

    def wait_for(self, rel: str, reason: str) -> None:
        """Let a file wait to be settled."""
        with Database.open(self.state / LEDGER_NAME) as database:
            Board(database).show_waiting([WaitingFile("scans", rel, reason, NOW)])

    def requests(self) -> list[Command]:
        """What was asked for."""
        with Database.open(self.state / LEDGER_NAME) as database:
            return Board(database).open_commands()

    def answer(self, number: int, text: str) -> None:
        """Answer a request as the daemon does."""
        with Database.open(self.state / LEDGER_NAME) as database:
            Board(database).answer(number, text, time.time())

    def files(self) -> dict[str, bytes]:
        """Every file of the station but the ledger's own."""
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and not path.name.startswith(LEDGER_NAME)
        }


@dataclass
class FakeLayout:
    width: int = WIDTH
    height: int = HEIGHT
    size: int = 512
    levels: int = 1
    layers: Sequence[str] = ("before", "after", "mask")


class FakePictures:
    """Gives the same picture for everything, and notes which masks were to be drawn."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / "review"
        self.drawn: list[tuple[FrameFiles, Edits, tuple[tuple[int, ...], ...]]] = []
        self.is_closed = False

    def _file(self, name: str, body: bytes) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / name
        path.write_bytes(body)
        return path

    async def thumb(self, files: FrameFiles) -> Path:
        return self._file(f"{files.job}.jpg", b"a thumb")

    async def tile(self, files: FrameFiles, layer: str, level: int, col: int, row: int) -> Path:
        if (level, col, row) != (0, 0, 0):
            raise PictureError(f"there is no tile {col}, {row} on level {level}.")
        return self._file(f"{files.job}-{layer}", f"a tile of {layer}".encode())

    async def layout(self, files: FrameFiles) -> FakeLayout:
        if files.result is None:
            raise PictureError("the scan cannot be read.")
        return FakeLayout()

    async def draw_mask(
        self, files: FrameFiles, edits: Edits, defect_boxes: Sequence[tuple[int, int, int, int]]
    ) -> Path:
        self.drawn.append((files, edits, tuple(defect_boxes)))
        return self._file("drawn.png", b"a mask")

    def close(self) -> None:
        self.is_closed = True


class Page:
    """The page without a network: requests go straight to the application."""

    def __init__(self, station: ReviewStation, access: Access | None = None) -> None:
        self.station = station
        self.access = access or Access()
        self.pictures = FakePictures(station.state)
        self.frames = Frames(station.settings)

        async def no_events(_: object) -> tuple[Any, None]:
            return _, None

        self.app = make_app(
            station.settings,
            self.pictures,
            self.frames,
            Decisions(station.settings, clock=lambda: NOW),
            self.access,
            Events(no_events),
        )

    def ask(self, method: str, url: str, headers: dict[str, str] | None = None, content: Any = None) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, client=("127.0.0.1", 5000))
            async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
                return await client.request(method, url, headers=headers, content=content)

        return asyncio.run(send())

    def get(self, url: str, **headers: str) -> httpx.Response:
        return self.ask("GET", url, {name.replace("_", "-"): value for name, value in headers.items()})

    def own_headers(self, kind: str = "application/json") -> dict[str, str]:
        """What the page itself sends with a change."""
        return {"origin": ORIGIN, "x-csrf-token": self.access.csrf, "content-type": kind}

    def post(
        self, url: str, value: Any = None, *, headers: dict[str, str] | None = None, content: Any = None
    ) -> httpx.Response:
        body = json.dumps(value) if content is None else content
        return self.ask("POST", url, self.own_headers() if headers is None else headers, body)


def write_mask_png(path: Path, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """Write a mask with one white piece and return its bytes."""
    mask = np.zeros((height, width), np.uint8)
    mask[3:6, 3:6] = 255
    Image.fromarray(mask).save(path)
    return path.read_bytes()


def png_of(width: int, height: int, rows: bytes, *, bits: int = 8) -> bytes:
    """Return a PNG whose rows are whatever is given."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
