"""The cluster's picture as lines of text, at most 100 columns: for `spotlessd status --cluster`, and for its live view.

Comes in: a `ClusterOverview`. Goes out: lines without colours, what is wrong first.
"""

import textwrap
from collections.abc import Iterator, Sequence

from spotlessd.cluster.overview_views import ClusterOverview, StationView, WorkerView
from spotlessd.commands.wording import duration_text, one_line_name, table

COLUMNS = 100
NAME_COLUMNS, HOST_COLUMNS, VERSION_COLUMNS = 20, 16, 10
FILE_COLUMNS = 36
BAR_CELLS = 10
RETURNED_SHOWN = 5


def cluster_lines(overview: ClusterOverview) -> list[str]:
    """Return what a person should know, the worst first."""
    lines = [f"cluster: {overview.health}"]
    for warning in overview.warnings:
        lines += wrapped(f"  ! {warning}", "    ")
    lines += wrapped(_queue_line(overview), "    ")
    lines += [f"rate: {overview.frames_per_hour:.0f} frames an hour{_until_done(overview)}"]
    lines += wrapped(_dead_letters(overview), "    ") if overview.dead_letters else []
    lines += ["", "stations:", *_stations(overview)]
    lines += ["", "workers:", *_workers(overview)]
    returned = list(_returned(overview))
    return [*lines, "", *returned] if returned else lines


def cluster_line(overview: ClusterOverview) -> str:
    """Return it in one line, for a live view that is not a terminal."""
    alive = sum(worker.is_alive for worker in overview.workers)
    seats = sum(len(worker.facts.seats) for worker in overview.workers if worker.is_alive)
    parts = [
        overview.health,
        f"{_number(alive, 'worker')} with {_number(seats, 'seat')}",
        f"{_number(sum(station.is_alive for station in overview.stations), 'station')}",
        f"{overview.count('asked')} waiting, {overview.count('doing') + overview.count('publishing')} in hand",
        f"{overview.frames_per_hour:.0f} frames an hour",
    ]
    return "; ".join([*parts, *overview.warnings])


def wrapped(text: str, indent: str) -> list[str]:
    """Break a line where it gets too long for the width; `indent` begins the others."""
    return textwrap.wrap(text, COLUMNS, subsequent_indent=indent, break_on_hyphens=False) or [""]


def _queue_line(overview: ClusterOverview) -> str:
    waiting = overview.count("asked")
    sizes = {
        name: sum(queue.waiting for queue in overview.queues if queue.is_large is is_large)
        for name, is_large in (("small", False), ("large", True))
    }
    weights = {queue.weights for queue in overview.queues if queue.waiting}
    told = ", ".join(f"{number} {name}" for name, number in sizes.items() if number)
    versions = f", for {len(weights)} different weights" if len(weights) > 1 else ""
    parts = [
        f"{waiting} waiting" + (f" ({told}{versions})" if told else ""),
        f"{overview.count('doing')} worked on",
        f"{overview.count('publishing')} being published",
        f"{overview.count('answered')} answered and not fetched",
    ]
    oldest = f"; the oldest waits {duration_text(overview.oldest_seconds)}" if waiting else ""
    return "queue: " + ", ".join(parts) + oldest


def _until_done(overview: ClusterOverview) -> str:
    """Say how long everything takes that the stations have queued; their own queues hold what is in the cluster too."""
    left = sum(station.facts.queued + station.facts.running for station in overview.stations)
    if not left or not overview.frames_per_hour:
        return ""
    return f"; {left} left, about {duration_text(left / overview.frames_per_hour * 3600)}"


def _dead_letters(overview: ClusterOverview) -> str:
    owners = [f"{station.name}: {station.facts.quarantined}" for station in overview.stations]
    owners = [owner for owner, each in zip(owners, overview.stations, strict=True) if each.facts.quarantined]
    told = f" ({', '.join(owners)})" if owners else ""
    return f"dead letters: {overview.dead_letters}{told}; there: spotlessd list --state quarantined"


def _stations(overview: ClusterOverview) -> list[str]:
    if not overview.stations:
        return ['  none has come yet: engine = "postgresql://…" in a station\'s config, then spotlessd run']
    head = ("  name", "host", "version", "state", "given", "queue", "done", "held", "dead", "oldest")
    rows: list[tuple[str, ...]] = [head]
    for station in overview.stations:
        facts = station.facts
        oldest = duration_text(facts.oldest_seconds) if facts.oldest_seconds else "-"
        numbers = [station.given, facts.queued, facts.done, facts.held, facts.quarantined]
        rows.append((*_who(station), _station_state(station), *map(str, numbers), oldest))
    return _cut(table(rows).splitlines())


def _workers(overview: ClusterOverview) -> list[str]:
    if not overview.workers:
        return ["  none has come yet: spotlessd worker --config FILE on a machine with the same shares"]
    rows = [("  name", "host", "version", "state", "seats", "frames/h", "done", "failed")]
    for worker in overview.workers:
        facts = worker.facts
        rate = f"{facts.frames_per_hour:.0f}" if worker.is_alive else "-"
        numbers = (str(len(facts.seats)), rate, str(facts.done), str(facts.failed))
        rows.append((*_who(worker), _worker_state(worker), *numbers))
    head, *lines = table(rows).splitlines()
    told = [head]
    for worker, line in zip(overview.workers, lines, strict=True):
        told.append(line)
        if worker.is_alive:
            told += _seats(worker, overview)
    return _cut(told)


def _seats(worker: WorkerView, overview: ClusterOverview) -> Iterator[str]:
    for seat in worker.facts.seats:
        device = f"{seat.device} {seat.precision}".strip() or "no device yet"
        if not seat.job:
            yield f"    {seat.name}: {device}: {seat.state or 'idle'}"
            continue
        filled = round(min(max(seat.fraction, 0.0), 1.0) * BAR_CELLS)
        bar = "#" * filled + "." * (BAR_CELLS - filled)
        # The worker's own clock wrote when it began.
        since = max(overview.at - seat.started, 0.0) if seat.started else 0.0
        file = shortened(one_line_name(seat.job), FILE_COLUMNS)
        station = f" ({shortened(seat.station.partition('#')[0], NAME_COLUMNS)})" if seat.station else ""
        yield f"    {seat.name}: {file}{station} {seat.step} [{bar}] {seat.fraction:.0%}, {duration_text(since)}"
        yield f"      on {device}"


def _who(view: StationView | WorkerView) -> tuple[str, str, str]:
    name = shortened(one_line_name(view.name), NAME_COLUMNS)
    return f"  {name}", shortened(view.facts.host or "-", HOST_COLUMNS), view.facts.version[:VERSION_COLUMNS] or "-"


def _station_state(station: StationView) -> str:
    if not station.is_alive:
        return "never seen" if station.silent_seconds < 0 else f"silent {duration_text(station.silent_seconds)}"
    state = "paused" if station.facts.is_paused else "trouble" if station.facts.trouble else "ok"
    return f"{state}, batch" if station.facts.is_batch else state


def _worker_state(worker: WorkerView) -> str:
    if not worker.is_alive:
        return f"silent {duration_text(worker.silent_seconds)}"
    if worker.is_draining:
        return "draining" if worker.in_hand else "drained"
    return "trouble" if worker.facts.trouble else "ok"


def _returned(overview: ClusterOverview) -> Iterator[str]:
    """Tell the scans that came back and wait again."""
    for ticket in overview.returned[:RETURNED_SHOWN]:
        lost = f", {_number(ticket.losses, 'worker')} lost over it" if ticket.losses else ""
        file = shortened(one_line_name(ticket.file), FILE_COLUMNS)
        yield from wrapped(f"came back: {file}{lost}: {ticket.reason or 'no reason was given'}", "    ")
    rest = len(overview.returned) - RETURNED_SHOWN
    if rest > 0:
        yield f"came back: and {rest} more (--json has them)"


def shortened(text: str, columns: int) -> str:
    """Cut a long name in the middle; its end tells more than what stands there."""
    if len(text) <= columns:
        return text
    end = (columns - 1) * 2 // 3
    return f"{text[: columns - 1 - end]}…{text[-end:]}"


def _cut(lines: Sequence[str]) -> list[str]:
    return [line if len(line) <= COLUMNS else f"{line[: COLUMNS - 1]}…" for line in lines]


def _number(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
