"""On which mount each folder of a root lay when it was last there, and whether it lies there still.

The marker alone does not tell a mounted share from the empty folder below it if `init` was run before the share was
mounted: then both have one. So a folder that lay on a mount of its own is refused once it lies on the parent's file
system. A mount is known by its point, found by comparing device numbers at one moment: the numbers themselves change
with each start, and a service's own view of the folders (bind mounts of the same disk) changes nothing in it.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from spotlessd.errors import RootUnavailableError
from spotlessd.folders.file_systems import Mount, mount_of


class MountedPlaces:
    """By folder, where it lay when it was last there: `known`. Empty at first: then a folder is taken as it lies."""

    def __init__(self) -> None:
        self.known: dict[Path, Mount] = {}
        self._lost: set[Path] = set()

    def check(self, folders: Iterable[Path]) -> None:
        """Compare folders that are there with where they lay before, and remember where they lie now.

        Raises:
            RootUnavailableError: one lay on a mount that is not there, or cannot be looked at; nothing is remembered.
        """
        try:
            points = {folder: mount_point_of(folder) for folder in folders}
        except OSError as error:
            raise RootUnavailableError(f"{error.filename}: cannot be looked at: {error.strerror}.") from error
        self._lost = {folder for folder, point in points.items() if self._has_left_its_mount(folder, point)}
        if self._lost:
            raise RootUnavailableError("\n".join(self._sentence(folder) for folder in sorted(self._lost)))
        for folder, point in points.items():
            before = self.known.get(folder)
            if before is None or before.point != point:
                self.known[folder] = Mount(point, mount_of(folder).kind)

    def accept(self) -> list[Path]:
        """Forget the mounts of the folders that `check` refused last, and return these folders."""
        taken = sorted(self._lost)
        for folder in taken:
            self.known.pop(folder, None)
        self._lost = set()
        return taken

    def _has_left_its_mount(self, folder: Path, point: Path) -> bool:
        before = self.known.get(folder)
        # A mount within the old one, or a link that leads elsewhere, was made by somebody; only one that is missing
        # uncovers a folder that looks like the right one.
        return (
            before is not None
            and before.point != point
            and before.point.is_relative_to(point)
            and _real(folder).is_relative_to(before.point)
        )

    def _sentence(self, folder: Path) -> str:
        before = self.known[folder]
        return (
            f"{folder}: it lay on {before.kind} mounted at {before.point}, and nothing is mounted there now. Mount it "
            "again. If the folder is to lie on this disk from now on, type: spotlessd scan --accept"
        )


def mount_point_of(folder: Path) -> Path:
    """Return where the file system of `folder` begins: the highest folder above it, or itself, on the same device.

    Links are seen through; bind mounts within one file system are not told apart from its folders.

    Raises:
        OSError: a folder cannot be looked at.
    """
    place = _real(folder)
    device = place.stat().st_dev
    while place != place.parent and place.parent.stat().st_dev == device:
        place = place.parent
    return place


def _real(folder: Path) -> Path:
    return Path(os.path.realpath(folder))
