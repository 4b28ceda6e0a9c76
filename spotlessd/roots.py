"""A watched folder and its output folder: are they there, what lies in them, what is left out.

Comes in: the settings. Goes out: `Root`s, and from each scan the `Candidate`s, every regular file of the allowed kinds
and the companions of such files.
Promises: nothing in an input folder is ever written by this module but its marker, and that only on `write_marker`;
a folder that is away is an error and never looks empty; no output folder lies in a watched one, nor the other way
round. The marker `.spotlessd-root` in both folders holds the station's id: an unmounted share has none (the method is
Syncthing's .stfolder).
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from loguru import logger

from spotlessd.companions import CompanionName, CompanionRules
from spotlessd.errors import ConfigError, RootUnavailableError, StationBusyError
from spotlessd.file_systems import mount_of
from spotlessd.settings import Settings
from spotlessd.settings_sections import RootSettings, WatchSettings

MARKER_NAME = ".spotlessd-root"
ALWAYS_IGNORED = (
    ".*",  # hidden files, AppleDouble ._*, .DS_Store, .stfolder, our own .part files
    "*.part",
    "*.tmp",
    "*.partial",
    "*.crdownload",
    "~*",
    "@eadir",
    "#recycle",
    "__macosx",
    "thumbs.db",
)
"""Names of files and folders that are never scans, in lower case."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One file as it stands now. `rel`: its path below the root, with forward slashes.

    `companion`: its name taken apart if it belongs to a scan, None for a scan.
    """

    root: str
    rel: str
    path: Path
    size: int
    mtime_ns: int
    inode: int
    companion: CompanionName | None = None


@dataclass(frozen=True, slots=True)
class NameRules:
    """Which names are scans: suffixes in lower case, and patterns left out on top of `ALWAYS_IGNORED`."""

    extensions: tuple[str, ...]
    ignore: tuple[str, ...] = ()
    companions: CompanionRules = field(default_factory=CompanionRules)

    def ignores(self, name: str) -> bool:
        """Whether a file or folder of this name is left out, in upper or lower case."""
        lowered = name.lower()
        return any(fnmatchcase(lowered, pattern.lower()) for pattern in (*ALWAYS_IGNORED, *self.ignore))

    def allows(self, name: str) -> bool:
        """Whether a file of this name may be a scan."""
        return self.has_kind(name) and not self.ignores(name) and self.companions.parse(name) is None

    def has_kind(self, name: str) -> bool:
        """Whether the suffix is that of a scan."""
        return PurePosixPath(name).suffix.lower() in self.extensions


@dataclass(slots=True)
class Root:
    """One watched folder. `unread`: what the last scan could not look at; nothing there counts as gone."""

    name: str
    input: Path
    output: Path
    station_id: str
    rules: NameRules
    is_network: bool
    is_polled: bool
    unread: frozenset[str] = frozenset()
    _devices: dict[Path, int] = field(default_factory=dict)
    _warned: set[str] = field(default_factory=set)

    def ensure_available(self) -> None:
        """Check that both folders are the ones they were.

        Another file system under a folder is refused once, so that the round in hand concludes nothing, and then
        accepted if the marker is right: a share that was mounted again gets a new number.

        Raises:
            RootUnavailableError: a folder, or its marker, is missing or was exchanged.
        """
        for folder in (self.input, self.output):
            check_marker(folder, self.station_id)
            device = _device_of(folder)
            known = self._devices.setdefault(folder, device)
            if device != known:
                self._devices[folder] = device
                raise RootUnavailableError(f"{folder}: another file system was mounted here just now; looking again.")

    def scan(self) -> Iterator[Candidate]:
        """Yield every scan and companion in the folder as it stands now, in no particular order.

        Raises:
            RootUnavailableError: the folder is away, at the start or at the end: then nothing may be concluded from
                what is missing.
        """
        self.ensure_available()
        unread: list[str] = []
        pending = [""]
        while pending:
            folder = pending.pop()
            try:
                with os.scandir(self.input / folder) as listing:
                    entries = list(listing)
            except OSError as error:
                if not folder:
                    raise RootUnavailableError(f"{self.input}: cannot be read: {error.strerror}.") from error
                if not isinstance(error, FileNotFoundError):
                    unread.append(folder)
                    self._warn_once(folder, f"cannot be read: {error.strerror}")
                continue
            for entry in entries:
                rel = f"{folder}/{entry.name}" if folder else entry.name
                if self.rules.ignores(entry.name):
                    continue
                try:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(rel)
                        continue
                    candidate = self._candidate(entry, rel)
                except FileNotFoundError:
                    continue  # gone since it was listed
                except OSError as error:
                    unread.append(rel)
                    self._warn_once(rel, f"cannot be looked at: {error.strerror}")
                    continue
                if candidate is not None:
                    yield candidate
        self.unread = frozenset(unread)
        self.ensure_available()

    def look_at(self, rel: str) -> Candidate | None:
        """Return one file as it stands now; None if it is gone, cannot be looked at, or is not a regular file."""
        try:
            return self._candidate_of(rel)
        except OSError:
            return None

    def is_unread(self, rel: str) -> bool:
        """Whether the last scan could not look at `rel` or at a folder above it."""
        return any(rel == place or rel.startswith(f"{place}/") for place in self.unread)

    def _candidate(self, entry: os.DirEntry[str], rel: str) -> Candidate | None:
        """Return the file as a candidate, or None if it is neither a scan nor a companion."""
        if self.rules.companions.parse(entry.name) is None and not self.rules.allows(entry.name):
            return None
        if entry.is_symlink():
            self._warn_once(rel, "a symbolic link; links are not followed. Put the file itself here")
            return None
        try:
            rel.encode()
        except UnicodeEncodeError:
            self._warn_once(rel, "its name is not UTF-8. Rename it")
            return None
        return self._candidate_of(rel)

    def _candidate_of(self, rel: str) -> Candidate | None:
        companion = self.rules.companions.parse(PurePosixPath(rel).name)
        # A fresh stat: on network shares the listing's own numbers lag behind.
        status = (self.input / rel).lstat()
        if not stat.S_ISREG(status.st_mode):
            self._warn_once(rel, "not a regular file")
            return None
        return Candidate(self.name, rel, self.input / rel, status.st_size, status.st_mtime_ns, status.st_ino, companion)

    def _warn_once(self, rel: str, reason: str) -> None:
        if rel not in self._warned:
            self._warned.add(rel)
            logger.warning("{}: {!a} is left out: {}.", self.name, rel, reason)


def open_roots(settings: Settings) -> list[Root]:
    """Return the roots of a station after checking that no folder lies in another; away is not an error here.

    Raises:
        ConfigError: an output lies in an input or the other way round, or two inputs overlap.
        StationBusyError: a folder carries another station's marker.
    """
    problems = overlapping_folders(settings.roots)
    if problems:
        raise ConfigError(*(f"{settings.config_path}: roots: {problem}" for problem in problems))
    roots = []
    rules = _name_rules(settings.watch)
    for root in settings.roots:
        for folder in (root.input, root.output):
            _refuse_foreign_marker(folder, settings.station_id)
        is_network = mount_of(root.input).is_network
        mode = settings.watch.mode
        roots.append(
            Root(
                name=root.name,
                input=root.input,
                output=root.output,
                station_id=settings.station_id,
                rules=rules,
                is_network=is_network,
                is_polled=mode == "polling" or (mode == "auto" and is_network),
            )
        )
    return roots


def _name_rules(watch: WatchSettings) -> NameRules:
    return NameRules(
        _lowered(watch.extensions),
        watch.ignore,
        CompanionRules(_lowered(watch.infrared_endings), _lowered(watch.companions)),
    )


def _lowered(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word.lower() for word in words)


def overlapping_folders(roots: tuple[RootSettings, ...]) -> list[str]:
    """Return a sentence for each pair of folders that would make the daemon eat its own results."""
    problems = []
    for index, root in enumerate(roots):
        for other in roots:
            if _lies_in(other.output, root.input):
                problems.append(f"output {other.output} lies in input {root.input}; results would be taken for scans.")
            elif _lies_in(root.input, other.output):
                problems.append(f"input {root.input} lies in output {other.output}; results would be taken for scans.")
        problems += [
            f"inputs {root.input} and {other.input} overlap; their scans would be taken twice."
            for other in roots[index + 1 :]
            if _lies_in(other.input, root.input) or _lies_in(root.input, other.input)
        ]
    return problems


def check_marker(folder: Path, station_id: str) -> None:
    """Check that `folder` carries this station's marker.

    Raises:
        RootUnavailableError: the folder or its marker is not there or cannot be read, or it is another station's.
    """
    found = read_marker(folder)
    if found is None:
        raise RootUnavailableError(
            f"{folder}: no {MARKER_NAME} in it: the share is away, or the folder is new. "
            f"If it is the right folder, type: echo {station_id} > '{folder / MARKER_NAME}'"
        )
    if found != station_id:
        raise RootUnavailableError(f"{folder}: it belongs to station {found!r}; this is station {station_id!r}.")


def read_marker(folder: Path) -> str | None:
    """Return the station id in `folder`, or None if it has no marker.

    Raises:
        RootUnavailableError: the folder is not there or not to be read.
    """
    try:
        if not stat.S_ISDIR(folder.stat().st_mode):
            raise RootUnavailableError(f"{folder}: not a folder.")
        return (folder / MARKER_NAME).read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError as error:
        if folder.is_dir():
            return None
        raise RootUnavailableError(f"{folder}: no such folder. Is the share mounted?") from error
    except OSError as error:
        raise RootUnavailableError(f"{folder}: cannot be read: {error.strerror}.{_macos_hint(error)}") from error


def write_marker(folder: Path, station_id: str) -> None:
    """Put this station's marker into `folder`; one that is there and ours is left alone.

    Raises:
        StationBusyError: another station's marker is there.
        RootUnavailableError: the folder is not there.
    """
    _refuse_foreign_marker(folder, station_id)
    if read_marker(folder) is None:
        (folder / MARKER_NAME).write_text(f"{station_id}\n", encoding="utf-8")


def _refuse_foreign_marker(folder: Path, station_id: str) -> None:
    try:
        found = read_marker(folder)
    except RootUnavailableError:
        return  # away: looked at again before every use
    if found is not None and found != station_id:
        raise StationBusyError(
            f"{folder}: it belongs to station {found!r}; this is station {station_id!r}. "
            f"Two stations must not serve one folder; if the other is gone, delete {folder / MARKER_NAME}."
        )


def _lies_in(inner: Path, outer: Path) -> bool:
    """Whether `inner` is `outer` or lies in it, by file identity, so that links and bind mounts are seen through."""
    resolved = Path(os.path.realpath(inner))
    real_outer = Path(os.path.realpath(outer))
    for place in (resolved, *resolved.parents):
        try:
            if place == real_outer or place.samefile(real_outer):
                return True
        except OSError:
            continue  # one of the two does not exist yet: their names were compared
    return False


def _device_of(folder: Path) -> int:
    try:
        return folder.stat().st_dev
    except OSError as error:
        raise RootUnavailableError(f"{folder}: cannot be read: {error.strerror}.") from error


def _macos_hint(error: OSError) -> str:
    is_refused = isinstance(error, PermissionError) and os.uname().sysname == "Darwin"
    return " Give Python Full Disk Access in System Settings, Privacy & Security." if is_refused else ""
