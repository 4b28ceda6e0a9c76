"""An edited mask over an earlier version: what of its repairs stays, what is taken back, what is filled now.

Comes in: the open scan, the mask that a person wants, the earlier version with its mask and receipt. Goes out: the
edits that keep its repairs sample for sample, the pixels still to be filled, the defects as they were called, the
decision for the receipt. What the wanted mask no longer has is not written, so it is the scan's. A version that belongs
to another scan is refused; one that was lost or changed since is not trusted: then everything is filled anew.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from spotless_core.arrays.kinds import Box, Mask
from spotless_core.arrays.pieces import trace_mask
from spotless_core.arrays.windows import SampleWindows
from spotless_core.detection.mask import MaskResult, describe_defects
from spotless_core.errors import ScanError, SpotlessError
from spotless_core.image_io.hashing import hash_file
from spotless_core.image_io.kept_samples import EditedWindows, kept_edits, verify_kept
from spotless_core.image_io.mask_file import read_mask
from spotless_core.image_io.opening import open_scan
from spotless_core.image_io.scan_file import ScanFile
from spotless_core.photo import Edit, ScanInfo
from spotless_core.receipt import DecisionFacts, Defect, FileFacts

PROPOSED, ORIGINAL = "proposed", "original"
SAME_FACTS = ("container", "width", "height", "channels", "color_channels", "bits", "is_float", "is_cmyk")
"""What an earlier version and its scan have in common, of `ScanInfo`; a transcoded one has another compression."""


@dataclass(frozen=True, slots=True)
class BaseVersion:
    """An earlier result of the same scan. `image`: None where the frame was held. `mask`: what it was made with.

    `receipt`: its JSON, None if there is none. `name`: for sentences. `sha256`: of the image, "" = as the receipt says.
    """

    mask: Path
    image: Path | None = None
    receipt: Path | None = None
    name: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class EditPlan:
    """What is to be done. `found`: the mask wanted, H×W bool, with its defects. `added`: the part of it to be filled.

    `kept`: the rest, as edits with the earlier version's samples; `based_on`: that version's image, None if nothing is
    kept. `history`: the decisions, the newest last.
    """

    found: MaskResult
    added: Mask
    kept: list[Edit]
    based_on: FileFacts | None
    history: tuple[DecisionFacts, ...]
    notes: tuple[str, ...]
    image: Path | None = None

    def shown_on(self, frame: SampleWindows, info: ScanInfo) -> SampleWindows:
        """Return windows of `frame` that show the kept repairs: film like any other to what is filled now."""
        return EditedWindows(frame, self.kept, info) if self.kept else frame

    def verify(self, result: ScanFile, folders: Sequence[Path], on_part: Callable[[], None] = lambda: None) -> None:
        """Prove that every kept sample of `result` is the earlier version's, read from its file again.

        Raises:
            PreservationError: one is not.
        """
        if self.image is not None and result.info.preservation in {"exact", "transcoded"}:
            with _open(self.image, folders) as base:
                verify_kept(base, result, self._is_kept, on_part)

    def _is_kept(self, top: int, bottom: int) -> Mask:
        return self.found.mask[top:bottom] & ~self.added[top:bottom]


def plan_edit(
    scan: ScanFile,
    scan_sha256: str,
    um_per_px: float,
    given_mask: Path | None,
    base: BaseVersion | None,
    decision: DecisionFacts | None,
    folders: Sequence[Path] = (),
    on_part: Callable[[], None] = lambda: None,
) -> EditPlan | None:
    """Read masks and earlier version, and return what is to be done; None where the mask is still to be detected.

    `given_mask`: what is wanted; None takes the mask from the decision: of a frame as proposed its own, of the original
    an empty one. `folders`: where temporary files may lie. `on_part` is called often.

    Raises:
        MissingInputError: the given mask is not there.
        ScanError: a mask or the earlier version does not fit the scan.
    """
    mask = _wanted(scan.info, given_mask, base, decision)
    if mask is None:
        return None
    receipt = _read_receipt(base)
    defects = describe_defects(mask, None, um_per_px)
    found = MaskResult(mask, mask, defects, float(mask.mean()), ())
    if base is None:
        return EditPlan(found, mask, [], None, _decided(decision, None, mask, None, receipt), ())
    base_mask, image, note = _trusted(base, receipt, scan.info, scan_sha256, on_part)
    history = _decided(decision, base, mask, base_mask, receipt)
    notes = (note,) if note and mask.any() else ()
    if base_mask is None or image is None:
        return EditPlan(found, mask, [], None, history, notes)
    added = mask & ~base_mask
    kept: list[Edit] = []
    if np.count_nonzero(added) < np.count_nonzero(mask):
        with _open(image, folders) as opened:
            _require_same_kind(scan.info, opened.info, base)
            kept = [*kept_edits(opened, lambda top, bottom: mask[top:bottom] & base_mask[top:bottom], _heard(on_part))]
            notes = (*notes, *scan.keep_from(opened, mask, base_mask))
    found = replace(found, defects=_carried(defects, mask, base_mask, _defects_in(receipt)))
    if not kept:
        return EditPlan(found, added, [], None, history, notes)
    based_on = FileFacts(base.name or image.name, base.sha256 or _output(receipt, "image") or hash_file(image, on_part))
    return EditPlan(found, added, kept, based_on, history, notes, image)


def plan_anew(found: MaskResult, base: BaseVersion | None, decision: DecisionFacts | None) -> EditPlan:
    """Return what is to be done where the mask was detected: all of it filled, whatever an earlier version has."""
    base_mask = None
    if base is not None:
        with suppress(SpotlessError):
            base_mask = read_mask(base.mask, (found.mask.shape[0], found.mask.shape[1]))
    history = _decided(decision, base, found.mask, base_mask, _read_receipt(base))
    return EditPlan(found, found.mask, [], None, history, ())


def _decided(
    decision: DecisionFacts | None,
    base: BaseVersion | None,
    mask: Mask,
    base_mask: Mask | None,
    receipt: Mapping[str, Any],
) -> tuple[DecisionFacts, ...]:
    before = _decisions_in(receipt)
    if decision is None:
        return before
    masked = int(np.count_nonzero(mask))
    if base is not None:
        decision = replace(decision, base=base.name)
    if base_mask is None:
        return (*before, replace(decision, added_px=masked))
    both = int(np.count_nonzero(mask & base_mask))
    taken_back = int(np.count_nonzero(base_mask)) - both
    return (*before, replace(decision, kept_px=both, taken_back_px=taken_back, added_px=masked - both))


def _wanted(
    info: ScanInfo, given: Path | None, base: BaseVersion | None, decision: DecisionFacts | None
) -> Mask | None:
    shape = (info.height, info.width)
    if given is not None:
        return read_mask(given, shape)
    if decision is not None and decision.choice == ORIGINAL:
        return np.zeros(shape, np.bool_)
    if decision is not None and decision.choice == PROPOSED and base is not None:
        return read_mask(base.mask, shape)
    return None


def _trusted(
    base: BaseVersion, receipt: Mapping[str, Any], info: ScanInfo, scan_sha256: str, on_part: Callable[[], None]
) -> tuple[Mask | None, Path | None, str]:
    """Return the earlier version's mask and image as far as they are what was published, and a note if not all is."""
    name = base.name or (base.image or base.mask).name
    of_scan = _text(receipt, "input", "sha256")
    if of_scan and of_scan != scan_sha256:
        raise ScanError(
            f"{name} was made from another scan that had this name (sha256 {of_scan[:12]}; {scan_sha256[:12]} "
            "expected). Fill the whole mask anew: reprocess --anew."
        )
    if not _is_as_published(base.mask, _output(receipt, "mask"), on_part):
        return None, None, f"the mask of {name} is gone or was changed since, so every repair was made anew"
    mask = read_mask(base.mask, (info.height, info.width))
    if base.image is not None and not _is_as_published(base.image, base.sha256 or _output(receipt, "image"), on_part):
        return mask, None, f"{name} is gone or was changed since, so every repair was made anew"
    return mask, base.image, ""


def _is_as_published(path: Path, sha256: str, on_part: Callable[[], None]) -> bool:
    try:
        return path.is_file() and (not sha256 or hash_file(path, on_part) == sha256)
    except (OSError, SpotlessError):
        return False


def _require_same_kind(scan: ScanInfo, base: ScanInfo, version: BaseVersion) -> None:
    for fact in SAME_FACTS:
        expected, found = getattr(scan, fact), getattr(base, fact)
        if expected != found:
            name = version.name or (version.image or version.mask).name
            raise ScanError(
                f"{name} does not belong to this scan: its {fact} is {found}; {expected} expected. "
                "Fill the whole mask anew: reprocess --anew."
            )


def _carried(defects: tuple[Defect, ...], mask: Mask, base_mask: Mask, before: Sequence[Defect]) -> tuple[Defect, ...]:
    """Name pieces that did not change as they were; the rest of one that was cut keeps the name of what filled it."""
    pieces, old = trace_mask(mask), trace_mask(base_mask)
    is_known = [defect.box for defect in before] == old.boxes
    by_box: dict[Box, list[int]] = {}
    for index, box in enumerate(old.boxes if is_known else []):
        by_box.setdefault(box, []).append(index)
    named = []
    for index, defect in enumerate(defects):
        top, left, bottom, right = defect.box
        piece = pieces.cut([index], defect.box)
        if not is_known or not (piece <= base_mask[top:bottom, left:right]).all():
            named.append(defect)
            continue
        same = [number for number in by_box.get(defect.box, ()) if np.array_equal(old.cut([number], defect.box), piece)]
        if same:
            named.append(before[same[0]])
            continue
        holders = (number for number, box in enumerate(old.boxes) if _is_within(defect.box, box))
        around = [number for number in holders if (old.cut([number], defect.box) & piece).any()]
        named.append(replace(defect, method=before[around[0]].method) if around else defect)
    return tuple(named)


def _is_within(inner: Box, outer: Box) -> bool:
    return outer[0] <= inner[0] and outer[1] <= inner[1] and outer[2] >= inner[2] and outer[3] >= inner[3]


def _read_receipt(base: BaseVersion | None) -> dict[str, Any]:
    """Return the values of a receipt; nothing if there is none, or it cannot be read."""
    if base is None or base.receipt is None:
        return {}
    try:
        values = json.loads(base.receipt.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _output(receipt: Mapping[str, Any], role: str) -> str:
    return _text(receipt, "outputs", role, "sha256")


def _text(receipt: Mapping[str, Any], *keys: str) -> str:
    """Return the text at the end of `keys`, "" if it is not there."""
    value: Any = receipt
    for key in keys:
        value = value.get(key, "") if isinstance(value, Mapping) else ""
    return value if isinstance(value, str) else ""


def _defects_in(receipt: Mapping[str, Any]) -> tuple[Defect, ...]:
    try:
        values = [{field.name: each[field.name] for field in fields(Defect)} for each in receipt.get("defects", ())]
        return tuple(Defect(**{**each, "box": tuple(each["box"])}) for each in values)
    except (KeyError, TypeError):
        return ()


def _decisions_in(receipt: Mapping[str, Any]) -> tuple[DecisionFacts, ...]:
    names = {field.name for field in fields(DecisionFacts)}
    try:
        return tuple(
            DecisionFacts(**{name: value for name, value in each.items() if name in names})
            for each in receipt.get("decisions", ())
        )
    except (AttributeError, TypeError):
        return ()


def _open(path: Path, folders: Sequence[Path]) -> ScanFile:
    # A result whose mask met no sample is the scan itself, in whatever codec.
    return open_scan(path, float("inf"), allow_transcode=True, folders=folders)


def _heard(on_part: Callable[[], None]) -> Callable[[int], None]:
    return lambda _bottom: on_part()
