"""Plain HTTP: whole, resumed, refused."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from ethosteer.data.fetch import http
from ethosteer.errors import InputError
from tests.data.fetch.server import Answer, Server

BODY = bytes(range(256)) * 2000
HASH = sha256(BODY).hexdigest()


def fetch(address: str, target: Path, sha256: str = HASH) -> list[tuple[int, int | None]]:
    reports: list[tuple[int, int | None]] = []
    http.download(address, target, sha256, lambda done, total: reports.append((done, total)))
    return reports


def test_a_file_appears_whole_and_its_bytes_are_reported(server: Server, tmp_path: Path):
    target = tmp_path / "data" / "rows.bin"
    reports = fetch(server.file("/rows.bin", BODY), target)
    assert target.read_bytes() == BODY
    assert [path.name for path in target.parent.iterdir()] == ["rows.bin"]
    assert reports[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)


def test_a_broken_connection_is_continued_where_it_broke(server: Server, tmp_path: Path):
    address = server.file("/rows.bin", BODY, cuts=[100_000, 50_000])
    fetch(address, tmp_path / "rows.bin")
    assert (tmp_path / "rows.bin").read_bytes() == BODY
    assert server.bodies() == [
        ("/rows.bin", ""),
        ("/rows.bin", "bytes=100000-"),
        ("/rows.bin", "bytes=150000-"),
    ]


def test_a_later_fetch_continues_what_an_earlier_one_left(server: Server, tmp_path: Path):
    address = server.file("/rows.bin", BODY, cuts=[100_000, 0, 0, 0])
    with pytest.raises(http.OutOfReachError, match=r"rows.bin: failed in 4 attempts: .*100,000 of"):
        fetch(address, tmp_path / "rows.bin")
    assert not (tmp_path / "rows.bin").exists()
    server.requests.clear()
    fetch(address, tmp_path / "rows.bin")
    assert (tmp_path / "rows.bin").read_bytes() == BODY
    assert server.bodies() == [("/rows.bin", "bytes=100000-")]


def test_a_file_that_has_changed_meanwhile_is_fetched_from_its_start(
    server: Server, tmp_path: Path
):
    address = server.file("/rows.bin", bytes(len(BODY)), cuts=[100_000, 0, 0, 0])
    with pytest.raises(http.OutOfReachError):
        fetch(address, tmp_path / "rows.bin", "")
    server.file("/rows.bin", BODY)
    fetch(address, tmp_path / "rows.bin", "")
    assert (tmp_path / "rows.bin").read_bytes() == BODY


def test_a_server_without_ranges_sends_the_file_anew(server: Server, tmp_path: Path):
    address = server.file("/rows.bin", BODY, cuts=[100_000], ranges=False)
    fetch(address, tmp_path / "rows.bin")
    assert (tmp_path / "rows.bin").read_bytes() == BODY


def test_a_partial_file_that_nothing_identifies_is_not_continued(server: Server, tmp_path: Path):
    server.answers["/rows.bin"] = Answer(BODY, cuts=[100_000])
    fetch(server.url + "/rows.bin", tmp_path / "rows.bin")
    assert (tmp_path / "rows.bin").read_bytes() == BODY
    assert server.bodies() == [("/rows.bin", ""), ("/rows.bin", "")]


def test_a_partial_file_of_another_address_is_not_continued(server: Server, tmp_path: Path):
    with pytest.raises(http.OutOfReachError):
        fetch(server.file("/old.bin", BODY, cuts=[90_000, 0, 0, 0]), tmp_path / "rows.bin")
    fetch(server.file("/new.bin", BODY), tmp_path / "rows.bin")
    assert server.bodies()[-1] == ("/new.bin", "")


def test_a_partial_file_longer_than_the_file_is_fetched_anew(server: Server, tmp_path: Path):
    address = server.file("/rows.bin", BODY, cuts=[100_000, 0, 0, 0])
    with pytest.raises(http.OutOfReachError):
        fetch(address, tmp_path / "rows.bin")
    server.answers["/rows.bin"].statuses = [416]
    fetch(address, tmp_path / "rows.bin")
    assert (tmp_path / "rows.bin").read_bytes() == BODY


def test_a_wrong_hash_is_refused_and_nothing_is_left(server: Server, tmp_path: Path):
    address = server.file("/rows.bin", b"another file")
    with pytest.raises(
        InputError, match=rf"{address}: has sha256 .* where {HASH[:12]}… is expected"
    ):
        fetch(address, tmp_path / "rows.bin")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/html; charset=utf-8", BODY),
        ("application/octet-stream", b"\n <!DOCTYPE html><html><body>Log in</body></html>"),
        ("text/csv", b"<HTML><body>Log in</body></html>"),
    ],
)
def test_a_web_page_in_place_of_data_is_refused(
    content_type: str, body: bytes, server: Server, tmp_path: Path
):
    server.answers["/rows.csv"] = Answer(body, headers={"Content-Type": content_type})
    with pytest.raises(InputError, match="a web page where data is expected"):
        fetch(server.url + "/rows.csv", tmp_path / "rows.csv", "")
    assert not (tmp_path / "rows.csv").exists()


def test_a_file_that_is_not_there_is_asked_for_once(server: Server, tmp_path: Path):
    with pytest.raises(InputError, match=r"/rows.csv: the server answers 404"):
        fetch(server.url + "/rows.csv", tmp_path / "rows.csv")
    assert len(server.requests) == 1


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path):
    address = server.file("/rows.bin", BODY, statuses=[503, 429])
    fetch(address, tmp_path / "rows.bin")
    assert len(server.requests) == 3


def test_no_server_at_all_is_one_line_after_a_few_attempts(server: Server, tmp_path: Path):
    with pytest.raises(http.OutOfReachError) as caught:
        fetch("http://127.0.0.1:9/rows.bin", tmp_path / "rows.bin")
    assert caught.value.server == "127.0.0.1:9"
    assert "failed in 4 attempts" in str(caught.value)


@pytest.mark.parametrize(
    "address",
    ["http://example.org/x", "ftp://127.0.0.1/x", "file:///etc/passwd", "http://10.0.0.1/"],
)
def test_only_https_is_fetched_from_elsewhere(address: str, server: Server, tmp_path: Path):
    with pytest.raises(InputError, match="only https addresses"):
        fetch(address, tmp_path / "x")
    server.answers["/moved"] = Answer(status=302, headers={"Location": address})
    with pytest.raises(InputError):
        fetch(server.url + "/moved", tmp_path / "x")
    with pytest.raises(InputError):
        http.size_of(server.url + "/moved")
    assert not (tmp_path / "x").exists()


def test_a_redirect_on_loopback_is_followed_and_names_no_file(server: Server, tmp_path: Path):
    server.file("/store/..%2f..%2fevil", BODY)
    server.answers["/moved"] = Answer(
        status=302, headers={"Location": server.url + "/store/..%2f..%2fevil"}
    )
    fetch(server.url + "/moved", tmp_path / "rows.bin")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.bin"]


def test_more_than_the_largest_size_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    address = server.file("/rows.bin", BODY)
    monkeypatch.setattr(http, "LARGEST", len(BODY) - 1)
    with pytest.raises(InputError, match="more than"):
        fetch(address, tmp_path / "rows.bin")
    monkeypatch.setattr(http, "LARGEST", len(BODY))
    fetch(address, tmp_path / "rows.bin")


def test_the_size_is_asked_without_a_download(server: Server):
    assert http.size_of(server.file("/rows.bin", BODY)) == len(BODY)
    assert server.bodies() == []
    with pytest.raises(InputError, match="404"):
        http.size_of(server.url + "/nothing")
