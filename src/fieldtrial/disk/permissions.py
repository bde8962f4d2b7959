"""Who else can write to a folder from which jobs are started."""

import contextlib
import grp
import os
import pwd
import stat
from pathlib import Path

from fieldtrial.config import ConfigError
from fieldtrial.disk.inside import Inside

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def require_own(folder: Path | Inside, tighten: bool = False) -> None:
    """Raise ConfigError unless a folder is this user's, and only this user can write to it.

    A group that only this user is in, as many systems give each user, may write, too; but not
    where an access control list names others, of which the group's bits then tell the most.

    tighten: take the right to write away from others, if the folder is this user's.
    """
    inside = folder if isinstance(folder, Inside) else Inside(folder)
    with inside.entered() as handle:
        known = os.fstat(handle)
        if tighten and known.st_uid == os.geteuid():
            os.fchmod(handle, known.st_mode & ~OTHERS_WRITE & 0o7777)
            known = os.fstat(handle)
        has_list = _has_access_list(handle)
    mode, problems = stat.S_IMODE(known.st_mode), []
    if known.st_uid != os.geteuid():
        problems.append("belongs to another user, who could have jobs run any code as you")
    elif mode & stat.S_IWOTH or (
        mode & stat.S_IWGRP and (has_list or not _is_private(known.st_gid))
    ):
        problems.append(f"others can write to it (mode {mode:04o}), and so to the files of jobs")
    if problems:
        advice = "it must be your own, and nobody else must be able to write to it: chmod go-w"
        raise ConfigError([f"{problem}; {advice}" for problem in problems], str(inside))


def _has_access_list(handle: int) -> bool:
    try:
        os.getxattr(handle, "system.posix_acl_access")
    except OSError:  # it has none, or the file system has no such lists
        return False
    return True


def _is_private(group: int) -> bool:
    """Return whether a group is the one that a system has made for this user alone."""
    with contextlib.suppress(KeyError):
        user, known = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
        others = set(known.gr_mem) - {user.pw_name}
        return user.pw_gid == group and known.gr_name == user.pw_name and not others
    return False
