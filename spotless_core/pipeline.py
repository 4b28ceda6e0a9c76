"""The whole flow for one photo, on one page: decode → detect → mask → inpaint → encode → verify.

Comes in: a scan, where to write, the loaded networks, the options. Goes out: the restored file, its mask, a preview
and the facts for the receipt. Promise: what is written was decoded again and is bit-identical to the scan outside the
mask (JPEG: outside its blocks), or nothing is written. The frame is worked on in bands and windows: large ones lie in
unlinked files (image_io/scratch.py). Names, folders and publishing are the caller's.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from spotless_core.arrays.encoding import Encoding, sense_encoding
from spotless_core.arrays.kinds import Mask, Probability
from spotless_core.arrays.windows import FloatWindows, SampleWindows, bands
from spotless_core.detection.detector import Detector
from spotless_core.detection.lines import LineScores, find_lines
from spotless_core.detection.mask import MaskResult, cautious_if_coarse, make_mask, thresholds_for
from spotless_core.detection.scale import micrometres_per_pixel
from spotless_core.edited import BaseVersion, EditPlan, plan_anew, plan_edit
from spotless_core.errors import ModelError, PreservationError
from spotless_core.feedback import write_feedback
from spotless_core.image_io.decode import decode_frame, make_grey
from spotless_core.image_io.edited_rows import EditedRows
from spotless_core.image_io.hashing import hash_file, hash_infrared
from spotless_core.image_io.mask_file import write_mask
from spotless_core.image_io.opening import open_scan
from spotless_core.image_io.preview import write_preview
from spotless_core.image_io.probability_tiff import write_probability
from spotless_core.image_io.scan_file import ScanFile
from spotless_core.image_io.scratch import ScratchSpace, scratch_folders
from spotless_core.image_io.verify import verify_restored
from spotless_core.inpainting.budgets import reason_of_time, reasons_to_hold
from spotless_core.inpainting.choice import choose_inpainter
from spotless_core.inpainting.inpainter import Inpainter
from spotless_core.inpainting.repair import RepairResult, name_methods, repair_frame
from spotless_core.networks.device import choose_device
from spotless_core.networks.weights import ModelEntry, default_models_folder, read_manifest
from spotless_core.options import DeviceOptions, InpaintOptions, RestoreOptions
from spotless_core.photo import Edit, ScanInfo
from spotless_core.receipt import DecisionFacts, FileFacts, Receipt, input_facts, plain_options
from spotless_core.stopwatch import Stopwatch, peak_memory_mb

SOFTWARE = "spotlessd 0.1.0"
DETECTOR = "detector"
EXACT_COPY = "no sample was changed: the result is an exact copy of the scan"

OnStep = Callable[[str, float], None]
OnFraction = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class OutputPaths:
    """Where to write; existing files are overwritten, so callers pass temporary names. `feedback`: see feedback.py."""

    image: Path
    mask: Path
    preview: Path
    feedback: Path | None = None


@dataclass(frozen=True, slots=True)
class Tools:
    """The loaded networks, kept for the life of the process.

    `device`, `precision`: what really runs. `threads`: how many threads may encode at once, 0 = one for each core.
    """

    detector: Detector
    entry: ModelEntry
    inpainter: Inpainter
    device: str
    precision: str
    models: tuple[FileFacts, ...]
    notes: tuple[str, ...]
    threads: int = 0


def load_tools(device: DeviceOptions, inpaint: InpaintOptions, models_folder: Path | None = None) -> Tools:
    """Load and warm up the networks on the device of `device`.

    Raises:
        DeviceError: the device cannot start and no fallback is allowed.
        ModelError: weights are missing, damaged or do not fit.
    """
    return load_tool_sets(device, [inpaint], models_folder)[0]


def load_tool_sets(
    device: DeviceOptions, inpaints: Sequence[InpaintOptions], models_folder: Path | None = None
) -> list[Tools]:
    """Load what `load_tools` does once for each way of filling in `inpaints`; they share the detector.

    Raises:
        DeviceError: the device cannot start and no fallback is allowed.
        ModelError: weights are missing, damaged or do not fit.
    """
    chosen = choose_device(device)
    entries = read_manifest(models_folder or default_models_folder())
    if DETECTOR not in entries:
        raise ModelError("the model manifest has no detector; reinstall spotlessd.")
    entry = entries[DETECTOR]
    detector = Detector.from_entry(entry, chosen)
    sets = []
    for inpaint in inpaints:
        inpainter, notes = choose_inpainter(inpaint, chosen.kind, entries)
        models = (FileFacts(entry.path.name, entry.sha256), *getattr(inpainter, "models", ()))
        precision = getattr(inpainter, "precision", detector.precision)
        if precision != detector.precision:
            notes = (*notes, f"{inpainter.name} computed in {precision}.")
        notes = (*((chosen.note,) if chosen.note else ()), *notes)
        sets.append(Tools(detector, entry, inpainter, chosen.kind, detector.precision, models, notes, device.threads))
    return sets


def restore_photo(
    source: Path,
    outputs: OutputPaths,
    tools: Tools,
    options: RestoreOptions,
    *,
    source_name: str | None = None,
    given_mask: Path | None = None,
    base: BaseVersion | None = None,
    decision: DecisionFacts | None = None,
    on_step: OnStep = lambda _step, _fraction: None,
) -> Receipt:
    """Restore the scan at `source` into `outputs`, complete and fsynced on return; `on_step` hears of every tile.

    With `given_mask` (PNG of the scan's size, above 127 = repair) nothing is detected: mask in = mask out, whatever the
    budgets. Else a frame over a budget (inpainting/budgets.py) is held: mask and preview are written, the image is not.
    `base`: an earlier version, whose repairs stay as they are where both masks have them (edited.py). `decision`: who
    asked for this; the choices "original" and "proposed" are given masks too.

    Raises:
        ScanError: the scan is damaged or of a kind that cannot be kept exactly.
        OutputError: an output cannot be written.
        PreservationError: the encoded result failed the check; it was removed.
    """
    watch = Stopwatch()
    folders = scratch_folders(outputs.image.parent)
    with _open(source, options, tools.threads, folders) as scan, ScratchSpace(folders) as space:
        info = scan.info
        digest = hash_file(source, lambda: on_step("decode", 0.0))
        infrared = hash_infrared(scan, lambda: on_step("decode", 0.0))
        um_per_px, scale_note = micrometres_per_pixel(info, options.film_format)
        # Before the frame is decoded: a JPEG is held whole, and two of them need not be at the same time.
        edit = plan_edit(scan, digest, um_per_px, given_mask, base, decision, folders, lambda: on_step("decode", 0.0))
        frame = decode_frame(scan, space, _share(on_step, "decode", 0, 1))
        encoding = sense_encoding(frame, info.bits, is_min_white=info.is_min_white)
        watch.lap("decode")

        held: tuple[str, ...] = ()
        is_given = edit is not None
        if edit is None:
            found = _detect(frame, encoding, tools, options, um_per_px, space, on_step).found
            held = reasons_to_hold(found.mask, found.defects, found.coverage, options, um_per_px)
            edit = plan_anew(found, base, decision)
        found = edit.found
        watch.lap("detect")

        repaired = RepairResult([], [])
        if not held:
            repaired = repair_frame(
                edit.shown_on(frame, info),
                encoding.value_max if info.is_float else info.full_scale,
                edit.added,
                tools.inpainter,
                replace(options.inpaint, max_seconds=0.0) if is_given else options.inpaint,
                seed=int(digest[:8], 16),
                value_max=encoding.value_max,
                on_progress=_share(on_step, "inpaint", 0, 1),
            )
        if repaired.left_over:
            held = (reason_of_time(repaired.left_over, options.inpaint.max_seconds),)
        defects = name_methods(found.defects, repaired, found.mask.shape)
        edits = [*edit.kept, *repaired.edits]
        watch.lap("inpaint")

        write_preview(
            outputs.preview,
            frame,
            EditedRows(edits, info),
            found.mask,
            encoding,
            options.preview_long_side_px,
            _share(on_step, "encode", 0, 0.5),
        )
        history = edit.history
        write_feedback(outputs.feedback, frame, encoding, found.mask, found.defects, base, history, um_per_px, digest)
        space.close()
        write_mask(outputs.mask, found.mask, info, options.mask_format)
        written = {"mask": outputs.mask, "preview": outputs.preview}
        preservation = info.preservation
        lost: tuple[str, ...] = ()
        if not held:
            report = scan.write_restored(outputs.image, edits, _share(on_step, "encode", 0.5, 1))
            preservation, lost = report.preservation, report.notes
            written["image"] = outputs.image
        watch.lap("encode")

        if not held:
            on_step("verify", 0.0)
            _verify(scan, outputs.image, found.mask, edits, edit, infrared, _share(on_step, "verify", 0, 1))
        hashes = {role: hash_file(path, lambda: on_step("verify", 1.0)) for role, path in written.items()}
        facts = {role: FileFacts(path.name, hashes[role]) for role, path in written.items()}
        watch.lap("verify")

    notes = (
        *tools.notes,
        *found.left_alone,
        *((scale_note,) if scale_note else ()),
        *repaired.notes,
        *lost,
        *edit.notes,
        *((EXACT_COPY,) if is_given and hashes.get("image") == digest else ()),
        *held,
    )
    return Receipt(
        software=SOFTWARE,
        outcome="held" if held else "done",
        input=input_facts(
            source_name or source.name, source.stat().st_size, digest, info, infrared, encoding, um_per_px
        ),
        outputs=facts,
        models=tools.models,
        device=tools.device,
        precision=tools.precision,
        options=plain_options(options) | {"inpaint_method": tools.inpainter.name, "mask_given": is_given},
        defects=defects,
        coverage=round(found.coverage, 6),
        preservation=preservation,
        outside_mask_identical=not held and preservation != "reencoded",
        seconds=watch.seconds(),
        peak_memory_mb=peak_memory_mb(),
        notes=notes,
        based_on=edit.based_on,
        decisions=history,
    )


def detect_photo(
    source: Path,
    tools: Tools,
    options: RestoreOptions,
    *,
    probability_path: Path | None = None,
    on_step: OnStep = lambda _step, _fraction: None,
) -> tuple[ScanInfo, MaskResult]:
    """Detect only: the scan's facts and the mask that restoring would use.

    `probability_path`: where to write what the mask was made from, a float32 TIFF in [0, 1] (overwritten).

    Raises:
        ScanError: the scan is damaged or of a kind that cannot be kept exactly.
        OutputError: the probability cannot be written.
    """
    # Nothing of the scan is written, so that one in a lossy codec may be read as well.
    options = replace(options, allow_transcode=True)
    folders = scratch_folders()
    with _open(source, options, tools.threads, folders) as scan, ScratchSpace(folders) as space:
        frame = decode_frame(scan, space, _share(on_step, "decode", 0, 1))
        encoding = sense_encoding(frame, scan.info.bits, is_min_white=scan.info.is_min_white)
        um_per_px, _ = micrometres_per_pixel(scan.info, options.film_format)
        seen = _detect(frame, encoding, tools, options, um_per_px, space, on_step)
        if probability_path is not None:
            write_probability(probability_path, seen.read_bands(), scan.info)
        return scan.info, seen.found


class _Seen(NamedTuple):
    """What detection found: windows of the probability, of the scores of faint lines if there are any, and the mask."""

    probability: FloatWindows
    scores: FloatWindows | None
    found: MaskResult

    def read_bands(self) -> Iterator[Probability]:
        """Yield the larger of probability and score from the top, as `bands` cuts the frame."""
        height, width = self.probability.shape
        for top, bottom in bands(height, width):
            rows = self.probability[top:bottom, 0:width]
            yield rows if self.scores is None else np.maximum(rows, self.scores[top:bottom, 0:width])


def _detect(
    frame: SampleWindows,
    encoding: Encoding,
    tools: Tools,
    options: RestoreOptions,
    um_per_px: float,
    space: ScratchSpace,
    on_step: OnStep,
) -> _Seen:
    """The network for what pixels show, sums along the film for what they do not, and the mask of both."""
    grey = make_grey(frame, encoding, space, lambda _done: on_step("detect", 0.0))
    probability = space.plane(grey.shape, np.float32)
    for top, rows in tools.detector.detect_rows(grey, options.detect, _share(on_step, "detect", 0, 0.9)):
        probability.write_rows(top, rows)
    mask_options, note = cautious_if_coarse(options.mask, um_per_px)
    scores = None
    if mask_options.faint_lines:
        lines = find_lines(grey, um_per_px, mask_options.sensitivity, _share(on_step, "detect", 0.9, 0.95))
        scores = LineScores(lines, (grey.shape[0], grey.shape[1])) if lines else None
    thresholds = thresholds_for(mask_options, tools.entry)
    found = make_mask(
        probability, thresholds, mask_options, um_per_px, grey, scores, _share(on_step, "detect", 0.95, 1)
    )
    space.release(grey)
    return _Seen(probability, scores, replace(found, left_alone=(*found.left_alone, *([note] if note else []))))


def _share(on_step: OnStep, step: str, first: float, last: float) -> OnFraction:
    """Report the fraction of a part of `step` as its share of the whole, from `first` to `last`."""
    return lambda done: on_step(step, first + (last - first) * done)


def _open(source: Path, options: RestoreOptions, threads: int, folders: list[Path]) -> ScanFile:
    return open_scan(
        source,
        options.max_megapixels,
        allow_transcode=options.allow_transcode,
        allow_reencode=options.allow_reencode,
        threads=threads,
        folders=folders,
    )


def _verify(
    scan: ScanFile,
    image: Path,
    mask: Mask,
    edits: list[Edit],
    edit: EditPlan,
    infrared: str,
    on_fraction: OnFraction,
) -> None:
    try:
        verify_restored(scan, image, mask, edits, lambda row: on_fraction(row / scan.info.height))
        folders = scratch_folders(image.parent)
        with open_scan(image, float("inf"), allow_transcode=True, folders=folders) as result:
            edit.verify(result, folders, lambda: on_fraction(1.0))
            if infrared and hash_infrared(result, lambda: on_fraction(1.0)) != infrared:
                raise PreservationError("the infrared plane of the result is not the scan's.")
    except BaseException:
        image.unlink(missing_ok=True)  # a result that failed the check must not lie about under any name
        raise
