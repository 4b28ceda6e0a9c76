"""`spotlessd contact-sheet`: a folder of plain pages that shows a client what was done, opened from a disk or a stick.

Comes in: the ledger and the previews (before | after | mask) beside the results. Goes out: `index.html`, a roll of
thumbnails, and a page with the whole preview for each frame; no script, nothing from elsewhere, made to be printed too.
Files are numbered, so that no name of a scan becomes part of an address: names are text. Frames are taken one by one,
and the folder gets its name when it is complete. Loads no torch.
"""

import json
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Row
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image, UnidentifiedImageError

from spotlessd import review
from spotlessd.commands.station_commands import Answer
from spotlessd.configuration.settings import Settings
from spotlessd.errors import PublishError, UnknownJobError
from spotlessd.monitoring.status import LEDGER_NAME
from spotlessd.publish import read_receipt
from spotlessd.publishing.durable import cannot_write
from spotlessd.sqlite.database import Database

PAGES = Path(review.__file__).parent
STYLES = ("base.css", "contact_sheet.css")
THUMB_PX = 480
PANELS, GAP_PX = 3, 8
"""Of a preview: before, after, mask, and the grey between them (spotless_core/image_io/preview.py)."""
NO_PICTURE = "its preview is not there any more"


@dataclass(frozen=True, slots=True)
class SheetFrame:
    """One frame on the sheet. `number`: from 1 on, names its files. `size`: of its thumbnail, (width, height) px.

    `coverage`: masked fraction of the frame; None, as `defects`, where nobody knows. `trouble`: why it has no picture.
    """

    number: int
    name: str
    root: str
    day: str
    defects: int | None
    coverage: float | None
    size: tuple[int, int]
    trouble: str = ""

    @property
    def stem(self) -> str:
        """The name of its files."""
        return f"{self.number:05d}"


def contact_sheet(
    settings: Settings,
    target: Path,
    *,
    root: str = "",
    day: str = "",
    state: str = "done",
    title: str = "",
    limit: int = -1,
) -> Answer:
    """Write the sheet of all scans, of one root, of one day ("2026-11-23"), into the new or empty folder `target`.

    `state`: "done" shows the newest result of each scan, "held" what waits for a decision. `limit`: so many frames at
    most, the first ones; -1 = all.

    Raises:
        UnknownJobError: no frame is asked for.
        PublishError: the folder has something in it, or cannot be written.
    """
    with Database.open(settings.state_dir / LEDGER_NAME) as database:
        rows = _rows(database, root, day, state, limit)
    outputs = {each.name: each.output for each in settings.roots}
    rows = [row for row in rows if row["root"] in outputs]
    if not rows:
        raise UnknownJobError(f"no {state} scan there. See: spotlessd list --state {state}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise PublishError(f"{target}: there is something in it; a new or empty folder expected.")
    part = target.absolute().with_name(f".{target.absolute().name}.{secrets.token_hex(4)}.part")
    try:
        try:
            missing = _write(part, rows, outputs, title or "Contact sheet", settings.station_id)
            if target.is_dir():
                target.rmdir()
            part.rename(target)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise cannot_write(target, error) from error
    without = f" {missing} of them without a picture: {NO_PICTURE}." if missing else ""
    return Answer(f"{len(rows)} frames: {target / 'index.html'}.{without}")


def _rows(database: Database, root: str, day: str, state: str, limit: int) -> list[Row]:
    """Return for each scan its newest job in `state`, by day, root and name."""
    return database.read(
        "SELECT job.id, job.root, job.rel, job.outputs, job.defects, job.coverage, frame.day FROM frame"
        " JOIN job ON job.id = (SELECT MAX(id) FROM job AS version WHERE version.root = frame.root"
        "  AND version.rel = frame.rel AND version.recipe != 'companion' AND version.state = ?)"
        " WHERE (? = '' OR frame.root = ?) AND (? = '' OR frame.day = ?)"
        " ORDER BY frame.day, frame.root, frame.rel LIMIT ?",
        *(state, root, root, day, day, limit),
    )


def _write(folder: Path, rows: list[Row], outputs: dict[str, Path], title: str, station: str) -> int:
    """Write the whole sheet into `folder`; returns how many frames have no picture."""
    for name in ("thumbs", "pictures", "frames"):
        (folder / name).mkdir(parents=True)
    for name in STYLES:
        shutil.copyfile(PAGES / "static" / name, folder / name)
    pages = Environment(loader=FileSystemLoader(PAGES / "templates"), autoescape=True, undefined=StrictUndefined)
    missing = 0

    def frames() -> Iterator[SheetFrame]:
        nonlocal missing
        page = pages.get_template("contact_sheet_frame.html")
        for number, row in enumerate(rows, 1):
            frame = _frame(folder, number, row, outputs[row["root"]])
            missing += bool(frame.trouble)
            with (folder / "frames" / f"{frame.stem}.html").open("w", encoding="utf-8") as file:
                file.writelines(page.generate(title=title, frame=frame, count=len(rows)))
            yield frame

    with (folder / "index.html").open("w", encoding="utf-8") as file:
        text = pages.get_template("contact_sheet.html")
        file.writelines(text.generate(title=title, station=station, frames=frames(), count=len(rows), days=_days(rows)))
    return missing


def _frame(folder: Path, number: int, row: Row, output: Path) -> SheetFrame:
    """Copy a frame's preview, draw its thumbnail, and return what is said of it."""
    names: dict[str, Any] = json.loads(row["outputs"])
    defects, coverage = row["defects"], row["coverage"]
    if defects is None or coverage is None:  # it ended before the ledger kept them
        receipt = read_receipt(output / names.get("receipt", ""))
        found, share = receipt.get("defects"), receipt.get("coverage")
        defects = len(found) if isinstance(found, list) else None
        coverage = float(share) if isinstance(share, int | float) else None
    frame = SheetFrame(number, row["rel"].rpartition("/")[2], row["root"], row["day"], defects, coverage, (3, 2))
    preview, copy = output / names.get("preview", ""), folder / "pictures" / f"{frame.stem}.jpg"
    try:
        shutil.copyfile(preview, copy)
        size = _draw_thumb(copy, folder / "thumbs" / f"{frame.stem}.jpg")
    except (FileNotFoundError, IsADirectoryError, UnidentifiedImageError, Image.DecompressionBombError):
        copy.unlink(missing_ok=True)
        return SheetFrame(number, frame.name, frame.root, frame.day, defects, coverage, frame.size, trouble=NO_PICTURE)
    return SheetFrame(number, frame.name, frame.root, frame.day, defects, coverage, size)


def _draw_thumb(preview: Path, thumb: Path) -> tuple[int, int]:
    """Cut the middle panel, "after", out of a preview and shrink it; returns (width, height)."""
    with Image.open(preview) as picture:
        whole = picture.width
        picture.draft("RGB", (PANELS * THUMB_PX, 2 * THUMB_PX))
        scale = picture.width / whole
        panel = (whole - (PANELS - 1) * GAP_PX) / PANELS * scale
        left = panel + GAP_PX * scale
        after = picture.convert("RGB").crop((round(left), 0, round(left + panel), picture.height))
        after.thumbnail((THUMB_PX, THUMB_PX))
        after.save(thumb, "JPEG", quality=85)
        return after.size


def _days(rows: list[Row]) -> str:
    """Return "2026-11-21 – 2026-11-23", or the only day."""
    first, last = rows[0]["day"], rows[-1]["day"]
    return first if first == last else f"{first} – {last}"
