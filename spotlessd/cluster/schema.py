"""The tables of a cluster: procrastinate's, made by procrastinate, and beside them ours.

`ensure_schema` makes them once, however many machines start in the same second, and refuses tables of a newer
spotlessd or of a procrastinate this one does not know. JSON stays as text (`json`, not `jsonb`): a file's name may hold
what `jsonb` refuses, and must come back as it was.
"""

from typing import TYPE_CHECKING, LiteralString

from spotlessd.cluster.connection import ClusterRefusedError
from spotlessd.cluster.probes import PROBE_TABLES

if TYPE_CHECKING:
    import psycopg
    from procrastinate.connector import BaseConnector

VERSION = 1
_LOCK = 7_071_736_077_001
"""The advisory lock under which tables are made; any number that nobody else uses."""

TABLES: tuple[LiteralString, ...] = (
    """
    CREATE TABLE spotlessd_schema (
        is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
        version integer NOT NULL,
        made_at timestamptz NOT NULL DEFAULT now(),
        swept_at timestamptz NOT NULL DEFAULT 'epoch'
    )
    """,
    """
    CREATE TABLE spotlessd_tickets (
        id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
        station text NOT NULL,
        job bigint NOT NULL,
        attempt integer NOT NULL,
        queue text NOT NULL,
        priority integer NOT NULL,
        ticket json NOT NULL,
        state text NOT NULL DEFAULT 'asked' CHECK (state IN ('asked', 'doing', 'publishing', 'answered')),
        turn bigint NOT NULL DEFAULT 0,         -- of the last claim; an answer counts only with it
        max_losses integer NOT NULL,            -- the station's
        losses integer NOT NULL DEFAULT 0,      -- workers that were lost over it
        lost_workers text[] NOT NULL DEFAULT '{}',
        worker text NOT NULL DEFAULT '',
        worker_id bigint,                       -- procrastinate's
        step text NOT NULL DEFAULT '',
        fraction real NOT NULL DEFAULT 0,
        plan text NOT NULL DEFAULT '',
        answer json,
        reason text NOT NULL DEFAULT '',        -- why it was last given back
        asked_at timestamptz NOT NULL DEFAULT now(),
        taken_at timestamptz,
        answered_at timestamptz,
        procrastinate_id bigint,
        UNIQUE (station, job, attempt)
    ) WITH (fillfactor = 70)
    """,
    "CREATE INDEX spotlessd_tickets_held ON spotlessd_tickets (worker_id) WHERE worker_id IS NOT NULL",
    "CREATE INDEX spotlessd_tickets_answered ON spotlessd_tickets (station) WHERE state = 'answered'",
    "CREATE INDEX spotlessd_tickets_planned ON spotlessd_tickets (id) WHERE plan <> ''",
    # Turns whose answer the station has: a worker that did not hear that its answer counted asks again.
    """
    CREATE TABLE spotlessd_settled (
        turn bigint PRIMARY KEY,
        at timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE spotlessd_machines (
        role text NOT NULL CHECK (role IN ('station', 'worker')),
        name text NOT NULL,
        facts json NOT NULL DEFAULT '{}',
        drain boolean NOT NULL DEFAULT false,
        seen timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (role, name)
    ) WITH (fillfactor = 50)
    """,
    *PROBE_TABLES,
    "INSERT INTO spotlessd_schema (version) VALUES (1)",
    # Turns and worker ids begin with the time, so that they never come again if the database is made anew: a zombie of
    # the old one must not be taken for a worker of the new one.
    """
    DO $$
    BEGIN
        EXECUTE format('CREATE SEQUENCE spotlessd_turns START WITH %s', extract(epoch FROM clock_timestamp())::bigint);
        EXECUTE format('ALTER TABLE procrastinate_workers ALTER COLUMN id RESTART WITH %s',
            greatest(extract(epoch FROM clock_timestamp())::bigint,
                     (SELECT coalesce(max(id), 0) + 1 FROM procrastinate_workers)));
    END $$
    """,
)

_NEEDED: tuple[LiteralString, ...] = (
    "procrastinate_defer_jobs_v1(procrastinate_job_to_defer_v1[])",
    "procrastinate_fetch_job_v2(character varying[],bigint)",
    "procrastinate_finish_job_v1(bigint,procrastinate_job_status,boolean)",
    "procrastinate_retry_job_v2(bigint,timestamp with time zone,integer,character varying,character varying)",
    "procrastinate_register_worker_v1()",
)
"""What procrastinate calls; tables of an older or newer release lack some of it."""


async def ensure_schema(connection: "psycopg.AsyncConnection", connector: "BaseConnector") -> None:
    """Make all tables if they are missing. `connector`: procrastinate's way to this very connection.

    Raises:
        ClusterRefusedError: a newer spotlessd or another procrastinate made them. Errors of psycopg pass: a missing
            right, for example.
    """
    if await _version(connection) == VERSION:
        return
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        version = await _version(connection)
        if version is not None and version > VERSION:
            raise ClusterRefusedError(
                f"the cluster's tables are of a newer spotlessd (version {version}; this one knows {VERSION}): "
                "install the same release on all machines"
            )
        if version == VERSION:
            return
        await _ensure_procrastinate(connection, connector)
        for statement in TABLES:
            await connection.execute(statement)


async def _version(connection: "psycopg.AsyncConnection") -> int | None:
    if not await _has_table(connection, "spotlessd_schema"):
        return None
    cursor = await connection.execute("SELECT version FROM spotlessd_schema")
    row = await cursor.fetchone()
    return None if row is None else int(row[0])


async def _has_table(connection: "psycopg.AsyncConnection", name: str) -> bool:
    """Return whether there is such a table; `to_regclass` would remember a no from before the lock."""
    cursor = await connection.execute(
        "SELECT 1 FROM pg_class WHERE relname = %s AND pg_table_is_visible(oid) AND relkind IN ('r', 'p')", (name,)
    )
    return await cursor.fetchone() is not None


async def _ensure_procrastinate(connection: "psycopg.AsyncConnection", connector: "BaseConnector") -> None:
    from procrastinate.schema import SchemaManager

    if not await _has_table(connection, "procrastinate_jobs"):
        await SchemaManager(connector).apply_schema_async()
    for name in _NEEDED:
        try:
            async with connection.transaction():
                await connection.execute("SELECT %s::regprocedure", (name,))
        except Exception as error:
            if getattr(error, "sqlstate", None) not in {"42883", "42704"}:  # no such function, no such type
                raise
            raise ClusterRefusedError(
                "the database already holds procrastinate's tables, of a release that this one does not know "
                f"({name.partition('(')[0]} is missing): use a database of its own for the cluster, or migrate them"
            ) from error
