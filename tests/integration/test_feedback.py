"""What an edit teaches: the file that the pipeline writes for it, and that nothing about it can harm a job."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawing_edits import (
    ADDED,
    EDITED,
    FIRST,
    HEIGHT,
    OPTIONS,
    TAKEN_BACK,
    TELEA,
    WANTED,
    WIDTH,
    first_version,
    restored,
    write_png_mask,
)
from numpy.typing import NDArray

from spotless_core import feedback
from spotless_core.arrays.kinds import Mask
from spotless_core.edited import BaseVersion
from spotless_core.options import DeviceChoice, DeviceOptions
from spotless_core.pipeline import OutputPaths, Tools, load_tools, restore_photo
from spotless_core.receipt import DecisionFacts, Receipt
from spotless_core.training.feedback_crops import load_feedback


@pytest.fixture(scope="module")
def tools(bright_spot_models: Path) -> Tools:
    return load_tools(DeviceOptions(DeviceChoice.CPU), TELEA, bright_spot_models)


def taught(
    folder: Path, tools: Tools, base: BaseVersion | None, mask: Mask = WANTED, decision: DecisionFacts | None = EDITED
) -> tuple[Path, Receipt]:
    paths = OutputPaths(folder / "image", folder / "mask", folder / "preview", folder / "feedback" / "taught.npz")
    given = write_png_mask(folder / "given.png", mask)
    receipt = restore_photo(folder / "scan", paths, tools, OPTIONS, given_mask=given, base=base, decision=decision)
    assert paths.feedback is not None
    return paths.feedback, receipt


def read(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    with np.load(path, allow_pickle=False) as values:
        arrays = {name: values[name] for name in values.files}
    document: dict[str, Any] = json.loads(str(arrays.pop("facts")))
    return arrays, document


def test_each_piece_taken_back_or_added_comes_with_its_crop_its_masks_and_its_features(
    tmp_path: Path, tools: Tools
) -> None:
    base = first_version(tmp_path, "tiff 16", tools)
    assert base.receipt is not None
    receipt = json.loads(base.receipt.read_text())
    for defect in receipt["defects"]:
        defect.update(kind="hair", score=0.6)
    base.receipt.write_text(json.dumps(receipt))

    path, _ = taught(tmp_path, tools, base)

    arrays, document = read(path)
    labels = [crop["label"] for crop in document["crops"]]
    assert set(labels) == {"taken back", "added"}
    assert document["scan_sha256"] == receipt["input"]["sha256"]
    assert document["um_per_px"] > 0
    assert document["decision"]["via"] == EDITED.via
    together = {label: np.zeros((HEIGHT, WIDTH), np.bool_) for label in set(labels)}
    for number, crop in enumerate(document["crops"]):
        top, left, bottom, right = crop["crop"]
        piece, mask = (
            np.unpackbits(arrays[name][number], axis=1, count=right - left).astype(bool) for name in ("piece", "mask")
        )
        together[crop["label"]][top:bottom, left:right] |= piece
        assert np.array_equal(mask, WANTED[top:bottom, left:right])
        assert piece.sum() == crop["area_px"]
        if crop["label"] == "taken back":
            assert (crop["kind"], crop["score"]) == ("hair", 0.6)
        assert 0 < arrays["grey"][number].mean() < 65535
    assert np.array_equal(together["taken back"], TAKEN_BACK)
    assert np.array_equal(together["added"], ADDED)


@pytest.mark.parametrize("choice", ["again", "original", "proposed"])
def test_other_decisions_teach_nothing(tmp_path: Path, tools: Tools, choice: str) -> None:
    base = first_version(tmp_path, "tiff 16", tools)

    path, _ = taught(tmp_path, tools, base, decision=replace(EDITED, choice=choice))

    assert not path.exists()


def test_a_mask_without_a_version_before_it_teaches_nothing(tmp_path: Path, tools: Tools) -> None:
    first_version(tmp_path, "tiff 16", tools)

    path, _ = taught(tmp_path, tools, None)

    assert not path.exists()


def test_a_base_whose_mask_was_changed_since_teaches_nothing(tmp_path: Path, tools: Tools) -> None:
    base = first_version(tmp_path, "tiff 16", tools)
    write_png_mask(base.mask, FIRST ^ WANTED)

    path, _ = taught(tmp_path, tools, base)

    assert not path.exists()


def test_a_failure_costs_the_job_nothing(tmp_path: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    base = first_version(tmp_path, "tiff 16", tools)
    _, plain = restored(tmp_path, "plain", WANTED, tools, base, decision=EDITED)

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(feedback.np, "savez_compressed", fail)
    path, receipt = taught(tmp_path, tools, base)

    assert not path.exists()
    assert receipt.outputs["image"].sha256 == plain.outputs["image"].sha256
    assert receipt.notes == plain.notes


def test_a_folder_that_cannot_be_written_costs_the_job_nothing(tmp_path: Path, tools: Tools) -> None:
    base = first_version(tmp_path, "tiff 16", tools)
    (tmp_path / "feedback").write_text("a file is in the way")

    path, receipt = taught(tmp_path, tools, base)

    assert receipt.outcome == "done"
    assert not path.exists()


def test_what_is_kept_of_a_job_is_bounded(tmp_path: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    base = first_version(tmp_path, "tiff 16", tools)
    monkeypatch.setattr(feedback, "MOST_CROPS", 2)

    path, _ = taught(tmp_path, tools, base)

    arrays, document = read(path)
    assert len(arrays["grey"]) == len(document["crops"]) == 2
    assert {crop["label"] for crop in document["crops"]} == {"taken back", "added"}
    assert document["pieces_in_all"] > 2


def test_a_large_piece_is_shown_in_several_crops(tmp_path: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback, "CROP_PX", 64)
    monkeypatch.setattr(feedback, "PART_PX", 48)
    base = first_version(tmp_path, "tiff 16", tools)
    wanted = FIRST.copy()
    wanted[150:153, 10:210] = True

    path, _ = taught(tmp_path, tools, base, wanted)

    _, document = read(path)
    assert len(document["crops"]) == 5
    assert {tuple(crop["box"]) for crop in document["crops"]} == {(150, 10, 153, 210)}
    assert min(crop["crop"][1] for crop in document["crops"]) <= 10
    assert max(crop["crop"][3] for crop in document["crops"]) >= 210


def test_the_training_reads_it_as_known_film_and_known_dust(tmp_path: Path, tools: Tools) -> None:
    base = first_version(tmp_path, "tiff 16", tools)
    path, _ = taught(tmp_path, tools, base)

    crops = load_feedback(path.parent)

    _, document = read(path)
    assert [crop.is_positive for crop in crops] == [each["label"] == "added" for each in document["crops"]]
    for crop, facts in zip(crops, document["crops"], strict=True):
        top, left, bottom, right = facts["crop"]
        place = np.s_[top:bottom, left:right]
        assert not (crop.truth[TAKEN_BACK[place] & ~WANTED[place]] == 1).any()
        assert not (crop.truth[~WANTED[place]] == 1).any()
        assert (crop.truth[WANTED[place]] != 0).all()
        assert (crop.truth == 0).mean() > 0.5
