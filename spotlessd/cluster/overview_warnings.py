"""What a person should know about a cluster, in sentences: what is wrong, what it leads to, what to do.

Comes in: a `ClusterOverview` without warnings. Goes out: sentences without a full stop at the end, the worst first.
Nothing is read here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from spotlessd.commands.wording import duration_text, one_line_name

if TYPE_CHECKING:
    from spotlessd.cluster.overview_views import ClusterOverview, StationView, WorkerView

SKEW_SECONDS = 2.0
"""A scan's time on a worker may differ by this much from what the station wrote down."""
STUCK_SECONDS = 60.0
"""A scan that was given back and waits for less is no trouble yet."""
REASONS_SHOWN = 3
NAMES_SHOWN = 3


def warnings_of(overview: ClusterOverview) -> Iterator[str]:
    """Yield the sentences."""
    yield from _no_worker(overview)
    yield from _silent_workers(overview)
    yield from _silent_stations(overview)
    yield from _troubles(overview)
    yield from _returned(overview)
    yield from _poisoned(overview)
    yield from _skew(overview)
    yield from _versions(overview)
    yield from _all_draining(overview)


def _live(overview: ClusterOverview) -> list[WorkerView]:
    return [worker for worker in overview.workers if worker.is_alive]


def _alive(overview: ClusterOverview) -> Iterator[tuple[str, StationView | WorkerView]]:
    yield from (("station", station) for station in overview.stations if station.is_alive)
    yield from (("worker", worker) for worker in overview.workers if worker.is_alive)


def _no_worker(overview: ClusterOverview) -> Iterator[str]:
    """Say which stations' frames nobody can take, and why."""
    live = _live(overview)
    if not live:
        waiting = overview.count("asked")
        yield f"no worker is alive; {_scans(waiting)} {_wait(waiting)}. Start one: spotlessd worker"
        return
    able = {worker.facts.weights for worker in live}
    for station in overview.stations:
        if not station.is_alive or not station.facts.weights or station.facts.weights in able:
            continue
        others = ", ".join(f"{worker.name} {worker.facts.version}" for worker in live[:NAMES_SHOWN])
        yield (
            f"station {station.name} ({station.facts.version}, weights {station.facts.weights[:8]}): no live worker "
            f"has its weights ({others}: {', '.join(sorted(each[:8] for each in able))}); "
            f"{_scans(station.waiting)} of it {_wait(station.waiting)}. Bring the older ones to the same version"
        )


def _silent_workers(overview: ClusterOverview) -> Iterator[str]:
    """Only with jobs in hand: a worker that ended with none is no trouble."""
    for worker in overview.workers:
        if worker.is_alive or not worker.in_hand:
            continue
        yield (
            f"worker {worker.name} has been silent for {duration_text(worker.silent_seconds)} with "
            f"{_scans(worker.in_hand)} in hand; {_they(worker.in_hand)} to others "
            f"{_due(overview.lost_seconds - worker.silent_seconds)}. Look at that machine"
        )
    known = {worker.key for worker in overview.workers}
    strangers = Counter(ticket.worker for ticket in overview.in_hand if ticket.worker not in known)
    for name, number in sorted(strangers.items()):
        yield f"worker {name or '?'} is gone with {_scans(number)} in hand; {_they(number)} to others shortly"


def _silent_stations(overview: ClusterOverview) -> Iterator[str]:
    for station in overview.stations:
        if not station.is_alive and (station.answers or station.in_hand or station.waiting):
            yield f"{_silence(station)}; {_what_waits(station)} until it is back. Start it again"


def _silence(station: StationView) -> str:
    if station.silent_seconds < 0:
        return f"station {station.name} has never told anything of itself"
    return f"station {station.name} has been silent for {duration_text(station.silent_seconds)}"


def _what_waits(station: StationView) -> str:
    if station.answers:
        return f"{station.answers} answer{'' if station.answers == 1 else 's'} {_wait(station.answers)}"
    if station.waiting:
        return f"its {_scans(station.waiting)} are worked on, but their results wait"
    return f"its {_scans(station.in_hand)} in hand will wait"


def _troubles(overview: ClusterOverview) -> Iterator[str]:
    """What machines say of themselves; the same words of several are told once."""
    said: dict[str, list[str]] = {}
    for kind, view in _alive(overview):
        if view.facts.trouble:
            said.setdefault(view.facts.trouble, []).append(f"{kind} {view.name}")
    for trouble, names in said.items():
        yield f"{_names(names)}: {trouble}"


def _returned(overview: ClusterOverview) -> Iterator[str]:
    """Tell each reason once, with one of its scans; one that has just been given back goes on by itself."""
    stuck = [ticket for ticket in overview.returned if ticket.losses or ticket.seconds >= STUCK_SECONDS]
    numbers = Counter(ticket.reason for ticket in stuck)
    for reason, number in numbers.most_common(REASONS_SHOWN):
        first = next(ticket for ticket in stuck if ticket.reason == reason)
        losses = f", {first.losses} worker{'' if first.losses == 1 else 's'} lost over it" if first.losses else ""
        rest = f" and {number - 1} more" if number > 1 else ""
        yield (
            f"{one_line_name(first.file)}{rest} of station {_station_name(overview, first.station)} came back"
            f"{losses}: {reason or 'no reason was given'}"
        )


def _poisoned(overview: ClusterOverview) -> Iterator[str]:
    if overview.poisoned:
        yield (
            f"{_scans(overview.poisoned)} {'was' if overview.poisoned == 1 else 'were'} given up because too many "
            "workers were lost over it; the station quarantines it (spotlessd list --state quarantined)"
        )


def _skew(overview: ClusterOverview) -> Iterator[str]:
    for kind, view in _alive(overview):
        skew = view.facts.skew_seconds
        if abs(skew) > SKEW_SECONDS:
            yield (
                f"{kind} {view.name}: its clock is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} "
                "PostgreSQL's; switch on time synchronisation there (timedatectl set-ntp true)"
            )


def _versions(overview: ClusterOverview) -> Iterator[str]:
    """Tell who runs what, if it is not one version."""
    by_version: dict[str, list[str]] = {}
    for _, view in _alive(overview):
        if view.facts.version:
            by_version.setdefault(view.facts.version, []).append(view.name)
    if len(by_version) > 1:
        told = "; ".join(f"{version}: {_names(names)}" for version, names in sorted(by_version.items()))
        yield f"different versions run side by side ({told}); fine during an update, then bring all to one"


def _all_draining(overview: ClusterOverview) -> Iterator[str]:
    live = _live(overview)
    if live and all(worker.is_draining for worker in live):
        yield "every live worker is draining and takes nothing more (spotlessd drain NAME --undo)"


def _station_name(overview: ClusterOverview, key: str) -> str:
    return next((station.name for station in overview.stations if station.key == key), key)


def _due(seconds: float) -> str:
    return f"in {duration_text(seconds)}" if seconds >= 1 else "as soon as a live worker looks"


def _they(number: int) -> str:
    return "it goes" if number == 1 else "they go"


def _wait(number: int) -> str:
    return "waits" if number == 1 else "wait"


def _scans(number: int) -> str:
    return "1 scan" if number == 1 else f"{number} scans"


def _names(names: list[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
