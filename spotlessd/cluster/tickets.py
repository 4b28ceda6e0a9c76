"""What one attempt asks of the cluster (`Ticket`), and what comes back (`Answer`): plain values, JSON both ways.

A ticket is named by (station, job, attempt). It says which weights and which recipe it wants, and a worker that would
compute anything else refuses it. Machines of two versions meet during an update, so what cannot be read is an error
with a sentence, never guessed.
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from spotlessd import __version__
from spotlessd.cluster.portable_orders import options_of, own_order, portable
from spotlessd.cluster.shares import NoShareError, Place, Shares
from spotlessd.configuration.recipes import recipe_of, weights_fingerprint
from spotlessd.errors import DaemonError
from spotlessd.messages import WorkOrder

PROTOCOL = 1
"""Raised when tickets or answers change so that older machines cannot take them; part of the queues' names."""
WEIGHTS_DIGITS = 8


class TicketError(DaemonError):
    """A ticket or answer cannot be written or read here: another version, or a file outside of all shares."""

    exit_code = 70
    is_retryable = True


class RefusedError(TicketError):
    """This worker would compute something else than the ticket asks for."""


@dataclass(frozen=True, slots=True)
class TicketKey:
    """A ticket's name: an attempt of a station's job."""

    station: str
    job: int
    attempt: int


class AnswerKind(StrEnum):
    """How a ticket ended. LOST: the worker's child died or was killed over it. POISON: too many workers were lost."""

    FINISHED = "finished"
    FAILED = "failed"
    LOST = "lost"
    POISON = "poison"


@dataclass(frozen=True, slots=True)
class NamingFacts:
    """What a worker needs to publish. `station`: the receipt's; `companions`: files that go with the scan, each with
    name, part, stem, ending (companions/names.py), size and mtime_ns. The mask's format is in the order's options.
    """

    station: dict[str, Any] = field(default_factory=dict)
    keeps_timestamp: bool = False
    companions: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TicketFacts:
    """What a ticket says beside its order. `size`, `mtime_ns`: of the scan. `output`: the root's output folder."""

    station: str
    root: str
    rel: str
    size: int
    mtime_ns: int
    priority: int
    megapixels: float
    is_large: bool
    max_losses: int
    publishes: str
    output: Path
    version: str = __version__
    naming: NamingFacts = field(default_factory=NamingFacts)


@dataclass(frozen=True, slots=True)
class Ticket:
    """One attempt of one job. `weights`: SHA-256 (hex) of the weights it wants; `order`: as portable_orders.py has it.

    `publishes`: station | worker, which needs `naming`. `max_losses`: workers that may be lost over it.
    """

    key: TicketKey
    root: str
    rel: str
    size: int
    mtime_ns: int
    recipe: str
    weights: str
    version: str
    priority: int
    megapixels: float
    is_large: bool
    max_losses: int
    publishes: str
    output: Place
    order: dict[str, Any]
    naming: NamingFacts = field(default_factory=NamingFacts)

    def to_json(self) -> str:
        """Return it as PostgreSQL keeps it.

        Raises:
            TicketError: a number in it is none.
        """
        try:
            return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False)
        except ValueError as error:
            raise TicketError(f"{self.rel}: its ticket cannot be written: {error}.") from error

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what `to_json` wrote.

        Raises:
            TicketError: another version wrote it.
        """
        values = _values(cls, text, "ticket")
        try:
            key, output = TicketKey(**values.pop("key")), Place(**values.pop("output"))
            return cls(key=key, output=output, naming=NamingFacts(**values.pop("naming")), **values)
        except TypeError as error:
            raise TicketError(_unreadable("ticket", str(error))) from error


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a ticket. `worker`: whose answer it is. The fields from `error` on are those of `Failed`.

    `outputs`: names by role, if the worker has published the result. `seconds`: how long the worker had it.
    """

    kind: AnswerKind
    worker: str
    receipt: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    message: str = ""
    exit_code: int = 0
    is_retryable: bool = False
    is_out_of_memory: bool = False
    memory_mb: float = 0.0
    seconds: float = 0.0
    outputs: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return it as PostgreSQL keeps it; a number that is none, which JSON does not know, becomes null."""
        return json.dumps(_finite(asdict(self)), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what `to_json` wrote.

        Raises:
            TicketError: another version wrote it.
        """
        values = _values(cls, text, "answer")
        try:
            return cls(kind=AnswerKind(values.pop("kind")), **values)
        except ValueError as error:
            raise TicketError(_unreadable("answer", str(error))) from error


def make_ticket(order: WorkOrder, facts: TicketFacts, shares: Shares) -> Ticket:
    """Return the ticket for `order`.

    Raises:
        TicketError: a file that it names lies in no share.
    """
    try:
        values, output = portable(order, shares), shares.place_of(facts.output)
    except NoShareError as error:
        raise TicketError(str(error)) from error
    return Ticket(
        key=TicketKey(facts.station, order.job_id, order.attempt),
        root=facts.root,
        rel=facts.rel,
        size=facts.size,
        mtime_ns=facts.mtime_ns,
        recipe=recipe_of(order.options, has_big_lama=order.options.inpaint.big_lama_path is not None),
        weights=weights_sha256(),
        version=facts.version,
        priority=facts.priority,
        megapixels=facts.megapixels,
        is_large=facts.is_large,
        max_losses=facts.max_losses,
        publishes=facts.publishes,
        output=output,
        order=values,
        naming=facts.naming,
    )


def order_of(ticket: Ticket, turn: int, shares: Shares, big_lama_path: Path | None) -> WorkOrder:
    """Return what a worker is to do, in its own paths; its parts are those of `turn`.

    Raises:
        RefusedError: other weights, options this version does not know, or another recipe.
        NoShareError: a share is missing here.
        TicketError: another version wrote it.
    """
    if ticket.weights != weights_sha256():
        raise RefusedError(
            f"{ticket.rel}: the station (spotlessd {ticket.version}) wants weights {ticket.weights[:WEIGHTS_DIGITS]}, "
            f"this worker ({__version__}) has {weights_sha256()[:WEIGHTS_DIGITS]}. Update the older of the two."
        )
    try:
        has_big_lama = bool(ticket.order["has_big_lama"])
        recipe = recipe_of(options_of(ticket.order["options"]), has_big_lama=has_big_lama)
        order = own_order(ticket.order, turn, shares, big_lama_path)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RefusedError(_unreadable(f"ticket for {ticket.rel}", f"{error}", ticket.version)) from error
    if has_big_lama and big_lama_path is None:
        raise RefusedError(f"{ticket.rel}: the station uses big-lama, this worker has none. Set inpaint.big_lama_path.")
    if recipe != ticket.recipe:
        raise RefusedError(
            f"{ticket.rel}: the station (spotlessd {ticket.version}) wants recipe {ticket.recipe}, this worker "
            f"({__version__}) makes {recipe} of the same options. Update the older of the two."
        )
    return order


def weights_sha256() -> str:
    """Return 64 hex digits over the checksums of the weights that this installation has."""
    return hashlib.sha256(weights_fingerprint().encode()).hexdigest()


def queue_of(weights: str, *, is_large: bool) -> str:
    """Return the name of the queue for tickets that want these weights."""
    return f"restore{PROTOCOL}-{weights[:WEIGHTS_DIGITS]}-{'large' if is_large else 'small'}"


def _finite(value: Any) -> Any:  # noqa: ANN401 - JSON
    """An answer must get through whatever it holds: else its scan would be computed again and again."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _values(kind: type[Ticket] | type[Answer], text: str, what: str) -> dict[str, Any]:
    """Read a JSON object with exactly the fields of `kind`."""
    try:
        values = json.loads(text)
    except ValueError as error:
        raise TicketError(_unreadable(what, str(error))) from error
    names = {each.name for each in fields(kind)}
    if not isinstance(values, dict) or set(values) != names:
        odd = set(values) ^ names if isinstance(values, dict) else {type(values).__name__}
        version = str(values.get("version", "")) if isinstance(values, dict) else ""
        raise TicketError(_unreadable(what, ", ".join(sorted(odd)), version))
    return values


def _unreadable(what: str, why: str, version: str = "") -> str:
    other = f"spotlessd {version}" if version else "another version of spotlessd"
    return f"a {what} of {other} cannot be read by this one ({__version__}): {why}. Update the older of the two."
