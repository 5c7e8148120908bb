"""Packs from strangers are verified whole before they count, and objects again when they are read."""

from __future__ import annotations

import functools
import random
import struct
import subprocess
import zlib
from hashlib import sha1
from pathlib import Path

import pytest
from dulwich.object_format import SHA1, SHA256
from dulwich.pack import write_pack_index
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import BackendUnavailable, ContentTooLarge
from core.git import packs as packs_module
from core.git.errors import CorruptPack
from core.git.pack_index import BLOB, COMMIT
from core.git.packs import MANY_PACKS, PackStore
from tests.bare_repositories import ENVIRONMENT, BareRepository, generated_files

MIB = 1 << 20


@functools.cache
def packed(repository: BareRepository, *objects: str, window: int = 10) -> bytes:
    """A pack of `objects` (all of them by default) as git makes it."""
    listing = objects or repository.git("rev-list", "--objects", "--all", "--no-object-names").splitlines()
    done = subprocess.run(
        ["git", "pack-objects", "--stdout", "-q", f"--window={window}", "--delta-base-offset"],
        cwd=repository.path,
        env=ENVIRONMENT,
        input="\n".join(listing).encode(),
        capture_output=True,
        check=True,
    )
    return done.stdout


def forged(*objects: bytes) -> bytes:
    """A pack of these packed objects, whatever they are, with a right count and checksum."""
    body = b"PACK" + struct.pack(">LL", 2, len(objects)) + b"".join(objects)
    return body + sha1(body, usedforsecurity=False).digest()


def header(kind: int, size: int) -> bytes:
    byte, size = (kind << 4) | (size & 15), size >> 4
    out = bytearray()
    while size:
        out.append(byte | 0x80)
        byte, size = size & 0x7F, size >> 7
    return bytes([*out, byte])


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def receive(store: PackStore, pack: bytes, step: int = 1000) -> bool:
    with store.receive() as incoming:
        for start in range(0, len(pack), step):
            incoming.write(pack[start : start + step])
        return store.publish(incoming, lambda: None)


def blob_id(content: bytes) -> str:
    return sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> PackStore:
    return PackStore(tmp_path / "packs", SHA1, MIB)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> BareRepository:
    made = BareRepository(tmp_path_factory.mktemp("git") / "r.git")
    files = dict(generated_files(30))
    made.commit(files)
    made.commit({path: content + b"more" for path, content in list(files.items())[:10]})
    return made


@pytest.mark.parametrize("object_format", [SHA1, SHA256], ids=str)
def test_every_object_of_a_pack_with_deltas_reads_back(tmp_path: Path, object_format: object) -> None:
    made = BareRepository(tmp_path / "r.git", str(object_format))
    files = dict(generated_files(40))
    made.commit(files)
    made.commit({path: content + b"more" for path, content in files.items()})
    pack = packed(made)
    chosen = SHA1 if object_format is SHA1 else SHA256
    store = PackStore(tmp_path / "packs", chosen, MIB)
    assert receive(store, pack)
    names = made.git("rev-list", "--objects", "--all", "--no-object-names").splitlines()
    assert store.missing(names) == []
    for name in names:
        kind, content = store.read(name)
        expected = subprocess.run(
            ["git", "cat-file", made.git("cat-file", "-t", name), name],
            cwd=made.path, env=ENVIRONMENT, capture_output=True, check=True,
        )  # fmt: skip
        assert content == expected.stdout
        assert (kind == COMMIT) == (made.git("cat-file", "-t", name) == "commit")
    assert made.git("verify-pack", str(next(store.directory.glob("*.idx")))) == ""
    store.close()


def test_a_pack_without_blobs_says_so(store: PackStore, repository: BareRepository) -> None:
    assert not receive(store, packed(repository, repository.git("rev-parse", "main")))
    assert receive(
        store, packed(repository, repository.git("rev-parse", "main:src/m00/p0000/file_000000.py"))
    )


def test_what_is_missing_is_said(store: PackStore, repository: BareRepository) -> None:
    commit = repository.git("rev-parse", "main")
    assert store.missing([commit, "1" * 40]) == [commit, "1" * 40]
    receive(store, packed(repository))
    assert store.missing([commit, "1" * 40]) == ["1" * 40]
    with pytest.raises(KeyError):
        store.read("1" * 40)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 30))
def test_no_flipped_cut_or_added_byte_gets_in(
    store: PackStore, repository: BareRepository, seed: int
) -> None:
    pack = bytearray(packed(repository))
    rng = random.Random(seed)
    match rng.randrange(3):
        case 0:
            pack[rng.randrange(len(pack))] ^= 1 << rng.randrange(8)
        case 1:
            del pack[rng.randrange(len(pack)) :]
        case _:
            pack.insert(rng.randrange(len(pack)), rng.randrange(256))
    with pytest.raises(CorruptPack):
        receive(store, bytes(pack))
    assert {path.name for path in store.directory.iterdir()} <= {"lock"}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 30))
def test_damage_with_a_right_checksum_never_shows_wrong_bytes(
    store: PackStore, repository: BareRepository, seed: int
) -> None:
    pack = bytearray(packed(repository)[:-20])
    rng = random.Random(seed)
    for _ in range(rng.randrange(1, 4)):
        pack[rng.randrange(4, len(pack))] = rng.randrange(256)
    try:
        receive(store, bytes(pack) + sha1(bytes(pack), usedforsecurity=False).digest())
    except (CorruptPack, ContentTooLarge):
        assert {path.name for path in store.directory.iterdir()} <= {"lock"}
        return
    for path in list(store.directory.glob("*.pack")):
        path.unlink()
        path.with_suffix(".idx").unlink()


@pytest.mark.parametrize(
    "pack",
    [
        b"",
        b"PACK",
        forged()[:-1],
        b"\0" * 200,
        forged(b""),
        forged(header(BLOB, 3) + zlib.compress(b"abcd")),
        forged(header(BLOB, 5) + zlib.compress(b"abcd")),
        forged(header(BLOB, 4) + zlib.compress(b"abcd")[:-2]),
        forged(header(BLOB, 4) + zlib.compress(b"abcd"), b"surplus"),
        forged(header(5, 4) + zlib.compress(b"abcd")),
        forged(header(0, 4) + zlib.compress(b"abcd")),
        forged(header(6, 4) + b"\x0d" + zlib.compress(b"\1\1\1a")),
        forged(header(6, 4) + b"\x7f" + zlib.compress(b"\1\1\1a")),
        forged(header(7, 4) + b"\1" * 20 + zlib.compress(b"\1\1\1a")),
        forged(header(BLOB, 2 * MIB) + zlib.compress(b"a" * (2 * MIB - 1))),
        forged(header(BLOB, 2 * MIB) + zlib.compress(b"a" * (2 * MIB + 1))),
    ],
)
def test_malformed_packs_are_refused_and_leave_nothing(store: PackStore, pack: bytes) -> None:
    with pytest.raises(CorruptPack):
        receive(store, pack)
    assert {path.name for path in store.directory.iterdir()} <= {"lock"}


def test_a_large_file_is_kept_unheld_and_refused_when_read(store: PackStore) -> None:
    large, small = b"large" * MIB, b"small"
    receive(
        store,
        forged(
            header(BLOB, len(large)) + zlib.compress(large), header(BLOB, len(small)) + zlib.compress(small)
        ),
    )
    assert store.read(blob_id(small)) == (BLOB, small)
    assert store.missing([blob_id(large)]) == []
    with pytest.raises(ContentTooLarge):
        store.read(blob_id(large))


def test_a_delta_bomb_is_refused_before_it_goes_off(store: PackStore) -> None:
    base = b"a" * 65536
    whole = header(BLOB, len(base)) + zlib.compress(base)
    copies = 1 << 16
    delta = varint(len(base)) + varint(len(base) * copies) + b"\x80" * copies
    bomb = header(6, len(delta)) + _ofs(len(whole)) + zlib.compress(delta)
    with pytest.raises(ContentTooLarge):
        receive(store, forged(whole, bomb))


def _ofs(distance: int) -> bytes:
    out = [distance & 0x7F]
    while distance := distance >> 7:
        distance -= 1
        out.insert(0, 0x80 | (distance & 0x7F))
    return bytes(out)


def test_a_stream_that_deflates_to_more_than_it_holds_reads_back(store: PackStore) -> None:
    deflater = zlib.compressobj(0)
    content = bytes(range(100))
    parts = [deflater.compress(bytes([byte])) + deflater.flush(zlib.Z_FULL_FLUSH) for byte in content]
    receive(
        store,
        forged(header(BLOB, 100) + b"".join(parts) + deflater.flush(), header(BLOB, 0) + zlib.compress(b"")),
    )
    assert store.read(blob_id(content)) == (BLOB, content)
    assert store.read(blob_id(b"")) == (BLOB, b"")


def test_deltas_that_go_round_in_the_cache_end(store: PackStore) -> None:
    name = b"\1" * 20
    pack = forged(header(7, 4) + name + zlib.compress(b"\1\1\1a"))
    (store.directory / "pack-00.pack").write_bytes(pack)
    with (store.directory / "pack-00.idx").open("wb") as index:
        write_pack_index(index, [(name, 12, 0)], pack[-20:])
    with pytest.raises(CorruptPack):
        store.read(name.hex())
    assert not list(store.directory.glob("pack-*"))


def test_a_damaged_pack_in_the_cache_is_dropped_on_reading(
    store: PackStore, repository: BareRepository
) -> None:
    receive(store, packed(repository, window=0))
    name = repository.git("rev-parse", "main:src/m00/p0000/file_000003.py")
    path = next(store.directory.glob("*.pack"))
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:12] + b"\0" * (path.stat().st_size - 32) + path.read_bytes()[-20:])
    with pytest.raises(CorruptPack):
        store.read(name)
    assert store.corruptions == 1
    assert not list(store.directory.glob("pack-*"))
    assert store.missing([name]) == [name]


def test_an_object_under_another_name_is_not_served(store: PackStore, repository: BareRepository) -> None:
    one, other = (repository.blob(f"src/m00/p0000/file_00000{n}.py") for n in (1, 2))
    receive(store, packed(repository, one, other, window=0))
    index = next(store.directory.glob("*.idx"))
    raw = bytearray(index.read_bytes())
    offsets = len(raw) - 40 - 8
    raw[offsets : offsets + 8] = raw[offsets + 4 : offsets + 8] + raw[offsets : offsets + 4]
    index.chmod(0o600)
    index.write_bytes(raw)
    fresh = PackStore(store.directory, SHA1, MIB)
    with pytest.raises(CorruptPack):
        fresh.read(one)


def test_verify_finds_damage_in_pack_and_index(store: PackStore, repository: BareRepository) -> None:
    receive(store, packed(repository, repository.git("rev-parse", "main")))
    receive(store, packed(repository, repository.blob("src/m00/p0000/file_000001.py")))
    receive(store, packed(repository, repository.blob("src/m00/p0000/file_000002.py")))
    assert store.verify() == []
    first, second, _ = sorted(store.directory.glob("*.pack"))
    for path in (first, second.with_suffix(".idx")):
        raw = bytearray(path.read_bytes())
        raw[-30] ^= 1
        path.chmod(0o600)
        path.write_bytes(raw)
    fresh = PackStore(store.directory, SHA1, MIB)
    assert set(fresh.verify()) == {first.stem, second.stem}
    assert len(list(store.directory.glob("*.pack"))) == 1


def test_many_small_packs_become_one_with_the_same_objects(
    store: PackStore, repository: BareRepository
) -> None:
    names = repository.git("rev-list", "--objects", "--all", "--no-object-names").splitlines()
    groups = [names[start::MANY_PACKS] for start in range(MANY_PACKS)]
    for group in groups:
        receive(store, packed(repository, *group))
    before = {name: store.read(name) for name in names}
    other = PackStore(store.directory, SHA1, MIB)
    assert other.missing(names) == []
    assert store.consolidable() > 0
    assert store.consolidate() == MANY_PACKS
    assert len(list(store.directory.glob("*.pack"))) == 1
    assert {name: store.read(name) for name in names} == before
    assert {name: other.read(name) for name in names} == before
    assert store.verify() == []
    assert repository.git("verify-pack", str(next(store.directory.glob("*.idx")))) == ""
    assert store.consolidable() == store.consolidate() == 0


def test_large_packs_are_not_copied(
    store: PackStore, repository: BareRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs_module, "SMALL_PACK_BYTES", 10)
    for name in repository.git("rev-list", "--objects", "--all", "--no-object-names").splitlines()[
        :MANY_PACKS
    ]:
        receive(store, packed(repository, name))
    assert store.consolidable() == store.consolidate() == 0


def test_sweep_removes_what_the_dead_left_and_spares_the_living(
    store: PackStore, repository: BareRepository
) -> None:
    receive(store, packed(repository))
    (store.directory / "incoming-dead").write_bytes(b"half")
    (store.directory / "pack-11.pack").write_bytes(b"no index yet")
    (store.directory / "pack-22.idx").write_bytes(b"no pack any more")
    with store.receive() as alive:
        assert store.sweep() == 3
        assert alive.path.exists()
    assert len(list(store.directory.glob("pack-*"))) == 2
    assert not list(store.directory.glob("incoming-*"))


def test_a_disk_that_refuses_is_not_the_hosts_fault(store: PackStore) -> None:
    with store.receive() as incoming:
        incoming._file.close()
        incoming._file = open("/dev/full", "w+b", buffering=0)  # noqa: SIM115 - closed with the pack
        with pytest.raises(BackendUnavailable, match="disk refuses"):
            incoming.write(b"x" * 100_000)


def test_memory_of_pending_deltas_is_bounded(store: PackStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.git.pack_index.PENDING_BYTES", 250_000)
    base = random.Random(1).randbytes(100_000)
    objects = [header(BLOB, len(base)) + zlib.compress(base)]
    for number in range(4):
        target = len(base) + number + 1
        delta = varint(target - 1) + varint(target)
        copied = target - 1
        delta += bytes([0x80 | 0x10 | 0x20 | 0x40]) + struct.pack("<L", copied)[:3] + b"\x01" + b"z"
        objects.append(header(6, len(delta)) + _ofs(len(objects[-1])) + zlib.compress(delta))
    with pytest.raises(ContentTooLarge, match="nests"):
        receive(store, forged(*objects))
    monkeypatch.undo()
    assert receive(store, forged(*objects))
    assert store.read(blob_id(base + b"zzzz")) == (BLOB, base + b"zzzz")
