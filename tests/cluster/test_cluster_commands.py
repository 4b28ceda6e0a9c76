"""`status --cluster` and `doctor --cluster` as a person calls them, with a config and a real PostgreSQL."""

import io
import json
import time
from pathlib import Path

import pytest
from cluster_rows import STATION, WORKER, cluster_config, make_tables, put_machine
from postgres import Database

from spotlessd.cli import main
from spotlessd.cluster.cluster_figures import ClusterPicture
from spotlessd.cluster.machines import StationMachine
from spotlessd.cluster.probes import ProbeAnswers
from spotlessd.cluster.station_link import StationLink
from spotlessd.cluster.ticket_queue import TicketQueue
from spotlessd.cluster.tickets import weights_sha256
from spotlessd.commands.cluster_commands import ClusterReader
from spotlessd.commands.live_status import watch
from spotlessd.configuration.settings import load_settings
from spotlessd.station import init_station


def config_of(tmp_path: Path, database: Database) -> Path:
    archive = tmp_path / "archive"
    archive.mkdir()
    return cluster_config(tmp_path / "here", database, {"archive": archive})


def test_the_status_of_a_cluster_is_text_or_json_with_the_same_exit_code(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(tmp_path, database)
    make_tables(database)
    put_machine(database, STATION)
    put_machine(database, WORKER)

    assert main(["status", "--cluster", "--config", str(config)]) == 0
    assert "gpubox" in capsys.readouterr().out
    assert main(["status", "--cluster", "--json", "--config", str(config)]) == 0
    assert json.loads(capsys.readouterr().out)["workers"][0]["name"] == "gpubox"


def test_a_database_without_a_cluster_says_what_makes_one(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--cluster", "--config", str(config_of(tmp_path, database))]) == 2
    assert "holds no cluster yet" in capsys.readouterr().out


def test_a_station_alone_has_no_cluster_to_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = init_station(tmp_path / "alone")

    assert main(["status", "--cluster", "--config", str(config)]) == 78
    assert "computes alone" in capsys.readouterr().err
    assert main(["doctor", "--cluster", "--config", str(config)]) == 69
    assert "computes alone" in capsys.readouterr().out


def test_a_postgresql_that_is_down_is_one_sentence_and_exit_code_2_and_the_live_view_comes_back(
    own_postgres: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(tmp_path, own_postgres)
    make_tables(own_postgres)
    put_machine(own_postgres, WORKER)
    reader = ClusterReader(load_settings(config))
    rounds = iter([own_postgres.stop, own_postgres.start])

    def between_looks(_seconds: float) -> None:
        step = next(rounds, None)
        if step is None:
            raise KeyboardInterrupt
        step()

    stream = io.StringIO()
    code = watch(reader.look, stream, is_screen=False, sleep=between_looks)
    reader.close()
    first, down, back = stream.getvalue().splitlines()

    assert ("ok" in first, "PostgreSQL at" in down, "ok" in back, code) == (True, True, True, 0)
    own_postgres.stop()
    assert main(["status", "--cluster", "--config", str(config)]) == 2
    assert "cluster: unreachable" in capsys.readouterr().out


def test_a_link_answers_the_doctor_and_refreshes_the_figures_with_its_beats(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(tmp_path, database)
    weights = weights_sha256()
    picture = ClusterPicture(30.0)
    link = StationLink(lambda: TicketQueue.connect(database.target), "attic#1", heartbeat_seconds=0.2, weights=weights)
    link.errands = (ProbeAnswers("station", "attic#1", {"archive": tmp_path / "archive"}).answer, picture.refresh)
    link.tell(StationMachine(name="attic", weights=weights))
    link.start()
    try:
        deadline = time.monotonic() + 20
        while picture.overview is None or not picture.overview.stations:
            assert time.monotonic() < deadline, link.trouble
            time.sleep(0.02)

        main(["doctor", "--cluster", "--json", "--config", str(config)])
    finally:
        link.close()

    found = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert found["share archive on station attic"]["detail"] == "the same folder; can be written"
    assert any(metric.name == "spotlessd_cluster_station_up" for metric in picture.metrics())
