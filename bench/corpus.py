"""A generated, seeded corpus with a realistic mix of sizes and languages, committed in a Git repository."""

from __future__ import annotations

import math
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

WORDS = (
    "account balance buffer cache channel client cluster column config context cursor document element entry "
    "event factory field filter format frame handler header index input item key layout limit line list loader "
    "manager matrix message model module node number object offset option order output packet page parser path "
    "payload pool process query queue range reader record region render request result route row sample scope "
    "schema score section segment server session shape signal source stack state status store stream string "
    "table target task template thread ticket token topic total tree update user value vector version view window"
).split()

# Share of files by kind, after what large open-source repositories hold; sizes are log-normal.
MIX: tuple[tuple[str, float], ...] = (
    ("py", 0.24), ("js", 0.10), ("ts", 0.12), ("java", 0.10), ("go", 0.08), ("rs", 0.05), ("c", 0.05), ("cpp", 0.04),
    ("rb", 0.02), ("md", 0.08), ("json", 0.06), ("yaml", 0.03), ("css", 0.02), ("png", 0.01),
)  # fmt: skip
MEDIAN_BYTES = 4200
SIGMA = 1.1
LARGEST = 100_000
FILES_PER_DIRECTORY = 8


def make(root: Path, files: int, *, seed: int = 7) -> Path:
    """Write `files` files below `root` and commit them; about 8 KB a file on average.

    A corpus that stands already is used again.
    """
    if (root / ".git").is_dir():
        return root
    for relative, content in generate(files, seed):
        path = root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    _commit(root)
    return root


def _commit(root: Path) -> None:
    git = ("git", "-C", str(root), "-c", "user.name=bench", "-c", "user.email=bench@localhost")
    for arguments in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "corpus")):
        subprocess.run([*git, *arguments], check=True)


def make_small(root: Path, files: int) -> Path:
    """Write `files` distinct files of a line each, for what depends on their number alone."""
    for number in range(files):
        path = root / f"{number // 500:04}" / f"module_{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"VALUE = {number}\n")
    _commit(root)
    return root


def generate(files: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Relative path and content of each file."""
    rng = random.Random(seed)
    nested = (rng.choices(WORDS, k=rng.randint(1, 4)) for _ in range(max(1, files // FILES_PER_DIRECTORY)))
    directories = ["/".join(names) for names in nested]
    kinds = rng.choices([kind for kind, _ in MIX], [share for _, share in MIX], k=files)
    for number, kind in enumerate(kinds):
        wanted = min(LARGEST, int(rng.lognormvariate(_MU, SIGMA)))
        yield f"{rng.choice(directories)}/{rng.choice(WORDS)}_{number}.{kind}", _content(kind, wanted, rng)


_MU = math.log(MEDIAN_BYTES)


def _content(kind: str, wanted: int, rng: random.Random) -> bytes:
    if kind == "png":
        return b"\x89PNG\r\n\x1a\n" + rng.randbytes(wanted)
    make_block = _BLOCKS[kind]
    parts: list[str] = [_HEADS.get(kind, "")]
    size = 0
    while size < wanted:
        block = make_block(rng)
        parts.append(block)
        size += len(block)
    return "".join([*parts, _TAILS.get(kind, "")]).encode()


def _name(rng: random.Random) -> str:
    return f"{rng.choice(WORDS)}_{rng.choice(WORDS)}"


def _camel(rng: random.Random) -> str:
    return f"{rng.choice(WORDS)}{rng.choice(WORDS).title()}"


def _sentence(rng: random.Random) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(4, 12))).capitalize() + "."


def _python(rng: random.Random) -> str:
    a, b, c = (rng.choice(WORDS) for _ in range(3))
    return f'''
class {_camel(rng).title()}:
    """{_sentence(rng)}"""

    def {_name(rng)}(self, {a}: int, {b}: str = "{_sentence(rng)}") -> list[int]:
        """{_sentence(rng)}"""
        {c} = []
        for index in range({a}):
            # {_sentence(rng)}
            if index % {rng.randint(2, 9)} == 0 and self.{b}:
                {c}.append(index * {rng.randint(1, 99)})
            elif {a} > {rng.randint(10, 99)}:
                {c}.extend(x for x in self.{c} if x)
        return {c}


def {_name(rng)}({a}, {b}=None):
    try:
        return {{"{a}": {a}, "{c}": [{b}, {rng.random():.4f}]}}
    except (ValueError, KeyError) as error:
        raise RuntimeError("{_sentence(rng)}") from error
'''


def _javascript(rng: random.Random, types: str = "") -> str:
    a, b = rng.choice(WORDS), rng.choice(WORDS)
    return f'''
/** {_sentence(rng)} */
export class {_camel(rng).title()} {{
  constructor({a}{types}, {b}{types}) {{ this.{a} = {a}; this.{b} = {b}; }}
  {_camel(rng)}(items{types}) {{
    for (const item of items) {{
      if (item.{a} && item.{b} > {rng.randint(1, 99)}) {{
        this.{a} = item.{a} ? item.{b} : `{_sentence(rng)}`;
      }} else {{ console.log("{_sentence(rng)}", item); }}
    }}
    return items.map((x{types}) => x.{b} ?? {rng.randint(1, 99)}).filter(Boolean);
  }}
}}

export function {_camel(rng)}({a}{types}) {{
  switch ({a}) {{ case {rng.randint(1, 9)}: return "{b}"; default: return null; }}
}}
'''


def _typescript(rng: random.Random) -> str:
    return (
        f"\nexport interface {_camel(rng).title()} {{ {rng.choice(WORDS)}: string; {_name(rng)}?: number }}\n"
        + _javascript(rng, ": any")
    )


def _java(rng: random.Random) -> str:
    a, b = rng.choice(WORDS), rng.choice(WORDS)
    return f'''
  /** {_sentence(rng)} */
  public static class {_camel(rng).title()} {{
    private final int {a} = {rng.randint(1, 999)};
    public String {_camel(rng)}(java.util.List<Integer> {b}) {{
      StringBuilder out = new StringBuilder("{_sentence(rng)}");
      for (int i : {b}) {{
        if (i > {a} || i == {rng.randint(1, 9)}) {{ out.append(i); }}
        while (i-- > 0) {{ out.append('{a[0]}'); }}
      }}
      return out.toString();
    }}
  }}
'''


def _go(rng: random.Random) -> str:
    a, b = rng.choice(WORDS), _camel(rng).title()
    return f'''
// {b} {_sentence(rng)}
type {b} struct {{
	{a.title()} int
	Name string
}}

func (s *{b}) {_camel(rng).title()}(limit int) (int, error) {{
	total := 0
	for i := 0; i < limit; i++ {{
		if i%{rng.randint(2, 9)} == 0 && s.{a.title()} > i {{
			total += i
			continue
		}}
		if s.Name == "{_sentence(rng)}" {{
			return 0, fmt.Errorf("{_sentence(rng)}")
		}}
	}}
	return total, nil
}}
'''


def _rust(rng: random.Random) -> str:
    a, b = rng.choice(WORDS), _camel(rng).title()
    return f"""
/// {_sentence(rng)}
pub struct {b} {{ pub {a}_count: u64, pub label: String }}

impl {b} {{
    pub fn {_name(rng)}(&self, items: &[u64]) -> Option<u64> {{
        let mut best = None;
        for item in items {{
            match item {{
                {rng.randint(1, 9)} => continue,
                n if *n > self.{a}_count => best = Some(*n),
                _ => (),
            }}
        }}
        best
    }}
}}
"""


def _c(rng: random.Random) -> str:
    a, b = rng.choice(WORDS), _name(rng)
    return f"""
/* {_sentence(rng)} */
struct {b}_{rng.randint(1, 9999)} {{ int {a}_len; char *name; }};

static int {b}(const char *{a}, int length) {{
    int total = 0;
    for (int i = 0; i < length; i++) {{
        if ({a}[i] == '{a[0]}' && total < {rng.randint(10, 999)}) {{
            total += {a}[i] << {rng.randint(1, 7)};
        }} else if ({a}[i] == 0) {{
            break;
        }}
    }}
    return total ? total : -1;
}}
"""


def _ruby(rng: random.Random) -> str:
    a = rng.choice(WORDS)
    return f'''
# {_sentence(rng)}
class {_camel(rng).capitalize()}
  def {_name(rng)}({a})
    return nil if {a}.nil? || {a}.empty?
    {a}.map {{ |x| x > {rng.randint(1, 99)} ? x : "{_sentence(rng)}" }}
  end
end
'''


def _markdown(rng: random.Random) -> str:
    return (
        f"\n## {_sentence(rng)}\n\n{_sentence(rng)} {_sentence(rng)} `{_name(rng)}`\n\n- {_sentence(rng)}\n"
    )


def _json(rng: random.Random) -> str:
    return f'\n  "{_name(rng)}_{rng.randint(1, 99999)}": {{"{rng.choice(WORDS)}": {rng.random():.5f}, "text": "{_sentence(rng)}"}},'


def _yaml(rng: random.Random) -> str:
    return f"{_name(rng)}_{rng.randint(1, 99999)}:\n  - {rng.choice(WORDS)}: {rng.randint(1, 999)}\n"


def _css(rng: random.Random) -> str:
    return f".{rng.choice(WORDS)}-{rng.randint(1, 9999)} {{ margin: {rng.randint(0, 9)}px; color: #{rng.randint(0, 0xFFFFFF):06x}; }}\n"


_BLOCKS: dict[str, Callable[[random.Random], str]] = {
    "py": _python, "js": _javascript, "ts": _typescript, "java": _java, "go": _go, "rs": _rust, "c": _c, "cpp": _c,
    "rb": _ruby, "md": _markdown, "json": _json, "yaml": _yaml, "css": _css,
}  # fmt: skip
_HEADS = {
    "go": 'package main\n\nimport "fmt"\n',
    "java": "package demo;\n\npublic class Outer {\n",
    "json": "{",
    "py": "import os\nfrom typing import Any\n",
    "js": "import { a } from './a.js';\n",
    "c": "#include <stdio.h>\n",
}
_TAILS = {"java": "}\n", "json": '\n  "end": 0\n}\n'}
