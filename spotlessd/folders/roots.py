"""A watched folder and its output folder: are they there, what lies in them, what is left out.

Comes in: `Root`s, made by station_roots.py. Goes out: from each scan the `Candidate`s, every regular file of the
allowed kinds and the companions of such files.
Promises: nothing in an input folder is ever written by this module but its marker, and that only on `write_marker`;
a folder that is away is an error and never looks empty; no link is followed. The marker `.spotlessd-root` in both
folders holds the station's id: an unmounted share has none (Syncthing's .stfolder), or mounted_places.py tells it.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from loguru import logger

from spotlessd.companions.names import CompanionName, CompanionRules
from spotlessd.configuration.folder_overlap import lies_in_on_disk
from spotlessd.configuration.profiles import Profile, Reading
from spotlessd.errors import RootUnavailableError, StationBusyError
from spotlessd.folders.file_systems import mount_of
from spotlessd.folders.mounted_places import MountedPlaces

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
    "#snapshot",
    "@recycle",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "__macosx",
    "thumbs.db",
)
"""Names of files and folders that are never scans, in lower case."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One file as it stands now. `rel`: its path below the root, with forward slashes.

    `companion`: its name taken apart if it belongs to a scan, None for a scan. `is_network`: it lies on a share.
    """

    root: str
    rel: str
    path: Path
    size: int
    mtime_ns: int
    inode: int
    companion: CompanionName | None = None
    is_network: bool = False


@dataclass(frozen=True, slots=True)
class NameRules:
    """Which names are scans: suffixes in lower case, and patterns left out on top of `ALWAYS_IGNORED`.

    A pattern with a slash is held against the path below the root, any other against the name alone.
    """

    extensions: tuple[str, ...]
    ignore: tuple[str, ...] = ()
    companions: CompanionRules = field(default_factory=CompanionRules)

    def ignores(self, name: str, rel: str = "") -> bool:
        """Whether a file or folder of this name, at `rel` below the root, is left out, in upper or lower case."""
        patterns = (*ALWAYS_IGNORED, *(pattern.lower() for pattern in self.ignore))
        return any(fnmatchcase((rel if "/" in pattern else name).lower(), pattern) for pattern in patterns)

    def allows(self, name: str) -> bool:
        """Whether a file of this name may be a scan."""
        return self.has_kind(name) and not self.ignores(name) and self.companions.parse(name) is None

    def has_kind(self, name: str) -> bool:
        """Whether the suffix is that of a scan."""
        return PurePosixPath(name).suffix.lower() in self.extensions


@dataclass(slots=True)
class Root:
    """One watched folder.

    `unread`: what the last scan could not look at; nothing there counts as gone. `left_out`: what lies there and is not
    taken, with the reason. `is_away`: as `ensure_available` found last. `reading` None: `is_network` and `is_polled`
    are as given; else they follow what is mounted. `places`: where its folders lay when they were last there.
    `input_marker`: what stands in the input's marker if not the station's id; "" where none can be written.
    """

    name: str
    input: Path
    output: Path
    station_id: str
    rules: NameRules
    is_network: bool
    is_polled: bool
    profile: Profile = field(default_factory=Profile)
    reading: Reading | None = None
    unread: frozenset[str] = frozenset()
    left_out: dict[str, str] = field(default_factory=dict)
    is_away: bool = False
    places: MountedPlaces = field(default_factory=MountedPlaces)
    input_marker: str | None = None
    _devices: dict[Path, int] = field(default_factory=dict)

    @property
    def is_spooled(self) -> bool:
        """Whether its scans are copied to a local disk before they are read."""
        return self.reading is not None and self.reading.is_spooled(is_network=self.is_network)

    def ensure_available(self) -> None:
        """Check that both folders are the ones they were; the log hears once when they go and once when they are back.

        Another file system under a folder is refused once, so that the round in hand concludes nothing, and then
        accepted if the marker is right: a share that was mounted again gets a new number.

        Raises:
            RootUnavailableError: a folder, or its marker, is missing or was exchanged.
        """
        try:
            self._check()
        except RootUnavailableError as error:
            if not self.is_away:
                logger.warning("root {}: {}", self.name, error)
            self.is_away = True
            raise
        if self.is_away:
            logger.info("root {} is back", self.name)
        self.is_away = False

    def _check(self) -> None:
        devices, problems = {}, []
        marker = self.station_id if self.input_marker is None else self.input_marker
        for folder, owner in ((self.input, marker), (self.output, self.station_id)):
            try:
                if owner:
                    check_marker(folder, owner)
                if folder == self.input:
                    _look_into(folder)
                devices[folder] = _device_of(folder)
            except RootUnavailableError as error:
                problems.append(str(error))
        if problems:
            raise RootUnavailableError("\n".join(problems))
        known = self._devices
        if devices == known:
            return
        self.places.check(devices)
        if lies_in_on_disk(self.output, self.input) or lies_in_on_disk(self.input, self.output):
            where = f"{self.output} and {self.input} reach each other through what is mounted now"
            raise RootUnavailableError(f"{where}; results would be taken for scans. Mount them apart.")
        self._devices = devices
        self._look_at_mount()
        for folder in known:
            if devices[folder] != known[folder]:
                raise RootUnavailableError(f"{folder}: another file system was mounted here just now; looking again.")

    def scan(self) -> Iterator[Candidate]:
        """Yield every scan and companion in the folder as it stands now, in no particular order.

        Raises:
            RootUnavailableError: the folder is away, at the start or at the end: then nothing may be concluded from
                what is missing.
        """
        self.ensure_available()
        unread: list[str] = []
        told, self.left_out = self.left_out, {}
        pending = [""]
        while pending:
            folder = pending.pop()
            try:
                with os.scandir(self.input / folder) as listing:
                    entries = list(listing)
            except OSError as error:
                if not folder:
                    raise _unreadable(self.input, error) from error
                if not isinstance(error, FileNotFoundError):
                    unread.append(folder)
                    self._leave_out(folder, f"cannot be read: {error.strerror}", told)
                continue
            for entry in entries:
                rel = f"{folder}/{entry.name}" if folder else entry.name
                if self.rules.ignores(entry.name, rel):
                    continue
                try:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(rel)
                        continue
                    candidate = self._candidate(entry, rel, told)
                except FileNotFoundError:
                    continue  # gone since it was listed
                except OSError as error:
                    unread.append(rel)
                    self._leave_out(rel, f"cannot be looked at: {error.strerror}", told)
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

    def _look_at_mount(self) -> None:
        """Find out what kind of file system the folder lies on now: a share may have been away until here."""
        if self.reading is not None:
            self.is_network = mount_of(self.input).is_network
            self.is_polled = self.reading.is_polled(is_network=self.is_network)

    def _candidate(self, entry: os.DirEntry[str], rel: str, told: Mapping[str, str]) -> Candidate | None:
        """Return the file as a candidate, or None if it is neither a scan nor a companion."""
        if self.rules.companions.parse(entry.name) is None and not self.rules.allows(entry.name):
            return None
        if entry.is_symlink():
            self._leave_out(rel, "a symbolic link; links are not followed. Put the file itself here", told)
            return None
        try:
            rel.encode()
        except UnicodeEncodeError:
            self._leave_out(rel, "its name is not UTF-8. Rename it", told)
            return None
        candidate = self._candidate_of(rel)
        if candidate is None:
            self._leave_out(rel, "not a regular file", told)
        return candidate

    def _candidate_of(self, rel: str) -> Candidate | None:
        companion = self.rules.companions.parse(PurePosixPath(rel).name)
        # A fresh stat: on network shares the listing's own numbers lag behind.
        status = (self.input / rel).lstat()
        if not stat.S_ISREG(status.st_mode):
            return None
        return Candidate(
            root=self.name,
            rel=rel,
            path=self.input / rel,
            size=status.st_size,
            mtime_ns=status.st_mtime_ns,
            inode=status.st_ino,
            companion=companion,
            is_network=self.is_network,
        )

    def _leave_out(self, rel: str, reason: str, told: Mapping[str, str]) -> None:
        """Note what is not taken; the log hears of it when it is news."""
        self.left_out[rel] = reason
        if told.get(rel) != reason:
            logger.warning("{}: {!a} is left out: {}.", self.name, rel, reason)


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
        raise _unreadable(folder, error) from error


def write_marker(folder: Path, station_id: str) -> None:
    """Put this station's marker into `folder`; one that is there and ours is left alone.

    Raises:
        StationBusyError: another station's marker is there.
        RootUnavailableError: the folder is not there.
    """
    refuse_foreign_marker(folder, station_id)
    if read_marker(folder) is None:
        (folder / MARKER_NAME).write_text(f"{station_id}\n", encoding="utf-8")


def refuse_foreign_marker(folder: Path, station_id: str) -> None:
    """Check that no other station serves `folder`; a folder that is away passes.

    Raises:
        StationBusyError: another station's marker is there.
    """
    try:
        found = read_marker(folder)
    except RootUnavailableError:
        return  # away: looked at again before every use
    if found is not None and found != station_id:
        raise StationBusyError(
            f"{folder}: it belongs to station {found!r}; this is station {station_id!r}. "
            "Two stations must not serve one folder. If station_id was changed, set it back; if the other station is "
            f"gone, type: echo {station_id} > '{folder / MARKER_NAME}'"
        )


def _look_into(folder: Path) -> None:
    """Raise if one may not list `folder`: its marker may be readable all the same."""
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise _unreadable(folder, error) from error


def _device_of(folder: Path) -> int:
    try:
        return folder.stat().st_dev
    except OSError as error:
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: OSError) -> RootUnavailableError:
    is_macos = isinstance(error, PermissionError) and os.uname().sysname == "Darwin"
    hint = " Give Python Full Disk Access in System Settings, Privacy & Security." if is_macos else ""
    return RootUnavailableError(f"{folder}: cannot be read: {error.strerror}.{hint}")
