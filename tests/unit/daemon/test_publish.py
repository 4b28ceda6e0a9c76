"""Publishing: nothing overwritten, nothing by half, every step repeatable."""

import errno
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from spotlessd import publish
from spotlessd.errors import PublishError
from spotlessd.publish import NameTakenError, PartLostError, PublishPlan
from spotlessd.publishing.result_files import Naming, Parts, companion_part, part_paths

CONTENTS = {"image": b"restored", "mask": b"mask", "preview": b"preview"}


def write_parts(output: Path, rel: str = "frame.tif", contents: dict[str, bytes] = CONTENTS) -> Parts:
    publish.make_folders(output, rel)
    parts = part_paths(output, rel, 7, 1)
    for role, data in contents.items():
        getattr(parts, role).write_bytes(data)
    return parts


def receipt(contents: dict[str, bytes] = CONTENTS) -> dict[str, object]:
    outputs = {role: {"name": "part", "sha256": hashlib.sha256(data).hexdigest()} for role, data in contents.items()}
    return {"outcome": "done", "outputs": outputs}


def plan_of(output: Path, rel: str = "frame.tif", contents: dict[str, bytes] = CONTENTS) -> PublishPlan:
    return publish.make_plan(output, rel, write_parts(output, rel, contents), receipt(contents))


def files(output: Path) -> dict[str, bytes]:
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in output.rglob("*") if path.is_file()}


def test_every_file_gets_its_name_and_the_receipt_says_it(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)

    publish.carry_out(tmp_path, plan)

    found = files(tmp_path)
    values = json.loads(found.pop("receipts/frame.json"))
    assert found == {"frame.tif": b"restored", "masks/frame.png": b"mask", "previews/frame.jpg": b"preview"}
    assert {role: facts["name"] for role, facts in values["outputs"].items()} == {
        "image": "frame.tif",
        "mask": "masks/frame.png",
        "preview": "previews/frame.jpg",
    }


def test_the_receipt_is_the_last_step(tmp_path: Path) -> None:
    assert [step.role for step in plan_of(tmp_path).steps] == ["image", "mask", "preview", "receipt"]


def test_companions_are_named_after_the_image_and_before_the_rest(tmp_path: Path) -> None:
    parts = write_parts(tmp_path)
    sidecar = companion_part(parts, "infrared_sidecar")
    sidecar.write_bytes(b"infrared")
    values = receipt(CONTENTS | {"infrared_sidecar": b"infrared"})
    (tmp_path / "frame_IR.tif").write_bytes(b"somebody's")

    plan = publish.make_plan(
        tmp_path,
        "frame.tif",
        replace(parts, companions={"infrared_sidecar": sidecar}),
        values,
        Naming(endings={"infrared_sidecar": "_IR.tif"}),
    )
    publish.carry_out(tmp_path, plan)

    assert [step.role for step in plan.steps] == ["image", "infrared_sidecar", "mask", "preview", "receipt"]
    assert (tmp_path / "frame~2_IR.tif").read_bytes() == b"infrared"
    assert (tmp_path / "frame_IR.tif").read_bytes() == b"somebody's"
    assert publish.planned_parts(tmp_path, "frame.tif", plan).companions == {"infrared_sidecar": sidecar}


def test_a_file_system_that_keeps_its_own_times_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refuse)

    plan = publish.make_plan(tmp_path, "frame.tif", write_parts(tmp_path), receipt(), timestamp_ns=10**18)
    publish.carry_out(tmp_path, plan)

    assert len(files(tmp_path)) == 4


def test_the_parts_of_companions_are_found_when_they_are_stale(tmp_path: Path) -> None:
    stale = companion_part(write_parts(tmp_path, contents={}), "infrared_sidecar_2")
    stale.write_bytes(b"half")

    assert list(publish.stale_parts(tmp_path, [])) == [stale]


def test_a_held_frame_is_published_without_an_image(tmp_path: Path) -> None:
    contents = {"mask": b"mask", "preview": b"preview"}

    publish.carry_out(tmp_path, plan_of(tmp_path, contents=contents))

    assert set(files(tmp_path)) == {"masks/frame.png", "previews/frame.jpg", "receipts/frame.json"}


def test_folders_below_the_root_are_kept(tmp_path: Path) -> None:
    publish.carry_out(tmp_path, plan_of(tmp_path, "roll 3/a/frame.tif"))

    assert (tmp_path / "roll 3/a/frame.tif").is_file()
    assert (tmp_path / "masks/roll 3/a/frame.png").is_file()


@pytest.mark.parametrize("taken", ["frame.tif", "masks/frame.png", "previews/frame.jpg", "receipts/frame.json"])
def test_one_taken_name_moves_the_whole_result_to_the_next_number(tmp_path: Path, taken: str) -> None:
    publish.make_folders(tmp_path, "frame.tif")
    (tmp_path / taken).write_bytes(b"somebody's")

    publish.carry_out(tmp_path, plan_of(tmp_path))

    found = files(tmp_path)
    assert found[taken] == b"somebody's"
    assert found["frame~2.tif"] == b"restored"
    assert "masks/frame~2.png" in found


def test_a_dangling_link_counts_as_a_taken_name(tmp_path: Path) -> None:
    (tmp_path / "frame.tif").symlink_to(tmp_path / "nowhere")

    publish.carry_out(tmp_path, plan_of(tmp_path))

    assert not (tmp_path / "nowhere").exists()
    assert (tmp_path / "frame~2.tif").is_file()


def test_a_name_taken_after_the_plan_is_not_overwritten_and_can_be_taken_back(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    (tmp_path / "masks/frame.png").write_bytes(b"somebody's")

    with pytest.raises(NameTakenError):
        publish.carry_out(tmp_path, plan)
    publish.take_back(tmp_path, plan)

    found = files(tmp_path)
    assert found["masks/frame.png"] == b"somebody's"
    assert "frame.tif" not in found
    assert found[".spotlessd-7-1-image.part"] == b"restored"


@pytest.mark.parametrize("done", range(5))
def test_carrying_out_again_after_any_number_of_steps_ends_the_same(tmp_path: Path, done: int) -> None:
    plan = plan_of(tmp_path)
    for step in plan.steps[:done]:
        (tmp_path / step.part).rename(tmp_path / step.final)

    publish.carry_out(tmp_path, PublishPlan.from_json(plan.to_json()))

    assert len(files(tmp_path)) == 4
    assert (tmp_path / "frame.tif").read_bytes() == b"restored"


def test_a_crash_between_link_and_unlink_is_a_step_done(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    os.link(tmp_path / plan.steps[0].part, tmp_path / "frame.tif")

    publish.carry_out(tmp_path, plan)

    assert len(files(tmp_path)) == 4


def test_a_part_that_is_gone_for_good_is_an_error_and_not_a_half_result(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    (tmp_path / plan.steps[1].part).unlink()

    with pytest.raises(PartLostError):
        publish.carry_out(tmp_path, plan)
    publish.take_back(tmp_path, plan)

    assert not any(name in files(tmp_path) for name in plan.names.values())


def test_without_hard_links_a_placeholder_keeps_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOTSUP, "no hard links here")

    plan = plan_of(tmp_path)
    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "masks/frame.png").write_bytes(b"somebody's")

    with pytest.raises(NameTakenError):
        publish.carry_out(tmp_path, plan)

    assert (tmp_path / "frame.tif").read_bytes() == b"restored"
    assert (tmp_path / "masks/frame.png").read_bytes() == b"somebody's"


def test_a_placeholder_left_by_a_crash_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOTSUP, "no hard links here")

    plan = plan_of(tmp_path)
    (tmp_path / "frame.tif").touch()
    monkeypatch.setattr(os, "link", refuse)

    publish.carry_out(tmp_path, plan)

    assert (tmp_path / "frame.tif").read_bytes() == b"restored"


def test_a_file_system_that_cannot_sync_folders_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(tmp_path)

    def refuse(_: int) -> None:
        raise OSError(errno.EINVAL, "cannot sync a folder")

    monkeypatch.setattr(os, "fsync", refuse)

    publish.carry_out(tmp_path, plan)

    assert (tmp_path / "frame.tif").is_file()


def test_a_full_disk_is_a_publish_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    parts = write_parts(tmp_path)
    monkeypatch.setattr(os, "fsync", refuse)

    with pytest.raises(PublishError, match="No space left"):
        publish.make_plan(tmp_path, "frame.tif", parts, receipt())


def test_an_output_folder_that_is_away_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(PublishError):
        publish.make_folders(tmp_path / "share", "frame.tif")

    assert not (tmp_path / "share").exists()


def test_stale_parts_are_found_and_planned_ones_are_spared(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    stale = tmp_path / "masks" / ".spotlessd-3-2-mask.part"
    stale.write_bytes(b"half")
    (tmp_path / "holiday.part").write_bytes(b"not ours")

    assert list(publish.stale_parts(tmp_path, [plan])) == [stale]


def test_the_parts_of_a_plan_are_known_from_its_names(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "roll/frame.tif")

    assert publish.planned_parts(tmp_path, "roll/frame.tif", plan) == part_paths(tmp_path, "roll/frame.tif", 7, 1)


def test_a_folder_that_a_killed_run_made_is_on_disk_before_anything_is_named_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(publish, "sync_folder", synced.append)
    publish.make_folders(tmp_path, "roll/frame.tif")  # and the run was killed

    plan_of(tmp_path, "roll/frame.tif")

    assert {tmp_path, tmp_path / "roll", tmp_path / "masks", tmp_path / "masks" / "roll"} <= set(synced)
