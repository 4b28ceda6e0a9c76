"""Every choice the core accepts, as frozen values: passed as arguments, never read from globals or the environment.

Lengths are micrometres on the film and become pixels through the scan's resolution.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from spotless_core.errors import OptionsError


class Sensitivity(StrEnum):
    """How readily something is taken for a defect; each step has its own calibrated probability thresholds."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


class InpaintMethod(StrEnum):
    """How holes are filled. AUTO = each region by the cheapest method that is as good as our LaMa; without its weights,
    lama-cleaner if big-lama is here, else NS.
    """

    AUTO = "auto"
    LAMA = "lama"
    LAMA_CLEANER = "lama-cleaner"
    TELEA = "telea"
    NS = "ns"


class DeviceChoice(StrEnum):
    """Where the networks run. AUTO = CUDA, else MPS, else CPU."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


class FilmFormat(StrEnum):
    """The film's frame size, used for the scale when the dpi tag is missing or absurd."""

    AUTO = "auto"
    MM35 = "35mm"
    MM120_645 = "645"
    MM120_66 = "6x6"
    MM120_67 = "6x7"
    SHEET_4X5 = "4x5"


class MaskFormat(StrEnum):
    """The kind of file a mask is written as: PNG, or TIFF with Deflate for programs that read no large PNG."""

    PNG = "png"
    TIFF = "tiff"


LONG_SIDE_MM: dict[FilmFormat, float] = {
    FilmFormat.MM35: 36.0,
    FilmFormat.MM120_645: 56.0,
    FilmFormat.MM120_66: 56.0,
    FilmFormat.MM120_67: 70.0,
    FilmFormat.SHEET_4X5: 120.0,
}
"""Exposed long side of a frame, millimetres."""
LENGTHS_UM: dict[str, tuple[float, float]] = {
    "min_speck_um": (1.0, 1000.0),
    "max_speck_um": (10.0, 20_000.0),
    "max_length_um": (100.0, 200_000.0),
    "max_width_um": (5.0, 10_000.0),
    "grow_um": (1.0, 500.0),
    "max_hole_um": (10.0, 50_000.0),
}
"""What each length may be, micrometres on the film: from film grain to the longest side of sheet film. A number outside
was typed in another unit."""


def _check_length(table: str, name: str, value: float, also: str = "") -> None:
    """Raise `OptionsError` if a length in micrometres is none that film has; `also`: what else may be given."""
    low, high = LENGTHS_UM[name]
    if low <= value <= high:
        return
    slip = f" If millimetres were meant, type {value * 1000:g}." if low <= value * 1000 <= high else ""
    raise OptionsError(f"{table}.{name} = {value}; {also}{low:g} to {high:g} micrometres expected.{slip}")


@dataclass(frozen=True, slots=True)
class DetectOptions:
    """Tiles of the detector: `tile_px` a multiple of 64, `stride_px` in [tile_px / 4, tile_px]."""

    tile_px: int = 1024
    stride_px: int = 512

    def __post_init__(self) -> None:
        if self.tile_px < 128 or self.tile_px % 64:
            raise OptionsError(f"detect.tile_px = {self.tile_px}; a multiple of 64, at least 128, expected.")
        if not self.tile_px // 4 <= self.stride_px <= self.tile_px:
            raise OptionsError(
                f"detect.stride_px = {self.stride_px}; between {self.tile_px // 4} and {self.tile_px} expected."
            )


@dataclass(frozen=True, slots=True)
class MaskOptions:
    """From probability to mask.

    `min_speck_um`: smaller defects are grain. `max_speck_um`: the largest compact defect (diameter). `max_length_um`
    and `max_width_um`: the largest hair or scratch (length, stroke width). `grow_um`: the penumbra taken into the
    mask around each defect, zero = none. All five lie in `LENGTHS_UM`. `max_coverage`: fraction of the frame, in
    (0, 1]; above it the frame is held for a person.
    `faint_lines`: look for transport scratches too faint for any pixel to show; `max_length_um` does not bind them.
    """

    sensitivity: Sensitivity = Sensitivity.NORMAL
    min_speck_um: float = 12.0
    max_speck_um: float = 700.0
    max_length_um: float = 8000.0
    max_width_um: float = 250.0
    grow_um: float = 12.0
    max_coverage: float = 0.03
    faint_lines: bool = True

    def __post_init__(self) -> None:
        for name in ("min_speck_um", "max_speck_um", "max_length_um", "max_width_um"):
            _check_length("mask", name, getattr(self, name))
        if self.grow_um != 0:
            _check_length("mask", "grow_um", self.grow_um, "zero, or ")
        if not 0 < self.max_coverage <= 1:
            raise OptionsError(f"mask.max_coverage = {self.max_coverage}; a fraction in (0, 1] expected.")


@dataclass(frozen=True, slots=True)
class InpaintOptions:
    """How holes are filled: `method`, and for lama-cleaner the path of `big-lama.pt` (None = lama-cleaner's cache).

    `context_px`: clean pixels kept around a hole in its crop, zero or more; thick holes get more. `grain`: put measured
    grain back into fills. `max_hole_um`: width of the widest hole that is filled unattended, in `LENGTHS_UM`.
    `max_seconds`: longest time for the fills of one frame, 0 = no limit. Over either a frame is held.
    """

    method: InpaintMethod = InpaintMethod.AUTO
    big_lama_path: Path | None = None
    context_px: int = 24
    grain: bool = True
    max_hole_um: float = 1000.0
    max_seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.context_px < 0:
            raise OptionsError(f"inpaint.context_px = {self.context_px}; zero or more pixels expected.")
        _check_length("inpaint", "max_hole_um", self.max_hole_um)
        if self.max_seconds < 0:
            raise OptionsError(f"inpaint.max_seconds = {self.max_seconds}; zero (no limit) or more seconds expected.")


@dataclass(frozen=True, slots=True)
class DeviceOptions:
    """`device`, whether a CPU fallback is allowed when it cannot start, and CPU threads (0 = all cores)."""

    device: DeviceChoice = DeviceChoice.AUTO
    allow_fallback: bool = False
    threads: int = 0


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """Everything one restoration depends on. `film_format` gives the scale where the file does not.

    `allow_reencode`: encode a JPEG anew where libturbojpeg is missing, which moves values outside the mask too; else
    refuse. `allow_transcode`: turn a TIFF's lossy segments into Deflate ones; else refuse. The receipt's `preservation`
    then is "reencoded" or "transcoded". `mask_format`: the kind of the mask file.
    """

    detect: DetectOptions = field(default_factory=DetectOptions)
    mask: MaskOptions = field(default_factory=MaskOptions)
    inpaint: InpaintOptions = field(default_factory=InpaintOptions)
    film_format: FilmFormat = FilmFormat.AUTO
    max_megapixels: float = 2000.0
    preview_long_side_px: int = 5400
    allow_reencode: bool = False
    allow_transcode: bool = False
    mask_format: MaskFormat = MaskFormat.PNG

    def __post_init__(self) -> None:
        if self.preview_long_side_px < 256:
            raise OptionsError(f"preview_long_side_px = {self.preview_long_side_px}; at least 256 expected.")
