"""Paths that mean the same on every machine of a cluster: the name of a share, and the path below it.

Each machine says in its config where it has the shares mounted. Everything goes by name: no disk is looked at.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from spotlessd.errors import DaemonError


class NoShareError(DaemonError):
    """A path lies in no share, or this machine has no share of that name, or the path would leave it."""

    exit_code = 78


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file is. `rel`: below the share, with forward slashes, "" = the share itself."""

    share: str
    rel: str


class Shares:
    """This machine's mounts. `folders`: absolute, by the share's name; one may lie in another."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = dict(folders)

    @property
    def names(self) -> tuple[str, ...]:
        """The shares' names, in the order of the config."""
        return tuple(self._folders)

    def folder_of(self, name: str) -> Path:
        """Return where a share is mounted here.

        Raises:
            NoShareError: this machine has no such share.
        """
        if name not in self._folders:
            has = ", ".join(self._folders) or "none"
            raise NoShareError(f"this machine has no share {name!r} (it has: {has}); add it to [[shares]].")
        return self._folders[name]

    def place_of(self, path: Path) -> Place:
        """Return what other machines call `path`; of several shares the innermost.

        Raises:
            NoShareError: it lies in no share, or has ".." in it, or its name is not UTF-8.
        """
        found = [(name, folder) for name, folder in self._folders.items() if path.is_relative_to(folder)]
        if not found:
            folders = ", ".join(str(folder) for folder in self._folders.values()) or "none"
            raise NoShareError(f"{path} lies in no share ({folders}); add one to [[shares]].")
        if ".." in path.parts:
            raise NoShareError(f"{path} has '..' in it and may leave its share; a path without expected.")
        name, folder = max(found, key=lambda each: len(each[1].parts))
        rel = path.relative_to(folder).as_posix()
        try:
            rel.encode()
        except UnicodeEncodeError as error:
            raise NoShareError(f"{str(path)!a}: its name is not UTF-8, so other machines cannot find it.") from error
        return Place(name, "" if rel == "." else rel)

    def path_of(self, place: Place) -> Path:
        """Return where this machine finds `place`.

        Raises:
            NoShareError: it has no such share, or `place` would leave it.
        """
        folder = self.folder_of(place.share)
        rel = PurePosixPath(place.rel)
        if rel.is_absolute() or ".." in rel.parts or "\0" in place.rel:
            raise NoShareError(f"{place.rel!r} would leave the share {place.share!r}; a path below it expected.")
        return folder / rel
