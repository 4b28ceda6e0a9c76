"""Keeps on the notice board where the folders of each root lie, so that the next start knows it too.

Comes in: a root whose `places` (mounted_places.py) were filled or are to be filled. A folder that the board does not
know is taken as it lies. `accept` is the way out when a folder was moved on purpose.
"""

import json
from contextlib import suppress
from pathlib import Path

from spotlessd.errors import RootUnavailableError
from spotlessd.folders.file_systems import Mount
from spotlessd.folders.roots import Root
from spotlessd.sqlite.board import Board

LIES_ON_KEY = "lies on: {}"


class MountMemory:
    """The remembered mounts of one station."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._kept: dict[Path, Mount] = {}

    def recall(self, root: Root) -> None:
        """Tell a root where its folders lay when they were last there."""
        for folder in (root.input, root.output):
            text = self._board.noted(LIES_ON_KEY.format(folder))
            if text is not None:
                values = json.loads(text)
                root.places.known[folder] = self._kept[folder] = Mount(Path(values["point"]), values["kind"])

    def keep(self, root: Root) -> None:
        """Write down what a root that is there has found out.

        Raises:
            LedgerError: the ledger could not be written.
        """
        for folder, mount in root.places.known.items():
            if self._kept.get(folder) != mount:
                values = {"point": str(mount.point), "kind": mount.kind}
                self._board.note(LIES_ON_KEY.format(folder), json.dumps(values))
                self._kept[folder] = mount


def accept(root: Root) -> list[Path]:
    """Take the folders of a root as they lie now, if they carry its marker; returns those that had left their mount."""
    with suppress(RootUnavailableError):
        root.ensure_available()
    taken = root.places.accept()
    if taken:
        with suppress(RootUnavailableError):  # another file system under a folder is refused once
            root.ensure_available()
    return taken
