"""The names of parts: those of another turn are other files, and are parts all the same."""

from pathlib import Path

import pytest

from spotlessd.publish import stale_parts
from spotlessd.publishing.result_files import PART_NAME, companion_part, part_paths, turned, turned_parts

PARTS = part_paths(Path("/out"), "roll/a.tif", 12, 1)


def test_each_turn_has_parts_of_its_own() -> None:
    every = [getattr(turned_parts(PARTS, turn), role) for turn in range(4) for role in ("image", "mask", "preview")]

    assert len(set(every)) == len(every)
    assert turned(PARTS.image, 3) == Path("/out/roll/.spotlessd-12-1-image_t3.part")
    assert turned_parts(PARTS, 0) == PARTS


def test_the_receipt_has_no_turn_and_a_companion_that_of_its_image() -> None:
    parts = turned_parts(PARTS, 3)

    assert parts.receipt == PARTS.receipt
    assert companion_part(PARTS, "ir") == Path("/out/roll/.spotlessd-12-1-ir.part")
    assert companion_part(parts, "ir") == Path("/out/roll/.spotlessd-12-1-ir_t3.part")


@pytest.mark.parametrize("turn", [0, 1, 12])
def test_parts_of_every_turn_are_known_as_parts(turn: int) -> None:
    for path in turned_parts(PARTS, turn).by_role().values():
        assert PART_NAME.match(path.name)


def test_what_a_lost_worker_left_is_found_as_stale(tmp_path: Path) -> None:
    left = turned(part_paths(tmp_path, "a.tif", 12, 1).image, 2)
    left.write_bytes(b"half")

    assert list(stale_parts(tmp_path, [])) == [left]
