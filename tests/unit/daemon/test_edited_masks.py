"""When a mask in masks/edited/ is taken: not while it grows, not while its root is away, and tried again in the end."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from spotlessd.cli import main
from spotlessd.commands.arguments import parse_arguments
from spotlessd.configuration.settings import Settings, load_settings
from spotlessd.edited_masks import EditedMasks
from spotlessd.engine import LocalEngine
from spotlessd.folders.roots import MARKER_NAME, NameRules, Root
from spotlessd.job import Identity, Job, JobState, RetryPolicy
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME
from spotlessd.publishing.handed_in import move_aside
from spotlessd.sqlite.board import Board
from spotlessd.sqlite.database import Database

SETTLE_SECONDS = 5.0


@dataclass
class PlayedCheck:
    """Answers at once: a mask whose content begins with `bad` does not fit, any other is kept."""

    mask: Path
    scan: Path
    state_dir: Path

    def poll(self) -> Path | str | None:
        content = self.mask.read_bytes()
        if content.startswith(b"bad"):
            return "another size than the scan."
        kept = self.state_dir / f"{content.hex()}.png"
        kept.write_bytes(content)
        return kept

    def close(self) -> None:
        pass


@dataclass
class Played:
    """A station with one finished scan, its clock in hand."""

    settings: Settings
    ledger: Ledger
    board: Board
    root: Root
    engine: LocalEngine
    now: float = 100.0
    masks: EditedMasks = field(init=False)

    def __post_init__(self) -> None:
        self.masks = EditedMasks(
            {"scans": self.root},
            self.ledger,
            self.engine,
            self.board,
            self.settings,
            check=PlayedCheck,  # type: ignore[arg-type]
        )

    @property
    def folder(self) -> Path:
        return self.root.output / "masks" / "edited"

    def pass_time(self, seconds: float = 20.0) -> None:
        for _ in range(round(seconds)):
            self.now += 1.0
            self.masks.tick(self.now)

    def jobs(self) -> list[Job]:
        return self.ledger.jobs()

    def finish(self, rel: str, recipe: str = "recipe") -> None:
        path = self.root.input / rel
        path.write_bytes(b"scan")
        status = path.stat()
        number = self.ledger.enqueue(Identity("scans", rel, status.st_size, status.st_mtime_ns), 1, recipe, time.time())
        assert number is not None
        job = self.ledger.claim(number, "me", time.time())
        assert job is not None
        stem = Path(rel).stem
        outputs = {"image": rel, "mask": f"masks/{stem}.png", "receipt": f"receipts/{stem}.json"}
        (self.root.output / "receipts").mkdir(exist_ok=True)
        (self.root.output / "receipts" / f"{stem}.json").write_text(json.dumps({"outputs": {}}))
        self.ledger.finish(job, JobState.DONE, outputs, "abc", {}, time.time())


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Played]:
    for name in ("scans", "restored"):
        (tmp_path / name).mkdir()
        (tmp_path / name / MARKER_NAME).write_text("dark\n")
    config = tmp_path / "spotlessd.toml"
    config.write_text(
        'station_id = "dark"\n[[roots]]\nname = "scans"\ninput = "scans"\noutput = "restored"\n'
        f"[watch]\nsettle_seconds = {SETTLE_SECONDS}\n"
    )
    settings = load_settings(config)
    root = Root("scans", tmp_path / "scans", tmp_path / "restored", "dark", NameRules((".tif",)), False, False)
    with Database.open(settings.state_dir / LEDGER_NAME) as database:
        ledger = Ledger(database)
        found = Played(settings, ledger, Board(database), root, LocalEngine(ledger, "me", RetryPolicy()))
        found.finish("frame.tif")
        found.pass_time(3)
        yield found


def test_a_mask_that_still_grows_is_not_taken(played: Played) -> None:
    for length in range(1, 11):
        (played.folder / "frame.png").write_bytes(b"x" * length)
        played.pass_time(3)
    assert len(played.jobs()) == 1
    assert [file.rel for file in played.masks.waiting] == ["masks/edited/frame.png"]

    played.pass_time()

    job = played.jobs()[-1]
    assert job.overrides.mask is not None
    assert job.overrides.mask.read_bytes() == b"x" * 10
    assert played.masks.waiting == []
    assert played.masks.is_quiet


def test_while_the_folder_is_away_nothing_is_made_in_its_place_and_nothing_is_concluded(played: Played) -> None:
    (played.folder / "frame.png").write_bytes(b"x")
    played.pass_time(3)
    away = played.root.output.with_name("away")
    played.root.output.rename(away)
    played.root.output.mkdir()

    played.pass_time()
    assert list(played.root.output.iterdir()) == []
    assert len(played.jobs()) == 1

    shutil.rmtree(played.root.output)
    away.rename(played.root.output)
    played.pass_time()
    assert len(played.jobs()) == 2


def test_a_mask_that_came_before_its_scan_was_done_is_taken_then(played: Played) -> None:
    (played.folder / "late.png").write_bytes(b"x")
    played.pass_time()
    assert "no finished scan has a mask of this name" in played.masks.waiting[0].reason

    played.finish("late.tif")
    played.pass_time()

    assert played.jobs()[-1].identity.rel == "late.tif"
    assert played.jobs()[-1].state is JobState.QUEUED
    assert played.masks.waiting == []


def test_a_mask_that_does_not_fit_is_tried_again_when_it_changes(played: Played) -> None:
    (played.folder / "frame.png").write_bytes(b"bad mask")
    played.pass_time()
    assert [file.reason for file in played.masks.waiting] == ["edited mask: another size than the scan."]
    assert played.masks.is_quiet

    (played.folder / "frame.png").write_bytes(b"good mask")
    played.pass_time()

    assert len(played.jobs()) == 2


def test_a_mask_of_a_scan_that_changed_since_waits(played: Played) -> None:
    (played.root.input / "frame.tif").write_bytes(b"another scan")
    (played.folder / "frame.png").write_bytes(b"x")

    played.pass_time()

    assert "changed since job 1" in played.masks.waiting[0].reason
    assert len(played.jobs()) == 1


def test_a_mask_whose_scan_was_away_is_taken_when_it_is_back(played: Played) -> None:
    scan = played.root.input / "frame.tif"
    scan.rename(scan.with_suffix(".away"))
    (played.folder / "frame.png").write_bytes(b"x")
    played.pass_time()
    assert "its scan frame.tif is not there" in played.masks.waiting[0].reason

    scan.with_suffix(".away").rename(scan)
    played.pass_time(310)

    assert len(played.jobs()) == 2


def test_links_hidden_files_and_what_was_taken_are_passed_over(played: Played, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"x")
    (played.folder / "frame.png").symlink_to(secret)
    (played.folder / ".frame.png.swp").write_bytes(b"x")
    (played.folder / "taken" / "frame.png").write_bytes(b"x")

    played.pass_time()

    assert played.masks.waiting == []
    assert len(played.jobs()) == 1


def test_a_move_that_was_cut_between_its_two_names_is_ended_by_the_next(tmp_path: Path) -> None:
    path, target = tmp_path / "a.png", tmp_path / "taken" / "a.png"
    path.write_bytes(b"x")
    target.parent.mkdir()
    target.hardlink_to(path)

    assert move_aside(path, target) == target

    assert not path.exists()
    assert [each.name for each in target.parent.iterdir()] == ["a.png"]


def test_where_there_are_no_hard_links_nothing_is_overwritten_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "no hard links here")

    monkeypatch.setattr("os.link", refuse)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "a.png").write_bytes(b"old")
    (tmp_path / "a.png").write_bytes(b"new")

    moved = move_aside(tmp_path / "a.png", tmp_path / "taken" / "a.png")

    assert moved.name == "a~2.png"
    assert (moved.read_bytes(), (tmp_path / "taken" / "a.png").read_bytes()) == (b"new", b"old")


def test_the_config_may_stand_before_or_behind_the_word_export() -> None:
    before = parse_arguments(["feedback", "--config", "a.toml", "export", "out"])
    behind = parse_arguments(["feedback", "export", "out", "--config", "a.toml"])

    assert before.config == behind.config == Path("a.toml")
    assert before.folder == behind.folder == Path("out")
    assert parse_arguments(["feedback"]).feedback_command is None


def test_a_day_that_is_none_is_a_wrong_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="64"):
        main(["contact-sheet", "out", "--day", "yesterday"])

    assert "a day such as 2026-11-23 expected" in capsys.readouterr().err
