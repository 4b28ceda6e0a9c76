"""What the commands tell and write while no daemon runs."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from spotless_core.errors import MissingInputError, ScanError
from spotlessd.cli import main
from spotlessd.commands import station_commands as commands
from spotlessd.configuration.settings import Settings, load_settings
from spotlessd.job import Identity, JobState
from spotlessd.ledger import Ledger
from spotlessd.monitoring.status import LEDGER_NAME, LOCK_NAME
from spotlessd.publishing.given_masks import keep_mask
from spotlessd.sqlite.board import Board
from spotlessd.sqlite.database import Database
from spotlessd.station import init_station
from spotlessd.station_lock import StationLock


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(init_station(tmp_path / "station"))


def draw_scan(path: Path) -> Path:
    noise = np.random.default_rng(1).integers(0, 65535, (40, 60, 3), np.uint16)
    tifffile.imwrite(path, noise, photometric="rgb")
    return path


def draw_mask(path: Path, size: tuple[int, int] = (60, 40)) -> Path:
    Image.new("L", size, 255).save(path)
    return path


def asked(settings: Settings) -> list[tuple[str, dict[str, object]]]:
    with Database.open(settings.state_dir / LEDGER_NAME) as database:
        return [(command.name, command.arguments) for command in Board(database).open_commands()]


def test_a_pause_for_two_hours_counts_from_when_it_was_typed(settings: Settings) -> None:
    before = time.time()

    answer = commands.pause(settings, now=False, seconds=7200)

    ((name, arguments),) = asked(settings)
    assert (answer.text, name) == (commands.LATER, "pause")
    assert before + 7200 <= float(str(arguments["until"])) <= time.time() + 7200


def test_status_tells_what_was_asked_for_and_not_read_yet(settings: Settings) -> None:
    commands.pause(settings, now=False, seconds=None)

    assert "not read by the daemon yet: pause" in commands.show_status(settings, as_json=False).text


def test_a_daemon_that_does_not_answer_in_time_is_called_busy(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "ANSWER_SECONDS", 0.0)
    lock = StationLock(settings.state_dir / LOCK_NAME)

    answer = commands.scan(settings)
    lock.close()

    assert (answer.text, answer.exit_code) == (commands.BUSY, 0)


def test_the_mask_given_is_copied_so_that_it_may_be_deleted(settings: Settings, tmp_path: Path) -> None:
    scan = draw_scan(settings.roots[0].input / "a.tif")
    mask = draw_mask(tmp_path / "mine.png")
    content = mask.read_bytes()

    commands.reprocess(settings, str(scan), mask, None)
    mask.unlink()

    ((_, arguments),) = asked(settings)
    kept = Path(str(arguments["mask"]))
    assert kept.is_relative_to(settings.state_dir)
    assert kept.read_bytes() == content


def test_a_mask_given_twice_is_kept_once(settings: Settings, tmp_path: Path) -> None:
    scan = draw_scan(settings.roots[0].input / "a.tif")
    mask = draw_mask(tmp_path / "mine.png")

    first = keep_mask(mask, scan, settings.state_dir)
    second = keep_mask(mask, scan, settings.state_dir)

    assert first == second
    assert list(first.parent.iterdir()) == [first]


def test_a_mask_of_another_size_is_refused_before_anything_is_asked(settings: Settings, tmp_path: Path) -> None:
    scan = draw_scan(settings.roots[0].input / "a.tif")
    mask = draw_mask(tmp_path / "mine.png", (61, 40))

    with pytest.raises(ScanError, match="61×40 px; the scan has 60×40"):
        commands.reprocess(settings, str(scan), mask, None)

    assert not (settings.state_dir / LEDGER_NAME).exists()


def test_a_mask_that_is_not_there_is_refused(settings: Settings, tmp_path: Path) -> None:
    scan = draw_scan(settings.roots[0].input / "a.tif")

    with pytest.raises(MissingInputError, match="no such mask"):
        commands.reprocess(settings, str(scan), tmp_path / "none.png", None)


def test_show_tells_receipt_timings_and_the_jobs_lines_of_the_log(settings: Settings, tmp_path: Path) -> None:
    log = tmp_path / "spotlessd.log"
    log.write_text("10:00 job 1, a.tif: queued\n10:00 job 11, b.tif: queued\n10:01 job 1, a.tif: done\n")
    settings = settings.model_copy(update={"log": settings.log.model_copy(update={"file": log})})
    receipt = settings.roots[0].output / "receipts" / "a.json"
    receipt.parent.mkdir()
    receipt.write_text(json.dumps({"device": "CPU", "defects": [{}, {}], "models": [{"name": "unet"}], "notes": []}))
    with Database.open(settings.state_dir / LEDGER_NAME) as database:
        ledger = Ledger(database)
        ledger.enqueue(Identity("scans", "a.tif", 1, 1), 1, "r", 10.0)
        running = ledger.claim(1, "me", 20.0)
        assert running is not None
        ledger.finish(running, JobState.DONE, {"receipt": "receipts/a.json"}, "", {"detect": 1.5}, 25.0)

    text = commands.show_job(settings, "1", as_json=False).text
    values = json.loads(commands.show_job(settings, "1", as_json=True).text)

    assert "took: 5.0 s, begun 10 s after it was queued" in text
    assert ("device: CPU" in text, "defects: 2" in text, "models: unet" in text, "detect 1.50" in text) == (True,) * 4
    assert values["log"] == ["10:00 job 1, a.tif: queued", "10:01 job 1, a.tif: done"]
    assert values["receipt"] == {"device": "CPU", "defects": 2, "models": ["unet"]}


def test_a_receipt_that_is_gone_or_odd_does_not_stop_show(settings: Settings) -> None:
    with Database.open(settings.state_dir / LEDGER_NAME) as database:
        ledger = Ledger(database)
        ledger.enqueue(Identity("scans", "a.tif", 1, 1), 1, "r", 10.0)
        running = ledger.claim(1, "me", 20.0)
        assert running is not None
        ledger.finish(running, JobState.DONE, {"receipt": "a.json"}, "", {}, 25.0)
    (settings.roots[0].output / "a.json").write_text("[1]")

    assert "state: done" in commands.show_job(settings, "1", as_json=False).text


def test_a_name_with_control_characters_does_not_reach_the_terminal(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with Database.open(settings.state_dir / LEDGER_NAME) as database:
        Ledger(database).enqueue(Identity("scans", "a\x1b[2Jb.tif", 1, 1), 1, "r", 10.0)
    capsys.readouterr()

    main(["list", "--config", str(settings.config_path)])

    assert "a\\x1b[2Jb.tif" in capsys.readouterr().out
