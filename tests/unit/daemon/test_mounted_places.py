"""A folder whose mount is gone is told from one that lies where it always lay, across restarts too."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_workers import check_fake_header, write_fake_scan

from spotlessd.configuration.sections import WatchSettings
from spotlessd.engine import LocalEngine
from spotlessd.errors import RootUnavailableError
from spotlessd.folders import mounted_places
from spotlessd.folders.file_systems import Mount
from spotlessd.folders.mount_memory import accept
from spotlessd.folders.mounted_places import MountedPlaces, mount_point_of
from spotlessd.folders.roots import MARKER_NAME, NameRules, Root
from spotlessd.job import JobState, RetryPolicy
from spotlessd.ledger import Ledger
from spotlessd.reconcile import Reconciler, Rules
from spotlessd.sqlite.board import Board
from spotlessd.sqlite.database import Database


class Mounts:
    """What is mounted, in the test's hand: folders that are mounts of their own. The rest lies on `/`."""

    def __init__(self) -> None:
        self.points: dict[Path, str] = {}

    def point_of(self, folder: Path) -> Path:
        above = [place for place in (folder, *folder.parents) if place in self.points]
        return above[0] if above else Path("/")

    def mount_of(self, folder: Path) -> Mount:
        point = self.point_of(folder)
        return Mount(point, self.points.get(point, "ext4"))


@pytest.fixture
def mounts(monkeypatch: pytest.MonkeyPatch) -> Mounts:
    made = Mounts()
    monkeypatch.setattr(mounted_places, "mount_point_of", made.point_of)
    monkeypatch.setattr(mounted_places, "mount_of", made.mount_of)
    return made


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "ledger.sqlite3") as opened:
        yield opened


def make_root(folder: Path) -> Root:
    root = Root("scans", folder / "nas" / "in", folder / "out", "dark", NameRules((".tif",)), False, False)
    for place in (root.input, root.output):
        place.mkdir(parents=True, exist_ok=True)
        (place / MARKER_NAME).write_text("dark\n")
    return root


def make_reconciler(root: Root, database: Database) -> Reconciler:
    ledger = Ledger(database)
    return Reconciler(
        [root],
        Rules(WatchSettings(settle_seconds=5)),
        ledger,
        LocalEngine(ledger, "me", RetryPolicy()),
        Board(database),
        check=check_fake_header,
        on_open=lambda _: None,
        clock=lambda: 1_000_000.0,
    )


def test_a_share_that_is_not_mounted_at_the_next_start_is_away_though_a_marker_lies_below_it(
    tmp_path: Path, mounts: Mounts, database: Database
) -> None:
    mounts.points[tmp_path / "nas"] = "cifs"
    make_reconciler(make_root(tmp_path), database).tick(100)
    mounts.points.clear()

    reconciler = make_reconciler(make_root(tmp_path), database)
    reconciler.tick(200)

    assert "it lay on cifs mounted at" in reconciler.away["scans"]
    assert "spotlessd scan --accept" in reconciler.away["scans"]


def test_nothing_is_gone_while_the_mount_is_missing(tmp_path: Path, mounts: Mounts, database: Database) -> None:
    mounts.points[tmp_path / "nas"] = "nfs4"
    root = make_root(tmp_path)
    scan = write_fake_scan(root.input / "frame.tif")
    reconciler = make_reconciler(root, database)
    for now in (100, 120):
        reconciler.look_soon()
        reconciler.tick(now)
    scan.unlink()  # the empty folder below the mount
    mounts.points.clear()
    root._devices.clear()  # another device number lies there now

    with pytest.raises(RootUnavailableError, match="nothing is mounted there now"):
        root.ensure_available()

    assert [job.state for job in Ledger(database).jobs()] == [JobState.QUEUED]


def test_a_mount_that_is_back_is_taken_by_itself(tmp_path: Path, mounts: Mounts, database: Database) -> None:
    mounts.points[tmp_path / "nas"] = "cifs"
    make_reconciler(make_root(tmp_path), database).tick(100)
    mounts.points.clear()
    reconciler = make_reconciler(make_root(tmp_path), database)
    reconciler.tick(200)

    mounts.points[tmp_path / "nas"] = "smb3"
    reconciler.look_soon()
    reconciler.tick(300)

    assert reconciler.away == {}


def test_a_folder_moved_on_purpose_is_accepted_and_stays_so(tmp_path: Path, mounts: Mounts, database: Database) -> None:
    mounts.points[tmp_path / "nas"] = "cifs"
    make_reconciler(make_root(tmp_path), database).tick(100)
    mounts.points.clear()
    root = make_root(tmp_path)
    reconciler = make_reconciler(root, database)

    taken = accept(root)
    reconciler.tick(200)
    at_the_next_start = make_reconciler(make_root(tmp_path), database)
    at_the_next_start.tick(300)

    assert taken == [root.input]
    assert (reconciler.away, at_the_next_start.away) == ({}, {})


def test_accepting_forgets_no_mount_of_a_folder_that_has_no_marker(
    tmp_path: Path, mounts: Mounts, database: Database
) -> None:
    mounts.points[tmp_path / "nas"] = "cifs"
    make_reconciler(make_root(tmp_path), database).tick(100)
    mounts.points.clear()
    root = make_root(tmp_path)
    (root.input / MARKER_NAME).unlink()
    make_reconciler(root, database)

    assert accept(root) == []

    assert root.places.known[root.input].point == tmp_path / "nas"


def test_a_disk_mounted_over_a_folder_is_no_loss(tmp_path: Path, mounts: Mounts) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    places = MountedPlaces()
    places.check([folder])
    mounts.points[folder] = "ext4"

    places.check([folder])

    assert places.known[folder] == Mount(folder, "ext4")


def test_a_link_that_leads_elsewhere_is_no_loss(tmp_path: Path, mounts: Mounts) -> None:
    for name in ("nas", "disk"):
        (tmp_path / name).mkdir()
    mounts.points[tmp_path / "nas"] = "cifs"
    folder = tmp_path / "in"
    folder.symlink_to(tmp_path / "nas")
    places = MountedPlaces()
    places.known[folder] = Mount(tmp_path / "nas", "cifs")
    folder.unlink()
    folder.symlink_to(tmp_path / "disk")

    places.check([folder])

    assert places.known[folder].point == Path("/")


def test_a_local_folder_is_known_by_its_mount_and_by_no_number_that_a_start_may_change(tmp_path: Path) -> None:
    point = mount_point_of(tmp_path)

    assert point.stat().st_dev == tmp_path.stat().st_dev
    assert point == point.parent or point.parent.stat().st_dev != point.stat().st_dev


def test_a_mount_below_the_root_is_found() -> None:
    assert mount_point_of(Path("/dev")) == Path("/dev")
