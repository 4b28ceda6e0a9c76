"""What a station has asked of the cluster and what has become of it. In memory, shared by two threads, never waits.

The station's main loop writes what it wants and reads the news; the link's thread takes what is to be sent and writes
what PostgreSQL said. Promises: what is wanted stays until PostgreSQL has it; an answer is told once; a withdrawn ticket
ends as exactly one of `Withdrawn` and `Answered`.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from spotlessd.cluster.ticket_queue import Answered, Standing
from spotlessd.cluster.tickets import Ticket, TicketKey


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The ticket is void: no answer of it will ever come."""

    key: TicketKey


StationNews = Answered | Withdrawn | Standing


@dataclass(slots=True)
class _Entry:
    """One ticket. `ticket`: None if an earlier run asked it. `is_sent`: PostgreSQL may have it; `is_asked`: it does."""

    ticket: Ticket | None = None
    is_sent: bool = False
    is_asked: bool = False
    is_answered: bool = False
    is_unwanted: bool = False
    is_withdraw_due: bool = False
    again: Ticket | None = None


class StationBook:
    """The tickets that are neither withdrawn nor acknowledged, and the news not read yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[TicketKey, _Entry] = {}
        self._acknowledged: dict[TicketKey, None] = {}
        self._standings: dict[TicketKey, tuple[object, ...]] = {}
        self._news: list[StationNews] = []

    # For the main loop.

    def ask(self, ticket: Ticket) -> None:
        """Want a ticket answered. One that is wanted already, or was answered, is not asked twice: a key is one
        attempt, and asking again would have a second worker write over the parts of the first.
        """
        with self._lock:
            entry = self._entries.get(ticket.key)
            if entry is None:
                self._entries[ticket.key] = _Entry(ticket)
            elif entry.is_unwanted:
                entry.again = ticket

    def withdraw(self, key: TicketKey) -> None:
        """Want a ticket no longer. One that was certainly never sent is settled here and now."""
        with self._lock:
            entry = self._entries.setdefault(key, _Entry(is_sent=True))
            if entry.is_answered:
                return  # told already
            if not entry.is_sent:
                del self._entries[key]
                self._news.append(Withdrawn(key))
                return
            entry.is_unwanted = entry.is_withdraw_due = True
            entry.again = None

    def acknowledge(self, key: TicketKey) -> None:
        """Forget a ticket: its answer is in the ledger."""
        with self._lock:
            entry = self._entries.pop(key, None)
            if entry is None or entry.is_sent:
                self._acknowledged[key] = None

    def read(self) -> list[StationNews]:
        """Return the news, each once, in the order in which they came."""
        with self._lock:
            news, self._news = self._news, []
            return news

    # For the link's thread.

    @property
    def has_news(self) -> bool:
        """Whether `read` would return something."""
        with self._lock:
            return bool(self._news)

    @property
    def has_errands(self) -> bool:
        """Whether something is to be sent."""
        with self._lock:
            return bool(self._acknowledged) or any(
                entry.is_withdraw_due or _is_to_ask(entry) for entry in self._entries.values()
            )

    def ask_all_again(self) -> None:
        """The connection is new: nothing that was asked over the last one is certain."""
        with self._lock:
            for entry in self._entries.values():
                entry.is_asked = False
                entry.is_withdraw_due = entry.is_unwanted

    def remind(self) -> None:
        """Try once more to withdraw what was being published; its worker may have been lost since."""
        with self._lock:
            for entry in self._entries.values():
                entry.is_withdraw_due = entry.is_unwanted

    def to_acknowledge(self) -> list[TicketKey]:
        """Return what is to be deleted."""
        with self._lock:
            return list(self._acknowledged)

    def acknowledged(self, keys: Iterable[TicketKey]) -> None:
        """PostgreSQL has deleted them."""
        with self._lock:
            for key in keys:
                self._acknowledged.pop(key, None)

    def to_withdraw(self) -> list[TicketKey]:
        """Return what is to be made void."""
        with self._lock:
            return [key for key, entry in self._entries.items() if entry.is_withdraw_due]

    def withdrawn(self, results: Mapping[TicketKey, bool]) -> None:
        """PostgreSQL said which are void (True) and for which it was too late (False): their answer comes."""
        with self._lock:
            for key, is_void in results.items():
                entry = self._entries.get(key)
                if entry is None:
                    continue
                entry.is_withdraw_due = False
                if is_void:
                    del self._entries[key]
                    self._news.append(Withdrawn(key))
                    if entry.again is not None:
                        self._entries[key] = _Entry(entry.again)

    def to_ask(self) -> list[Ticket]:
        """Return what is to be asked; from now on it counts as sent, whatever becomes of the connection."""
        with self._lock:
            tickets = []
            for key, entry in self._entries.items():
                if entry.ticket is not None and _is_to_ask(entry) and key not in self._acknowledged:
                    entry.is_sent = True
                    tickets.append(entry.ticket)
            return tickets

    def asked(self, tickets: Iterable[Ticket]) -> None:
        """PostgreSQL has them."""
        with self._lock:
            for ticket in tickets:
                entry = self._entries.get(ticket.key)
                if entry is not None and entry.ticket is ticket:
                    entry.is_asked = True

    def answered(self, found: Sequence[Answered]) -> None:
        """Tell the answers that were not told yet, also of tickets that an earlier run asked."""
        with self._lock:
            for answered in found:
                if answered.key in self._acknowledged:
                    continue
                entry = self._entries.setdefault(answered.key, _Entry(is_sent=True))
                if not entry.is_answered:
                    entry.is_answered = True
                    entry.is_unwanted = entry.is_withdraw_due = False
                    self._news.append(answered)

    def stood(self, standings: Sequence[Standing]) -> None:
        """Tell where the tickets stand, if that changed. One that PostgreSQL has lost is asked again."""
        with self._lock:
            found = {standing.key: _changing(standing) for standing in standings}
            for standing in standings:
                entry = self._entries.get(standing.key)
                is_over = standing.key in self._acknowledged or (entry is not None and entry.is_answered)
                if not is_over and self._standings.get(standing.key) != found[standing.key]:
                    self._news.append(standing)
            self._standings = found
            for key, entry in self._entries.items():
                if key not in found:
                    entry.is_asked = False


def _is_to_ask(entry: _Entry) -> bool:
    return entry.ticket is not None and not (entry.is_asked or entry.is_answered or entry.is_unwanted)


def _changing(standing: Standing) -> tuple[object, ...]:
    """Return what is worth telling when it changes; the seconds of waiting always do."""
    return standing.state, standing.worker, standing.step, standing.fraction
