"""Proof that the connections between the processes of a trial are theirs.

gloo's sockets have no password: a process is connected to whoever comes first and says a small
number. So every process asks every other one, through the connection itself, for a proof that only
who knows the meeting's secret can give. Who sits in the middle would have to be connected to both
sides, and one of the two connects to an address that it has from the store.
"""

import hmac
import secrets
from datetime import timedelta
from typing import Any

import torch

from fieldtrial.training.distributed.shared_store import DIGEST, NONCE, RANK, prove

TAG = 0


class NotAPeer(RuntimeError):  # noqa: N818 (it is one: a process that is none of the trial's)
    """Something else than a process of this trial is at the other end of a connection."""


def require_peers(group: Any, secret: bytes, rank: int, size: int, limit: timedelta) -> None:
    """Return once each other process of a gloo group has proved that it knows the secret.

    Raises:
        NotAPeer: one has not, within `limit`.
    """
    others = [other for other in range(size) if other != rank]
    asked = {other: secrets.token_bytes(NONCE) for other in others}
    questions = _exchange(group, asked, NONCE, limit)
    mine = {
        other: prove(secret, b"pair", questions[other], RANK.pack(rank), RANK.pack(other))
        for other in others
    }
    for other, proof in _exchange(group, mine, DIGEST, limit).items():
        wanted = prove(secret, b"pair", asked[other], RANK.pack(other), RANK.pack(rank))
        if not hmac.compare_digest(proof, wanted):
            raise _not_a_peer(other)


def _exchange(
    group: Any, messages: dict[int, bytes], length: int, limit: timedelta
) -> dict[int, bytes]:
    """Send each process its message; return, by process, what came from it: `length` bytes."""
    boxes = {other: torch.empty(length, dtype=torch.uint8) for other in messages}
    tensors = {
        other: torch.frombuffer(bytearray(message), dtype=torch.uint8)
        for other, message in messages.items()
    }
    sent = {other: group.send([tensor], other, TAG) for other, tensor in tensors.items()}
    received = {other: group.recv([box], other, TAG) for other, box in boxes.items()}
    for works in (received, sent):
        for other, work in works.items():
            try:
                work.wait(limit)
            except RuntimeError as error:  # it says nothing, something else, or is gone
                raise _not_a_peer(other) from error
    return {other: box.numpy().tobytes() for other, box in boxes.items()}


def _not_a_peer(rank: int) -> NotAPeer:
    return NotAPeer(
        f"what is connected as rank {rank} does not know this trial's secret: another user's"
        " process may have come first; the processes meet again when the trial is tried again"
    )
