"""On which file system a path is: a hub needs one of this machine, with locks and a sync that mean something.

Over a network `flock` may be granted to two machines, or hang, and a Unix socket is nobody's. Linux tells by its table
of mounts, macOS by psutil. Owns nothing and changes nothing.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Final

import attrs

from crosschat import processes

TABLE: Final = Path("/proc/self/mountinfo")
NETWORK: Final = frozenset(
    {
        "nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "afpfs", "ceph", "lustre", "gfs2", "ocfs2", "gpfs",
        "glusterfs", "beegfs", "webdav", "davfs", "fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone",
        "fuse.davfs", "fuse.ceph", "fuse.gcsfuse",
    }
)  # fmt: skip


@attrs.frozen
class Mount:
    point: str
    kind: str
    read_only: bool

    @property
    def is_network(self) -> bool:
        return self.kind in NETWORK


def mount_of(path: Path, table: Path | None = None) -> Mount | None:
    """The mount that `path` is, or would be, on; None if the platform does not tell."""
    real = os.path.realpath(path)
    best: Mount | None = None
    for mount in _all(TABLE if table is None else table):
        inside = mount.point == "/" or real == mount.point or real.startswith(mount.point + "/")
        if inside and (best is None or len(mount.point) >= len(best.point)):  # a later one covers an earlier one
            best = mount
    return best


def refusal(path: Path) -> str | None:
    """Why a hub does not run on a data directory there, with the remedy; None if nothing is against it."""
    mount = mount_of(path)
    if mount is None or not mount.is_network:
        return None
    return (
        f"The data directory {path} is on a network file system ({mount.kind}, mounted at {mount.point}), where locks "
        "and syncs cannot be relied on. Set CROSSCHAT_HOME to a directory on a disk of this machine."
    )


def _all(table: Path) -> list[Mount]:
    if sys.platform != "linux":
        return _from_psutil()
    try:
        lines = table.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if len(fields) > 5 and len(kind) > 2:
            point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4])
            options = {*fields[5].split(","), *kind[2].split(",")}
            found.append(Mount(point, kind[0], "ro" in options))
    return found


def _from_psutil() -> list[Mount]:
    return [Mount(point, kind, "ro" in options) for point, kind, options in processes.mounted()]
