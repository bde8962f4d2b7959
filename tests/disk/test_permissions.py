"""Who else can write to a folder."""

import os
import struct
from pathlib import Path

import pytest

from fieldtrial.config import ConfigError
from fieldtrial.disk.permissions import require_own

# Linux, include/uapi/linux/posix_acl_xattr.h: a version, then tag, permissions and id of each.
OWNER, NAMED, GROUP, MASK, OTHER, NOBODY = 0x01, 0x02, 0x04, 0x10, 0x20, 0xFFFFFFFF
ENTRIES = [
    (OWNER, 7, NOBODY),
    (NAMED, 7, 65534),
    (GROUP, 5, NOBODY),
    (MASK, 7, NOBODY),
    (OTHER, 5, NOBODY),
]


def test_a_list_that_names_another_user_is_seen(tmp_path: Path) -> None:
    tmp_path.chmod(0o775)
    os.chown(tmp_path, -1, os.getgid())
    try:
        require_own(tmp_path)
    except ConfigError:
        pytest.skip("this user has no group of its own")
    entries = b"".join(struct.pack("<HHI", *entry) for entry in ENTRIES)
    try:
        os.setxattr(tmp_path, "system.posix_acl_access", struct.pack("<I", 2) + entries)
    except OSError as error:
        pytest.skip(f"the file system has no access control lists: {error}")
    assert tmp_path.stat().st_mode & 0o777 == 0o775, "the bits show the list's mask"
    with pytest.raises(ConfigError, match="others can write to it"):
        require_own(tmp_path)
    require_own(tmp_path, tighten=True)
    require_own(tmp_path)
