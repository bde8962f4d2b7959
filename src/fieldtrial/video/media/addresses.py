"""Addresses of streams."""

import re
from urllib.parse import unquote, urlsplit, urlunsplit

# The protocols that a stream may use, by how its address begins: a playlist names other addresses.
WEB = "http,https,httpproxy,tcp,tls,crypto"
PROTOCOLS = {
    "rtsp": "rtsp,rtp,rtcp,udp,tcp,tls,crypto",
    "rtsps": "rtsp,rtsps,rtp,rtcp,udp,tcp,tls,crypto",
    "http": WEB,
    "https": WEB,
    "rtmp": "rtmp,tcp",
    "tcp": "tcp",
    "udp": "udp",
}
SECRET = re.compile("pass|pwd|token|key|auth|secret|signature", re.IGNORECASE)
FIELD = re.compile("([^&;=]*)=([^&;]*)")


def is_stream(given: str) -> bool:
    """Return whether this is the address of a stream that can be read."""
    return given.partition("://")[0].lower() in PROTOCOLS and "://" in given


def without_password(url: str) -> str:
    """Return an address as it may be shown: without a password, and without what looks like one."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # not a number in a:b/c@host, whose password has a / that must be %2F
    except ValueError:  # no address at all
        return url.partition("://")[0] + "://…"
    user, at, host = parts.netloc.rpartition("@")
    name = user.partition(":")
    shown = f"{name[0]}:…{at}{host}" if name[1] else parts.netloc
    rest = (FIELD.sub(_shown, part) for part in (parts.query, parts.fragment))
    return urlunsplit((parts.scheme, shown, parts.path, *rest))


def _shown(field: re.Match[str]) -> str:
    return f"{field[1]}=…" if SECRET.search(unquote(field[1])) else field[0]
