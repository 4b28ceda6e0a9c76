"""An edited mask over a version: what stays is that version's, what is taken back is the scan's, the rest is filled."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawing_edits import (
    ADDED,
    EDITED,
    EXACT_KINDS,
    FIRST,
    HEIGHT,
    KEPT,
    KINDS,
    OPTIONS,
    TAKEN_BACK,
    TELEA,
    WANTED,
    WIDTH,
    boxes_mask,
    first_version,
    require_promises,
    restored,
    samples_of,
    write_kind,
    write_png_mask,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from spotless_core.arrays.kinds import Mask
from spotless_core.edited import BaseVersion
from spotless_core.errors import PreservationError, ScanError
from spotless_core.image_io.kept_samples import kept_edits
from spotless_core.image_io.mask_file import read_mask
from spotless_core.options import DeviceChoice, DeviceOptions
from spotless_core.pipeline import OutputPaths, Tools, load_tools, restore_photo


@pytest.fixture(scope="module")
def tools(bright_spot_models: Path) -> Tools:
    return load_tools(DeviceOptions(DeviceChoice.CPU), TELEA, bright_spot_models)


@pytest.mark.parametrize("kind", EXACT_KINDS)
def test_kept_repairs_are_the_versions_taken_back_ones_the_scans_and_added_ones_filled(
    tmp_path: Path, tools: Tools, kind: str
) -> None:
    base = first_version(tmp_path, kind, tools)

    _, receipt = restored(tmp_path, "second", WANTED, tools, base, decision=EDITED)

    require_promises(tmp_path, "first", "second", FIRST, WANTED)
    scan, new = samples_of(tmp_path / "scan"), samples_of(tmp_path / "second.image")
    assert (new[ADDED] != scan[ADDED]).any(axis=1).mean() > 0.5
    assert np.array_equal(read_mask(tmp_path / "second.mask", (HEIGHT, WIDTH)), WANTED)
    assert receipt.preservation == "exact"
    assert receipt.outside_mask_identical


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_mask_again_gives_the_version_byte_for_byte(tmp_path: Path, tools: Tools, kind: str) -> None:
    base = first_version(tmp_path, kind, tools)

    _, receipt = restored(tmp_path, "second", FIRST, tools, base)

    assert (tmp_path / "second.image").read_bytes() == (tmp_path / "first.image").read_bytes()
    assert receipt.notes == ()


@pytest.mark.parametrize("kind", KINDS)
def test_the_choice_of_the_original_gives_an_exact_copy_of_the_scan_and_an_empty_mask(
    tmp_path: Path, tools: Tools, kind: str
) -> None:
    base = first_version(tmp_path, kind, tools)
    paths = OutputPaths(tmp_path / "image", tmp_path / "mask", tmp_path / "preview")

    receipt = restore_photo(
        tmp_path / "scan", paths, tools, OPTIONS, base=base, decision=replace(EDITED, choice="original")
    )

    assert (tmp_path / "image").read_bytes() == (tmp_path / "scan").read_bytes()
    assert not read_mask(tmp_path / "mask", (HEIGHT, WIDTH)).any()
    assert "the result is an exact copy of the scan" in receipt.notes[-1]
    assert receipt.defects == ()
    assert receipt.based_on is None
    assert receipt.decisions[-1].taken_back_px == FIRST.sum()


def test_the_same_edit_gives_the_same_bytes(tmp_path: Path, tools: Tools) -> None:
    base = first_version(tmp_path, "tiff lzw", tools)

    _, one = restored(tmp_path, "one", WANTED, tools, base)
    _, two = restored(tmp_path, "two", WANTED, tools, base)

    assert {role: facts.sha256 for role, facts in one.outputs.items()} == {
        role: facts.sha256 for role, facts in two.outputs.items()
    }


def test_the_receipt_tells_the_base_the_decision_and_what_became_of_each_defect(tmp_path: Path, tools: Tools) -> None:
    base = first_version(tmp_path, "tiff 16", tools)
    assert base.receipt is not None
    values = json.loads(base.receipt.read_text())
    for defect in values["defects"]:
        defect.update(kind="hair", score=0.6, method="lama")
    base.receipt.write_text(json.dumps(values))

    _, receipt = restored(tmp_path, "second", WANTED, tools, base, decision=EDITED)

    assert receipt.based_on is not None
    assert (receipt.based_on.name, receipt.based_on.sha256) == ("first", values["outputs"]["image"]["sha256"])
    assert receipt.decisions == (
        replace(
            EDITED,
            base="first",
            kept_px=int(KEPT.sum()),
            taken_back_px=int(TAKEN_BACK.sum()),
            added_px=int(ADDED.sum()),
        ),
    )
    found = {defect.box: (defect.kind, defect.score, defect.method) for defect in receipt.defects}
    assert found == {
        (20, 30, 28, 44): ("hair", 0.6, "lama"),
        (64, 180, 65, 224): ("hair", 0.6, "lama"),
        (120, 20, 132, 52): ("given", 1.0, "telea"),
        (90, 150, 97, 158): ("given", 1.0, "telea"),
    }


def test_what_is_left_of_a_defect_that_was_cut_keeps_the_name_of_what_filled_it(tmp_path: Path, tools: Tools) -> None:
    base = first_version(tmp_path, "tiff 16", tools)

    _, receipt = restored(tmp_path, "second", boxes_mask((120, 20, 126, 40)), tools, base)

    assert [(defect.kind, defect.method) for defect in receipt.defects] == [("given", "telea")]


@pytest.mark.parametrize("kind", ["tiff 16", "png", "tiff float"])
def test_an_edit_of_an_edit_keeps_what_both_versions_before_it_made(tmp_path: Path, tools: Tools, kind: str) -> None:
    second, _ = restored(tmp_path, "second", WANTED, tools, first_version(tmp_path, kind, tools), decision=EDITED)
    third_wanted = boxes_mask((20, 30, 28, 44), (60, 100, 70, 108), (90, 150, 97, 158), (140, 200, 150, 206))

    _, receipt = restored(tmp_path, "third", third_wanted, tools, second, decision=replace(EDITED, via="edited mask"))

    require_promises(tmp_path, "second", "third", WANTED, third_wanted)
    first, third = samples_of(tmp_path / "first.image"), samples_of(tmp_path / "third.image")
    assert np.array_equal(third[20:28, 30:44], first[20:28, 30:44])
    assert [(decision.via, decision.base) for decision in receipt.decisions] == [
        ("review page", "first"),
        ("edited mask", "second"),
    ]


def test_a_held_frame_is_filled_as_it_was_proposed(tmp_path: Path, tools: Tools) -> None:
    write_kind(tmp_path / "scan", "tiff 16")
    proposed = BaseVersion(write_png_mask(tmp_path / "proposed.png", FIRST), name="proposed")
    paths = OutputPaths(tmp_path / "image", tmp_path / "mask", tmp_path / "preview")
    tight = replace(OPTIONS, mask=replace(OPTIONS.mask, max_coverage=1e-6))

    receipt = restore_photo(
        tmp_path / "scan", paths, tools, tight, base=proposed, decision=replace(EDITED, choice="proposed")
    )

    assert receipt.outcome == "done"
    assert receipt.based_on is None
    assert np.array_equal(read_mask(paths.mask, (HEIGHT, WIDTH)), FIRST)
    assert receipt.decisions[0].kept_px == FIRST.sum()
    assert (samples_of(paths.image)[FIRST] != samples_of(tmp_path / "scan")[FIRST]).any(axis=1).mean() > 0.5


def test_a_frame_detected_again_tells_the_decision(tmp_path: Path, tools: Tools) -> None:
    base = first_version(tmp_path, "tiff 16", tools)
    paths = OutputPaths(tmp_path / "image", tmp_path / "mask", tmp_path / "preview")

    receipt = restore_photo(
        tmp_path / "scan", paths, tools, OPTIONS, base=base, decision=replace(EDITED, choice="again")
    )

    assert receipt.based_on is None
    assert (receipt.decisions[0].choice, receipt.decisions[0].base) == ("again", "first")
    assert not receipt.options["mask_given"]


@pytest.mark.parametrize("loss", ["gone", "changed", "mask changed"])
def test_a_version_that_is_gone_or_was_changed_is_not_trusted(tmp_path: Path, tools: Tools, loss: str) -> None:
    base = first_version(tmp_path, "tiff 16", tools)
    assert base.image is not None
    if loss == "gone":
        base.image.unlink()
    elif loss == "changed":
        base.image.write_bytes((tmp_path / "scan").read_bytes())
    else:
        write_png_mask(base.mask, boxes_mask((0, 0, 100, 100)))

    _, receipt = restored(tmp_path, "second", WANTED, tools, base)
    restored(tmp_path, "anew", WANTED, tools)

    assert (tmp_path / "second.image").read_bytes() == (tmp_path / "anew.image").read_bytes()
    assert receipt.based_on is None
    assert any("is gone or was changed since, so every repair was made anew" in note for note in receipt.notes)


def test_a_version_of_another_scan_under_the_same_name_is_refused(tmp_path: Path, tools: Tools) -> None:
    base = first_version(tmp_path, "tiff 16", tools)
    write_kind(tmp_path / "scan", "tiff 16", seed=9)

    with pytest.raises(ScanError, match="first was made from another scan that had this name"):
        restored(tmp_path, "second", WANTED, tools, base)


def test_an_image_of_another_kind_is_refused(tmp_path: Path, tools: Tools) -> None:
    write_kind(tmp_path / "scan", "tiff 16")
    write_kind(tmp_path / "other", "tiff 8")
    other = BaseVersion(write_png_mask(tmp_path / "mask.png", FIRST), tmp_path / "other")

    with pytest.raises(ScanError, match="other does not belong to this scan: its bits is 8; 16 expected"):
        restored(tmp_path, "second", WANTED, tools, other)


def test_a_kept_repair_that_was_written_wrongly_is_never_left_behind(
    tmp_path: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = first_version(tmp_path, "tiff 16", tools)

    def careless(*arguments: Any) -> Any:
        for edit in kept_edits(*arguments):
            yield replace(edit, samples=edit.samples ^ 1)

    monkeypatch.setattr("spotless_core.edited.kept_edits", careless)

    with pytest.raises(PreservationError, match="a repair that is kept differs"):
        restored(tmp_path, "second", WANTED, tools, base)
    assert not (tmp_path / "second.image").exists()


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    """Up to four boxes of any size and place, some of them one pixel."""
    places = draw(
        st.lists(
            st.tuples(st.integers(0, HEIGHT - 1), st.integers(0, WIDTH - 1), st.integers(1, 40), st.integers(1, 40)),
            max_size=4,
        )
    )
    return boxes_mask(*((top, left, top + height, left + width) for top, left, height, width in places))


@settings(max_examples=25, deadline=None)
@given(kind=st.sampled_from(KINDS), before=masks(), wanted=masks())
def test_whatever_the_masks_every_promise_holds(
    tmp_path_factory: pytest.TempPathFactory, tools: Tools, kind: str, before: Mask, wanted: Mask
) -> None:
    folder = tmp_path_factory.mktemp("edit")
    write_kind(folder / "scan", kind)
    base, _ = restored(folder, "first", before, tools)

    restored(folder, "second", wanted, tools, base)  # the check of a JPEG's blocks is part of it

    if kind in EXACT_KINDS:
        require_promises(folder, "first", "second", before, wanted)
    assert np.array_equal(read_mask(folder / "second.mask", (HEIGHT, WIDTH)), wanted)
