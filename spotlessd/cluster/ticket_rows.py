"""What comes out of the ticket table, as values: a claim, an answer, where each ticket stands, who is there."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from spotlessd.cluster.tickets import Answer, AnswerKind, Ticket, TicketError, TicketKey

__all__ = [
    "AMONG",
    "KEY",
    "Answered",
    "Count",
    "Machine",
    "Standing",
    "Taken",
    "answered_of",
    "kept_json",
    "key_columns",
    "key_values",
    "plain",
    "poison",
    "taken_of",
]

KEY = "station = %s AND job = %s AND attempt = %s"
"""SQL: the ticket whose `key_values` are the parameters."""
AMONG = "(station, job, attempt) IN (SELECT * FROM unnest(%s::text[], %s::bigint[], %s::int[]))"
"""SQL: the tickets whose `key_columns` are the parameters."""
_HALVES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Taken:
    """A ticket that a worker has claimed. `turn`: of this claim, unique; whatever the worker sends counts only while no
    later claim was made. `losses`: workers lost over it before. `plan`: what a worker before noted when it began to
    publish, "" = none did. `worker_id`: procrastinate's.
    """

    ticket: Ticket
    turn: int
    procrastinate_id: int
    losses: int = 0
    plan: str = ""
    worker: str = ""
    worker_id: int = 0

    @property
    def key(self) -> TicketKey:
        """Return the ticket's key."""
        return self.ticket.key


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer that its station has not acknowledged yet. `turn`: of the claim it came from."""

    key: TicketKey
    turn: int
    answer: Answer


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a ticket stands. `state`: asked, doing, publishing or answered. `fraction`: of the step, 0 to 1.

    `waiting_seconds`: since it was asked. `reason`: why it was last given back, "" = it was not.
    """

    key: TicketKey
    state: str
    worker: str
    step: str
    fraction: float
    waiting_seconds: float
    reason: str = ""
    losses: int = 0
    turn: int = 0


@dataclass(frozen=True, slots=True)
class Machine:
    """A station or worker. `silent_seconds`: since it last told of itself. `drain`: a worker was asked to drain."""

    role: str
    name: str
    facts: dict[str, Any] = field(default_factory=dict)
    silent_seconds: float = 0.0
    drain: bool = False


@dataclass(frozen=True, slots=True)
class Count:
    """How many tickets of a station are in one state; `oldest_seconds`: since the oldest of them was asked."""

    station: str
    state: str
    number: int
    oldest_seconds: float


def taken_of(row: tuple[Any, ...], worker_id: int) -> Taken:
    """Return a claim from (ticket, turn, procrastinate_id, losses, plan, worker).

    Raises:
        TicketError: another version wrote the ticket.
    """
    ticket, turn, procrastinate_id, losses, plan, worker = row
    return Taken(Ticket.from_json(_text(ticket)), turn, procrastinate_id, losses, plan, worker, worker_id)


def answered_of(row: tuple[Any, ...]) -> Answered:
    """Return an answer from (station, job, attempt, turn, worker, answer); one that cannot be read is a failure."""
    station, job, attempt, turn, worker, text = row
    try:
        answer = Answer.from_json(_text(text))
    except TicketError as error:
        answer = Answer(AnswerKind.FAILED, worker, error="TicketError", message=str(error), is_retryable=True)
    return Answered(TicketKey(station, job, attempt), turn, answer)


def poison(lost: list[str], plan: str = "") -> Answer:
    """Return the answer for a ticket over which too many workers were lost; `lost`: their names, the last one last.

    `plan`: of the one that was lost while it published; the station is to end that.
    """
    names = ", ".join(lost) or "unknown"
    return Answer(
        AnswerKind.POISON,
        lost[-1] if lost else "",
        receipt={"plan": plan} if plan else {},
        error="WorkersLost",
        message=f"{len(lost)} workers were lost over this scan ({names}): it is not tried again by itself",
    )


def plain(text: str) -> str:
    """Return `text` as PostgreSQL can keep it: no NUL, no halves of characters from file names that are not UTF-8."""
    return text.replace("\0", "").encode("utf-8", "backslashreplace").decode("utf-8")


def key_values(key: TicketKey) -> tuple[str, int, int]:
    """Return the parameters for `KEY`."""
    return key.station, key.job, key.attempt


def key_columns(keys: Sequence[TicketKey]) -> tuple[list[str], list[int], list[int]]:
    """Return the parameters for `AMONG`."""
    return [key.station for key in keys], [key.job for key in keys], [key.attempt for key in keys]


def kept_json(text: str) -> str:
    """Return JSON as PostgreSQL can keep it: halves of characters, from file names that are not UTF-8, as escapes."""
    return _HALVES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _text(value: Any) -> str:  # noqa: ANN401 - psycopg reads json columns into whatever they hold
    return value if isinstance(value, str) else json.dumps(value)
