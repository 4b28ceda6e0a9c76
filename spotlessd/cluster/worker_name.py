"""A worker's name in the cluster, and that no two workers have one.

Two processes of one name would overwrite each other's facts, and `drain` would mean both. On one machine the lock in
the state folder keeps them apart; between machines what the cluster last heard of that name does.
"""

import asyncio
import os
import re
import socket
from collections.abc import Iterable

import psutil
from loguru import logger

from spotlessd.cluster.connection import ClusterDownError
from spotlessd.cluster.link import Connect
from spotlessd.cluster.machines import WorkerMachine
from spotlessd.cluster.ticket_queue import Machine
from spotlessd.configuration.settings import Settings
from spotlessd.errors import StationBusyError

NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+|^[^A-Za-z0-9]+")
LONGEST_NAME = 64


def worker_name(settings: Settings, host: str | None = None) -> str:
    """Return what the config calls this worker, else the host's name as far as it is one."""
    host = socket.gethostname() if host is None else host
    return settings.worker.name or NOT_IN_NAMES.sub("-", host).lstrip("-._")[:LONGEST_NAME] or "worker"


def refuse_second(name: str, machines: Iterable[Machine], lost_seconds: float, host: str | None = None) -> None:
    """Check that no other live worker has this name. One of this machine whose process has ended is none.

    Raises:
        StationBusyError: there is one.
    """
    host = socket.gethostname() if host is None else host
    for machine in machines:
        if (machine.role, machine.name) != ("worker", name) or machine.silent_seconds > lost_seconds:
            continue
        other = WorkerMachine.from_facts(machine.facts)
        is_gone = other.host == host and (other.pid == os.getpid() or not psutil.pid_exists(other.pid))
        if not is_gone and other.pid:
            raise StationBusyError(
                f"a worker named {name!r} runs on {other.host} (process {other.pid}, heard of "
                f"{machine.silent_seconds:.0f} s ago). Every worker needs a name of its own: set worker.name, or stop "
                f"the other one; one that was lost is forgotten after {lost_seconds:.0f} s."
            )


def check_name(name: str, connect: Connect, lost_seconds: float) -> None:
    """Ask PostgreSQL whether the name is free. One that does not answer keeps no worker from starting.

    Raises:
        StationBusyError: another live worker has it.
        ClusterRefusedError: PostgreSQL answers and refuses.
    """

    async def ask() -> list[Machine]:
        queue = await connect()
        try:
            return await queue.machines()
        finally:
            await queue.close()

    try:
        refuse_second(name, asyncio.run(ask()), lost_seconds)
    except ClusterDownError as error:
        logger.warning("{}; starting all the same", error)  # a whole lab may be switched on at once
