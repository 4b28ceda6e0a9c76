"""The commands about a cluster's workers: be one, and have one take no more scans."""

import asyncio

from spotlessd.cluster.connection import Target, target_of
from spotlessd.cluster.ticket_queue import TicketQueue
from spotlessd.commands.cluster_commands import refuse_alone
from spotlessd.commands.station_commands import Answer
from spotlessd.configuration.settings import Settings

EXIT_UNKNOWN = 66


def drain(settings: Settings, name: str, *, is_undone: bool) -> Answer:
    """Ask a worker to finish what it has and take no more, or to go on; 66 if the cluster knows none of this name.

    Raises:
        ConfigError: these settings name no cluster.
        ClusterDownError: PostgreSQL does not answer.
        ClusterRefusedError: it refuses us.
    """
    refuse_alone(settings)
    is_known, names = asyncio.run(_ask(target_of(settings, "spotlessd drain"), name, is_asked=not is_undone))
    if not is_known:
        known = ", ".join(names) or "none yet"
        return Answer(f"no worker {name!r} is known (there is: {known}). See: spotlessd status --cluster", EXIT_UNKNOWN)
    if is_undone:
        return Answer(f"{name} takes scans again.")
    return Answer(
        f"{name} finishes what it has and takes no more. Watch it: spotlessd status --cluster. "
        f"Let it go on: spotlessd drain {name} --undo"
    )


async def _ask(target: Target, name: str, *, is_asked: bool) -> tuple[bool, list[str]]:
    """Ask; returns whether the worker is known, and the names of all."""
    queue = await TicketQueue.connect(target)
    try:
        is_known = await queue.ask_drain(name, is_asked)
        return is_known, [machine.name for machine in await queue.machines() if machine.role == "worker"]
    finally:
        await queue.close()
