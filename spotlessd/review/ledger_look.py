"""A look into the station's ledger that cannot change it: opened for one question, closed after it.

The daemon may rebuild, replace or migrate the file between two looks; each look reads one state of it.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from spotlessd.errors import LedgerError
from spotlessd.sqlite.database import MIGRATIONS, Database

BUSY_SECONDS = 2.0
"""How long a look waits for a ledger that is being checked or moved."""


@contextmanager
def look_into(path: Path) -> Iterator[Database | None]:
    """Give the ledger at `path`, read-only, as it is at this moment; None where there is none yet.

    Raises:
        LedgerError: it is damaged, of another version, or cannot be read.
    """
    if not path.exists():
        yield None
        return
    try:
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode=ro", uri=True, timeout=BUSY_SECONDS, isolation_level=None
        )
    except sqlite3.Error as error:
        raise LedgerError(f"{path}: the ledger cannot be opened ({error}).") from error
    with closing(connection):
        connection.row_factory = sqlite3.Row
        database = Database(connection, path, is_new=False)
        try:
            connection.execute("BEGIN")
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        except sqlite3.Error as error:
            raise LedgerError(f"{path}: the ledger cannot be read ({error}).") from error
        if version == 0:
            # Just made, its tables are not written yet.
            yield None
            return
        if version != len(MIGRATIONS):
            raise LedgerError(
                f"{path}: the ledger has schema {version}, this page knows {len(MIGRATIONS)}. Restart the page."
            )
        yield database
