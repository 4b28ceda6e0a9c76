"""Companions are copied byte for byte, or not at all; the receipt says what they were."""

import errno
import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from drawing_tiff import HEIGHT, WIDTH, grainy, write

from spotlessd.companions import companion_copy
from spotlessd.companions.companion_copy import Copied, Copier, NotCopiedError, found_companions, name_roles
from spotlessd.companions.names import CompanionRules
from spotlessd.errors import PublishError
from spotlessd.folders.headers import measure_scan
from spotlessd.folders.roots import Candidate
from spotlessd.publishing.result_files import part_paths

RULES = CompanionRules()


def companion(path: Path) -> Candidate:
    status = path.stat()
    return Candidate(
        "scans", path.name, path, status.st_size, status.st_mtime_ns, status.st_ino, RULES.parse(path.name)
    )


def infrared(folder: Path, height: int = HEIGHT, width: int = WIDTH, name: str = "frame_IR.tif") -> Candidate:
    return companion(write(folder / name, grainy(height, width), photometric="minisblack"))


def receipt() -> dict[str, Any]:
    return {
        "outcome": "done",
        "input": {"name": "frame.tif", "width": WIDTH, "height": HEIGHT},
        "outputs": {"image": {"name": "part", "sha256": "0"}},
        "notes": ["first"],
        "station": {"root": "scans", "rel": "roll/frame.tif"},
    }


def copy(
    output: Path, *companions: Candidate, alive: Callable[[], None] = lambda: None, stamps: bool = False
) -> Copied:
    output.mkdir(exist_ok=True)
    parts = part_paths(output, "frame.tif", 7, 1)
    return Copier(measure_scan, alive, keeps_timestamp=stamps).copy_companions(
        parts, receipt(), "frame.tif", companions
    )


def test_a_sidecar_is_copied_byte_for_byte_and_told_with_its_size(tmp_path: Path) -> None:
    sidecar = infrared(tmp_path)

    copied = copy(tmp_path / "out", sidecar)

    data = sidecar.path.read_bytes()
    assert copied.parts.companions["infrared_sidecar"].read_bytes() == data
    assert copied.endings == {"infrared_sidecar": "_IR.tif"}
    assert copied.receipt["input"]["companions"] == [
        {
            "role": "infrared_sidecar",
            "name": "frame_IR.tif",
            "size_bytes": len(data),
            "mtime_ns": sidecar.mtime_ns,
            "sha256": hashlib.sha256(data).hexdigest(),
            "width": WIDTH,
            "height": HEIGHT,
            "fits_scan": True,
        }
    ]
    assert copied.receipt["outputs"]["infrared_sidecar"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert copied.receipt["notes"] == ["first"]


def test_a_sidecar_of_another_size_is_copied_and_the_receipt_says_it_does_not_fit(tmp_path: Path) -> None:
    copied = copy(tmp_path / "out", infrared(tmp_path, HEIGHT // 2, WIDTH))

    assert copied.receipt["input"]["companions"][0]["fits_scan"] is False
    assert f"{WIDTH} × {HEIGHT // 2} px, the scan has {WIDTH} × {HEIGHT}" in copied.receipt["notes"][1]
    assert "infrared_sidecar" in copied.parts.companions


def test_a_sidecar_whose_header_cannot_be_read_is_copied_and_the_receipt_says_so(tmp_path: Path) -> None:
    path = tmp_path / "frame_IR.tif"
    path.write_text("Dear diary")

    copied = copy(tmp_path / "out", companion(path))

    assert copied.receipt["input"]["companions"][0]["fits_scan"] is None
    assert "its header cannot be read" in copied.receipt["notes"][1]
    assert copied.parts.companions["infrared_sidecar"].read_text() == "Dear diary"


def test_metadata_is_copied_without_a_look_into_it(tmp_path: Path) -> None:
    path = tmp_path / "frame.tif.xmp"
    path.write_text("<x/>")

    copied = copy(tmp_path / "out", companion(path))

    assert copied.endings == {"companion": ".tif.xmp"}
    assert "fits_scan" not in copied.receipt["input"]["companions"][0]


def test_a_companion_that_changes_while_it_is_copied_is_left_out_with_a_note(tmp_path: Path) -> None:
    sidecar = infrared(tmp_path)

    def rewrite() -> None:
        sidecar.path.write_bytes(b"another")

    copied = copy(tmp_path / "out", sidecar, alive=rewrite)

    assert copied.parts.companions == {}
    assert copied.receipt["input"]["companions"] == []
    assert "infrared_sidecar" not in copied.receipt["outputs"]
    assert "changed while it was copied" in copied.receipt["notes"][1]
    assert list((tmp_path / "out").iterdir()) == []


def test_a_companion_that_is_gone_is_left_out_and_the_others_are_copied(tmp_path: Path) -> None:
    gone, there = infrared(tmp_path), infrared(tmp_path, name="frame_IR_VALID.tif")
    gone.path.unlink()

    copied = copy(tmp_path / "out", gone, there)

    assert list(copied.parts.companions) == ["infrared_validity"]
    assert "cannot be read" in copied.receipt["notes"][1]


def test_a_full_disk_leaves_no_copy_and_is_a_publish_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = infrared(tmp_path), infrared(tmp_path, name="frame-ir.tif")
    synced: list[int] = []

    def fill_up(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(companion_copy, "sync_file", fill_up)

    with pytest.raises(PublishError, match="No space left"):
        copy(tmp_path / "out", first, second)

    assert list((tmp_path / "out").iterdir()) == []


def test_copying_again_after_a_crash_starts_anew(tmp_path: Path) -> None:
    sidecar = infrared(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.spotlessd-7-1-infrared_sidecar.part").write_bytes(b"x" * 10**6)

    copied = copy(tmp_path / "out", sidecar)

    assert copied.parts.companions["infrared_sidecar"].read_bytes() == sidecar.path.read_bytes()


def test_a_long_copy_shows_that_it_is_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(companion_copy, "COPY_CHUNK_BYTES", 1000)
    beats: list[None] = []
    sidecar = infrared(tmp_path)

    copy(tmp_path / "out", sidecar, alive=lambda: beats.append(None))

    assert len(beats) == -(-sidecar.size // 1000)


def test_the_copy_keeps_its_own_time_only_when_asked(tmp_path: Path) -> None:
    sidecar = infrared(tmp_path)
    os.utime(sidecar.path, ns=(10**18, 10**18))
    sidecar = companion(sidecar.path)

    now = copy(tmp_path / "out", sidecar).parts.companions["infrared_sidecar"].stat().st_mtime_ns
    kept = copy(tmp_path / "out", sidecar, stamps=True).parts.companions["infrared_sidecar"].stat().st_mtime_ns

    assert now != 10**18
    assert kept == 10**18


def test_companions_that_differ_in_case_only_get_names_that_do_not(tmp_path: Path) -> None:
    files = [
        Candidate("scans", name, tmp_path / name, 1, 1, 1, RULES.parse(name))
        for name in ("FRAME_IR.tif", "frame_IR.tif", "frame_ir.tif", "frame.xmp", "frame.tif.xmp", "FRAME.xmp")
    ]

    named = name_roles(files, "frame.tif")

    assert [(role, ending) for role, ending, _ in named] == [
        ("infrared_sidecar", "_IR.tif"),
        ("infrared_sidecar_2", "_IR~2.tif"),
        ("infrared_sidecar_3", "_ir~3.tif"),
        ("companion", ".xmp"),
        ("companion_2", ".tif.xmp"),
        ("companion_3", "~2.xmp"),
    ]


def test_a_late_sidecar_gets_a_receipt_of_its_own(tmp_path: Path) -> None:
    sidecar = infrared(tmp_path, HEIGHT, WIDTH // 2)
    output = tmp_path / "out"
    output.mkdir()
    parts = part_paths(output, "frame_IR.tif", 8, 1)

    copied = Copier(measure_scan, lambda: None).copy_late(
        parts, sidecar, "frame~2.tif", (WIDTH, HEIGHT), {"root": "scans", "rel": "frame_IR.tif"}
    )

    assert copied.receipt["companion_of"] == "frame~2.tif"
    assert copied.receipt["input"]["fits_scan"] is False
    assert list(copied.receipt["outputs"]) == ["infrared_sidecar"]
    assert "after the result of its scan" in copied.receipt["notes"][0]


def test_a_late_sidecar_that_cannot_be_read_is_an_error_of_its_own(tmp_path: Path) -> None:
    sidecar = replace(infrared(tmp_path), path=tmp_path / "nowhere.tif")
    parts = part_paths(tmp_path, "frame_IR.tif", 8, 1)

    with pytest.raises(NotCopiedError, match=r"frame_IR\.tif: cannot be read"):
        Copier(measure_scan, lambda: None).copy_late(parts, sidecar, "frame.tif", None, {})


def test_a_lost_ledger_learns_of_published_sidecars_and_not_of_metadata(tmp_path: Path) -> None:
    sidecar = infrared(tmp_path)
    metadata = tmp_path / "frame.xmp"
    metadata.write_text("<x/>")
    told = copy(tmp_path / "out", sidecar, companion(metadata)).receipt

    (found,) = found_companions(told)

    assert (found.identity.root, found.identity.rel) == ("scans", "roll/frame_IR.tif")
    assert (found.identity.size, found.identity.mtime_ns) == (sidecar.size, sidecar.mtime_ns)


def test_a_receipt_without_companions_has_none() -> None:
    assert found_companions(receipt()) == []
