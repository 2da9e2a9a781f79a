"""Refuse, and write down, every attempt of a Python process to reach another machine; Python runs this at its start.

Audit hooks see what any Python code asks of the socket module, however it got hold of it, and cannot be taken off.
"""

import ipaddress
import os
import sys
import traceback

_LOG = os.environ.get("LEADPP_GUARD_LOG", "")
_ASKED = {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname"}


def _is_here(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode(errors="replace")
    if host in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        return False


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if event not in _ASKED:
        return
    target = arguments[1] if event in ("socket.connect", "socket.sendto", "socket.sendmsg") else arguments[0]
    if isinstance(target, str | bytes) and event == "socket.connect":
        return  # the path of a socket of this machine
    host = target[0] if isinstance(target, tuple) and target else target
    if _is_here(host):
        return
    with open(_LOG, "a", encoding="utf-8") as log:  # noqa: PTH123 - nothing is imported that need not be
        log.write(f"{event} {arguments!r} by {' '.join(sys.argv)}\n{''.join(traceback.format_stack(limit=12))}\n")
    raise OSError(f"no network here: {event} {target!r}")


if _LOG:
    sys.addaudithook(_watch)
