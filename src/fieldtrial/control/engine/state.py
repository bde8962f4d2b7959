"""The engine's state in one file: written atomically, signed, and read back only if this user wrote
it.

A searcher and a scheduler of Ray Tune can only be kept as a pickle, and a pickle is a program. The
signature, with a key that never leaves the user's home, keeps a stranger's sweep folder from
running code here.
"""

import hashlib
import hmac
import os
import pickle
import secrets
from pathlib import Path
from typing import Any

from fieldtrial.disk.files import write_atomically

ADVICE = "Remove the file to search on from the finished trials, which are not repeated."
DIGEST_BYTES = hashlib.sha256().digest_size


class ForeignStateError(ValueError):
    """The state was not written with this user's key, or by another version of this program."""


def save_state(path: Path, state: object) -> None:
    """Write `state` to `path`, signed. Raises OSError where there is no space; the old file then
    still stands.
    """
    content = pickle.dumps(state, protocol=pickle.HIGHEST_PROTOCOL)
    write_atomically(path, hmac.digest(_key(), content, "sha256") + content)


def load_state(path: Path) -> Any | None:
    """Return the state in `path`, or None where there is no file.

    Raises:
        ForeignStateError: somebody else wrote it, or it was changed since.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    signature, content = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
    if not hmac.compare_digest(signature, hmac.digest(_key(), content, "sha256")):
        raise ForeignStateError(
            f"{path}: not written by you (its signature does not fit the key in {_key_path()}), and"
            f" reading it could run a stranger's code. {ADVICE}"
        )
    try:
        return pickle.loads(content)
    except Exception as error:  # of whatever kind: the signature says that the content is whole
        raise ForeignStateError(
            f"{path}: written by another version of this program ({error}). {ADVICE}"
        ) from None


def _key_path() -> Path:
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return home / "fieldtrial" / "key"


def _key() -> bytes:
    """Return this user's key, made at first use; readable by the user alone."""
    path = _key_path()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = path.with_name(f"key.{os.getpid()}")
        temporary.touch(mode=0o600)
        temporary.write_bytes(secrets.token_bytes(32))
        try:
            os.link(temporary, path)  # the first of two drivers wins
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    return path.read_bytes()
