"""The demo's world: repositories made for it, the real pipeline over them, and three real faults.

Storage is slow, one stored object is damaged on disk, and one event is no event. Everything that the
screens then show came about the way it does in production. The directory is removed at the end.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from archon_agent.options import Loaded
from archon_tui.running import RunWork
from archon_tui.session import Session
from core.assembly.publishing import ingestion
from core.assembly.source import Target
from core.assembly.stores import open_log
from core.events.topics import REQUESTED_V2
from core.log.base import OutgoingMessage
from core.settings import Settings
from core.settings.model import load

SEED = 8
STORAGE_DELAY = "80ms"
POISON = b'{"schema_version": "2.0.0", "payload": [this is no event'

_PYTHON = '''"""{name}: part {number} of the demo shop."""

from __future__ import annotations


class {title}:
    """Keeps the {name} of an order."""

    def __init__(self, items: list[int]) -> None:
        self.items = items

    def total(self, limit: int = {number}) -> int:
        """The sum of what counts."""
        result = 0
        for item in self.items:
            if item > limit and item % {modulus}:
                result += item
            elif item == limit or not item:
                result -= 1
        return result


def make_{name}(count: int) -> {title}:
    return {title}(list(range(count)))
'''
_SCRIPT = """// {name}: part {number}
export function {name}(rows) {{
  const seen = new Map();
  for (const row of rows) {{
    if (!seen.has(row.id)) seen.set(row.id, row);
    else if (row.age > {modulus}) seen.get(row.id).stale = true;
  }}
  return [...seen.values()];
}}
"""
_GO = """package {name}

// Total adds what is above the limit.
func Total(items []int) int {{
	result := 0
	for _, item := range items {{
		if item > {number} {{
			result += item
		}}
	}}
	return result
}}
"""
_TEST = "def test_{name}() -> None:\n    assert {number} % {modulus} >= 0\n"
_NAMES = ("cart", "price", "stock", "order", "label", "parcel", "refund", "coupon", "ledger", "review")


def files(kind: str, count: int) -> Mapping[str, bytes]:
    """A repository's files: always the same for the same `kind` and `count`."""
    chance = random.Random(f"{SEED} {kind}")  # noqa: S311 - no secret
    made: dict[str, bytes] = {
        "README.md": f"# {kind}\n\nMade for the demo of archon.\n".encode(),
        "empty.py": b"",
        "data/model.bin": chance.randbytes(300_000),
        "data/photo.bin": chance.randbytes(180_000),
        "data/schema.sql": f"CREATE TABLE {kind} (id INTEGER, name TEXT);\n".encode() * 4000,
        "pages/[slug].tsx": b"export default function Page() { return null }\n",
    }
    for number in range(count):
        name = f"{chance.choice(_NAMES)}{number}"
        filled = {"name": name, "title": name.title(), "number": number, "modulus": chance.randint(2, 9)}
        template, path = chance.choice(
            (
                (_PYTHON, f"src/{name[0]}/{name}.py"),
                (_PYTHON, f"src/core/{name}.py"),
                (_SCRIPT, f"web/{name}.js"),
                (_GO, f"service/{name}/total.go"),
                (_TEST, f"tests/test_{name}.py"),
            )
        )
        made[path] = template.format(**filled).encode()
    return made


def make_repository(root: Path, contents: Mapping[str, bytes]) -> Path:
    """A Git work tree with one commit of these files."""
    from dulwich import porcelain

    root.mkdir(parents=True)
    for path, content in contents.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    repo = porcelain.init(root)
    porcelain.add(repo, [str(root / path) for path in contents])
    porcelain.commit(repo, b"demo", author=b"demo <demo@localhost>", committer=b"demo <demo@localhost>")
    repo.close()
    return root


@contextmanager
def demo_world(loaded: Loaded) -> Iterator[tuple[Settings, tuple[Path, ...]]]:
    """Settings and repositories of a world in which something happened already."""
    with tempfile.TemporaryDirectory(prefix="archon-demo-") as directory:
        home = Path(directory)
        settings = demo_settings(home / "state", loaded.settings)
        shop = make_repository(home / "shop-api", files("shop-api", 160))
        library = make_repository(home / "parser-lib", files("parser-lib", 90))
        make_repository(home / "docs-site", files("docs-site", 40))
        asyncio.run(prepare(settings, shop, library))
        yield settings, (home,)


def demo_settings(home: Path, given: Settings) -> Settings:
    """The demo's own state, the embedded log, a slow local store; looks and keys as the person has them."""
    made = load({"home": home, "storage.local_delay": STORAGE_DELAY, "publish.batch_size": 20}, environ={})
    return made.settings.model_copy(update={"tui": given.tui, "cost": given.cost})


async def prepare(settings: Settings, analysed: Path, waiting: Path) -> None:
    """Ingest one repository whole; publish another, then damage an object and send poison."""
    session = Session(settings)
    run = RunWork(session, settings, Target(analysed), analysed.name, {})
    run.begin()
    await run.wait()
    await session.close()
    known = set(settings.objects_dir.rglob("*"))
    async with ingestion(settings, Target(waiting)) as job:
        await job.publisher.publish(job.planner.stream())
    _damage(sorted(path for path in set(settings.objects_dir.rglob("*")) - known if path.is_file()))
    async with open_log(settings) as log:
        await log.publish(REQUESTED_V2, [OutgoingMessage(b"poison", POISON)])


def _damage(objects: list[Path]) -> None:
    """Turn the bits of one object's last byte round: its length stays right, its checksum does not."""
    if objects:
        content = bytearray(objects[0].read_bytes())
        content[-1] ^= 0xFF
        objects[0].write_bytes(content)
