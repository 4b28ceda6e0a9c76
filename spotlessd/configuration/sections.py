"""The tables of the configuration file, with every key's default and legal range.

The rules and defaults of detect, mask, inpaint and device are the core's own (`spotless_core.options`): each of these
tables builds the core's options, and a rule broken there is a problem of the config.
"""

from dataclasses import asdict
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from spotless_core.errors import OptionsError
from spotless_core.options import (
    DetectOptions,
    DeviceChoice,
    DeviceOptions,
    InpaintMethod,
    InpaintOptions,
    MaskFormat,
    MaskOptions,
    RestoreOptions,
    Sensitivity,
)
from spotlessd.configuration.problems import (
    ENDING_PATTERN,
    GPU_PATTERN,
    HOST_PATTERN,
    SUFFIX_PATTERN,
    WEB_PATTERN,
)

_DETECT, _MASK, _INPAINT, _DEVICE = DetectOptions(), MaskOptions(), InpaintOptions(), DeviceOptions()
_RESTORE = RestoreOptions()
"""The core's defaults are the only ones."""


class NoticeKind(StrEnum):
    """What a person may want to be told of. DISK_FULL: a result, a spool copy or the ledger cannot be written."""

    QUARANTINED = "quarantined"
    HELD = "held"
    QUEUE_EMPTY = "queue_empty"
    DISK_FULL = "disk_full"
    WORKER_DOWN = "worker_down"
    FOLDER_AWAY = "folder_away"


EXTENSIONS = (".tif", ".tiff", ".dng", ".png", ".jpg", ".jpeg", ".bmp", ".pnm", ".pgm", ".ppm", ".pam")


def _refuse_bool(value: object) -> object:
    """`settle_seconds = true` is a slip, not 1 second."""
    if isinstance(value, bool):
        raise ValueError("a number expected")
    return value


def _empty_is_none(value: object) -> object:
    """TOML has no null: an empty string stands for "none"."""
    return None if value == "" else value


def _number_is_name(value: object) -> object:
    """`gpus = [0, 1]` names GPUs by number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Number = Annotated[float, BeforeValidator(_refuse_bool)]
Whole = Annotated[int, BeforeValidator(_refuse_bool)]
Seconds = Annotated[Number, Field(gt=0, le=7 * 86400)]
OptionalPath = Annotated[Path | None, BeforeValidator(_empty_is_none)]
Glob = Annotated[str, Field(min_length=1)]
Suffix = Annotated[str, Field(pattern=SUFFIX_PATTERN)]
Ending = Annotated[str, Field(pattern=ENDING_PATTERN)]
Gpu = Annotated[str, BeforeValidator(_number_is_name), Field(pattern=GPU_PATTERN)]


class Section(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class WatchSettings(Section):
    """How new scans are found and when they count as complete."""

    mode: Literal["auto", "events", "polling"] = "auto"
    settle_seconds: Seconds = 5
    settle_seconds_network: Seconds = 15
    rescan_seconds: Seconds = 60
    poll_seconds: Seconds = 10
    incomplete_seconds: Seconds = 300
    extensions: Annotated[tuple[Suffix, ...], Field(min_length=1)] = EXTENSIONS
    ignore: tuple[Glob, ...] = ()
    infrared_endings: tuple[Ending, ...] = ("_ir", "-ir")
    sidecar_seconds: Seconds = 600
    companions: tuple[Suffix, ...] = (".xmp",)
    spool: Literal["auto", "always", "never"] = "auto"
    spool_dir: OptionalPath = None

    @model_validator(mode="after")
    def _a_companion_is_no_scan(self) -> Self:
        scans = {suffix.lower() for suffix in self.extensions}
        both = [suffix for suffix in self.companions if suffix.lower() in scans]
        if both:
            raise ValueError(
                f"watch.companions = {both!r}: in watch.extensions too; a file is a scan or goes with one."
            )
        return self


class DetectSettings(Section):
    """The detector's tiles."""

    tile_px: Whole = _DETECT.tile_px
    stride_px: Whole = _DETECT.stride_px

    def options(self) -> DetectOptions:
        """Return the core's options."""
        return DetectOptions(**self.model_dump())

    @model_validator(mode="after")
    def _core_rules(self) -> Self:
        return _checked(self, DetectOptions)


class MaskSettings(Section):
    """From probability to mask."""

    sensitivity: Sensitivity = _MASK.sensitivity
    min_speck_um: Number = _MASK.min_speck_um
    max_speck_um: Number = _MASK.max_speck_um
    max_length_um: Number = _MASK.max_length_um
    max_width_um: Number = _MASK.max_width_um
    grow_um: Number = _MASK.grow_um
    max_coverage: Number = _MASK.max_coverage
    faint_lines: bool = _MASK.faint_lines

    def options(self) -> MaskOptions:
        """Return the core's options."""
        return MaskOptions(**self.model_dump())

    @model_validator(mode="after")
    def _core_rules(self) -> Self:
        return _checked(self, MaskOptions)


class InpaintSettings(Section):
    """How holes are filled."""

    method: InpaintMethod = _INPAINT.method
    big_lama_path: OptionalPath = _INPAINT.big_lama_path
    context_px: Annotated[Whole, Field(ge=0, le=4096)] = _INPAINT.context_px
    grain: bool = _INPAINT.grain
    max_hole_um: Number = _INPAINT.max_hole_um
    max_seconds: Number = _INPAINT.max_seconds

    def options(self) -> InpaintOptions:
        """Return the core's options."""
        return InpaintOptions(**self.model_dump())

    @model_validator(mode="after")
    def _core_rules(self) -> Self:
        return _checked(self, InpaintOptions)


class DeviceSettings(Section):
    """Where the networks run. `gpus`: one worker for each; empty = for each NVIDIA GPU there is, else one in all."""

    device: DeviceChoice = _DEVICE.device
    allow_fallback: bool = _DEVICE.allow_fallback
    threads: Annotated[Whole, Field(ge=0, le=1024)] = _DEVICE.threads
    gpus: tuple[Gpu, ...] = ()

    def options(self) -> DeviceOptions:
        """Return the core's options."""
        return DeviceOptions(**self.model_dump(exclude={"gpus"}))

    @model_validator(mode="after")
    def _gpus_can_be_used(self) -> Self:
        if self.gpus and self.device not in {DeviceChoice.AUTO, DeviceChoice.CUDA}:
            raise ValueError(f"device.gpus = {list(self.gpus)!r}: the device is {self.device}; auto or cuda expected.")
        if len(set(self.gpus)) < len(self.gpus):
            raise ValueError(f"device.gpus = {list(self.gpus)!r}: one is named twice; one worker for each GPU.")
        return self


class QueueSettings(Section):
    """How jobs are tried, retried and given up."""

    max_attempts: Annotated[Whole, Field(ge=1, le=100)] = 3
    max_interrupts: Annotated[Whole, Field(ge=1, le=1000)] = 10
    retry_seconds: Seconds = 30
    retry_max_seconds: Seconds = 1800
    stop_grace_seconds: Annotated[Number, Field(ge=0, le=86400)] = 120
    stall_seconds: Seconds = 300
    seconds_per_megapixel: Annotated[Number, Field(ge=0, le=86400)] = 60
    recycle_jobs: Annotated[Whole, Field(ge=0)] = 500
    max_worker_mb: Annotated[Whole, Field(ge=0)] = 0


class DiskSettings(Section):
    """When a full disk pauses the queue."""

    reserve_mb: Annotated[Whole, Field(ge=0)] = 500


class OutputSettings(Section):
    """How the restored photo is written, and what beside it.

    `keep_timestamp`: result, mask and receipt get the scan's time of change. `replace`: the newest version has the
    scan's own name.
    """

    preview_long_side_px: Annotated[Whole, Field(ge=256, le=20000)] = _RESTORE.preview_long_side_px
    mask_format: MaskFormat = _RESTORE.mask_format
    allow_reencode: bool = _RESTORE.allow_reencode
    allow_transcode: bool = _RESTORE.allow_transcode
    keep_timestamp: bool = False
    replace: bool = False


class HealthSettings(Section):
    """Where monitors ask, on this machine only; 0 = nowhere."""

    port: Annotated[Whole, Field(ge=0, le=65535)] = 0


class ReviewSettings(Section):
    """The page where a person looks at results and decides. `hosts`: more names that it may be called by.

    `token_file`: its text is asked of everyone; without one only this machine is served. `cache_mb`: room for its
    pictures in the state folder. `feedback`: what edits teach is kept there, whether the page is served or not.
    """

    enabled: bool = False
    host: Annotated[str, Field(pattern=HOST_PATTERN)] = "127.0.0.1"
    port: Annotated[Whole, Field(ge=1, le=65535)] = 8639
    token_file: OptionalPath = None
    hosts: tuple[Annotated[str, Field(pattern=HOST_PATTERN)], ...] = ()
    cache_mb: Annotated[Whole, Field(ge=50, le=1_000_000)] = 2000
    feedback: bool = True

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return self.host == "localhost" or ip_address(self.host).is_loopback
        except ValueError:
            return False

    @model_validator(mode="after")
    def _others_need_a_token(self) -> Self:
        if not self.is_local and self.token_file is None:
            raise ValueError(
                f"review.host = {self.host!r}: other machines can reach it; review.token_file expected, or 127.0.0.1."
            )
        return self


class NotifySettings(Section):
    """Who is told when something happens: a command, a URL, or both."""

    command: tuple[str, ...] = ()
    webhook: Annotated[str, Field(pattern=WEB_PATTERN)] = ""
    events: tuple[NoticeKind, ...] = tuple(NoticeKind)
    timeout_seconds: Annotated[Number, Field(gt=0, le=600)] = 30
    interval_seconds: Annotated[Number, Field(ge=0, le=86400)] = 300


class LogSettings(Section):
    """Where the log goes."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    json_lines: Annotated[bool, Field(alias="json")] = False
    file: OptionalPath = None


SectionKind = TypeVar("SectionKind", bound=Section)
OptionsKind = type[DetectOptions] | type[MaskOptions] | type[InpaintOptions]


def _checked(section: SectionKind, kind: OptionsKind) -> SectionKind:
    """Apply the core's rules; every broken one is reported."""
    problems = broken_rules(section.model_dump(), kind)
    if problems:
        raise ValueError("\n".join(problems))
    return section


def broken_rules(values: dict[str, Any], kind: OptionsKind) -> list[str]:
    """Return the core's sentence for every broken rule.

    The core stops at the first, so each blamed key is put right and it is asked again.
    """
    problems: list[str] = []
    defaults = asdict(kind())
    for _ in values:
        try:
            kind(**values)
        except OptionsError as error:
            if str(error) in problems:
                break
            problems.append(str(error))
            key = str(error).split(" = ")[0].split(".")[-1]
            values = {**values, key: defaults[key]}
        else:
            break
    return problems
