"""Where libraries' pretrained weights lie; fetching them, and saying what is wanted where that is
impossible.
"""

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

from fieldtrial.training.data.sets.registry import data_root

CONNECT_SECONDS = 10


def hub_file(
    model: str, url: str, digest: str | None = None, megabytes: float | None = None
) -> Path:
    """Return the file of `url`: one of `given_path` or in torch's checkpoint folder, else fetched
    into the latter.

    Args:
        model: whose weights they are, for the message.
        url: where the file is to be had.
        digest: what its SHA-256 starts with; what is fetched is checked.
        megabytes: its size, for the message.

    Raises:
        ValueError: it cannot be fetched; the message says what is wanted, and all places where it
        may be put.
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
        with _giving_up():
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
    """Return the weights file of a timm model: one of `given_path` or in the Hugging Face cache,
    else fetched there.

    `settings` are timm's of the model. Raises ValueError as `hub_file` does.
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
                break  # only where the repository has no such file is the next name of use
    folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    raise ValueError(
        f"weights = 'imagenet': {model} needs {names[0]} of {repository}, and fetching it failed"
        f" ({reason}); run `hf download {repository} {names[0]}` where there is a network, and copy"
        f" the file to {given[0]} or the folder that it makes to {folder}, or give the file's path"
        " as weights (random needs no file)"
    )


def given_path(*names: str) -> Path:
    """Return where a user may put a library's weights beside the data sets: weights/... in the data
    root.
    """
    return data_root().joinpath("weights", *names)


def _require_answer(url: str) -> None:
    """Raise OSError soon where nobody answers: the libraries' own downloads wait and try again for
    minutes.
    """
    parts = urlparse(url)
    if trouble := _trouble(f"{parts.scheme}://{parts.netloc}", int(time.monotonic() // 60)):
        raise OSError(trouble)


@functools.lru_cache(maxsize=8)  # a sweep asks for a dozen models: each would wait in vain
def _trouble(server: str, _minute: int) -> str:
    """Return why `server` does not answer in this minute, or nothing where it does.

    Names that are looked up in vain, and servers with several addresses, take many times a socket's
    time limit: the thread that waits for them is left behind.
    """
    trouble = [f"no answer from {server} within {CONNECT_SECONDS} s"]

    def ask() -> None:
        try:
            with urllib.request.urlopen(
                urllib.request.Request(server, method="HEAD"), timeout=CONNECT_SECONDS
            ):
                trouble[0] = ""
        except urllib.error.HTTPError:
            trouble[0] = ""  # an answer; what it means is for the download to find out
        except (OSError, http.client.HTTPException) as error:
            trouble[0] = str(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    return trouble[0]


@contextlib.contextmanager
def _giving_up() -> Iterator[None]:
    """Have downloads end that get no more data: torch's own waits for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(CONNECT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
