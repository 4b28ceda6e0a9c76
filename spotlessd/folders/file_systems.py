"""What kind of file system a folder lies on: local, where events can be trusted, or network, where they cannot.

Linux: the longest mount point in /proc/self/mountinfo that holds the folder. macOS: the output of `mount`. An unknown
kind counts as local: the regular full look at the folder then finds what events miss.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

NETWORK_KINDS = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb2",
        "smb3",
        "smbfs",
        "afpfs",
        "webdav",
        "davfs",
        "9p",
        "virtiofs",
        "drvfs",
        "vboxsf",
        "vmhgfs",
        "prl_fs",
        "ncpfs",
        "afs",
        "ceph",
        "lustre",
        "glusterfs",
        "beegfs",
        "gpfs",
        "macfuse",
        "osxfuse",
    }
)
HOST_KINDS = ("9p", "virtiofs", "drvfs", "vboxsf", "vmhgfs", "prl_fs", "fuse.vmhgfs")
"""Of these the ones by which a virtual machine sees its host's disk: beside the machine, not across a network."""
REMOTE_FUSE = (
    "fuse.sshfs",
    "fuse.rclone",
    "fuse.glusterfs",
    "fuse.s3fs",
    "fuse.davfs",
    "fuse.smbnetfs",
    "fuse.vmhgfs",
    "fuse.gvfsd",
    "fuse.kio",
    "fuse.ceph",
    "fuse.juicefs",
    "fuse.gcsfuse",
)
MOUNTINFO = Path("/proc/self/mountinfo")
OCTAL_ESCAPE = re.compile(r"\\([0-7]{3})")
MACOS_MOUNT = re.compile(r"^.* on (?P<point>/.*) \((?P<kind>[A-Za-z0-9_]+)[,)]")


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted file system: where, and of which kind ("ext4", "cifs" …)."""

    point: Path
    kind: str

    @property
    def is_network(self) -> bool:
        """Whether other machines write to it, so that local events tell only half."""
        return self.kind in NETWORK_KINDS or self.kind.startswith(REMOTE_FUSE)

    @property
    def is_remote(self) -> bool:
        """Whether another machine keeps it, across a network."""
        return self.is_network and not self.kind.startswith(HOST_KINDS)


def mount_of(folder: Path, mounts: list[Mount] | None = None) -> Mount:
    """Return the mount that holds `folder`; its nearest existing parent counts if it is not there."""
    resolved = Path(os.path.realpath(folder))
    best = Mount(Path("/"), "unknown")
    for mount in read_mounts() if mounts is None else mounts:
        # Of two mounts on one point the later covers the earlier.
        if resolved.is_relative_to(mount.point) and len(mount.point.parts) >= len(best.point.parts):
            best = mount
    return best


def read_mounts() -> list[Mount]:
    """Return every mount of this machine in the order they were mounted; empty if it cannot be told."""
    try:
        if sys.platform == "darwin":
            listing = subprocess.run(["/sbin/mount"], capture_output=True, text=True, timeout=10, check=False).stdout
            return parse_macos_mounts(listing)
        return parse_mountinfo(MOUNTINFO.read_text(encoding="utf-8", errors="surrogateescape"))
    except (OSError, subprocess.TimeoutExpired):
        return []


def parse_mountinfo(text: str) -> list[Mount]:
    """Read /proc/self/mountinfo: field 5 is the mount point, the field after the lone dash the kind (proc(5))."""
    mounts = []
    for line in text.splitlines():
        left, dash, right = line.partition(" - ")
        fields = left.split(" ")
        if dash and len(fields) > 4:
            point = OCTAL_ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields[4])
            mounts.append(Mount(Path(point), right.split(" ")[0]))
    return mounts


def parse_macos_mounts(text: str) -> list[Mount]:
    """Read lines like `//me@nas/scans on /Volumes/scans (smbfs, nodev)`."""
    found = (MACOS_MOUNT.match(line) for line in text.splitlines())
    return [Mount(Path(match["point"]), match["kind"]) for match in found if match]
