"""What is taken from a watched folder, what is left out, and when the folder itself is not to be trusted."""

import os
import shutil
from pathlib import Path

import pytest

from spotlessd.configuration.settings import Settings, load_settings
from spotlessd.errors import ConfigError, RootUnavailableError, StationBusyError
from spotlessd.folders import roots as roots_module
from spotlessd.folders import station_roots as station_roots_module
from spotlessd.folders.file_systems import Mount
from spotlessd.folders.roots import MARKER_NAME, NameRules, Root, check_marker, write_marker
from spotlessd.folders.station_roots import open_roots

STATION = "darkroom"


def make_settings(folder: Path, roots: list[tuple[str, str]] | None = None, extra: str = "") -> Settings:
    text = f'station_id = "{STATION}"\n{extra}'
    for index, (source, target) in enumerate(roots or [("scans", "restored")]):
        text += f'[[roots]]\nname = "root{index}"\ninput = "{source}"\noutput = "{target}"\n'
    (folder / "spotlessd.toml").write_text(text, encoding="utf-8")
    return load_settings(folder / "spotlessd.toml")


@pytest.fixture
def root(tmp_path: Path) -> Root:
    for name in ("scans", "restored"):
        (tmp_path / name).mkdir()
        write_marker(tmp_path / name, STATION)
    (root,) = open_roots(make_settings(tmp_path))
    return root


def names(root: Root) -> list[str]:
    return sorted(candidate.rel for candidate in root.scan())


def test_scans_are_found_in_the_folder_and_below_it(root: Root) -> None:
    (root.input / "roll 1" / "strip").mkdir(parents=True)
    for rel in ("a.tif", "B.TIFF", "roll 1/c.png", "roll 1/strip/d.JPG"):
        (root.input / rel).write_bytes(b"x")

    assert names(root) == ["B.TIFF", "a.tif", "roll 1/c.png", "roll 1/strip/d.JPG"]


def test_a_candidate_is_what_stat_says(root: Root) -> None:
    path = root.input / "a.tif"
    path.write_bytes(b"12345")
    status = path.stat()

    (candidate,) = root.scan()

    assert (candidate.root, candidate.path) == ("root0", path)
    assert (candidate.size, candidate.mtime_ns, candidate.inode) == (5, status.st_mtime_ns, status.st_ino)


@pytest.mark.parametrize(
    "rel",
    [
        ".hidden.tif",
        "._a.tif",
        ".DS_Store",
        "~a.tif",
        "a.tif.part",
        "a.tmp",
        "a.partial",
        "a.crdownload",
        "Thumbs.db",
        "notes.txt",
        "a.xmp.tmp",
        "._a_IR.tif",
        "@eaDir/a.tif",
        "#recycle/a.tif",
        "__MACOSX/a.tif",
        ".stfolder/a.tif",
        ".spotlessd-7-1-image.part",
        "tif",
    ],
)
def test_what_is_no_scan_is_left_out(root: Root, rel: str) -> None:
    (root.input / rel).parent.mkdir(exist_ok=True)
    (root.input / rel).write_bytes(b"x")

    assert names(root) == []


@pytest.mark.parametrize("name", ["a_IR.tif", "a-ir.TIFF", "a_ir_Valid.tif", "a.XMP", "a.tif.xmp"])
def test_what_belongs_to_a_scan_is_found_and_is_no_scan(root: Root, name: str) -> None:
    (root.input / name).write_bytes(b"x")

    (candidate,) = root.scan()

    assert candidate.companion is not None
    assert not root.rules.allows(name)


def test_configured_patterns_are_left_out_too() -> None:
    rules = NameRules((".tif",), ("*_Proof.tif",))

    assert not rules.allows("a_proof.TIF")
    assert not rules.allows(".a.tif")
    assert rules.allows("a.tif")


def test_a_pattern_with_a_slash_is_held_against_the_path(root: Root) -> None:
    root.rules = NameRules((".tif",), ("Roll1/proofs", "*/test_*"))
    for rel in ("roll1/proofs/a.tif", "proofs/a.tif", "roll1/test_1.tif", "test_1.tif"):
        (root.input / rel).parent.mkdir(parents=True, exist_ok=True)
        (root.input / rel).write_bytes(b"x")

    assert {candidate.rel for candidate in root.scan()} == {"proofs/a.tif", "test_1.tif"}


@pytest.mark.parametrize("name", ["$RECYCLE.BIN", "System Volume Information", "lost+found", "@Recycle", "#snapshot"])
def test_what_systems_and_stations_keep_for_themselves_is_left_out(root: Root, name: str) -> None:
    (root.input / name).mkdir()
    (root.input / name / "a.tif").write_bytes(b"x")

    assert list(root.scan()) == []


def test_the_config_says_what_belongs_to_a_scan_in_upper_or_lower_case(tmp_path: Path) -> None:
    extra = '[watch]\ninfrared_endings = ["_Infra"]\ncompanions = [".XMP", ".txt"]\n'

    (root,) = open_roots(make_settings(tmp_path, extra=extra))

    is_companion = {
        name: root.rules.companions.parse(name) is not None for name in ("a_INFRA.tif", "a_IR.tif", "a.TXT")
    }
    assert is_companion == {"a_INFRA.tif": True, "a_IR.tif": False, "a.TXT": True}


def test_a_kind_of_file_cannot_be_scan_and_companion(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"spotlessd\.toml:3: watch\.companions: \['\.JPG'\]: in watch\.extensions too"
    ):
        make_settings(tmp_path, extra='[watch]\ncompanions = [".xmp", ".JPG"]\n')


def test_an_ending_of_sidecars_is_set_off_from_the_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'ir' came; expected: the end of a name without its suffix"):
        make_settings(tmp_path, extra='[watch]\ninfrared_endings = ["ir"]\n')


def test_links_and_special_files_are_left_out(root: Root, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.tif").write_bytes(b"x")
    (root.input / "link.tif").symlink_to(outside / "a.tif")
    (root.input / "folder").symlink_to(outside)
    os.mkfifo(root.input / "pipe.tif")

    assert names(root) == []


def test_a_name_that_is_not_utf8_is_left_out_and_does_not_stop_the_rest(root: Root) -> None:
    try:
        Path(os.fsdecode(os.fsencode(root.input) + b"/\xff.tif")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system refuses such names")
    (root.input / "a.tif").write_bytes(b"x")

    assert names(root) == ["a.tif"]


def test_a_folder_that_cannot_be_read_is_named_and_the_rest_is_found(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root.input / "locked").mkdir()
    (root.input / "a.tif").write_bytes(b"x")
    scandir = os.scandir

    def refusing(path: Path) -> object:
        if path.name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr("os.scandir", refusing)

    assert names(root) == ["a.tif"]
    assert root.is_unread("locked/b.tif")
    assert not root.is_unread("locked.tif")


def test_a_missing_marker_makes_the_root_unavailable_and_not_empty(root: Root) -> None:
    (root.input / MARKER_NAME).unlink()

    with pytest.raises(RootUnavailableError, match=f"echo {STATION} >"):
        names(root)


def test_a_missing_marker_in_the_output_makes_the_root_unavailable(root: Root) -> None:
    (root.output / MARKER_NAME).unlink()

    with pytest.raises(RootUnavailableError):
        root.ensure_available()


def test_a_missing_folder_makes_the_root_unavailable(root: Root) -> None:
    shutil.rmtree(root.input)

    with pytest.raises(RootUnavailableError, match="Is the share mounted"):
        names(root)


def test_a_folder_that_goes_away_during_the_scan_spoils_the_scan(root: Root) -> None:
    (root.input / "a.tif").write_bytes(b"x")
    scan = root.scan()
    next(scan)
    shutil.rmtree(root.input)

    with pytest.raises(RootUnavailableError):
        list(scan)


def test_another_file_system_is_refused_once_and_taken_when_its_marker_is_right(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    root.ensure_available()
    monkeypatch.setattr(roots_module, "_device_of", lambda folder: 12345)

    with pytest.raises(RootUnavailableError, match="another file system"):
        root.ensure_available()

    root.ensure_available()


def test_a_folder_of_another_station_is_refused_at_the_start(root: Root, tmp_path: Path) -> None:
    (root.input / MARKER_NAME).write_text("other\n", encoding="utf-8")

    with pytest.raises(StationBusyError, match="other"):
        open_roots(make_settings(tmp_path))


def test_a_marker_of_another_station_is_never_written_over(tmp_path: Path) -> None:
    write_marker(tmp_path, "other")

    with pytest.raises(StationBusyError):
        write_marker(tmp_path, STATION)

    with pytest.raises(RootUnavailableError, match="other"):
        check_marker(tmp_path, STATION)


def test_the_command_in_the_message_makes_the_folder_right(tmp_path: Path) -> None:
    (tmp_path / MARKER_NAME).write_text(f"{STATION}\n", encoding="utf-8")  # what `echo` writes

    check_marker(tmp_path, STATION)


def test_a_root_that_is_away_does_not_stop_the_start(tmp_path: Path) -> None:
    (root,) = open_roots(make_settings(tmp_path))

    assert not root.input.exists()


@pytest.mark.parametrize(
    "roots",
    [
        [("scans", "scans")],
        [("scans", "scans/restored")],
        [("restored/scans", "restored")],
        [("a", "b"), ("b", "c")],
        [("a", "b"), ("c", "a/x")],
        [("a", "out"), ("a/inner", "out2")],
    ],
)
def test_overlapping_folders_are_refused(tmp_path: Path, roots: list[tuple[str, str]]) -> None:
    with pytest.raises(ConfigError, match=r"lies in|overlap"):
        open_roots(make_settings(tmp_path, roots))


def test_an_output_that_reaches_the_input_through_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "elsewhere").symlink_to(tmp_path / "scans")

    with pytest.raises(ConfigError, match="lies in input"):
        open_roots(make_settings(tmp_path, [("scans", "elsewhere/restored")]))


def test_two_roots_may_share_an_output(tmp_path: Path) -> None:
    assert len(open_roots(make_settings(tmp_path, [("a", "out"), ("b", "out")]))) == 2


def test_a_share_that_was_away_at_the_start_is_polled_once_it_is_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root,) = open_roots(make_settings(tmp_path))
    before = root.is_polled, root.is_spooled
    for folder in (root.input, root.output):
        folder.mkdir()
        write_marker(folder, STATION)
    monkeypatch.setattr(roots_module, "mount_of", lambda folder: Mount(Path("/"), "cifs"))

    root.ensure_available()

    assert before == (False, False)
    assert (root.is_network, root.is_polled, root.is_spooled) == (True, True, True)


def test_a_share_that_becomes_a_local_disk_is_watched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root,) = open_roots(make_settings(tmp_path))
    for folder in (root.input, root.output):
        folder.mkdir()
        write_marker(folder, STATION)
    monkeypatch.setattr(roots_module, "mount_of", lambda folder: Mount(Path("/"), "nfs4"))
    root.ensure_available()
    monkeypatch.setattr(roots_module, "mount_of", lambda folder: Mount(Path("/"), "ext4"))
    monkeypatch.setattr(roots_module, "_device_of", lambda folder: 12345)

    with pytest.raises(RootUnavailableError, match="another file system"):
        root.ensure_available()

    assert (root.is_network, root.is_polled) == (False, False)


def test_what_lies_on_a_share_says_so(root: Root) -> None:
    (root.input / "a.tif").write_bytes(b"x")
    local = [candidate.is_network for candidate in root.scan()]

    root.is_network = True

    assert local == [False]
    assert [candidate.is_network for candidate in root.scan()] == [True]


@pytest.mark.parametrize(
    ("spool", "kind", "is_spooled"),
    [("auto", "ext4", False), ("auto", "cifs", True), ("never", "cifs", False), ("always", "ext4", True)],
)
def test_scans_of_shares_are_copied_first_unless_the_config_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spool: str, kind: str, is_spooled: bool
) -> None:
    monkeypatch.setattr(station_roots_module, "mount_of", lambda folder: Mount(Path("/"), kind))

    (root,) = open_roots(make_settings(tmp_path, extra=f'watch.spool = "{spool}"\n'))

    assert root.is_spooled == is_spooled


def test_an_output_that_a_new_mount_puts_into_the_input_is_refused_for_as_long_as_it_lies_there(root: Root) -> None:
    root.ensure_available()
    inner = root.input / "inner"
    inner.mkdir()
    write_marker(inner, root.station_id)
    shutil.rmtree(root.output)
    root.output.symlink_to(inner)
    root._devices[root.output] = 12345  # what was mounted there before

    for _ in range(2):
        with pytest.raises(RootUnavailableError, match="reach each other"):
            root.ensure_available()

    root.output.unlink()
    root.output.mkdir()
    write_marker(root.output, root.station_id)
    with pytest.raises(RootUnavailableError, match="another file system"):
        root.ensure_available()
    root.ensure_available()


def test_what_is_left_out_is_named_with_its_reason_for_as_long_as_it_lies_there(root: Root, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.tif").write_bytes(b"x")
    link = root.input / "link.tif"
    link.symlink_to(tmp_path / "elsewhere.tif")
    found = list(root.scan())
    left_out = dict(root.left_out)
    link.unlink()
    list(root.scan())

    assert found == []
    assert list(left_out) == ["link.tif"]
    assert "links are not followed" in left_out["link.tif"]
    assert root.left_out == {}


@pytest.mark.parametrize("spelt", ['state_dir = "link/state"\n', 'watch.spool_dir = "link/spool"\n'])
def test_nothing_of_ours_lies_in_a_watched_folder_through_a_link(tmp_path: Path, spelt: str) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "scans")

    with pytest.raises(ConfigError, match="lies in input"):
        open_roots(make_settings(tmp_path, extra=spelt))


@pytest.mark.parametrize(
    ("mode", "kind", "is_polled"),
    [
        ("auto", "ext4", False),
        ("auto", "cifs", True),
        ("events", "cifs", False),
        ("polling", "ext4", True),
    ],
)
def test_network_shares_are_polled_unless_the_config_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, kind: str, is_polled: bool
) -> None:
    monkeypatch.setattr(station_roots_module, "mount_of", lambda folder: Mount(Path("/"), kind))

    (root,) = open_roots(make_settings(tmp_path, extra=f'watch.mode = "{mode}"\n'))

    assert root.is_polled == is_polled
    assert root.is_network == (kind == "cifs")
