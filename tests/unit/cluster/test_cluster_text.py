"""The cluster in words: lines of at most 100 columns, one line for a log, and figures for Prometheus."""

from dataclasses import replace

from spotlessd.cluster.cluster_figures import cluster_metrics
from spotlessd.cluster.machines import SeatFacts, StationMachine, WorkerMachine
from spotlessd.cluster.overview_views import ClusterOverview, QueueView, StationView, TicketView, WorkerView
from spotlessd.cluster.overview_warnings import warnings_of
from spotlessd.commands.cluster_text import COLUMNS, cluster_line, cluster_lines, shortened
from spotlessd.monitoring.metrics import render_figures

NOW = 1_000_060.0
LONG = "an archive with a very long name/a box with a very long name/scan_0001_of_the_second_roll.tif"
SEAT = SeatFacts("gpu 0", "NVIDIA L4", "float16", "busy", LONG, "attic#0a1b", "inpaint", 0.4, NOW - 75)
WORKER = WorkerView(
    "gpubox",
    WorkerMachine(
        "gpubox",
        "gpubox.lab",
        "0.1.0",
        "ab" * 32,
        seats=(SEAT, SeatFacts("gpu 1", "NVIDIA L4")),
        done=12,
        frames_per_hour=120.0,
    ),
    2.0,
    is_alive=True,
    is_draining=False,
    in_hand=1,
)
STATION = StationView(
    "attic#0a1b",
    StationMachine("attic", "scanpc", "0.1.0", "ab" * 32, given=3, queued=39, running=1, done=7, quarantined=2),
    1.0,
    is_alive=True,
    waiting=2,
)
OVERVIEW = ClusterOverview(
    NOW,
    30.0,
    (STATION,),
    (WORKER,),
    (
        QueueView("restore1-abababab-small", "abababab", False, 10, 1, 90.0),
        QueueView("restore1-abababab-large", "abababab", True, 2, 0, 30.0),
    ),
    states={"asked": 12, "doing": 1, "answered": 3},
)


def test_a_person_sees_queue_rate_stations_and_workers() -> None:
    text = "\n".join(cluster_lines(OVERVIEW))

    assert "cluster: dead letters" in text
    assert "queue: 12 waiting (10 small, 2 large), 1 worked on, 0 being published, 3 answered and not" in text
    assert "the oldest waits 1 min 30 s" in text
    assert "rate: 120 frames an hour; 40 left, about 20 min" in text
    assert "dead letters: 2 (attic: 2); there: spotlessd list --state quarantined" in text
    assert "(attic) inpaint [####......] 40%, 1 min 15 s" in text
    assert "gpu 1: NVIDIA L4: idle" in text


def test_no_line_is_longer_than_100_columns() -> None:
    wide = replace(
        STATION, facts=replace(STATION.facts, name="s" * 80, host="h" * 80, version="v" * 80, done=10**9, queued=10**9)
    )
    ticket = TicketView("attic#0a1b", 1, 1, "asked", "", 5, 2, "", 0.0, "a long reason " * 20, LONG, 0.0)
    busy = replace(OVERVIEW, stations=(wide,), returned=(ticket,) * 9)

    lines = cluster_lines(replace(busy, warnings=tuple(warnings_of(busy))))

    assert max(map(len, lines)) <= COLUMNS
    assert lines[-1] == "came back: and 4 more (--json has them)"


def test_a_file_name_cannot_steer_the_terminal() -> None:
    seat = replace(SEAT, job="box/\x1b[2J\n.tif")
    worker = replace(WORKER, facts=replace(WORKER.facts, seats=(seat,)))

    text = "\n".join(cluster_lines(replace(OVERVIEW, workers=(worker,))))

    assert "\x1b" not in text
    assert "box/\\x1b[2J\\n.tif" in text


def test_a_worker_that_drains_is_drained_once_its_hands_are_empty() -> None:
    draining = replace(WORKER, is_draining=True)

    assert "draining" in "\n".join(cluster_lines(replace(OVERVIEW, workers=(draining,))))
    assert "drained" in "\n".join(cluster_lines(replace(OVERVIEW, workers=(replace(draining, in_hand=0),))))


def test_an_empty_cluster_says_what_to_start() -> None:
    text = "\n".join(cluster_lines(ClusterOverview(NOW, 30.0)))

    assert "spotlessd worker --config FILE" in text
    assert "spotlessd run" in text


def test_one_line_has_the_health_the_numbers_and_what_is_wrong() -> None:
    line = cluster_line(replace(OVERVIEW, warnings=("worker b is gone",)))

    assert line == (
        "degraded; 1 worker with 2 seats; 1 station; 12 waiting, 1 in hand; 120 frames an hour; worker b is gone"
    )


def test_a_silent_worker_is_told_with_when_its_jobs_go_to_others() -> None:
    silent = replace(WORKER, key="b", facts=replace(WORKER.facts, name="b"), silent_seconds=18.0, is_alive=False)

    (warning,) = warnings_of(replace(OVERVIEW, workers=(WORKER, silent)))

    assert warning == (
        "worker b has been silent for 18 s with 1 scan in hand; it goes to others in 12 s. Look at that machine"
    )


def test_the_same_trouble_of_many_machines_is_one_warning() -> None:
    workers = [
        replace(WORKER, key=f"w{number}", facts=replace(WORKER.facts, name=f"w{number}", trouble="no share archive"))
        for number in range(5)
    ]

    assert list(warnings_of(replace(OVERVIEW, workers=tuple(workers)))) == [
        "worker w0, worker w1, worker w2 and 2 more: no share archive"
    ]


def test_a_long_name_keeps_its_end() -> None:
    assert shortened("abcdefghij", 10) == "abcdefghij"
    assert shortened("abcdefghijk", 7) == "ab…hijk"


def test_prometheus_gets_the_same_figures() -> None:
    text = render_figures(cluster_metrics(OVERVIEW, NOW + 5)).decode()

    assert 'spotlessd_cluster_workers{state="alive"} 1.0' in text
    assert 'spotlessd_cluster_queue{size="large",weights="abababab"} 2.0' in text
    assert "spotlessd_cluster_oldest_seconds 90.0" in text
    assert 'spotlessd_cluster_worker_rate{worker="gpubox"} 120.0' in text
    assert 'spotlessd_cluster_station_quarantined{station="attic#0a1b"} 2.0' in text
    assert "spotlessd_cluster_picture_age_seconds 5.0" in text


def test_before_the_first_picture_there_is_only_that() -> None:
    text = render_figures(cluster_metrics(None, NOW)).decode()

    assert "spotlessd_cluster_up 0.0" in text
    assert "spotlessd_cluster_workers" not in text
