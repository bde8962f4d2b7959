"""The engine's state in one signed file, which is replaced atomically.

Ray Tune's searchers and schedulers can only be saved as a pickle, and loading a pickle can run
code. The signature's key stays in the user's home. So a sweep folder from somebody else cannot run
code here.
"""

import hashlib
import hmac
import os
import pickle
import re
import secrets
from pathlib import Path
from typing import Any

from fieldtrial.disk.files import write_atomically

VERSION = 4  # raise it with every change of a class that is pickled
HEADER = re.compile(rb"fieldtrial engine state (\d+)\n")
ADVICE = "Or remove the file to continue from the finished trials, which are not repeated."
DIGEST_BYTES = hashlib.sha256().digest_size


class ForeignStateError(ValueError):
    """The state was not written with this user's key, or by another version of this program."""


def save_state(path: Path, state: object) -> None:
    """Write `state` to `path`, signed. Raises OSError if it cannot; the old file is then kept."""
    header = b"fieldtrial engine state %d\n" % VERSION
    content = header + pickle.dumps(state, protocol=pickle.HIGHEST_PROTOCOL)
    write_atomically(path, hmac.digest(_key(), content, "sha256") + content)


def load_state(path: Path) -> Any | None:
    """Return the state in `path`, or None if there is no file.

    Raises:
        ForeignStateError: another user wrote it, it was changed, or its version is another.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    signature, content = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
    if not hmac.compare_digest(signature, hmac.digest(_key(), content, "sha256")):
        raise ForeignStateError(
            f"{path}: not written by you: its signature does not match the key in {_key_path()},"
            " and reading it could run somebody else's code. Let its owner continue the sweep."
            f" {ADVICE}"
        )
    found = HEADER.match(content)
    version = int(found[1]) if found else 0
    try:
        if not found or version != VERSION:
            raise ValueError(f"its format is {version}, and that of this version is {VERSION}")
        return pickle.loads(content[found.end() :])
    except Exception as error:  # of any kind: the signature proves that the content is complete
        age = "a newer" if version > VERSION else "an older"
        raise ForeignStateError(
            f"{path}: written by {age} version of Fieldtrial ({error}); use that version to"
            f" continue the sweep with it. {ADVICE}"
        ) from None


def _key_path() -> Path:
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return home / "fieldtrial" / "key"


def _key() -> bytes:
    """Return this user's key, created at the first use and readable by the user alone."""
    path = _key_path()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = path.with_name(f"key.{os.getpid()}")
        temporary.touch(mode=0o600)
        temporary.write_bytes(secrets.token_bytes(32))
        try:
            os.link(temporary, path)  # of two drivers, the first one's key stays
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    return path.read_bytes()
