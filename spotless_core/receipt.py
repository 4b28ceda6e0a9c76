"""The JSON written beside a result: what came in, what went out, what was found, what really ran.

A frozen record of facts; `to_dict` gives the JSON's shape. The receipt names the device, precision, models and
settings that ran, never those that were asked for.
"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from spotless_core.arrays.encoding import Encoding
from spotless_core.arrays.kinds import Box
from spotless_core.options import RestoreOptions
from spotless_core.photo import ScanInfo

SCHEMA = "spotless-receipt/1"

Outcome = Literal["done", "held"]
Role = Literal["image", "mask", "preview"]


@dataclass(frozen=True, slots=True)
class InfraredFacts:
    """The infrared plane: where it lies ("sample" or "page", `index`), whether it surely is one, and the sha256 of its
    samples, row by row in little-endian order; the result's are the same.
    """

    source: str
    index: int
    is_sure: bool
    sha256: str


@dataclass(frozen=True, slots=True)
class InputFacts:
    """The scan: `dpi` is the resolution used (None: unknown, pixels were taken for `film_format`'s scale). `infrared`:
    None where it has none.
    """

    name: str
    sha256: str
    size_bytes: int
    width: int
    height: int
    channels: int
    bits: int
    container: str
    compression: str
    dpi: float | None
    um_per_px: float
    encoding: str
    polarity: str
    infrared: InfraredFacts | None = None


@dataclass(frozen=True, slots=True)
class FileFacts:
    """One written file: its name and the sha256 of its bytes."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Defect:
    """One connected piece of the mask.

    `box`: (top, left, bottom, right) px, end exclusive. `area_px`: masked pixels. `length_um`: long side of its
    minimum-area rectangle. `kind`: speck | hair | scratch | blot | given. `score`: highest probability in it.
    `method`: what filled it, "" if it was not filled.
    """

    box: Box
    area_px: int
    length_um: float
    kind: str
    score: float
    method: str = ""


@dataclass(frozen=True, slots=True)
class DecisionFacts:
    """One decision about the mask. `choice`: detected | edited | proposed | original | again. `by`: person | program.
    `via`: which way it came, for example "review page". `at`: when, ISO 8601 in UTC.

    `base`: the name of the version it was about, "" if there was none. In pixels, compared with that version's mask:
    `kept_px` of it stay masked, `taken_back_px` of it do not, `added_px` are new.
    """

    choice: str
    by: str
    via: str
    at: str
    base: str = ""
    kept_px: int = 0
    taken_back_px: int = 0
    added_px: int = 0


@dataclass(frozen=True, slots=True)
class Receipt:
    """One scan's journey. `coverage`: masked fraction of the frame. `seconds`: by step and in total.

    `outside_mask_identical`: what `preservation` promises was proven on the written image. exact, transcoded: every
    sample outside the mask is the scan's; block: so is every compressed block that the mask does not touch. False
    where the picture was reencoded, or nothing was written.

    `based_on`: the image whose repairs were kept as they are, None if all were made anew. `decisions`: what was decided
    about the mask, the oldest first; receipts of earlier releases have neither.
    """

    software: str
    outcome: Outcome
    input: InputFacts
    outputs: dict[str, FileFacts]
    models: tuple[FileFacts, ...]
    device: str
    precision: str
    options: dict[str, Any]
    defects: tuple[Defect, ...]
    coverage: float
    preservation: str
    outside_mask_identical: bool
    seconds: dict[str, float]
    peak_memory_mb: float
    notes: tuple[str, ...] = field(default_factory=tuple)
    based_on: FileFacts | None = None
    decisions: tuple[DecisionFacts, ...] = ()
    schema: str = SCHEMA

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; boxes become lists."""
        return asdict(self)

    def with_output_names(self, names: dict[str, str]) -> "Receipt":
        """Return a copy whose outputs carry the final names (role → name), as published."""
        outputs = {role: FileFacts(names.get(role, facts.name), facts.sha256) for role, facts in self.outputs.items()}
        return replace(self, outputs=outputs)


def input_facts(
    name: str, size_bytes: int, sha256: str, info: ScanInfo, infrared_sha256: str, encoding: Encoding, um_per_px: float
) -> InputFacts:
    """Bring together what the receipt says of the scan; `um_per_px`: micrometres on the film per pixel, as used."""
    plane = info.infrared
    return InputFacts(
        name=name,
        sha256=sha256,
        size_bytes=size_bytes,
        width=info.width,
        height=info.height,
        channels=info.channels,
        bits=info.bits,
        container=info.container,
        compression=info.compression,
        dpi=info.dpi,
        um_per_px=round(um_per_px, 4),
        encoding=encoding.describe(info.bits),
        polarity=encoding.polarity,
        infrared=InfraredFacts(plane.source, plane.index, plane.is_sure, infrared_sha256) if plane else None,
    )


def plain_options(options: RestoreOptions) -> dict[str, Any]:
    """Return the options as JSON values: tables become objects, paths become text."""
    return _plain(asdict(options))


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _plain(value) if isinstance(value, dict) else (str(value) if isinstance(value, Path) else value)
        for key, value in values.items()
    }
