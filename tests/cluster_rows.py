"""Rows of a cluster put into PostgreSQL by hand, so that a picture can be tested without the machines in it."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

from postgres import Database

from spotlessd.cluster.machines import SeatFacts, StationMachine, WorkerMachine
from spotlessd.cluster.ticket_queue import TicketQueue
from spotlessd.cluster.tickets import queue_of

WEIGHTS, OTHER_WEIGHTS = "ab" * 32, "cd" * 32
STATION = StationMachine(name="attic", host="scanpc", version="0.1.0", weights=WEIGHTS, given=3, queued=40, done=7)
SEAT = SeatFacts(
    name="gpu 0",
    device="NVIDIA L4",
    precision="float16",
    state="busy",
    job="archive/box 3/scan_0001.tif",
    station="attic#1",
    step="inpaint",
    fraction=0.4,
    started=1_000_000.0,
)
WORKER = WorkerMachine(
    name="gpubox", host="gpubox.lab", version="0.1.0", weights=WEIGHTS, seats=(SEAT,), done=12, frames_per_hour=120.0
)


def make_tables(database: Database) -> None:
    async def connect() -> None:
        await (await TicketQueue.connect(database.target)).close()

    asyncio.run(connect())


def put_machine(
    database: Database,
    facts: StationMachine | WorkerMachine,
    *,
    silent: float = 0.0,
    drain: bool = False,
    key: str = "",
) -> None:
    role = "worker" if isinstance(facts, WorkerMachine) else "station"
    database.rows(
        "INSERT INTO spotlessd_machines (role, name, facts, drain, seen)"
        " VALUES (%s, %s, %s, %s, clock_timestamp() - make_interval(secs => %s))",
        role,
        key or facts.name,
        json.dumps(facts.to_facts()),
        drain,
        silent,
    )


def put_ticket(
    database: Database,
    job: int,
    state: str = "asked",
    *,
    station: str = "attic",
    worker: str = "",
    weights: str = WEIGHTS,
    is_large: bool = False,
    age: float = 0.0,
    losses: int = 0,
    reason: str = "",
    rel: str = "box/scan.tif",
    answer: str | None = None,
) -> None:
    ticket = json.dumps({"root": "archive", "rel": rel})
    database.rows(
        "INSERT INTO spotlessd_tickets (station, job, attempt, max_losses, queue, priority, ticket, state, worker,"
        " losses, reason, answer, asked_at, taken_at, turn) VALUES (%s, %s, 1, 3, %s, 0, %s, %s, %s, %s, %s, %s,"
        " clock_timestamp() - make_interval(secs => %s), clock_timestamp(), 1700000000)",
        *(station, job, queue_of(weights, is_large=is_large), ticket, state, worker, losses, reason, answer, age),
    )


def cluster_config(folder: Path, database: Database, shares: dict[str, Path], *roots: str) -> Path:
    """A config of a machine of the cluster; `roots`: tables of TOML."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ['station_id = "attic"', f'engine = "{database.url}"', "[cluster]", "heartbeat_seconds = 1"]
    lines += ["lost_seconds = 4", f'password_file = "{database.target.password_file}"']
    for name, path in shares.items():
        lines += ["[[shares]]", f'name = "{name}"', f'path = "{path}"']
    config = folder / "spotlessd.toml"
    config.write_text("\n".join([*lines, *roots, ""]))
    return config


def worker_called(name: str, **changes: object) -> WorkerMachine:
    return replace(WORKER, name=name, **changes)  # type: ignore[arg-type]  # the caller names fields
