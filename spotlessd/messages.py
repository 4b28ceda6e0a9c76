"""What the parent and the worker child say to each other over their pipe: frozen values, nothing else.

Parent to child: `WorkOrder`, `Farewell`. Child to parent: `Ready` or `StartFailed` once, then for each order any number
of `Heartbeat` and one `Finished` or `Failed`. Job id and attempt come back with each answer: a late one is seen.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spotless_core.options import DeviceOptions, InpaintOptions, RestoreOptions
from spotless_core.receipt import DecisionFacts, FileFacts
from spotlessd.job import Base


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What a child needs to load its models. `models_folder` None: the ones that ship with the package.

    `more_inpaints`: ways of filling that orders may ask for beside `inpaint`, from the profiles of the roots. `name`,
    `environment`: which of several workers it is, and what its process gets before anything is loaded (devices.py).
    """

    device: DeviceOptions = field(default_factory=DeviceOptions)
    inpaint: InpaintOptions = field(default_factory=InpaintOptions)
    more_inpaints: tuple[InpaintOptions, ...] = ()
    models_folder: Path | None = None
    stall_seconds: float = 300.0
    log_level: str = "INFO"
    name: str = "worker"
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """One scan to restore. The child writes only the three part files; `image` stays absent for a held frame.

    `spool`: where to copy the scan before it is read, None = read it where it lies.
    `is_on_cpu`: whatever the device is, for a scan that found too little memory on it. `deadline_seconds`: how long
    the parent waits at most, 0 = as long as there is progress. `base`, `decision`: of an edited frame; `feedback`:
    where what it teaches goes, None = nowhere.
    """

    job_id: int
    attempt: int
    source: Path
    source_name: str
    image: Path
    mask: Path
    preview: Path
    options: RestoreOptions
    given_mask: Path | None = None
    is_on_cpu: bool = False
    deadline_seconds: float = 0.0
    spool: Path | None = None
    base: Base | None = None
    decision: DecisionFacts | None = None
    feedback: Path | None = None


@dataclass(frozen=True, slots=True)
class Farewell:
    """Asks the child to end after the job in its hand."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The models are loaded and warm: what really runs."""

    device: str
    precision: str
    models: tuple[FileFacts, ...]
    memory_mb: float


@dataclass(frozen=True, slots=True)
class StartFailed:
    """The models or the device could not be had; the child ends."""

    reason: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A sign of life: the step under way, how far it is (0 to 1), and the seconds since it last moved."""

    job_id: int
    attempt: int
    step: str
    fraction: float
    idle_seconds: float
    memory_mb: float


@dataclass(frozen=True, slots=True)
class Finished:
    """The part files are complete and synced; the receipt, as JSON values, carries their names and checksums."""

    job_id: int
    attempt: int
    receipt: dict[str, Any]
    memory_mb: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed: the error's class and sentence, and what the class says of itself."""

    job_id: int
    attempt: int
    error: str
    message: str
    exit_code: int
    is_retryable: bool
    memory_mb: float
    is_out_of_memory: bool = False


FromChild = Ready | StartFailed | Heartbeat | Finished | Failed
ToChild = WorkOrder | Farewell
