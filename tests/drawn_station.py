"""A station with photographs as a person would see them on the review page: drawn dust, true masks, true receipts."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from review_station import FakeLayout, ReviewStation
from skimage import data

from spotlessd.job import Identity, JobState, Tally
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME
from spotlessd.review.frame_files import FrameFiles
from spotlessd.review.picture_source import PictureError
from spotlessd.sqlite.database import Database

UM_PER_PX = 6.35
GRAIN = 4.0
LONGEST_SPECK_PX = 32
HELD_BECAUSE = "0.9 % of the frame would be repaired, more than the 0.5 % allowed without a person."

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Drawn:
    """A frame as published: scan and result, H×W×3 uint8; mask, H×W uint8, 255 = repaired."""

    scan: Pixels
    result: Pixels
    mask: Pixels


def draw_frame(photo: Pixels, width: int, *, pieces: int = 14, seed: int = 1) -> Drawn:
    """Return `photo` with grain, `width` px wide, and drawn dust on its scan."""
    random = np.random.default_rng(seed)
    height = round(photo.shape[0] * width / photo.shape[1])
    clean = cv2.resize(photo[..., :3], (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    clean += random.normal(0, GRAIN, (height, width, 1))
    mask = np.zeros((height, width), np.uint8)
    for piece in range(pieces):
        x, y = random.integers(40, width - 40), random.integers(40, height - 40)
        if piece % 3 == 0:
            turns = np.cumsum(random.normal(0, 0.25, 30)) + random.uniform(0, 6)
            steps = np.stack([np.cos(turns), np.sin(turns)], 1) * width / 500
            points = np.cumsum(steps, 0) + np.array([x, y])
            cv2.polylines(mask, [points.astype(np.int32)], isClosed=False, color=255, thickness=max(2, width // 700))
        else:
            cv2.circle(mask, (int(x), int(y)), int(random.integers(2, max(4, width // 200))), 255, -1)
    veil = cv2.GaussianBlur(mask, (0, 0), 1.0)[..., None] / 255.0
    scan = clean * (1 - 0.9 * veil) + 238 * 0.9 * veil
    shown = cv2.dilate(mask, np.ones((5, 5), np.uint8))
    result = np.where(shown[..., None] > 0, clean, scan)
    return Drawn(*(np.clip(np.round(each), 0, 255).astype(np.uint8) for each in (scan, result)), shown)


def defects_of(mask: Pixels, seed: int = 1) -> list[dict[str, object]]:
    """Return the pieces of a mask as a receipt lists them; their scores are drawn."""
    random = np.random.default_rng(seed)
    number, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    found: list[dict[str, object]] = []
    for left, top, width, height, area in stats[1:number].tolist():
        length = float(np.hypot(width, height)) * UM_PER_PX
        found.append(
            {
                "box": [top, left, top + height, left + width],
                "area_px": area,
                "length_um": round(length, 1),
                "kind": "hair" if max(width, height) > LONGEST_SPECK_PX else "speck",
                "score": round(float(random.uniform(0.5, 1.0)), 3),
                "method": "lama",
            }
        )
    return found


class DrawnStation(ReviewStation):
    """A station whose frames can be looked at."""

    def frame(
        self,
        rel: str,
        drawn: Drawn,
        state: JobState = JobState.DONE,
        *,
        recipe: str = "r",
        at: float = 0.0,
        decisions: Sequence[dict[str, object]] = (),
    ) -> int:
        """Add a scan that ended as `state` (done or held) with its files; returns its job's id."""
        at = at or time.time()
        scan = self.scans / rel
        scan.parent.mkdir(parents=True, exist_ok=True)
        if not scan.exists():
            tifffile.imwrite(scan, drawn.scan, photometric="rgb")
        defects = defects_of(drawn.mask)
        coverage = float(np.count_nonzero(drawn.mask)) / drawn.mask.size
        with Database.open(self.state / LEDGER_NAME) as database:
            ledger = Ledger(database)
            status = scan.stat()
            job_id = ledger.enqueue(Identity("scans", rel, status.st_size, status.st_mtime_ns), 1, recipe, at)
            assert job_id is not None
            job = ledger.claim(job_id, "me", at)
            assert job is not None
            outputs = {"mask": f"masks/{job_id}.png", "receipt": f"receipts/{job_id}.json"}
            if state is JobState.DONE:
                outputs["image"] = rel if recipe == "r" else str(Path(rel).with_stem(f"{Path(rel).stem}~{job_id}"))
            for name in outputs.values():
                (self.restored / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn.mask).save(self.restored / outputs["mask"])
            if state is JobState.DONE:
                tifffile.imwrite(self.restored / outputs["image"], drawn.result, photometric="rgb")
            height, width = drawn.mask.shape
            receipt = {
                "input": {"width": width, "height": height, "bits": 8, "dpi": 4000.0, "um_per_px": UM_PER_PX},
                "options": {"mask": {"sensitivity": "normal"}},
                "defects": defects,
                "coverage": coverage,
                "preservation": "exact",
                "outside_mask_identical": True,
                "notes": ["Grain was measured round each repair."],
                "decisions": [*decisions],
            }
            (self.restored / outputs["receipt"]).write_text(json.dumps(receipt))
            tally = Tally(len(defects), coverage, HELD_BECAUSE if state is JobState.HELD else "")
            assert ledger.finish(job, state, outputs, "", {}, at, tally)
        return job_id

    def many(self, number: int) -> None:
        """Add rows of `number` finished scans of two days; they have no files."""
        now = time.time()
        with Database.open(self.state / LEDGER_NAME) as database, database.transaction() as connection:
            connection.executemany(
                "INSERT INTO job (root, rel, size, mtime_ns, inode, recipe, state, attempt, created, finished,"
                " defects, coverage) VALUES ('scans', ?, 1, 1, 1, 'r', 'done', 1, ?, ?, 12, 0.0004)",
                [
                    (f"roll {index // 36:03}/frame {index:04}.tif", now - 90 * index, now - 90 * index)
                    for index in range(number)
                ],
            )


def photographs() -> dict[str, Pixels]:
    """Return free photographs by name, H×W×3 uint8."""
    return {
        "coffee": data.coffee(),
        "cat": data.chelsea(),
        "rocket": data.rocket(),
        "portrait": data.astronaut(),
        "garage": data.stereo_motorcycle()[0],
        "stars": data.hubble_deep_field(),
    }


class OnePicture:
    """Gives one small picture for every frame: for rolls too long to draw."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "one.jpg"
        Image.fromarray(cv2.resize(data.coffee(), (480, 320))).save(self._path, quality=80)

    async def thumb(self, files: FrameFiles) -> Path:
        return self._path

    async def layout(self, files: FrameFiles) -> FakeLayout:
        raise PictureError(f"{files.scan.name}: not drawn.")

    async def tile(self, files: FrameFiles, *_: object) -> Path:
        raise PictureError(f"{files.scan.name}: not drawn.")

    async def draw_mask(self, files: FrameFiles, *_: object) -> Path:
        raise PictureError(f"{files.scan.name}: not drawn.")

    def close(self) -> None:
        pass
