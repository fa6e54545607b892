import pytest

from ethosteer.collect.web.address import Address, is_loopback, is_unspecified
from ethosteer.errors import InputError


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://judge.example.org", "https://judge.example.org"),
        ("https://judge.example.org:443/", "https://judge.example.org"),
        ("http://192.168.1.5:8765", "http://192.168.1.5:8765"),
        ("http://[fe80::1]:80", "http://[fe80::1]"),
        ("HTTPS://Judge.Example.org:8443", "https://judge.example.org:8443"),
    ],
)
def test_an_address_is_written_as_browsers_write_an_origin(text: str, origin: str):
    address = Address.parse(text)
    assert address.origin == origin
    assert address.is_encrypted == origin.startswith("https")


@pytest.mark.parametrize(
    "text",
    [
        "judge.example.org", "ftp://judge.example.org", "https://", "https://a.org/study",
        "https://a.org/?x", "https://me@a.org", "http://a.org:x", "http://a.org:99999", "http://[",
    ],
)  # fmt: skip
def test_what_is_no_address_is_one_line(text: str):
    with pytest.raises(InputError, match="--address"):
        Address.parse(text)


def test_hosts_that_only_this_machine_reaches():
    assert all(map(is_loopback, ["127.0.0.1", "127.8.0.1", "localhost", "::1", "[::1]"]))
    assert not any(map(is_loopback, ["0.0.0.0", "192.168.1.5", "judge.example.org", "::"]))
    assert all(map(is_unspecified, ["0.0.0.0", "::", "[::]"]))
    assert not any(map(is_unspecified, ["127.0.0.1", "localhost", "::1"]))
