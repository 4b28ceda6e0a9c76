"""Which folders may be a batch, how it is found again, and what is said of those that may not."""

import os
from pathlib import Path

import pytest

from spotlessd.batches.contents import read_contents
from spotlessd.batches.place import BATCHES_NAME, FOLDER_NAME, Batch, default_output, find_batch, mark_input
from spotlessd.configuration.settings import Settings, load_settings
from spotlessd.errors import BatchError
from spotlessd.folders import file_systems
from spotlessd.folders.file_systems import Mount
from spotlessd.folders.roots import MARKER_NAME, NameRules

RULES = NameRules((".tif",))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    config = tmp_path / "station" / "spotlessd.toml"
    for name in ("scans", "restored"):
        (tmp_path / "station" / name).mkdir(parents=True)
        (tmp_path / "station" / name / MARKER_NAME).write_text("dark\n")
    config.write_text('station_id = "dark"\n[[roots]]\ninput = "scans"\noutput = "restored"\n')
    return load_settings(config)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    folder.mkdir()
    (folder / "a.tif").write_bytes(b"x")
    return folder


def begun(folder: Path, output: Path, settings: Settings) -> Batch:
    batch = find_batch(folder, output, "", settings)
    (output / FOLDER_NAME).mkdir(parents=True, exist_ok=True)
    batch = mark_input(batch)
    batch.keep()
    return batch


def refusal(folder: Path, output: Path, settings: Settings) -> tuple[int, str]:
    with pytest.raises(BatchError) as caught:
        find_batch(folder, output, "", settings)
    return caught.value.exit_code, str(caught.value)


def test_results_go_beside_the_folder_unless_another_place_is_named(archive: Path) -> None:
    assert default_output(archive / ".." / "archive") == archive.with_name("archive-restored")


def test_the_same_folders_are_the_same_batch_again(archive: Path, settings: Settings) -> None:
    first = begun(archive, default_output(archive), settings)

    again = find_batch(archive, default_output(archive), "another name", settings)

    assert again == first
    assert first.folder == first.output / FOLDER_NAME


def test_an_archive_that_is_mounted_elsewhere_is_known_by_its_marker(archive: Path, settings: Settings) -> None:
    output = default_output(archive)
    first = begun(archive, output, settings)
    moved = archive.rename(archive.with_name("elsewhere"))

    assert find_batch(moved, output, "", settings).id == first.id


def test_the_folder_gets_the_marker_and_nothing_else(archive: Path, settings: Settings) -> None:
    begun(archive, default_output(archive), settings)

    assert sorted(path.name for path in archive.iterdir()) == [MARKER_NAME, "a.tif"]


def test_a_folder_that_cannot_be_written_goes_without_a_marker(
    archive: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(30, "Read-only file system")

    batch = find_batch(archive, default_output(archive), "", settings)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", refuse)
        marked = mark_input(batch)

    assert marked.input_marker == ""
    assert not (archive / MARKER_NAME).exists()


def test_a_folder_of_another_batch_keeps_its_marker(archive: Path, settings: Settings, tmp_path: Path) -> None:
    first = begun(archive, tmp_path / "one", settings)
    second = begun(archive, tmp_path / "two", settings)

    assert second.id != first.id
    assert second.input_marker == first.id
    assert (archive / MARKER_NAME).read_text().strip() == first.id


def test_on_a_network_the_ledger_lies_in_the_stations_own_folder(
    archive: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_systems, "read_mounts", lambda: [Mount(archive.parent, "nfs4")])

    batch = find_batch(archive, default_output(archive), "", settings)

    assert batch.folder == settings.state_dir / BATCHES_NAME / batch.id


def test_results_must_not_lie_among_the_scans(archive: Path, settings: Settings) -> None:
    code, sentence = refusal(archive, archive / "out", settings)

    assert code == 64
    assert "would be taken for scans" in sentence


def test_a_link_into_the_folder_is_seen_through(archive: Path, settings: Settings, tmp_path: Path) -> None:
    (archive / "out").mkdir()
    (tmp_path / "link").symlink_to(archive / "out")

    assert refusal(archive, tmp_path / "link", settings)[0] == 64


def test_a_file_is_no_archive(archive: Path, settings: Settings, tmp_path: Path) -> None:
    code, sentence = refusal(archive / "a.tif", tmp_path / "out", settings)

    assert code == 66
    assert "spotless restore" in sentence


@pytest.mark.parametrize("inner", ["scans", "scans/roll7", "restored", "."])
def test_what_a_station_works_on_is_no_batch(settings: Settings, tmp_path: Path, inner: str) -> None:
    folder = settings.roots[0].input.parent / inner
    folder.mkdir(exist_ok=True)

    code, sentence = refusal(folder, tmp_path / "out", settings)

    assert code == 64
    assert "'dark'" in sentence


def test_results_do_not_go_to_where_a_stations_results_go(archive: Path, settings: Settings) -> None:
    assert refusal(archive, settings.roots[0].output / "more", settings)[0] == 73


def test_a_folder_with_a_persons_files_is_not_taken_for_results(
    archive: Path, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "report.csv").write_text("mine")

    code, sentence = refusal(archive, tmp_path / "mine", settings)

    assert code == 73
    assert "new or empty" in sentence


def test_the_results_of_another_folder_are_not_mixed_with_these(
    archive: Path, settings: Settings, tmp_path: Path
) -> None:
    output = default_output(archive)
    begun(archive, output, settings)
    (tmp_path / "other").mkdir()

    code, sentence = refusal(tmp_path / "other", output, settings)

    assert code == 73
    assert str(archive) in sentence


def test_scans_and_other_kinds_are_counted_without_being_opened(archive: Path) -> None:
    (archive / "roll").mkdir()
    for name in ("b.tif", "c.cr2", "d.CR2", "README", ".hidden.tif"):
        (archive / "roll" / name).touch()

    contents = read_contents(archive, RULES)

    assert contents.scans == 2
    assert contents.kinds_text == "2 .cr2, 1 files without an ending"


@pytest.mark.parametrize("name", ["roll-restored", "roll!", "roll[1]", "Roll]"])
def test_results_of_an_earlier_batch_are_left_out_and_nothing_else(archive: Path, name: str) -> None:
    for folder in (name, f"{name}x", f"deep/{name}"):
        (archive / folder).mkdir(parents=True)
        (archive / folder / "b.tif").touch()
    (archive / name / "receipts").mkdir()
    (archive / name / MARKER_NAME).write_text("batch-roll-1\n")

    contents = read_contents(archive, RULES)
    rules = NameRules((".tif",), contents.left_out)

    assert contents.results == [name]
    assert contents.scans == 3
    assert rules.ignores(name, name)
    assert not rules.ignores(f"{name}x", f"{name}x")
    assert not rules.ignores(name, f"deep/{name}")


def test_a_batchs_name_never_makes_a_bad_id(archive: Path, settings: Settings) -> None:
    batch = find_batch(archive, archive.with_name("out"), "Ünïcode / 1950–1970 " * 9, settings)

    assert len(batch.id) <= 64
    assert os.fsencode(batch.id).isascii()
