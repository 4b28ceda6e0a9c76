"""The doctor's look at a cluster: real PostgreSQL, real folders, and machines that answer as their links do."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from cluster_rows import OTHER_WEIGHTS, STATION, WORKER, make_tables, put_machine
from postgres import Database

from spotlessd import __version__
from spotlessd.cluster.connection import open_async
from spotlessd.cluster.probes import NONCE_PREFIX, Finding, Probe, ProbeAnswers, look
from spotlessd.cluster.shares import Shares
from spotlessd.cluster.tickets import weights_sha256
from spotlessd.configuration.settings import Settings
from spotlessd.doctor.checking import EXIT_TIMED_OUT, Check, Finished, Runner
from spotlessd.doctor.cluster_checks import check_cluster

HEARTBEAT_SECONDS = 0.3
Look = Callable[[Probe, Shares], tuple[Finding, bool, str]]


def answers(arguments: list[str], timeout_seconds: float) -> Finished:
    return Finished(0, "")


def hangs(arguments: list[str], timeout_seconds: float) -> Finished:
    return Finished(EXIT_TIMED_OUT, "")


def settings_of(database: Database, shares: dict[str, Path], outputs: list[Path]) -> Settings:
    """What the doctor reads of a config."""
    cluster = SimpleNamespace(
        heartbeat_seconds=HEARTBEAT_SECONDS, lost_seconds=30.0, password_file=database.target.password_file
    )
    values = SimpleNamespace(
        engine=database.url,
        is_clustered=True,
        shares=tuple(SimpleNamespace(name=name, path=path) for name, path in shares.items()),
        roots=tuple(SimpleNamespace(output=path) for path in outputs),
        cluster=cluster,
    )
    return cast("Settings", values)


@contextmanager
def machine(database: Database, role: str, name: str, shares: dict[str, Path], looking: Look = look) -> Iterator[None]:
    """A machine whose link beats in a thread."""
    ended = threading.Event()

    async def beat() -> None:
        probes = ProbeAnswers(role, name, shares, looking)
        connection = await open_async(database.target)
        async with connection:
            while not ended.is_set():
                await probes.answer(connection)
                await asyncio.sleep(0.05)

    thread = threading.Thread(target=lambda: asyncio.run(beat()))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    (tmp_path / "archive" / "restored").mkdir(parents=True)
    return tmp_path / "archive"


@pytest.fixture
def cluster(database: Database) -> Database:
    make_tables(database)
    own = {"version": __version__, "weights": weights_sha256()}
    put_machine(database, replace(STATION, **own))  # type: ignore[arg-type]  # both are texts
    put_machine(database, replace(WORKER, **own))  # type: ignore[arg-type]
    return database


def checks(settings: Settings, run: Runner = answers) -> dict[str, Check]:
    return {check.name: check for check in check_cluster(settings, run)}


def left_behind(folder: Path) -> list[Path]:
    return list(folder.rglob(f"{NONCE_PREFIX}*"))


def test_a_cluster_whose_shares_are_the_same_folder_everywhere_is_fine(cluster: Database, archive: Path) -> None:
    shares = {"archive": archive}

    with machine(cluster, "worker", "gpubox", shares), machine(cluster, "station", "attic", shares):
        found = checks(settings_of(cluster, shares, [archive / "restored"]))

    assert [check for check in found.values() if check.ok is not True] == []
    assert found["share archive, restored on worker gpubox"].detail == "the same folder; can be written"
    assert "share archive, restored on station attic" in found
    assert left_behind(archive) == []
    assert cluster.rows("SELECT count(*) FROM spotlessd_probes") == [(0,)]


def test_a_share_that_is_another_folder_on_a_worker_is_caught(cluster: Database, archive: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "restored").mkdir(parents=True)

    with machine(cluster, "worker", "gpubox", {"archive": other}):
        found = checks(settings_of(cluster, {"archive": archive}, [archive / "restored"]))

    check = found["share archive, restored on worker gpubox"]
    assert check.ok is False
    assert "another folder" in check.detail
    assert str(other) in check.detail
    assert "[[shares]]" in check.fix


def test_a_machine_that_does_not_answer_is_named(cluster: Database, archive: Path) -> None:
    with machine(cluster, "station", "attic", {"archive": archive}):
        found = checks(settings_of(cluster, {"archive": archive}, []))

    assert found["share archive on station attic"].ok
    assert found["share archive on worker gpubox"].ok is False
    assert found["share archive on worker gpubox"].detail == "no answer within 3 heartbeats"
    assert left_behind(archive) == []


def read_only(probe: Probe, shares: Shares) -> tuple[Finding, bool, str]:
    """The folder as a machine sees it that has mounted it read-only: root may write anywhere, so it is said here."""
    finding, _, _ = look(probe, shares)
    return finding, False, "Read-only file system"


@pytest.mark.parametrize(("is_output", "ok"), [(True, False), (False, None)])
def test_a_worker_that_cannot_write_where_results_go_is_caught(
    cluster: Database, archive: Path, is_output: bool, ok: bool | None
) -> None:
    shares = {"archive": archive}

    with machine(cluster, "worker", "gpubox", shares, read_only), machine(cluster, "station", "attic", shares):
        found = checks(settings_of(cluster, shares, [archive] if is_output else []))

    check = found["share archive on worker gpubox"]
    assert check.ok is ok
    assert "Read-only file system" in check.detail


def test_a_worker_without_the_share_is_told(cluster: Database, archive: Path) -> None:
    with machine(cluster, "worker", "gpubox", {}), machine(cluster, "station", "attic", {}):
        found = checks(settings_of(cluster, {"archive": archive}, []))

    assert found["share archive on worker gpubox"].ok is None
    assert found["share archive on worker gpubox"].detail == "it has no share archive"
    assert found["share archive on station attic"].ok


def test_a_folder_that_hangs_on_a_worker_holds_up_neither_its_beat_nor_other_shares(
    cluster: Database, archive: Path, tmp_path: Path
) -> None:
    free = tmp_path / "free"
    free.mkdir()
    shares = {"archive": archive, "free": free}
    released = threading.Event()

    def stuck(probe: Probe, own: Shares) -> tuple[Finding, bool, str]:
        if probe.place.share == "archive":
            released.wait(30)
        return look(probe, own)

    with machine(cluster, "worker", "gpubox", shares, stuck), machine(cluster, "station", "attic", shares):
        found = checks(settings_of(cluster, shares, []))
        released.set()

    assert found["share archive on worker gpubox"].ok is False
    assert found["share free on worker gpubox"].ok


def test_a_share_that_is_away_or_hangs_here_is_told_and_nobody_is_asked(cluster: Database, tmp_path: Path) -> None:
    away = settings_of(cluster, {"archive": tmp_path / "gone"}, [])

    assert "is not there" in checks(away)["share archive"].detail
    assert "no answer within" in checks(away, hangs)["share archive"].detail
    assert "share archive on worker gpubox" not in checks(away)


def test_machines_with_other_versions_and_weights_are_told_with_their_names(cluster: Database, archive: Path) -> None:
    put_machine(cluster, replace(WORKER, name="old", version="0.0.9", weights=OTHER_WEIGHTS, skew_seconds=3.0))

    found = checks(settings_of(cluster, {}, []))

    assert found["versions"].ok is None
    assert "0.0.9: worker old" in found["versions"].detail
    assert found["weights"].ok is False
    assert f"{OTHER_WEIGHTS[:12]}: worker old" in found["weights"].detail
    assert found["clock of worker old"].ok is False
    assert found["clock of this machine"].ok


def test_what_a_killed_doctor_left_is_swept_but_not_what_another_has_just_written(
    cluster: Database, archive: Path
) -> None:
    old, fresh = (archive / f"{NONCE_PREFIX}{name}.part" for name in ("old", "fresh"))
    for path in (old, fresh):
        path.write_bytes(b"x")
    os.utime(old, (0, 0))

    checks(settings_of(cluster, {"archive": archive}, []))

    assert left_behind(archive) == [fresh]


def test_a_database_that_nobody_has_used_yet_is_told(database: Database) -> None:
    found = checks(settings_of(database, {}, []))

    assert list(found) == ["cluster's packages", "cluster's PostgreSQL", "cluster's tables"]
    assert found["cluster's tables"].detail == "none is there yet"


def test_a_user_without_rights_is_told(cluster: Database) -> None:
    cluster.rows("CREATE ROLE guest_" + cluster.name + " LOGIN PASSWORD 'guest'")
    cluster.rows(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest_{cluster.name}")
    settings = settings_of(cluster, {}, [])
    settings.engine = cluster.server.url(cluster.name, user=f"guest_{cluster.name}")  # type: ignore[misc]
    settings.cluster.password_file = cluster.server.secret_file("guest", password="guest")  # type: ignore[misc]  # noqa: S106

    check = checks(settings)["cluster's tables"]

    assert check.ok is False
    assert "may not write" in check.detail
    assert "GRANT" in check.fix


def test_a_postgresql_that_is_away_is_one_check(own_postgres: Database) -> None:
    own_postgres.stop()

    (check,) = checks(settings_of(own_postgres, {}, [])).values()

    assert check.ok is False
    assert "does not answer" in check.detail
