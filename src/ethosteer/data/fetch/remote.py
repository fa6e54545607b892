"""Where one published file comes from, and in what form it is there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Remote:
    """A published file's address, and how the file that is kept is made from what is there.

    ``path`` is its path in a data folder, ``home`` its web page. It is on the hub, in the dataset
    ``repository`` at ``revision`` under ``hub_path``, or else at ``address`` (HTTPS), which
    names the commit where there is one. ``sha256`` is that of the bytes at ``address``; "" where it
    is not known to us, so that only the manifest of an earlier fetch can tell whether they changed.
    ``member`` is the file's name in a tar archive; ``conversion`` is a key of ``CONVERSIONS``.
    """

    path: str
    home: str
    licence: str
    repository: str = ""
    revision: str = ""
    hub_path: str = ""
    address: str = ""
    sha256: str = ""
    member: str = ""
    conversion: str = ""

    @property
    def exists(self) -> bool:
        """Whether there is an address to fetch it from."""
        return bool(self.repository or self.address)

    @property
    def pin(self) -> str:
        """What fixes its content: a commit of the hub, or a sha256; "" where neither is known."""
        if self.repository:
            return self.revision
        return f"sha256:{self.sha256[:16]}" if self.sha256 else ""

    @property
    def is_kept_as_it_is(self) -> bool:
        """Whether the file that is kept has the bytes of the one that is fetched."""
        return not self.member and not self.conversion

    @property
    def location(self) -> str:
        """The address, as a person can open it; that of the hub's site, whatever HF_ENDPOINT is."""
        if not self.repository:
            return self.address
        return f"{hub_page(self.repository)}/resolve/{self.revision or 'main'}/{self.hub_path}"

    @property
    def form(self) -> str:
        """What is done to the fetched file: "" or, say, ``converted (wsc273)``."""
        if self.conversion:
            return f"converted ({self.conversion})"
        return f"extracted ({self.member})" if self.member else ""


def hub_page(repository: str) -> str:
    """Return the web page of a dataset of the hub."""
    return f"https://huggingface.co/datasets/{repository}"
