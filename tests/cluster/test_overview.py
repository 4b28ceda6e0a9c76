"""The picture of a cluster, read from a real PostgreSQL, and what is said about it."""

import asyncio
import json
from dataclasses import replace

import pytest
from cluster_rows import OTHER_WEIGHTS, STATION, WORKER, make_tables, put_machine, put_ticket, worker_called
from postgres import Database

from spotlessd.cluster.connection import open_async
from spotlessd.cluster.overview import read_overview, read_overview_async
from spotlessd.cluster.overview_views import ClusterOverview


@pytest.fixture
def cluster(database: Database) -> Database:
    make_tables(database)
    return database


def read(database: Database) -> ClusterOverview:
    with database.connect() as connection:
        return read_overview(connection, 1_000_060.0, lost_seconds=30.0)


def test_a_cluster_without_machines_says_that_no_worker_is_alive(cluster: Database) -> None:
    overview = read(cluster)

    assert (overview.health, overview.exit_code) == ("no worker", 2)
    assert overview.warnings == ("no worker is alive; 0 scans wait. Start one: spotlessd worker",)


def test_a_working_cluster_is_ok(cluster: Database) -> None:
    put_machine(cluster, STATION)
    put_machine(cluster, WORKER)
    put_ticket(cluster, 1, "doing", worker="gpubox")
    put_ticket(cluster, 2, age=90)
    put_ticket(cluster, 3, is_large=True)
    put_ticket(cluster, 4, "answered", answer='{"kind": "finished"}')

    overview = read(cluster)

    assert (overview.health, overview.exit_code, overview.warnings) == ("ok", 0, ())
    assert [(queue.is_large, queue.waiting, queue.in_hand) for queue in overview.queues] == [
        (True, 1, 0),
        (False, 1, 1),
    ]
    assert 90 <= overview.oldest_seconds < 100
    station, worker = overview.stations[0], overview.workers[0]
    assert (station.waiting, station.in_hand, station.answers) == (2, 1, 1)
    assert (worker.in_hand, worker.facts.seats[0].step) == (1, "inpaint")
    assert overview.in_hand[0].file == "archive/box/scan.tif"


def test_both_kinds_of_connection_see_the_same(cluster: Database) -> None:
    put_machine(cluster, WORKER, silent=3)

    async def read_it() -> ClusterOverview:
        connection = await open_async(cluster.target)
        async with connection:
            return await read_overview_async(connection, 1_000_060.0, lost_seconds=30.0)

    other = asyncio.run(read_it())

    silent = other.workers[0].silent_seconds
    assert replace(other.workers[0], silent_seconds=0) == replace(read(cluster).workers[0], silent_seconds=0)
    assert 3 <= silent < 13


def test_a_worker_silent_with_jobs_in_hand_is_told_with_when_they_go_to_others(cluster: Database) -> None:
    put_machine(cluster, STATION)
    put_machine(cluster, worker_called("alive"))
    put_machine(cluster, WORKER, silent=31)
    put_ticket(cluster, 1, "doing", worker="gpubox")

    overview = read(cluster)

    assert overview.exit_code == 3
    (warning,) = overview.warnings
    assert warning == (
        "worker gpubox has been silent for 31 s with 1 scan in hand; it goes to others as soon as a live worker looks. "
        "Look at that machine"
    )


def test_a_worker_that_ended_with_nothing_in_hand_is_no_trouble(cluster: Database) -> None:
    put_machine(cluster, STATION)
    put_machine(cluster, worker_called("alive"))
    put_machine(cluster, WORKER, silent=4000)

    assert read(cluster).health == "ok"


def test_a_station_whose_weights_no_worker_has_is_told_with_both_versions(cluster: Database) -> None:
    put_machine(cluster, replace(STATION, weights=OTHER_WEIGHTS, version="0.2.0"))
    put_machine(cluster, WORKER)
    put_ticket(cluster, 1, weights=OTHER_WEIGHTS)

    first, second = read(cluster).warnings

    assert first == (
        "station attic (0.2.0, weights cdcdcdcd): no live worker has its weights (gpubox 0.1.0: abababab); 1 scan "
        "of it waits. Bring the older ones to the same version"
    )
    assert second.startswith("different versions run side by side (0.1.0: gpubox; 0.2.0: attic)")


def test_a_station_that_is_silent_while_answers_wait_is_told(cluster: Database) -> None:
    put_machine(cluster, STATION, silent=200, key="attic#0a")
    put_machine(cluster, WORKER)
    put_ticket(cluster, 1, "answered", station="attic#0a", answer="{}")

    assert read(cluster).warnings == (
        "station attic has been silent for 3 min 20 s; 1 answer waits until it is back. Start it again",
    )


def test_tickets_of_a_station_without_a_row_are_told(cluster: Database) -> None:
    put_machine(cluster, WORKER)
    put_ticket(cluster, 1, station="ghost")

    assert read(cluster).warnings[0].startswith("station ghost has never told anything of itself")


def test_a_clock_that_is_off_is_told_with_its_direction(cluster: Database) -> None:
    put_machine(cluster, STATION)
    put_machine(cluster, replace(WORKER, skew_seconds=-2.5))
    put_machine(cluster, worker_called("exact", skew_seconds=1.9))

    (warning,) = read(cluster).warnings

    assert warning.startswith("worker gpubox: its clock is 2.5 s behind PostgreSQL's")


def test_scans_that_come_back_are_told_by_reason(cluster: Database) -> None:
    put_machine(cluster, STATION)
    put_machine(cluster, WORKER)
    put_ticket(cluster, 1, reason="gpubox has no share archive", age=100)
    put_ticket(cluster, 2, reason="gpubox has no share archive", age=100)
    put_ticket(cluster, 3, reason="just given back")
    put_ticket(cluster, 4, losses=2, reason="worker b was lost")

    warnings = read(cluster).warnings

    assert warnings == (
        "archive/box/scan.tif and 1 more of station attic came back: gpubox has no share archive",
        "archive/box/scan.tif of station attic came back, 2 workers lost over it: worker b was lost",
    )


def test_poison_is_a_dead_letter(cluster: Database) -> None:
    put_machine(cluster, replace(STATION, quarantined=2))
    put_machine(cluster, WORKER)
    put_ticket(cluster, 1, "answered", answer='{"kind":"poison"}')
    put_ticket(cluster, 2, "answered", answer='{"kind": "failed", "error": "\\"kind\\": \\"poison\\""}')

    overview = read(cluster)

    assert (overview.poisoned, overview.dead_letters) == (1, 3)
    assert overview.warnings[0].startswith("1 scan was given up because too many workers were lost over it")


def test_quarantined_scans_alone_make_exit_code_1(cluster: Database) -> None:
    put_machine(cluster, replace(STATION, quarantined=2))
    put_machine(cluster, WORKER)

    assert (read(cluster).health, read(cluster).exit_code) == ("dead letters", 1)


def test_draining_asked_in_the_row_is_seen_before_the_worker_says_so(cluster: Database) -> None:
    put_machine(cluster, STATION)
    put_machine(cluster, WORKER, drain=True)

    overview = read(cluster)

    assert overview.workers[0].is_draining
    assert overview.warnings[0].startswith("every live worker is draining")


@pytest.mark.parametrize("rel", ["bo\x00x.tif", "bo\udcffx.tif"])
def test_a_file_name_that_postgresql_cannot_read_does_no_harm(cluster: Database, rel: str) -> None:
    put_machine(cluster, WORKER)
    put_ticket(cluster, 1, "doing", worker="gpubox", rel=rel)
    put_ticket(cluster, 2, losses=1, rel=rel)

    overview = read(cluster)

    assert overview.in_hand[0].file == overview.returned[0].file == f"archive/{rel}"


def test_the_json_has_every_documented_key(cluster: Database) -> None:
    put_machine(cluster, STATION)
    put_machine(cluster, WORKER)
    put_ticket(cluster, 1, "doing", worker="gpubox")

    values = json.loads(json.dumps(read(cluster).to_json()))

    assert set(values) == {"health", "at", "warnings", "queue", "stations", "workers", "jobs", "returned"}
    assert values["stations"][0]["key"] == values["stations"][0]["name"] == "attic"
    assert values["workers"][0]["seats"][0]["device"] == "NVIDIA L4"
    assert values["jobs"][0]["worker"] == "gpubox"
    documented = str(ClusterOverview.to_json.__doc__)
    assert [key for key in (*values, *values["queue"], *values["jobs"][0]) if f"`{key}`" not in documented] == []
