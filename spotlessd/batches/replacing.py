"""A file that is replaced as a whole: readers see the one before or the new one, and a power cut leaves one of them."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from spotlessd.publishing.durable import cannot_write, sync_file, sync_folder

PART_ENDING = ".part"


@contextmanager
def replaced(path: Path) -> Iterator[TextIO]:
    """Give a UTF-8 text file to write; it gets its name when the block ends, and is dropped if the block raises.

    What UTF-8 cannot hold (a name that is no text) is escaped.

    Raises:
        PublishError: the disk or the folder does not allow it.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART_ENDING}")
    try:
        with part.open("x", encoding="utf-8", errors="backslashreplace", newline="") as file:
            yield file
            file.flush()
            sync_file(file.fileno())
        part.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def drop_stale(path: Path) -> None:
    """Remove what runs that were killed left of `path`. Only right while nobody else writes it."""
    for part in path.parent.glob(f".{path.name}.*{PART_ENDING}"):
        part.unlink(missing_ok=True)
