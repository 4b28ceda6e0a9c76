"""The methods an evaluation compares: each fills the mask and nothing else, or says why it is not here."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from drawing import make_bright_spot_models
from drawing_lama import add_untrained_lama
from drawing_repairs import discs_frame, lattice, soft_picture

from spotless_core.arrays.metrics import grain_of
from spotless_core.errors import OptionsError
from spotless_core.inpainting.cv2_fill import Cv2Fill
from spotless_core.networks.weights import ModelEntry, read_manifest
from spotless_core.options import InpaintMethod, InpaintOptions
from spotless_core.training import repair_baselines
from spotless_core.training.repair_baselines import TITLES, Method, known_methods
from spotless_core.training.repair_frames import RepairFrame

OPENCV_AND_OURS = ("nothing", "telea", "ns", "biharmonic", "cv2fill", "cv2fill-grain", "picture", "regrained")


def _methods(*names: str) -> dict[str, Method]:
    methods, _ = known_methods({}, "cpu", names)
    return {method.name: method for method in methods}


@pytest.fixture(params=[1, 3])
def frame(request: pytest.FixtureRequest) -> RepairFrame:
    """Discs inside, and one cut by the border."""
    return discs_frame(soft_picture(channels=request.param), [*lattice(), (2, 100)])


def test_every_method_fills_the_mask_and_leaves_the_rest(frame: RepairFrame) -> None:
    before = frame.dusty.copy()

    for name, method in _methods(*OPENCV_AND_OURS).items():
        repaired = method.repair(frame)

        assert repaired.dtype == np.uint16
        assert np.array_equal(repaired[~frame.mask], before[~frame.mask])
        assert np.array_equal(frame.dusty, before)
        error = np.abs(repaired[frame.penumbra] / 65535 - frame.picture[frame.penumbra]).mean()
        assert (error > 0.3) == (name == "nothing")
        assert error < 0.05 or name == "nothing"


def test_classical_fills_carry_a_slope_into_a_hole() -> None:
    frame = discs_frame(soft_picture(), lattice())
    frame.dusty[~frame.penumbra] = np.rint(frame.picture * 65535).astype(np.uint16)[~frame.penumbra]

    for name, limit in (("telea", 0.02), ("ns", 0.02), ("biharmonic", 0.001)):
        repaired = _methods(name)[name].repair(frame)

        assert np.abs(repaired / 65535 - frame.picture)[frame.mask].max() < limit


def test_a_method_with_grain_puts_grain_into_the_same_fill(frame: RepairFrame) -> None:
    methods = _methods("cv2fill", "cv2fill-grain")

    without, with_grain = (grain_of(each.repair(frame) / np.float32(65535)) for each in methods.values())

    assert float(with_grain[frame.penumbra].std()) > 1.3 * float(without[frame.penumbra].std())
    assert [method.is_ours for method in methods.values()] == [False, True]


def test_two_methods_know_the_truth() -> None:
    frame = discs_frame(soft_picture(), lattice())
    methods = _methods(*OPENCV_AND_OURS)

    assert [name for name, method in methods.items() if method.knows_truth] == ["picture", "regrained"]
    assert np.array_equal(methods["regrained"].repair(frame)[frame.mask], frame.regrained[frame.mask])
    pasted = methods["picture"].repair(frame)[frame.mask]
    assert np.abs(pasted / 65535 - frame.picture[frame.mask]).max() < 1e-5


def test_methods_come_in_the_order_of_tables_whatever_was_asked() -> None:
    assert list(_methods("picture", "ns", "telea")) == ["telea", "ns", "picture"]


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    with pytest.raises(OptionsError, match=r"methods: magic; some of nothing, telea"):
        known_methods({}, "cpu", ["telea", "magic"])


def test_what_is_not_here_is_missing_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "skimage" else found(name))
    monkeypatch.delattr(cv2, "xphoto", raising=False)

    methods, missing = known_methods({}, "cpu")
    asked, missing_of_asked = known_methods({}, "cpu", ["telea", "lama"])

    assert set(missing) == {"biharmonic", "fsr", "lama-unseen", "lama", "lama-grain", "tiered", "tiered-grain"}
    assert {method.name for method in methods} == {*TITLES} - {*missing}
    assert "scikit-image" in missing["biharmonic"]
    assert "opencv-contrib-python" in missing["fsr"]
    assert [method.name for method in asked] == ["telea"]
    assert list(missing_of_asked) == ["lama"]


def test_fsr_sees_eight_bits_and_a_mask_of_what_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[np.dtype[Any], int]] = []

    def inpaint(source: np.ndarray, valid: np.ndarray, filled: np.ndarray, algorithm: int) -> None:
        shown.append((source.dtype, algorithm))
        filled[:] = np.where(valid == 0, 100, source)

    fake = SimpleNamespace(inpaint=inpaint, INPAINT_FSR_FAST=2)
    monkeypatch.setattr(cv2, "xphoto", fake, raising=False)
    frame = discs_frame(soft_picture(), [(60, 60), (2, 100), (100, 199)])

    repaired = _methods("fsr")["fsr"].repair(frame)

    assert shown == [(np.dtype(np.uint8), 2)] * 9
    assert (repaired[frame.mask] == 100 * 257).all()
    assert np.array_equal(repaired[~frame.mask], frame.dusty[~frame.mask])


def test_lama_of_the_manifest_runs_through_the_pipeline_with_and_without_grain(
    monkeypatch: pytest.MonkeyPatch, frame: RepairFrame
) -> None:
    asked = []

    def choose(options: InpaintOptions, device: str, entries: dict[str, ModelEntry]) -> tuple[Cv2Fill, tuple[str, ...]]:
        asked.append((options.method, device, set(entries)))
        return Cv2Fill("telea"), ()

    monkeypatch.setattr(repair_baselines, "choose_inpainter", choose)
    entry = ModelEntry("lama", None, "0" * 64, "MIT", {}, {}, {})  # type: ignore[arg-type]

    methods, missing = known_methods({"lama": entry}, "cuda", ["tiered", "lama", "lama-grain"])

    assert asked == [(InpaintMethod.LAMA, "cuda", {"lama"}), (InpaintMethod.AUTO, "cuda", {"lama"})]
    assert not missing
    assert [method.name for method in methods] == ["lama", "lama-grain", "tiered"]
    without, with_grain, _ = (method.repair(frame) for method in methods)
    assert not np.array_equal(without[frame.mask], with_grain[frame.mask])
    assert np.array_equal(without[~frame.mask], frame.dusty[~frame.mask])


def test_what_lies_under_the_mask_is_kept_from_the_network_that_must_not_see_it(tmp_path: Path) -> None:
    models = make_bright_spot_models(tmp_path)
    add_untrained_lama(models)
    frame = discs_frame(soft_picture(), lattice())
    other = replace(frame, dusty=np.where(frame.mask[..., None], np.uint16(9), frame.dusty))
    (method,), _ = known_methods(read_manifest(models), "cpu", ["lama-unseen"])

    repaired = method.repair(frame)

    np.testing.assert_array_equal(repaired, method.repair(other))
    assert (repaired != frame.dusty)[frame.mask].any()
