"""What `spotlessd status --cluster` and its live view do: read the whole cluster from any of its machines.

Comes in: the settings of a station or a worker. Goes out: an `Answer`. PostgreSQL that does not answer is told in a
sentence, with what this machine's own ledger knows; its scans go on coming in meanwhile.
"""

import time
from typing import TYPE_CHECKING, Any, TextIO

from spotlessd.cluster.connection import ClusterDownError, ClusterRefusedError, open_sync, target_of, told
from spotlessd.cluster.overview import read_overview
from spotlessd.cluster.overview_views import EXIT_NO_WORKER, ClusterOverview
from spotlessd.commands.cluster_text import cluster_line, cluster_lines, wrapped
from spotlessd.commands.live_status import watch
from spotlessd.commands.station_commands import Answer
from spotlessd.commands.status_text import one_line
from spotlessd.commands.wording import as_json as to_json
from spotlessd.configuration.settings import Settings
from spotlessd.errors import ConfigError, LedgerError
from spotlessd.monitoring.status import read_status

if TYPE_CHECKING:
    import psycopg

APPLICATION = "spotlessd status"


def show_cluster(settings: Settings, *, as_json: bool) -> Answer:
    """Tell how the cluster is.

    Raises:
        ConfigError: these settings are of a station that works alone.
    """
    refuse_alone(settings)
    reader = ClusterReader(settings)
    try:
        overview = reader.read()
    except (ClusterDownError, ClusterRefusedError) as error:
        own = _own_words(settings)
        if as_json:
            values = {"health": "unreachable", "at": time.time(), "warnings": [str(error)], "station": own}
            return Answer(to_json(values), EXIT_NO_WORKER)
        lines = ["cluster: unreachable", *wrapped(f"  ! {error}", "    ")]
        return Answer("\n".join([*lines, *(wrapped(f"this station: {own}", "    ") if own else [])]), EXIT_NO_WORKER)
    finally:
        reader.close()
    return Answer(to_json(overview.to_json()) if as_json else "\n".join(cluster_lines(overview)), overview.exit_code)


def refuse_alone(settings: Settings) -> None:
    """Raise ConfigError if the settings name no cluster."""
    if not settings.is_clustered:
        raise ConfigError(
            f'{settings.config_path}: engine = "{settings.engine}": this station computes alone; '
            'engine = "postgresql://user@host:5432/database" expected for a cluster. Its own state: spotlessd status'
        )


def watch_cluster(settings: Settings, stream: TextIO, *, is_screen: bool) -> int:
    """Show the cluster until Ctrl-C; returns the exit code of the last look.

    Raises:
        ConfigError: these settings are of a station that works alone.
    """
    refuse_alone(settings)
    reader = ClusterReader(settings)
    try:
        return watch(reader.look, stream, is_screen=is_screen)
    finally:
        reader.close()


class ClusterReader:
    """Reads the cluster again and again; a connection that broke is made anew at the next look."""

    def __init__(self, settings: Settings) -> None:
        self._lost_seconds = settings.cluster.lost_seconds
        self._target = target_of(settings, APPLICATION)
        self._connection: psycopg.Connection[Any] | None = None

    def read(self) -> ClusterOverview:
        """Return the cluster as it is now.

        Raises:
            ClusterDownError, ClusterRefusedError: it cannot be read.
        """
        try:
            if self._connection is None:
                self._connection = open_sync(self._target)
            with told(self._target):
                _refuse_empty(self._connection, self._target.place)
                return read_overview(self._connection, time.time(), lost_seconds=self._lost_seconds)
        except (ClusterDownError, ClusterRefusedError):
            self.close()
            raise

    def look(self, _code: int) -> tuple[int, list[str], str]:
        """Return exit code, lines and one line for a live view."""
        try:
            overview = self.read()
        except (ClusterDownError, ClusterRefusedError) as error:
            return EXIT_NO_WORKER, ["cluster: unreachable", *wrapped(f"  ! {error}", "    ")], str(error)
        return overview.exit_code, cluster_lines(overview), cluster_line(overview)

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _refuse_empty(connection: "psycopg.Connection[Any]", place: str) -> None:
    """A database that no machine has used yet is no mistake of rights."""
    row = connection.execute("SELECT to_regclass('spotlessd_machines') IS NULL").fetchone()
    if row is not None and row[0]:
        raise ClusterRefusedError(
            f"the database at {place} holds no cluster yet: the first `spotlessd run` or `spotlessd worker` makes it"
        )


def _own_words(settings: Settings) -> str:
    """Return what this machine's own ledger knows, "" where it is a worker only."""
    if not settings.roots:
        return ""
    try:
        return one_line(read_status(settings.state_dir, time.time()))
    except LedgerError as error:
        return str(error)
