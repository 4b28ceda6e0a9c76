"""The ways to repair that an evaluation compares: classical ones, the pipeline's own, and two that know the truth.

In: an evaluation frame. Out: the repaired frame, uint16, unchanged outside the mask. Telea 2004 and Bertalmio 2001 as
OpenCV has them, biharmonic (Damelin and Hoang 2018, scikit-image) and frequency-selective reconstruction (Genser 2018,
OpenCV contrib) stand for what is known; scikit-image and contrib are used here and nowhere else. Our methods run
through `repair_frame`, with and without the grain that is put back. The two that know the truth show what can be
reached: the film without its grain, and the film with other grain of the same kind.
"""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from spotless_core.arrays.kinds import Mask, Samples
from spotless_core.arrays.masks import find_pieces
from spotless_core.errors import OptionsError
from spotless_core.inpainting.choice import LAMA, choose_inpainter
from spotless_core.inpainting.cv2_fill import Cv2Fill
from spotless_core.inpainting.inpainter import Inpainter
from spotless_core.inpainting.lama_fill import LamaFill
from spotless_core.inpainting.repair import repair_frame
from spotless_core.networks.weights import ModelEntry
from spotless_core.options import InpaintMethod, InpaintOptions
from spotless_core.training.repair_frames import RepairFrame
from spotless_core.training.repair_report import GRAIN_SUFFIX

FULL_SCALE = 65535
LEVELS_PER_BYTE = 257
CV2_RADIUS_PX = 5
BORDER_PX = 2
BIHARMONIC_MARGIN_PX = 6
"""The equation reaches two pixels out of a hole; the rest is room for other holes' rims."""
FSR_MARGIN_PX = 40
"""FSR looks at blocks of 16 px and what lies round them."""
SEED = 7
"""Of the places that grain is taken from."""

Frame16 = NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Method:
    """One way to repair: its `name` in tables and on the command line, what it is, and `repair`."""

    name: str
    title: str
    repair: Callable[[RepairFrame], Frame16]
    knows_truth: bool = False
    is_ours: bool = False
    """Whether it is a whole result of the pipeline, to be held against the targets."""


TITLES = {
    "nothing": "nothing done",
    "telea": "Telea, radius 5",
    "ns": "Navier-Stokes, radius 5",
    "biharmonic": "biharmonic (scikit-image)",
    "fsr": "frequency-selective, fast (OpenCV contrib)",
    "cv2fill": "our Navier-Stokes with membrane, no grain",
    "cv2fill-grain": "our Navier-Stokes with membrane and grain",
    "lama-unseen": "our LaMa that is not shown what lies under the mask, no grain",
    "lama": "our LaMa, no grain",
    "lama-grain": "our LaMa and grain",
    "tiered": "our tiers, no grain",
    "tiered-grain": "our tiers and grain, as shipped",
    "picture": "knows the picture, no grain",
    "regrained": "knows the picture, other grain",
}
"""Names of all methods, in the order of tables, and what they are."""
WITH_LAMA = {"lama": InpaintMethod.LAMA, "tiered": InpaintMethod.AUTO}
"""The fills that need our weights, and by what option the pipeline takes them."""
UNSEEN = "lama-unseen"


def known_methods(
    entries: Mapping[str, ModelEntry], device: str, names: Sequence[str] | None = None
) -> tuple[list[Method], dict[str, str]]:
    """Return the methods `names` (None = all) that can run here, and why the others cannot, by name.

    `entries`: the model manifest; without "lama" those that need it are missing. `device`: "cpu", "cuda" or "mps".

    Raises:
        OptionsError: a name is unknown.
        ModelError: LaMa's weights are damaged.
    """
    unknown = [name for name in names or () if name not in TITLES]
    if unknown:
        raise OptionsError(f"methods: {', '.join(unknown)}; some of {', '.join(TITLES)} expected.")
    wanted = [name for name in TITLES if names is None or name in names]
    missing = {name: reason for name, reason in _missing(entries).items() if name in wanted}
    repairs = _repairs()
    for name, option in WITH_LAMA.items():
        if {name, name + GRAIN_SUFFIX} & ({*wanted} - {*missing}):
            inpainter, _ = choose_inpainter(InpaintOptions(method=option), device, entries)
            repairs[name] = partial(_repair_through_pipeline, inpainter, with_grain=False)
            repairs[name + GRAIN_SUFFIX] = partial(_repair_through_pipeline, inpainter, with_grain=True)
    if UNSEEN in {*wanted} - {*missing}:
        unseen = LamaFill(entries[LAMA], device, shows_veil=False)
        repairs[UNSEEN] = partial(_repair_through_pipeline, unseen, with_grain=False)
    methods = [
        Method(name, TITLES[name], repairs[name], name in {"picture", "regrained"}, name.endswith(GRAIN_SUFFIX))
        for name in wanted
        if name not in missing
    ]
    return methods, missing


def _missing(entries: Mapping[str, ModelEntry]) -> dict[str, str]:
    missing = {}
    if importlib.util.find_spec("skimage") is None:
        missing["biharmonic"] = "not here: scikit-image brings it"
    if not hasattr(cv2, "xphoto"):
        missing["fsr"] = "not here: opencv-contrib-python, in place of opencv-python, brings it"
    if LAMA not in entries:
        for name in WITH_LAMA:
            missing[UNSEEN] = missing[name] = missing[name + GRAIN_SUFFIX] = f'no entry "{LAMA}" in the manifest'
    return missing


def _repairs() -> dict[str, Callable[[RepairFrame], Frame16]]:
    navier_stokes = Cv2Fill("ns")
    return {
        "nothing": lambda frame: frame.dusty.copy(),
        "telea": partial(_repair_by_cv2, method=cv2.INPAINT_TELEA),
        "ns": partial(_repair_by_cv2, method=cv2.INPAINT_NS),
        "biharmonic": _repair_biharmonically,
        "fsr": _repair_by_fsr,
        "cv2fill": partial(_repair_through_pipeline, navier_stokes, with_grain=False),
        "cv2fill-grain": partial(_repair_through_pipeline, navier_stokes, with_grain=True),
        "picture": lambda frame: _pasted(frame, np.rint(frame.picture * np.float32(FULL_SCALE)).astype(np.uint16)),
        "regrained": lambda frame: _pasted(frame, frame.regrained),
    }


def _repair_through_pipeline(inpainter: Inpainter, frame: RepairFrame, *, with_grain: bool) -> Frame16:
    options = InpaintOptions(grain=with_grain)
    repaired = frame.dusty.copy()
    for edit in repair_frame(frame.dusty, FULL_SCALE, frame.mask, inpainter, options, seed=SEED).edits:
        height, width = edit.mask.shape
        place = repaired[edit.top : edit.top + height, edit.left : edit.left + width]
        place[edit.mask] = edit.samples[edit.mask]
    return repaired


def _repair_by_cv2(frame: RepairFrame, *, method: int) -> Frame16:
    """On the whole frame, one channel at a time, because OpenCV takes 16 bits only so."""
    stencil = _bordered(frame.mask.astype(np.uint8))
    planes = [
        cv2.inpaint(_bordered(np.ascontiguousarray(plane)), stencil, CV2_RADIUS_PX, method)
        for plane in np.moveaxis(frame.dusty, 2, 0)
    ]
    inner = slice(BORDER_PX, -BORDER_PX)
    return _pasted(frame, np.stack([plane[inner, inner] for plane in planes], axis=2))


def _bordered(plane: Samples) -> Samples:
    """OpenCV never fills the outermost pixels: a border of mirror image makes them inner ones."""
    bordered: Samples = cv2.copyMakeBorder(plane, *4 * (BORDER_PX,), cv2.BORDER_REFLECT_101)
    return bordered


def _repair_biharmonically(frame: RepairFrame) -> Frame16:
    from skimage.restoration import inpaint_biharmonic

    def fill(crop: Frame16, hole: Mask) -> Frame16:
        filled = inpaint_biharmonic(crop / np.float64(FULL_SCALE), hole, channel_axis=2)
        return np.rint(np.clip(filled, 0, 1) * FULL_SCALE).astype(np.uint16)

    return _repair_by_crops(frame, BIHARMONIC_MARGIN_PX, fill)


def _repair_by_fsr(frame: RepairFrame) -> Frame16:
    """At 8 bits, where alone OpenCV's FSR returns the picture it was given (a level is -59 dB), channel by channel."""
    xphoto = vars(cv2)["xphoto"]

    def fill(crop: Frame16, hole: Mask) -> Frame16:
        valid = (~hole).astype(np.uint8) * np.uint8(255)
        result = np.empty_like(crop)
        for channel in range(crop.shape[2]):
            plane = np.rint(crop[..., channel] / LEVELS_PER_BYTE).astype(np.uint8)
            filled = np.zeros_like(plane)
            xphoto.inpaint(plane, valid, filled, xphoto.INPAINT_FSR_FAST)
            result[..., channel] = filled.astype(np.uint16) * LEVELS_PER_BYTE
        return result

    return _repair_by_crops(frame, FSR_MARGIN_PX, fill)


def _repair_by_crops(frame: RepairFrame, margin_px: int, fill: Callable[[Frame16, Mask], Frame16]) -> Frame16:
    """Fill each connected hole in a crop of its own; beyond the frame's border its mirror image, or both run wild."""
    room = ((margin_px, margin_px), (margin_px, margin_px))
    wide = np.pad(frame.dusty, (*room, (0, 0)), mode="reflect")
    wide_mask = np.pad(frame.mask, room, mode="reflect")
    pieces = find_pieces(frame.mask)
    repaired = frame.dusty.copy()
    for number, (top, left, bottom, right) in enumerate(pieces.boxes, start=1):
        crop = np.s_[top : bottom + 2 * margin_px, left : right + 2 * margin_px]
        inner = np.s_[margin_px : margin_px + bottom - top, margin_px : margin_px + right - left]
        own = pieces.labels[top:bottom, left:right] == number
        repaired[top:bottom, left:right][own] = fill(wide[crop], wide_mask[crop])[inner][own]
    return repaired


def _pasted(frame: RepairFrame, filled: Frame16) -> Frame16:
    return np.asarray(np.where(frame.mask[..., None], filled, frame.dusty), np.uint16)
