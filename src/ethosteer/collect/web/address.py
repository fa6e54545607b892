"""The address by which annotators reach a collection."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from ethosteer.errors import InputError

_STANDARD_PORTS = {"http": 80, "https": 443}


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine itself, which no other machine can reach."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_unspecified(host: str) -> bool:
    """Return whether a host stands for all addresses of the machine, as 0.0.0.0 does."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Address:
    """A scheme, a host name and a port, such as ``https://judge.example.org``."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address; InputError unless it is http or https, a host and perhaps a port."""
        try:
            split = urlsplit(text)
            port = split.port
        except ValueError:
            raise InputError(f"--address {text}: is no web address") from None
        rest = split.path.strip("/") or split.query or split.fragment or split.username
        if split.scheme not in _STANDARD_PORTS or not split.hostname or rest:
            raise InputError(
                f"--address {text}: give http or https and a host, such as "
                "https://judge.example.org; a path is not supported"
            )
        return cls(split.scheme, split.hostname, port or _STANDARD_PORTS[split.scheme])

    @property
    def is_encrypted(self) -> bool:
        """Whether browsers reach it by https."""
        return self.scheme == "https"

    @property
    def origin(self) -> str:
        """The address as browsers write it: without a standard port, IPv6 in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        is_standard = self.port == _STANDARD_PORTS[self.scheme]
        return f"{self.scheme}://{host}" + ("" if is_standard else f":{self.port}")
