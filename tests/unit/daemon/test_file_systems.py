"""Where events can be trusted."""

from pathlib import Path

import pytest

from spotlessd.folders.file_systems import Mount, mount_of, parse_macos_mounts, parse_mountinfo, read_mounts

MOUNTINFO = r"""
24 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw
90 24 0:44 / /srv/nas rw,relatime shared:50 - cifs //nas/scans rw,vers=3.1.1
91 24 0:45 / /srv/film\040scans rw - nfs4 nas:/film rw
92 90 0:46 / /srv/nas/local rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("folder", "kind", "is_network"),
    [
        ("/home/me/scans", "ext4", False),
        ("/srv/nas/roll1", "cifs", True),
        ("/srv/film scans", "nfs4", True),
        ("/srv/nas/local/x", "tmpfs", False),
        ("/srv/nas2", "ext4", False),
    ],
)
def test_the_nearest_mount_above_a_folder_counts(folder: str, kind: str, is_network: bool) -> None:
    mount = mount_of(Path(folder), parse_mountinfo(MOUNTINFO))

    assert (mount.kind, mount.is_network) == (kind, is_network)


def test_a_later_mount_covers_an_earlier_one_on_the_same_point() -> None:
    mounts = [Mount(Path("/srv"), "ext4"), Mount(Path("/srv"), "nfs4")]

    assert mount_of(Path("/srv/x"), mounts).kind == "nfs4"


def test_macos_mounts_are_read() -> None:
    text = "/dev/disk3s1 on / (apfs, sealed, local)\n//me@nas/scans on /Volumes/my scans (smbfs, nodev)\n"

    assert parse_macos_mounts(text) == [Mount(Path("/"), "apfs"), Mount(Path("/Volumes/my scans"), "smbfs")]


@pytest.mark.parametrize("kind", ["fuse.sshfs", "9p", "virtiofs", "drvfs", "smb3"])
def test_shares_of_other_machines_are_network(kind: str) -> None:
    assert Mount(Path("/x"), kind).is_network


def test_this_machines_mounts_can_be_read(tmp_path: Path) -> None:
    assert read_mounts()
    assert tmp_path.resolve().is_relative_to(mount_of(tmp_path).point)
