"""Serving a collection with uvicorn, on a socket that is bound before anything is printed."""

from __future__ import annotations

import socket

import uvicorn
from starlette.types import ASGIApp

from ethosteer.collect.web.guard import LONGEST_BODY
from ethosteer.errors import InputError

BACKLOG = 1024
"""Connections that wait for the server while it is busy."""
KEEP_ALIVE_SECONDS = 75
"""For which a connection is kept that asks for nothing: longer than most pairs take to judge."""
SHUTDOWN_SECONDS = 5
"""For answers that are on their way when the server is stopped."""


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens; InputError where the address cannot be used."""
    listening = None
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)  # who opens the link that is printed next waits, at worst
    except (OSError, UnicodeError) as fault:
        if listening is not None:
            listening.close()
        reason = getattr(fault, "strerror", None) or str(fault)
        raise InputError(
            f"--host {host} --port {port}: {reason}; choose another host or port"
        ) from None
    return listening


def serve(app: ASGIApp, listening: socket.socket) -> None:
    """Answer requests until a signal comes; what is stored is stored at every moment.

    Requests are not logged: addresses of pages carry tokens of invitations.
    """
    config = uvicorn.Config(
        app,
        access_log=False,
        log_level="warning",
        lifespan="off",
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        h11_max_incomplete_event_size=LONGEST_BODY,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        # whose X-Forwarded-For and -Proto are believed: a proxy on this machine
        forwarded_allow_ips="127.0.0.1",
    )
    uvicorn.Server(config).run(sockets=[listening])
