"""The doctor's look at the cluster: PostgreSQL, clocks, versions, and that every share is the same folder everywhere.

Comes in: the settings of a station or a worker, whichever machine this is. Goes out: checks, none of which raises.
Promise: nothing is changed but a small hidden file in each share, made and deleted; what is away or hangs costs a
time-out. This machine's daemon need not run; the others answer through theirs, with their next heartbeat.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from spotlessd import __version__
from spotlessd.cluster.connection import ClusterDownError, ClusterRefusedError, open_sync, target_of, told
from spotlessd.cluster.overview import read_overview
from spotlessd.cluster.overview_views import ClusterOverview, StationView, WorkerView
from spotlessd.cluster.overview_warnings import SKEW_SECONDS
from spotlessd.cluster.tickets import weights_sha256
from spotlessd.commands.wording import duration_text
from spotlessd.configuration.settings import Settings
from spotlessd.doctor.checking import Check, Runner
from spotlessd.doctor.share_checks import check_shares

if TYPE_CHECKING:
    import psycopg

APPLICATION = "spotlessd doctor"
LEAST_VERSION = 130000
"""As PostgreSQL counts: 13."""
TABLES = (
    "spotlessd_tickets",
    "spotlessd_machines",
    "spotlessd_probes",
    "spotlessd_probe_answers",
    "procrastinate_jobs",
    "procrastinate_workers",
)
SYNC_FIX = "Switch on time synchronisation there: timedatectl set-ntp true"


def check_cluster(
    settings: Settings,
    run: Runner,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> Iterator[Check]:
    """Look at everything that machines of a cluster share; `run` starts the children that touch folders first."""
    target = target_of(settings, APPLICATION)
    try:
        with open_sync(target) as connection, told(target):
            yield Check("cluster's packages", True, "psycopg and procrastinate are installed")
            yield _server_check(connection, target.place)
            tables = _tables_check(connection)
            yield tables
            if not tables.ok:
                return
            overview = read_overview(connection, clock(), lost_seconds=settings.cluster.lost_seconds)
            yield _machines_check(overview)
            yield _own_clock_check(connection, clock)
            yield from _clock_checks(overview)
            yield from version_checks(overview, __version__, weights_sha256())
            yield from check_shares(settings, connection, overview, run, sleep=sleep)
    except ClusterRefusedError as error:
        yield Check("cluster", False, str(error), "See the sentence itself.")
    except ClusterDownError as error:
        yield Check("cluster", False, str(error), "Is PostgreSQL running, and does its firewall let this machine in?")


def _server_check(connection: "psycopg.Connection[Any]", place: str) -> Check:
    version = connection.info.server_version
    detail = f"{place}, PostgreSQL {version // 10000}.{version % 10000}, as {connection.info.user}"
    return Check("cluster's PostgreSQL", version >= LEAST_VERSION, detail, "Version 13 or newer is needed.")


def _tables_check(connection: "psycopg.Connection[Any]") -> Check:
    """Look whether the tables are there and may be written by this user."""
    name = "cluster's tables"
    rows = connection.execute(
        "SELECT t, to_regclass(t) IS NOT NULL,"
        " CASE WHEN to_regclass(t) IS NULL THEN false"
        " ELSE has_table_privilege(to_regclass(t), 'SELECT') AND has_table_privilege(to_regclass(t), 'INSERT')"
        " AND has_table_privilege(to_regclass(t), 'UPDATE') AND has_table_privilege(to_regclass(t), 'DELETE') END"
        " FROM unnest(%s::text[]) t",
        (list(TABLES),),
    ).fetchall()
    missing = [table for table, is_there, _ in rows if not is_there]
    closed = [table for table, is_there, is_allowed in rows if is_there and not is_allowed]
    if len(missing) == len(TABLES):
        row = connection.execute("SELECT has_schema_privilege(current_schema(), 'CREATE')").fetchone()
        can_make = row is not None and bool(row[0])
        fix = "Start a station or a worker: the first one makes them."
        if not can_make:
            fix = "Let this user make them: ALTER DATABASE … OWNER TO this user; then start a station or a worker."
        return Check(name, None if can_make else False, "none is there yet", fix)
    if missing:
        return Check(
            name,
            False,
            f"missing: {', '.join(missing)}",
            "Another release made them; give the cluster a new database, or install the same release everywhere.",
        )
    if closed:
        fix = "Use one PostgreSQL user on all machines, or GRANT SELECT, INSERT, UPDATE, DELETE on them."
        return Check(name, False, f"this user may not write: {', '.join(closed)}", fix)
    return Check(name, True, "there, and this user may read and write them")


def _machines_check(overview: ClusterOverview) -> Check:
    stations = [station.name for station in overview.stations if station.is_alive]
    workers = [worker.name for worker in overview.workers if worker.is_alive]
    detail = f"stations: {', '.join(stations) or 'none'}; workers: {', '.join(workers) or 'none'}"
    views: list[tuple[str, StationView | WorkerView]] = [("station", station) for station in overview.stations]
    views += [("worker", worker) for worker in overview.workers]
    silent = [
        f"{kind} {view.name} for {duration_text(view.silent_seconds)}"
        for kind, view in views
        if not view.is_alive and view.silent_seconds >= 0
    ]
    detail += f"; silent: {', '.join(silent)}" if silent else ""
    fix = "Start one on a machine with a GPU: spotlessd worker"
    return Check("live machines", True if workers else None, detail, fix)


def _own_clock_check(connection: "psycopg.Connection[Any]", clock: Callable[[], float]) -> Check:
    """Compare this machine's clock with PostgreSQL's, half the way there and back taken off."""
    before = clock()
    row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    after = clock()
    skew = (before + after) / 2 - (float(row[0]) if row is not None else before)
    detail = f"{skew:+.2f} s against PostgreSQL's (known to {(after - before) / 2:.2f} s)"
    return Check("clock of this machine", abs(skew) <= SKEW_SECONDS, detail, SYNC_FIX.replace(" there", ""))


def _clock_checks(overview: ClusterOverview) -> Iterator[Check]:
    for kind, view in _alive(overview):
        skew = view.facts.skew_seconds
        detail = f"{skew:+.2f} s against PostgreSQL's, as it says itself"
        yield Check(f"clock of {kind} {view.name}", abs(skew) <= SKEW_SECONDS, detail, SYNC_FIX)


def version_checks(overview: ClusterOverview, version: str, weights: str) -> Iterator[Check]:
    """Compare versions and checksums of the weights; `version` and `weights`: this machine's."""
    machines = [("this machine", version, weights)]
    machines += [(f"{kind} {view.name}", view.facts.version, view.facts.weights) for kind, view in _alive(overview)]
    yield _compared(
        "versions",
        [(name, own) for name, own, _ in machines],
        "Fine during an update. Then install the same release on all machines.",
    )
    # Other weights make other pixels: such a worker takes nothing of such a station.
    yield _compared(
        "weights",
        [(name, own[:12]) for name, _, own in machines],
        "A worker takes no scan of a station with other weights: install the same release, with its models.",
        is_ok_if_mixed=False,
    )


def _compared(name: str, machines: Sequence[tuple[str, str]], fix: str, *, is_ok_if_mixed: bool | None = None) -> Check:
    """Say that all have the same, or who has what."""
    owners: dict[str, list[str]] = {}
    for machine, value in machines:
        owners.setdefault(value or "unknown", []).append(machine)
    if len(owners) == 1:
        return Check(name, True, f"{machines[0][1] or 'unknown'} on all {len(machines)}")
    told_by = "; ".join(f"{value}: {', '.join(names)}" for value, names in sorted(owners.items()))
    return Check(name, is_ok_if_mixed, told_by, fix)


def _alive(overview: ClusterOverview) -> Iterator[tuple[str, StationView | WorkerView]]:
    for station in overview.stations:
        if station.is_alive:
            yield "station", station
    for worker in overview.workers:
        if worker.is_alive:
            yield "worker", worker
