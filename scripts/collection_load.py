"""Measure the server of a collection with many simulated annotators at once, and kill it meanwhile.

    python scripts/collection_load.py --annotators 200 --kills 20
    python scripts/collection_load.py --database postgresql+psycopg://user@localhost/empty

Three phases over HTTP: annotators who judge every few seconds (latency), annotators who judge
without a pause (judgements a second), and annotators who go on while the server is killed by
SIGKILL and started again. Afterwards the database is compared with what was sent: a judgement that
the server acknowledged must be there once, as it was meant; any other is lost or doubled.

The exit status is 1 where one is lost, doubled or changed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from urllib.parse import urlencode

import numpy as np

from ethosteer.collect.records import Answer, CollectionSettings, Judgement, Pair
from ethosteer.collect.store import Store
from ethosteer.collect.web.address import Address
from ethosteer.collect.web.app import create_app
from ethosteer.collect.web.server import bind, serve
from ethosteer.collect.web.sessions import Cookies
from ethosteer.collect.web.visit import Site

ATTEMPT_SECONDS = 30.0
RETRY_SECONDS = 0.2
LONGEST_START = 60.0
SERVED_SECONDS = (0.5, 2.5)
"""For how long a server lives before it is killed."""
FAULTS = ("lost", "doubled", "judged_twice_by_one_annotator", "changed")
WORDS = "words of an answer of ordinary length that somebody reads "


@dataclass
class Response:
    """What a server answered."""

    status: int
    headers: dict[str, str]
    text: str


@dataclass
class Connection:
    """A connection that is kept open, with the cookies of one browser."""

    port: int
    cookies: dict[str, str] = field(default_factory=dict)
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self, method: str, path: str, form: dict[str, str] | None = None) -> Response:
        """Send one request; OSError or EOFError where the server is gone."""
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.streams
        body = urlencode(form or {}).encode()
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", f"Cookie: {cookies}"]
        if form is not None:
            lines += [
                f"Origin: http://127.0.0.1:{self.port}",
                "Content-Type: application/x-www-form-urlencoded",
                f"Content-Length: {len(body)}",
            ]
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                writer.write("\r\n".join([*lines, "", ""]).encode() + body)
                await writer.drain()
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                status, *fields = head.strip().split("\r\n")
                headers: dict[str, str] = {}
                for line in fields:
                    name, _, value = line.partition(": ")
                    headers[name.lower()] = value
                    if name.lower() == "set-cookie":
                        cookie, _, token = value.partition(";")[0].partition("=")
                        self.cookies[cookie] = token
                text = (await reader.readexactly(int(headers["content-length"]))).decode()
        except (OSError, EOFError):
            self.close()
            raise
        if headers.get("connection") == "close":
            self.close()
        return Response(int(status.split()[1]), headers, text)

    def close(self) -> None:
        """Forget the connection; the next request opens another."""
        if self.streams is not None:
            self.streams[1].close()
        self.streams = None


@dataclass
class Measurements:
    """What all annotators of a phase measured and sent."""

    judging: list[float] = field(default_factory=list)
    showing: list[float] = field(default_factory=list)
    failures: int = 0
    sent: dict[str, int] = field(default_factory=dict)
    """The preference for the pair's first answer by assignment, once acknowledged."""


class SimulatedAnnotator:
    """A browser without script that judges at random, and repeats a form until it is answered."""

    def __init__(self, port: int, seed: int, measurements: Measurements) -> None:
        self.connection = Connection(port)
        self.rng = random.Random(seed)
        self.measurements = measurements

    async def until_answered(
        self, method: str, path: str, form: dict[str, str] | None, times: list[float] | None = None
    ) -> Response:
        """Repeat a request until the server answers it; note how long the last attempt took."""
        while True:
            begun = time.perf_counter()
            try:
                response = await self.connection.request(method, path, form)
            except (OSError, EOFError):
                self.measurements.failures += 1
                await asyncio.sleep(RETRY_SECONDS * (1 + self.rng.random()))
                continue
            if response.status in {429, 503}:
                await asyncio.sleep(float(response.headers.get("retry-after", 1)))
                continue
            if times is not None:
                times.append(time.perf_counter() - begun)
            return response

    async def join(self, invitation: str) -> None:
        """Use an invitation."""
        page = await self.until_answered("GET", f"/join/{invitation}", None)
        form = {**hidden_fields(page.text, "/join"), "name": f"simulated {self.rng.random():.6f}"}
        response = await self.until_answered("POST", "/join", form)
        assert response.status == 303, response.text

    async def judge(self, is_over: Callable[[], bool], think: float) -> None:
        """Judge pairs until the phase is over, with pauses of ``think`` seconds on average."""
        await asyncio.sleep(2 * think * self.rng.random())
        while not is_over():
            page = await self.until_answered("GET", "/judge", None, self.measurements.showing)
            assert page.status == 200, page.text
            if "All done" in page.text:
                raise SystemExit("too few pairs: annotators had nothing left to judge")
            await asyncio.sleep(2 * think * self.rng.random())
            form = hidden_fields(page.text, "/judge")
            choice = self.rng.randint(-2, 2)
            form |= {"choice": str(choice), "seconds": "1.0"}
            response = await self.until_answered("POST", "/judge", form, self.measurements.judging)
            assert response.status == 303, response.text
            first_is_a = page.text.index("first answer") < page.text.index("second answer")
            assert form["assignment"] not in self.measurements.sent
            self.measurements.sent[form["assignment"]] = choice if first_is_a else -choice


def hidden_fields(html: str, action: str) -> dict[str, str]:
    form = re.search(rf'<form method="post" action="{action}".*?</form>', html, re.DOTALL)
    assert form, html
    inputs = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form[0])
    return {name: unescape(value) for name, value in inputs}


class Server:
    """The server as a process of its own, which may be killed."""

    def __init__(self, url: str, port: int) -> None:
        self.command = [sys.executable, __file__, "--serve", "--database", url, "--port", str(port)]
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it and wait until it answers."""
        self.process = subprocess.Popen(self.command)
        end = time.monotonic() + LONGEST_START
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise SystemExit(f"the server ended with status {self.process.returncode}")
            try:
                connection = Connection(self.port)
                await connection.request("GET", "/")
            except OSError:
                await asyncio.sleep(0.05)
            else:
                connection.close()
                return
        raise SystemExit(f"the server did not answer within {LONGEST_START:.0f} s")

    async def stop(self, number: signal.Signals) -> None:
        """End it by a signal."""
        assert self.process is not None
        self.process.send_signal(number)
        await asyncio.to_thread(self.process.wait)


async def kill_repeatedly(server: Server, kills: int) -> None:
    rng = random.Random(0)
    for _ in range(kills):
        await asyncio.sleep(rng.uniform(*SERVED_SECONDS))
        await server.stop(signal.SIGKILL)
        await server.start()


async def phase(
    name: str,
    annotators: Sequence[SimulatedAnnotator],
    think: float,
    is_over: Callable[[], bool],
) -> dict[str, int]:
    """Let all annotators judge; print what they measured, and return what they sent."""
    measurements = Measurements()
    for annotator in annotators:
        annotator.measurements = measurements
    begun = time.monotonic()
    await asyncio.gather(*(annotator.judge(is_over, think) for annotator in annotators))
    print(f"{name}:", json.dumps(summary(measurements, time.monotonic() - begun)), flush=True)
    return measurements.sent


def after(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def summary(measurements: Measurements, seconds: float) -> dict[str, float]:
    judging = 1000 * np.percentile(measurements.judging, [50, 99])
    showing = 1000 * np.percentile(measurements.showing, [50, 99])
    return {
        "judgements": len(measurements.sent),
        "judgements_per_second": round(len(measurements.sent) / seconds, 1),
        "store_ms_median": round(float(judging[0]), 1),
        "store_ms_p99": round(float(judging[1]), 1),
        "next_pair_ms_median": round(float(showing[0]), 1),
        "next_pair_ms_p99": round(float(showing[1]), 1),
        "failed_attempts": measurements.failures,
    }


def compare(sent: dict[str, int], stored: Sequence[Judgement]) -> dict[str, int]:
    """Compare what was acknowledged with what is stored."""
    times = Counter(judgement.assignment for judgement in stored)
    pairs = Counter((judgement.annotator, judgement.pair_key) for judgement in stored)
    kept = {judgement.assignment: judgement.preference for judgement in stored}
    return {
        "acknowledged": len(sent),
        "stored": len(stored),
        "lost": len(sent.keys() - kept.keys()),
        "unacknowledged": len(kept.keys() - sent.keys()),
        "doubled": sum(count - 1 for count in times.values()),
        "judged_twice_by_one_annotator": sum(count - 1 for count in pairs.values()),
        "changed": sum(kept[key] != value for key, value in sent.items() if key in kept),
    }


async def measure(arguments: argparse.Namespace, url: str, invitations: Sequence[str]) -> bool:
    """Run the phases; return whether all that was acknowledged is stored once."""
    server = Server(url, arguments.port)
    await server.start()
    joining = Measurements()
    annotators = [
        SimulatedAnnotator(arguments.port, seed, joining) for seed in range(len(invitations))
    ]
    begun = time.monotonic()
    await asyncio.gather(*map(SimulatedAnnotator.join, annotators, invitations))
    print(f"{len(annotators)} joined in {time.monotonic() - begun:.1f} s", flush=True)
    sent: dict[str, int] = {}
    for name, think in (("with pauses", arguments.think), ("without pauses", 0.0)):
        sent |= await phase(name, annotators, think, after(arguments.seconds))
    killing = asyncio.create_task(kill_repeatedly(server, arguments.kills))
    if arguments.kills:
        name = f"killed {arguments.kills} times"
        sent |= await phase(name, annotators, arguments.think / 4, killing.done)
    await killing
    await server.stop(signal.SIGTERM)
    store = Store.open(url)
    comparison = compare(sent, store.judgements())
    store.close()
    print("stored:", json.dumps(comparison), flush=True)
    return not any(comparison[name] for name in FAULTS)


def create(url: str, arguments: argparse.Namespace) -> list[str]:
    """Make a collection whose pairs everybody may judge; return its invitations."""
    pairs = [
        Pair(
            key=f"{index:064x}",
            prompt=(("human", f"Question {index}: {WORDS}?"),),
            first=Answer("first", f"The first answer. {WORDS * 5}"),
            second=Answer("second", f"The second answer. {WORDS * 5}"),
            group=f"{index:064x}",
        )
        for index in range(arguments.pairs)
    ]
    settings = CollectionSettings(
        title="Load",
        overlap=arguments.annotators,
        repeat_share=0.0,
        gold_share=0.0,
        goal=arguments.pairs,
    )
    store = Store.create(url, settings, pairs)
    invitations = [store.invite() for _ in range(arguments.annotators)]
    store.close()
    return invitations


def serve_collection(url: str, port: int) -> None:
    address = Address.parse(f"http://127.0.0.1:{port}")
    store = Store.open(url)
    site = Site(store, address, Cookies("load", is_encrypted=False))
    serve(create_app(site), bind("127.0.0.1", port))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--annotators", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each of the first phases")
    parser.add_argument("--think", type=float, default=4.0, help="seconds that a judgement takes")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--port", type=int, default=8799)
    parser.add_argument("--database", help="an empty database; by default a new SQLite file")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve_collection(arguments.database, arguments.port)
        return
    with tempfile.TemporaryDirectory() as folder:
        url = arguments.database or f"sqlite:///{Path(folder) / 'collection.sqlite'}"
        is_kept = asyncio.run(measure(arguments, url, create(url, arguments)))
    sys.exit(0 if is_kept else 1)


if __name__ == "__main__":
    main()
