import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from drawing import write_scan
from PIL import Image

from spotless_core.cli import main
from spotless_core.networks import weights


@pytest.fixture(autouse=True)
def tiny_network(bright_spot_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "default_models_folder", lambda: bright_spot_models)
    monkeypatch.setattr("spotless_core.pipeline.default_models_folder", lambda: bright_spot_models)


def test_restore_writes_what_was_asked_for_and_nothing_else(tmp_path: Path) -> None:
    write_scan(tmp_path / "in.tif", specks=4)
    (tmp_path / "out").mkdir()

    code = main(
        ["restore", str(tmp_path / "in.tif"), str(tmp_path / "out/a.tif"), "--mask-out", str(tmp_path / "out/m.png"),
         "--receipt", str(tmp_path / "out/r.json"), "--device", "cpu", "--inpaint", "ns"]
    )  # fmt: skip

    assert code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.tif", "m.png", "r.json"]
    receipt = json.loads((tmp_path / "out/r.json").read_text())
    assert receipt["outputs"]["image"]["name"] == "a.tif"
    assert "preview" not in receipt["outputs"]
    assert tifffile.imread(tmp_path / "out/a.tif").dtype == np.uint16


def test_an_existing_output_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_scan(tmp_path / "in.tif")
    (tmp_path / "out.tif").write_bytes(b"precious")

    code = main(["restore", str(tmp_path / "in.tif"), str(tmp_path / "out.tif")])

    assert code == 73
    assert (tmp_path / "out.tif").read_bytes() == b"precious"
    assert "never overwritten" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [(b"", 65, "empty"), (b"just some text", 65, "not a TIFF, DNG, PNG, JPEG"), (b"II*\0\x08\0\0\0", 65, "")],
)
def test_a_bad_scan_gets_one_sentence_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, code: int, words: str
) -> None:
    (tmp_path / "in.tif").write_bytes(content)

    assert main(["restore", str(tmp_path / "in.tif"), str(tmp_path / "out.tif"), "--device", "cpu"]) == code

    message = capsys.readouterr().err
    assert message.startswith("spotless: in.tif: ")
    assert words in message
    assert message.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in.tif"]


def test_a_missing_scan_is_exit_66(tmp_path: Path) -> None:
    assert main(["restore", str(tmp_path / "no.tif"), str(tmp_path / "out.tif")]) == 66


@pytest.mark.parametrize("command", ["restore", "detect"])
def test_a_missing_folder_is_said_before_anything_is_loaded(
    tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_scan(tmp_path / "in.tif")
    monkeypatch.setattr("spotless_core.pipeline.load_tools", lambda *_: pytest.fail("the networks were loaded"))

    assert main([command, str(tmp_path / "in.tif"), str(tmp_path / "no/out.tif")]) == 73


def test_our_own_lama_is_refused_while_it_does_not_ship(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_scan(tmp_path / "in.tif")

    code = main(
        ["restore", str(tmp_path / "in.tif"), str(tmp_path / "out.tif"), "--inpaint", "lama", "--device", "cpu"]
    )

    assert code == 69
    assert "lama" in capsys.readouterr().err.lower()


def test_detect_writes_the_mask_and_the_probability(tmp_path: Path) -> None:
    drawn = write_scan(tmp_path / "in.tif", specks=4)

    code = main(
        ["detect", str(tmp_path / "in.tif"), str(tmp_path / "m.png"),
         "--probability", str(tmp_path / "p.tif"), "--device", "cpu"]
    )  # fmt: skip

    assert code == 0
    with Image.open(tmp_path / "m.png") as picture:
        assert (np.asarray(picture)[drawn] == 255).all()
    probability = tifffile.imread(tmp_path / "p.tif")
    assert probability.dtype == np.float32
    assert probability[drawn].min() > 0.9


def test_a_mask_named_tif_is_a_tiff(tmp_path: Path) -> None:
    drawn = write_scan(tmp_path / "in.tif", specks=4)
    files = [str(tmp_path / name) for name in ("in.tif", "out.tif", "m.tif", "found.TIFF")]

    main(["restore", *files[:2], "--mask-out", files[2], "--device", "cpu", "--inpaint", "ns"])
    main(["detect", files[0], files[3], "--device", "cpu"])

    mask = tifffile.imread(files[2])
    assert (mask[drawn] == 255).all()
    assert np.array_equal(tifffile.imread(files[3]), mask)


def test_jpeg_inside_a_tiff_is_detected_always_and_restored_where_that_is_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scan(tmp_path / "plain.tif", bits=8)
    tifffile.imwrite(
        tmp_path / "in.tif", tifffile.imread(tmp_path / "plain.tif"), photometric="rgb", compression="jpeg"
    )
    restore = ["restore", str(tmp_path / "in.tif"), str(tmp_path / "out.tif"), "--device", "cpu", "--inpaint", "ns"]

    detected = main(["detect", str(tmp_path / "in.tif"), str(tmp_path / "m.png"), "--device", "cpu"])
    refused = main(restore)
    message = capsys.readouterr()
    restored = main([*restore, "--allow-transcode"])

    assert (detected, refused, restored) == (0, 65, 0)
    assert "--allow-transcode" in message.err
    assert "replaced by Deflate" in capsys.readouterr().out


def test_the_repairs_of_a_base_stay_as_they_are(tmp_path: Path) -> None:
    write_scan(tmp_path / "in.tif", specks=0)
    masks = {"first": [(20, 40), (100, 120)], "second": [(20, 40), (200, 210)]}
    for name, rows in masks.items():
        mask = np.zeros((300, 400), np.uint8)
        for top, bottom in rows:
            mask[top:bottom, 60:70] = 255
        Image.fromarray(mask).save(tmp_path / f"{name}.png")

    def restore(name: str, *more: str) -> int:
        return main(
            ["restore", str(tmp_path / "in.tif"), str(tmp_path / f"{name}.tif"), "--mask-in",
             str(tmp_path / f"{name}.png"), "--device", "cpu", "--inpaint", "telea", *more]
        )  # fmt: skip

    assert restore("first") == 0
    assert restore("second", "--base", str(tmp_path / "first.tif"), "--base-mask", str(tmp_path / "first.png")) == 0

    scan, first, second = (tifffile.imread(tmp_path / f"{name}.tif") for name in ("in", "first", "second"))
    assert (second[20:40] == first[20:40]).all()
    assert (second[100:120] == scan[100:120]).all()
    assert (second[200:210, 60:70] != scan[200:210, 60:70]).any()


def test_a_base_without_its_mask_is_told_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["restore", str(tmp_path / "in.tif"), str(tmp_path / "out.tif"), "--base", str(tmp_path / "b.tif")])

    assert "--base needs --base-mask and --mask-in" in capsys.readouterr().err
