"""Object storage against plain clients on the same server in the same run; cached reads against the disk."""

from __future__ import annotations

import asyncio
import hashlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import aioboto3
import aiohttp
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from bench.measure import Row, child, report_child, write
from core.cache.counted import CountedCache
from core.cache.disk import DiskCache
from core.events.request import RequestedFile
from core.fetchers.base import Fetched
from core.fetchers.object_storage import ObjectStorageFetcher
from core.retry import RetryPolicy
from core.safety.url import UrlPolicy
from core.storage.keys import object_key
from core.storage.links import LinkReader
from core.storage.s3 import S3StorageClient
from core.storage.signing import content_sha256
from tests.requests import request_for, stored_file
from tests.servers import seaweedfs
from tests.servers.s3 import S3Server

COUNT, SIZE, IN_FLIGHT, ROUNDS = 500, 200_000, 16, 9
LARGE = 2 << 30
BUCKET = "bench-content"

Subjects = dict[str, Callable[[int], Awaitable[object]]]
# A shared machine stalls whole rounds now and then: the ratios are medians of pairs within a round.


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of all calls together, and of each."""

    total: float
    calls: Sequence[float]

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.calls, n=100)[98]


async def timed(call: Callable[[int], Awaitable[object]]) -> Timing:
    """`COUNT` calls, `IN_FLIGHT` at once."""
    limit = asyncio.Semaphore(IN_FLIGHT)
    taken: list[float] = []

    async def one(number: int) -> None:
        async with limit:
            started = time.perf_counter()
            await call(number)
            taken.append(time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(COUNT)))
    return Timing(time.perf_counter() - started, taken)


class Plain:
    """The same calls by aiobotocore, and by aiohttp with botocore's signer."""

    def __init__(self, boto: Any, http: aiohttp.ClientSession, server: S3Server) -> None:
        self._boto = boto
        self._http = http
        self._server = server
        self._auth = S3SigV4Auth(Credentials(server.access_key, server.secret_key), "s3", server.region)

    async def boto_put(self, key: str, content: bytes) -> None:
        await self._boto.put_object(
            Bucket=BUCKET,
            Key=key,
            Body=content,
            ContentType="application/octet-stream",
            ChecksumSHA256=content_sha256(content),
            ServerSideEncryption="AES256",
            Metadata={"sha256": hashlib.sha256(content).hexdigest()},
        )

    async def boto_get(self, key: str) -> None:
        answer = await self._boto.get_object(Bucket=BUCKET, Key=key)
        assert len(await answer["Body"].read()) == SIZE

    async def http_put(self, key: str, content: bytes) -> None:
        url = f"{self._server.endpoint}/{BUCKET}/{key}"
        headers = {
            "Content-Type": "application/octet-stream",
            "x-amz-meta-sha256": hashlib.sha256(content).hexdigest(),
            "x-amz-server-side-encryption": "AES256",
            "x-amz-checksum-sha256": content_sha256(content),
        }
        request = AWSRequest(method="PUT", url=url, headers=headers, data=content)
        self._auth.add_auth(request)
        async with self._http.put(url, headers=dict(request.headers.items()), data=content) as response:
            assert response.status == 200

    async def http_get(self, url: str) -> None:
        async with self._http.get(url) as response:
            assert len(await response.read()) == SIZE


@asynccontextmanager
async def connected(server: S3Server) -> AsyncIterator[tuple[S3StorageClient, Plain]]:
    """archon's client and the plain ones, all with as many connections."""
    os.environ.update(server.environ())
    archon = S3StorageClient(
        BUCKET, region="us-east-1", endpoint=server.endpoint, allow_http=True, in_flight=IN_FLIGHT
    )
    config = Config(s3={"addressing_style": "path"}, signature_version="s3v4", max_pool_connections=IN_FLIGHT)
    session = aioboto3.Session(region_name="us-east-1")
    async with (
        session.client("s3", endpoint_url=server.endpoint, config=config) as boto,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=IN_FLIGHT)) as http,
    ):
        yield archon, Plain(boto, http, server)
    await archon.close()


@dataclass(slots=True)
class Rounds:
    """Timings by subject, one a round."""

    taken: dict[str, list[Timing]]

    def ratio(self, subject: str, *floors: str) -> float:
        """Median over the rounds of the better floor's time by the subject's: above 1 is faster than it."""
        pairs = zip(self.taken[subject], *(self.taken[floor] for floor in floors), strict=True)
        ratios: list[float] = [min(each.total for each in others) / own.total for own, *others in pairs]
        return statistics.median(ratios)

    def seconds(self, subject: str) -> float:
        return statistics.median(timing.total for timing in self.taken[subject])

    def p99(self, subject: str) -> float:
        return statistics.median(timing.p99 for timing in self.taken[subject])


async def uploads(archon: S3StorageClient, plain: Plain) -> Rounds:
    """Upload other content in every round, under keys nobody has used."""
    rounds = Rounds({"aiobotocore": [], "aiohttp": [], "archon": []})
    for turn in range(-1, ROUNDS):  # the first round makes the server's volumes, and does not count
        await take_turns(rounds, uploaders(archon, plain, turn), turn)
    return rounds


def uploaders(archon: S3StorageClient, plain: Plain, turn: int) -> Subjects:
    """The subjects of one round, each with keys of its own."""
    contents = [os.urandom(SIZE) for _ in range(COUNT)]
    digests = [hashlib.sha256(content).hexdigest() for content in contents]
    keys = [f"{turn}-{number}.bin" for number in range(COUNT)]
    return {
        "aiobotocore": lambda n: plain.boto_put(f"projects/boto/{keys[n]}", contents[n]),
        "aiohttp": lambda n: plain.http_put(f"projects/http/{keys[n]}", contents[n]),
        "archon": lambda n: archon.upload_bytes(
            f"projects/archon/{keys[n]}", contents[n], digests[n], "application/octet-stream"
        ),
    }


async def take_turns(rounds: Rounds, subjects: Subjects, turn: int) -> None:
    """Time each subject once, in an order that changes from round to round."""
    names = list(subjects)
    for name in names[turn % len(names) :] + names[: turn % len(names)]:
        timing = await timed(subjects[name])
        if turn >= 0:
            rounds.taken[name].append(timing)


async def downloads(plain: Plain, links: LinkReader, files: Sequence[RequestedFile]) -> Rounds:
    """Download the same objects, by key and by link."""
    rounds = Rounds({"aiobotocore": [], "aiohttp": [], "archon": []})

    async def follow(file: RequestedFile) -> None:
        async with links.following(file.content_url or "") as blocks:
            assert sum([len(block) async for block in blocks]) == SIZE

    subjects: Subjects = {
        "aiobotocore": lambda n: plain.boto_get(files[n].object_key or ""),
        "aiohttp": lambda n: plain.http_get(files[n].content_url or ""),
        "archon": lambda n: follow(files[n]),
    }
    for turn in range(-1, ROUNDS):
        await take_turns(rounds, subjects, turn)
    return rounds


async def prepare(archon: S3StorageClient) -> list[RequestedFile]:
    """`COUNT` stored files with their links."""

    async def one(number: int) -> RequestedFile:
        content = os.urandom(SIZE)
        path = f"{number}.bin"
        digest = hashlib.sha256(content).hexdigest()
        key = object_key("bench", f"sha256:{digest}", path)
        await archon.upload_bytes(key, content, digest, "application/octet-stream")
        link = await archon.generate_presigned_url(key, 3600)
        assert link
        return stored_file(content, path, object_key=key, content_url=link.url)

    made = []
    for start in range(0, COUNT, IN_FLIGHT):
        made += await asyncio.gather(*(one(n) for n in range(start, min(COUNT, start + IN_FLIGHT))))
    return made


def link_reader(server: S3Server) -> LinkReader:
    policy = UrlPolicy(frozenset({"http"}), (f"{server.endpoint}/",), (ip_network("127.0.0.0/8"),))
    return LinkReader(policy, IN_FLIGHT)


@dataclass(frozen=True, slots=True)
class CacheFigures:
    """Seconds for all files: fetched over the network, read from the cache, and read and hashed plainly."""

    cold: float
    warm: float
    get: float
    floor: float
    hit_rate: float


async def cached(server: S3Server, files: Sequence[RequestedFile], directory: Path) -> CacheFigures:
    """A first and a second consumption through the whole fetcher, then the cache alone."""
    cache = CountedCache(DiskCache(directory, 10 << 30))
    cache.open()
    fetcher = ObjectStorageFetcher([], link_reader(server), cache, retry=RetryPolicy())
    request = request_for(*files)

    async def consume(expect_hit: bool) -> float:
        started = time.perf_counter()
        for start in range(0, COUNT, 100):
            for answer in await fetcher.fetch_many(request, files[start : start + 100]):
                assert isinstance(answer, Fetched)
                assert answer.cache_hit is expect_hit
        return time.perf_counter() - started

    cold = await consume(False)
    before = cache.stats()
    warm = statistics.median([await consume(True) for _ in range(ROUNDS)])
    after = cache.stats()
    lookups = after.hits - before.hits + sum(after.misses.values()) - sum(before.misses.values())
    keys = [(file.checksum or "")[7:] for file in files]
    paths = [directory / "objects" / key[:2] / key for key in keys]
    gets: list[float] = []
    floors: list[float] = []
    for _ in range(ROUNDS * 2):
        started = time.perf_counter()
        for path in paths:
            hashlib.sha256(path.read_bytes()).hexdigest()
        floors.append(time.perf_counter() - started)
        started = time.perf_counter()
        for key in keys:
            cache.get(key, hold=1 << 23, head=0)
        gets.append(time.perf_counter() - started)
    await fetcher.close()
    return CacheFigures(
        cold,
        warm,
        statistics.median(gets),
        statistics.median(floors),
        (after.hits - before.hits) / lookups,
    )


def peak_memory() -> int:
    """The most bytes resident so far; `ru_maxrss` would count the parent's from before exec, too."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024


async def pass_large(endpoint: str, directory: Path) -> None:
    """In a child: one large object up and down through the cache; reports the growth of its peak memory."""
    source = directory / "large.bin"
    digest = hashlib.sha256()
    with source.open("wb") as file:
        block = os.urandom(1 << 20)
        for number in range(LARGE >> 20):
            piece = number.to_bytes(8, "big") + block[8:]
            digest.update(piece)
            file.write(piece)
    archon = S3StorageClient(BUCKET, region="us-east-1", endpoint=endpoint, allow_http=True)
    cache = CountedCache(DiskCache(directory / "cache", LARGE * 2))
    cache.open()
    fetcher = ObjectStorageFetcher([archon], None, cache, retry=RetryPolicy(deadline_s=None))

    async def fetch(checksum: str, size: int) -> Fetched:
        key = object_key("large", checksum, "x.bin")
        wanted = RequestedFile(
            "x.bin",
            stored_file(b"").carrier,
            checksum=checksum,
            size_bytes=size,
            object_key=key,
        )
        request = request_for(wanted, where=archon.location)
        (answer,) = await fetcher.fetch_many(request, [wanted])
        assert isinstance(answer, Fetched), answer
        return answer

    small = b"warm up"
    checksum = f"sha256:{hashlib.sha256(small).hexdigest()}"
    await archon.upload_bytes(object_key("large", checksum, "x.bin"), small, checksum[7:], "text/plain")
    await fetch(checksum, len(small))
    idle = peak_memory()
    started = time.perf_counter()
    checksum = f"sha256:{digest.hexdigest()}"
    with source.open("rb") as stream:
        await archon.upload_file(
            object_key("large", checksum, "x.bin"), stream, LARGE, digest.hexdigest(), "text/plain"
        )
    uploaded = peak_memory()
    found = await fetch(checksum, LARGE)
    assert found.whole
    assert found.whole.size == LARGE
    report_child(time.perf_counter() - started, upload_growth=uploaded - idle, growth=peak_memory() - idle)
    await fetcher.close()


def rows(up: Rounds, down: Rounds, cache: CacheFigures, growth: tuple[float, float] | None) -> list[Row]:
    """The report."""
    made = []
    for name, rounds in (("upload", up), ("download", down)):
        ratio = rounds.ratio("archon", "aiobotocore", "aiohttp")
        best = min(("aiobotocore", "aiohttp"), key=rounds.seconds)
        made.append(
            Row(
                f"{name} {COUNT} × 200 KB, {IN_FLIGHT} in flight",
                f"{rounds.seconds('archon'):.2f} s",
                f"{best} {rounds.seconds(best):.2f} s",
                f"{ratio:.2f} × its speed",
                "≥ 0.9 ×",
                ratio >= 0.9,
            )
        )
        p99, floor = rounds.p99("archon") * 1000, rounds.p99(best) * 1000
        figures = (f"{p99:.0f} ms", f"{best} {floor:.0f} ms", f"{p99 / floor:.2f}")
        made.append(Row(f"{name}, p99 of a call", *figures, "≤ 200 ms", p99 <= 200))
    ratio = cache.get / cache.floor
    made += [
        Row(
            "cached read, per file",
            f"{cache.get / COUNT * 1e6:.0f} µs",
            f"read and hash {cache.floor / COUNT * 1e6:.0f} µs",
            f"{ratio:.2f}",
            "≤ 2",
            ratio <= 2,
        ),
        Row(
            "second consumption, whole fetcher",
            f"{cache.warm:.2f} s",
            f"first {cache.cold:.2f} s",
            f"{1 - cache.warm / cache.cold:.0%} less",
            "≥ 60 % less",
            cache.warm <= 0.4 * cache.cold,
        ),
        Row("its hit rate", f"{cache.hit_rate:.0%}", "–", "–", "100 %", cache.hit_rate == 1.0),
    ]
    if growth:
        for name, size in zip(("upload", "upload and download"), growth, strict=True):
            made.append(
                Row(
                    f"memory above idle, 2 GiB object, {name}",
                    f"{size / 2**20:.0f} MiB",
                    "–",
                    "–",
                    "≤ 64 MiB",
                    size <= 64 << 20,
                )
            )
    return made


async def measure(server: S3Server, directory: Path) -> tuple[Rounds, Rounds, CacheFigures]:
    """Everything that runs in this process."""
    async with connected(server) as (archon, plain):
        up = await uploads(archon, plain)
        files = await prepare(archon)
        links = link_reader(server)
        down = await downloads(plain, links, files)
        await links.close()
        return up, down, await cached(server, files, directory / "cache")


def run(directory: Path, *, large: bool = True) -> list[Row]:
    """Start a server, measure, and stop it. `large` is the 2 GiB object: a minute, and 6 GB of disk."""
    with seaweedfs.run(directory / "server") as server:
        server.client().create_bucket(Bucket=BUCKET)
        up, down, cache = asyncio.run(measure(server, directory))
        growth = None
        if large:
            taken = child(
                "bench.storage", "--large", server.endpoint, str(directory), environment=server.environ()
            )
            growth = (taken.details["upload_growth"], taken.details["growth"])
    return rows(up, down, cache, growth)


def main(arguments: Sequence[str]) -> None:
    """`--quick` leaves the 2 GiB object out."""
    with tempfile.TemporaryDirectory(prefix="bench-storage-") as directory:
        report = run(Path(directory), large="--quick" not in arguments)
    notes = (
        "Server: SeaweedFS's S3 gateway on loopback, with signatures and AES256, on the same cores as the "
        "clients. Ratios are medians over rounds that interleave the subjects. Uploads by aiohttp "
        "are signed by botocore's signer; archon holds every link to its URL policy before it follows it."
    )
    write("storage", "Object storage and its cache", report, notes)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--large"]:
        asyncio.run(pass_large(sys.argv[2], Path(sys.argv[3])))
    else:
        main(sys.argv[1:])
