"""Files of libraries' pretrained weights: found on this machine, or fetched."""

import contextlib
import functools
import http.client
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch

from fieldtrial.processes import data_root

CONNECT_SECONDS = 10


def hub_file(
    model: str, url: str, digest: str | None = None, megabytes: float | None = None
) -> Path:
    """Return the file of `url`: at `given_path` or in torch's checkpoint folder, or fetched.

    Args:
        model: name of the model, for the message.
        url: the file's address.
        digest: the first digits of its SHA-256, against which a download is checked.
        megabytes: its size, for the message.

    Raises:
        ValueError: it cannot be fetched; the message names the file, and all places where it may be
            put.
    """
    name = Path(urlparse(url).path).name
    given = given_path(name)
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    for place in (given, path):
        if place.is_file():
            return place
    try:
        _require_answer(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _read_timeout():
            torch.hub.download_url_to_file(url, str(path), digest, progress=False)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        facts = [f"{megabytes:.1f} MB"] if megabytes else []
        facts += [f"with a SHA-256 that starts with {digest}"] if digest else []
        raise ValueError(
            f"weights = 'imagenet': {model} needs {', '.join([name, *facts])}, and fetching {url}"
            f" failed ({error}); put the file at {path} or {given}, or give its path as weights"
            " (random needs no file)"
        ) from None
    return path


def hugging_face_file(model: str, settings: Any) -> Path:
    """Return a timm model's weights file: at `given_path` or in the Hugging Face cache, or fetched.

    `settings` are timm's for the model. Raises ValueError as `hub_file` does.
    """
    from huggingface_hub import constants, hf_hub_download, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    repository = settings.hf_hub_id
    names = (
        [settings.hf_hub_filename]
        if settings.hf_hub_filename
        else ["model.safetensors", "pytorch_model.bin"]
    )
    given = [given_path(repository.rpartition("/")[2], name) for name in names]
    cached = (
        Path(path)
        for name in names
        if isinstance(path := try_to_load_from_cache(repository, name), str)
    )
    for place in (*given, *cached):
        if place.is_file():
            return place
    reason: Exception | str = "HF_HUB_OFFLINE is set"
    for name in [] if constants.HF_HUB_OFFLINE else names:
        try:
            _require_answer(hf_hub_url(repository, name))
            return Path(hf_hub_download(repository, name))
        except (OSError, http.client.HTTPException) as error:
            reason = error
            if not isinstance(error, EntryNotFoundError) or isinstance(
                error, LocalEntryNotFoundError
            ):
                break  # another name helps only where the repository lacks this file
    folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    raise ValueError(
        f"weights = 'imagenet': {model} needs {names[0]} of {repository}, and fetching it failed"
        f" ({reason}); run `hf download {repository} {names[0]}` where there is a network, and copy"
        f" the file to {given[0]} or the folder that it makes to {folder}, or give the file's path"
        " as weights (random needs no file)"
    )


def given_path(*names: str) -> Path:
    """Return where a user may put a library's weights: weights/... in the data root."""
    return data_root().joinpath("weights", *names)


def _require_answer(url: str) -> None:
    """Raise OSError soon where no server answers; the libraries' downloads retry for minutes."""
    parts = urlparse(url)
    if trouble := _connection_error(
        f"{parts.scheme}://{parts.netloc}", int(time.monotonic() // 60)
    ):
        raise OSError(trouble)


@functools.lru_cache(maxsize=8)  # or each of a sweep's dozen models would wait in vain
def _connection_error(server: str, _minute: int) -> str:
    """Return why `server` does not answer in this minute, or an empty text where it does.

    The lookup of a name, and a server with several addresses, may take many times a socket's time
    limit. The thread that waits for them is then left behind.
    """
    trouble = [f"no answer from {server} within {CONNECT_SECONDS} s"]

    def ask() -> None:
        try:
            with urllib.request.urlopen(
                urllib.request.Request(server, method="HEAD"), timeout=CONNECT_SECONDS
            ):
                trouble[0] = ""
        except urllib.error.HTTPError:
            trouble[0] = ""  # an answer all the same; the download handles its meaning
        except (OSError, http.client.HTTPException) as error:
            trouble[0] = str(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    return trouble[0]


@contextlib.contextmanager
def _read_timeout() -> Iterator[None]:
    """End downloads that receive no more data; torch's own download waits for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(CONNECT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
