"""Makes the sync flavour from the async one, in the package and in its tests.

    python tools/generate.py           writes
    python tools/generate.py --check   fails where what is committed differs from what would be written

A module that exists only to hide a difference between tasks and threads is written by hand on both sides (`BY_HAND`).
"""

from __future__ import annotations

import difflib
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREES = [
    (ROOT / "src/lockserver_client/_async", ROOT / "src/lockserver_client/_sync"),
    (ROOT / "tests/_async", ROOT / "tests/_sync"),
]
BY_HAND = {"_backend.py", "_wire.py"}

RULES = [
    (r"Awaitable\[(\w+)\]", r"\1"),
    (r"Coroutine\[Any, Any, (\w+)\]", r"\1"),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\b__aenter__\b", "__enter__"),
    (r"\b__aexit__\b", "__exit__"),
    (r"\basync_", "sync_"),
    (r"\b_async\b", "_sync"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\bTasks that share\b", "Threads that share"),
    (r"\bany number of tasks\b", "any number of threads"),
    (r"If it is cancelled, or fails in any other way", "If it fails in any way"),
    (r"; or it was cancelled because the lock was lost\.", "."),
    (r"The async flavour, written by hand\. `tools/generate\.py` makes `_sync` from it\.", "The sync flavour."),
]
HEADER = "# Generated from {source} by tools/generate.py; change that one.\n"


def convert(source: Path) -> str:
    text = source.read_text()
    for pattern, replacement in RULES:
        text = re.sub(pattern, replacement, text)
    text = HEADER.format(source=source.relative_to(ROOT)) + text
    ruff = [sys.executable, "-m", "ruff"]
    for step in ([*ruff, "check", "--select", "I,F401", "--fix", "--quiet", "-"], [*ruff, "format", "--quiet", "-"]):
        step[-1:] = ["--stdin-filename", str(ROOT / "src" / source.name), "-"]
        text = subprocess.run(step, input=text, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return text


def main() -> int:
    check = "--check" in sys.argv[1:]
    wrong = 0
    for origin, target in TREES:
        wanted = {path.name: convert(path) for path in sorted(origin.glob("*.py")) if path.name not in BY_HAND}
        present = {path.name for path in target.glob("*.py")} - BY_HAND
        for name in sorted(present | set(wanted)):
            path = target / name
            old = path.read_text() if path.exists() else ""
            new = wanted.get(name, "")
            if old == new:
                continue
            wrong += 1
            if check:
                sys.stdout.writelines(
                    difflib.unified_diff(
                        old.splitlines(True), new.splitlines(True), f"{path} (committed)", f"{path} (generated)"
                    )
                )
            elif name in wanted:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(new)
            else:
                path.unlink()
    if check and wrong:
        print(f"{wrong} generated files differ: run python tools/generate.py")
    return 1 if check and wrong else 0


if __name__ == "__main__":
    sys.exit(main())
