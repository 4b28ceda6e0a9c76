"""A scan of a share is read once into a local copy; what is worked on is what came over the network."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotless_core.errors import MissingInputError
from spotless_core.options import RestoreOptions
from spotlessd.errors import PublishError, SpoolError
from spotlessd.folders import spool
from spotlessd.messages import WorkOrder


def make_order(folder: Path, data: bytes = b"scan" * 1000, *, is_spooled: bool = True) -> WorkOrder:
    source = folder / "share" / "roll" / "frame.TIF"
    source.parent.mkdir(parents=True)
    source.write_bytes(data)
    (folder / "spool").mkdir()
    copy = spool.copy_path(folder / "spool", 7, 2, "roll/frame.TIF")
    out = folder / "out"
    return WorkOrder(7, 2, source, "frame.TIF", out, out, out, RestoreOptions(), spool=copy if is_spooled else None)


def ignore(_step: str, _fraction: float) -> None:
    return


def test_the_job_works_on_the_copy_which_is_removed_afterwards(tmp_path: Path) -> None:
    order = make_order(tmp_path)

    with spool.working_copy(order, ignore) as copy:
        path, data = copy.order.source, copy.order.source.read_bytes()
        copy.check(hashlib.sha256(data).hexdigest())

    assert path == tmp_path / "spool" / "spotlessd-7-2.TIF"
    assert data == order.source.read_bytes()
    assert (copy.order.source_name, copy.order.image) == (order.source_name, order.image)
    assert list((tmp_path / "spool").iterdir()) == []


def test_without_a_copy_the_scan_itself_is_read(tmp_path: Path) -> None:
    order = make_order(tmp_path, is_spooled=False)

    with spool.working_copy(order, ignore) as copy:
        copy.check("whatever was read")

    assert copy.order is order


def test_progress_is_told_while_it_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "CHUNK_BYTES", 1000)
    told: list[tuple[str, float]] = []

    with spool.working_copy(make_order(tmp_path), lambda step, fraction: told.append((step, fraction))):
        pass

    assert told == [("copy", 0.0), ("copy", 0.25), ("copy", 0.5), ("copy", 0.75), ("copy", 1.0)]


def test_a_copy_that_is_not_what_came_over_the_network_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(SpoolError, match="the copy changed on the local disk"),
        spool.working_copy(make_order(tmp_path), ignore) as copy,
    ):
        copy.check("0" * 64)

    assert list((tmp_path / "spool").iterdir()) == []


def grow(source: Path) -> None:
    with source.open("ab") as file:
        file.write(b"more")


def touch(source: Path) -> None:
    os.utime(source, ns=(1, 1))


@pytest.mark.parametrize(
    ("change", "words"), [(grow, "changed while"), (touch, "changed while"), (Path.unlink, "went away while")]
)
def test_a_scan_that_changes_while_it_is_copied_is_not_worked_on(
    tmp_path: Path, change: Callable[[Path], None], words: str
) -> None:
    order = make_order(tmp_path)

    def change_once(step: str, fraction: float) -> None:
        if fraction == 1.0 and order.source.exists():
            change(order.source)

    with pytest.raises(SpoolError, match=words), spool.working_copy(order, change_once):
        pytest.fail("it was worked on")

    assert list((tmp_path / "spool").iterdir()) == []


def test_a_scan_that_is_gone_is_missing_and_not_damaged(tmp_path: Path) -> None:
    order = make_order(tmp_path)
    order.source.unlink()

    with pytest.raises(MissingInputError), spool.working_copy(order, ignore):
        pytest.fail("it was worked on")


def test_a_share_that_cannot_be_read_is_the_shares_fault_and_may_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_read: object, source: Path) -> bytes:
        raise SpoolError(f"{source}: cannot be read from its share (Input/output error).")

    monkeypatch.setattr(spool, "_read", refuse)

    with pytest.raises(SpoolError, match="from its share") as caught, spool.working_copy(make_order(tmp_path), ignore):
        pytest.fail("it was worked on")

    assert caught.value.is_retryable
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_copy_that_cannot_be_written_is_the_local_disks_fault(tmp_path: Path) -> None:
    order = make_order(tmp_path)
    (tmp_path / "spool").rmdir()

    with pytest.raises(PublishError, match="cannot be written"), spool.working_copy(order, ignore):
        pytest.fail("it was worked on")


def test_room_is_made_and_wanted_with_the_reserve(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "spool"

    spool.make_room(folder, 1000, 500, lambda _: 1500)
    with pytest.raises(PublishError, match=r"watch\.spool_dir"):
        spool.make_room(folder, 1000, 501, lambda _: 1500)

    assert folder.is_dir()


def test_only_our_own_leftovers_are_removed(tmp_path: Path) -> None:
    names = ["spotlessd-1-1.tif", "spotlessd-22-3", "spotlessd-1-1.tif.bak", "frame.tif", "spotlessd-x-1.tif"]
    for name in names:
        (tmp_path / name).touch()

    spool.clear(tmp_path)
    spool.clear(tmp_path / "not there")

    assert {path.name for path in tmp_path.iterdir()} == set(names[2:])


@given(st.integers(1, 10**9), st.integers(1, 10**6), st.sampled_from(["a.tif", "r/b.TIFF", "c", "d.x.jpg"]))
def test_every_copy_is_known_as_ours(job: int, attempt: int, rel: str) -> None:
    assert spool.COPY_NAME.match(spool.copy_path(Path("spool"), job, attempt, rel).name)
