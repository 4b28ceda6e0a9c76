"""Which files one frame is made of. Made from the ledger only (frames.py); handed to who draws (pictures.py)."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FrameFiles:
    """The files of one job. `key`: changes whenever the pictures would (job, attempt, identity of the scan).

    `result`, `mask`, `preview`, `receipt`: None where the job has none (not done yet; held frames have no result).
    """

    job: int
    key: str
    scan: Path
    result: Path | None = None
    mask: Path | None = None
    preview: Path | None = None
    receipt: Path | None = None
