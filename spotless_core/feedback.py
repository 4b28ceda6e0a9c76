"""What a person's edit teaches: a crop of each piece that was taken back or added, in one file for a job.

Comes in: the scan as decoded, the mask that was wanted and the one before. Goes out: an .npz without pickles, read by
training/feedback_crops.py: `grey` n×h×w uint16, 65535 = 1, what the detector sees; `piece` and `mask` n×h×ceil(w/8)
uint8, packed bits of the piece and of all that is repaired now, so that kept repairs are known dust and the rest of the
crop known film; `facts`, JSON. It is bounded, and a failure costs the job nothing but a line in the log.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from loguru import logger
from numpy.typing import NDArray

from spotless_core.arrays.encoding import Encoding, detector_grey
from spotless_core.arrays.kinds import Box, GreyImage, Mask
from spotless_core.arrays.pieces import Pieces, trace_mask
from spotless_core.arrays.windows import SampleWindows
from spotless_core.edited import BaseVersion
from spotless_core.image_io.mask_file import read_mask
from spotless_core.receipt import DecisionFacts, Defect

FORMAT = 1
TAKEN_BACK, ADDED = "taken back", "added"
CROP_PX = 256
PART_PX = 192
"""A larger piece is cut into parts of this side, so that each crop shows some of what lies around."""
MOST_CROPS = 200
MOST_BYTES = 20_000_000
FULL_GREY = 65535
RING_PX = 5
"""Contrast is measured against the film within this distance of a piece."""
EDITED = "edited"


@dataclass(frozen=True, slots=True)
class EditedFrame:
    """An edited job. `frame`: windows of the scan's samples. `mask`: H×W bool, wanted; `defects`: its pieces.

    `decision`: the newest one; `sha256`: the scan's.
    """

    frame: SampleWindows
    encoding: Encoding
    mask: Mask
    defects: Sequence[Defect]
    base: BaseVersion
    decision: DecisionFacts
    um_per_px: float
    sha256: str


@dataclass(frozen=True, slots=True)
class _Place:
    """One crop to be cut: of which piece, where, and what it teaches."""

    label: str
    pieces: Pieces
    index: int
    box: Box


def write_feedback(
    path: Path | None,
    frame: SampleWindows,
    encoding: Encoding,
    mask: Mask,
    defects: Sequence[Defect],
    base: BaseVersion | None,
    history: Sequence[DecisionFacts],
    um_per_px: float,
    sha256: str,
) -> None:
    """Write what the edit teaches to `path`, fsynced; nothing if `path` is None, or nobody edited anything.

    Arguments as in `EditedFrame`; `history`: all decisions. Whatever fails is logged, and no file is left.
    """
    if path is None or base is None or not history or history[-1].choice != EDITED:
        return
    edited = EditedFrame(frame, encoding, mask, defects, base, history[-1], um_per_px, sha256)
    try:
        arrays = _collect(edited)
        if arrays is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
    except Exception as error:  # noqa: BLE001 - what is learned from a job must never harm it
        logger.warning("what was edited could not be kept as feedback ({})", error)
        with suppress(OSError):
            path.unlink()


def _collect(edited: EditedFrame) -> dict[str, NDArray[Any]] | None:
    before = read_mask(edited.base.mask, (edited.mask.shape[0], edited.mask.shape[1]))
    decision = edited.decision
    if int(np.count_nonzero(before)) != decision.kept_px + decision.taken_back_px:
        return None  # the mask was changed since, so nobody knows what the person saw
    added = trace_mask(edited.mask > before)
    np.greater(before, edited.mask, out=before)  # in place: a plane of a large frame
    taken_back = trace_mask(before)
    del before
    places = [*_places(TAKEN_BACK, taken_back, edited.mask.shape), *_places(ADDED, added, edited.mask.shape)]
    if not places:
        return None
    height, width = (min(CROP_PX, length) for length in edited.mask.shape)
    crop_bytes = height * (2 * width + 2 * -(-width // 8))
    most = min(MOST_CROPS, MOST_BYTES // crop_bytes)
    if len(places) > most:  # some of each, spread over the frame
        places = [places[round(number)] for number in np.linspace(0, len(places) - 1, most)]
    features: dict[str, Sequence[Mapping[str, Any]]] = {
        TAKEN_BACK: _defects_of(edited.base),
        ADDED: [asdict(defect) for defect in edited.defects],
    }
    greys, pieces, masks, facts = [], [], [], []
    for place in places:
        top, left, bottom, right = place.box
        grey = detector_grey(edited.frame[top:bottom, left:right], edited.encoding)
        piece = place.pieces.cut([place.index], place.box)
        wanted = edited.mask[top:bottom, left:right]
        greys.append(np.rint(grey * FULL_GREY).astype(np.uint16))
        pieces.append(np.packbits(piece, axis=1))
        masks.append(np.packbits(wanted, axis=1))
        box = place.pieces.boxes[place.index]
        facts.append(
            {
                **_features(box, features[place.label]),
                "label": place.label,
                "box": list(box),
                "crop": list(place.box),
                "area_px": int(place.pieces.areas[place.index]),
                "contrast": _contrast(grey, piece, wanted),
            }
        )
    encoding = edited.encoding
    document = {
        "format": FORMAT,
        "scan_sha256": edited.sha256,
        "um_per_px": edited.um_per_px,
        "encoding": {"polarity": encoding.polarity, "transfer": encoding.transfer, "gamma": encoding.gamma},
        "decision": asdict(edited.decision),
        "pieces_in_all": len(taken_back) + len(added),
        "crops": facts,
    }
    return {
        "grey": np.stack(greys),
        "piece": np.stack(pieces),
        "mask": np.stack(masks),
        "facts": np.array(json.dumps(document)),
    }


def _places(label: str, pieces: Pieces, shape: tuple[int, ...]) -> Iterator[_Place]:
    """Yield a crop round each piece, or several round the parts of a large one."""
    height, width = shape[0], shape[1]
    for index, box in enumerate(pieces.boxes):
        for part in _parts(box):
            inside = pieces.box_within(index, part)
            if inside is None:
                continue
            top = _start((inside[0] + inside[2]) // 2, height)
            left = _start((inside[1] + inside[3]) // 2, width)
            crop = (top, left, min(top + CROP_PX, height), min(left + CROP_PX, width))
            yield _Place(label, pieces, index, crop)


def _parts(box: Box) -> Iterator[Box]:
    top, left, bottom, right = box
    for row in range(top, bottom, PART_PX):
        for column in range(left, right, PART_PX):
            yield row, column, min(row + PART_PX, bottom), min(column + PART_PX, right)


def _start(centre: int, length: int) -> int:
    return max(min(centre - CROP_PX // 2, length - CROP_PX), 0)


def _contrast(grey: GreyImage, piece: Mask, wanted: Mask) -> float:
    """Return how far the piece differs from the film around it, in its standard deviations; 0 if there is none."""
    kernel = np.ones((2 * RING_PX + 1, 2 * RING_PX + 1), np.uint8)
    ring = (np.asarray(cv2.dilate(piece.astype(np.uint8), kernel)) > 0) & ~piece & ~wanted
    if not ring.any() or not piece.any():
        return 0.0
    around = grey[ring]
    return round(float(abs(grey[piece].mean() - around.mean()) / max(float(around.std()), 1e-4)), 3)


def _features(box: Box, defects: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what is known of the smallest defect that holds a piece; of none nothing."""
    top, left, bottom, right = box
    around = [
        each
        for each in defects
        if each["box"][0] <= top and each["box"][1] <= left and each["box"][2] >= bottom and each["box"][3] >= right
    ]
    if not around:
        return {"kind": "", "score": None, "length_um": None, "method": ""}
    found = min(around, key=lambda each: int(each["area_px"]))
    return {name: found[name] for name in ("kind", "score", "length_um", "method")}


def _defects_of(base: BaseVersion) -> list[Mapping[str, Any]]:
    """Return the defects in the receipt of the version that was edited; none if it cannot be read."""
    if base.receipt is None:
        return []
    try:
        defects = json.loads(base.receipt.read_text(encoding="utf-8"))["defects"]
        return [{**asdict(Defect((0, 0, 0, 0), 0, 0.0, "", 0.0)), **each} for each in defects]
    except (OSError, ValueError, KeyError, TypeError):
        return []
