"""Writes a version everywhere it stands: both workspaces with what they have locked, and the changelog.

    python3 scripts/release/version.py 0.2.0
"""

import datetime
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def put(path, pattern, text):
    """Replaces the first line like `pattern`."""
    before = path.read_text(encoding="utf-8")
    after, found = re.subn(pattern, text, before, count=1, flags=re.MULTILINE)
    if not found:
        sys.exit(f"{path.relative_to(ROOT)}: no line like {pattern}")
    path.write_text(after, encoding="utf-8")


def main():
    if len(sys.argv) != 2 or not re.fullmatch(r"\d+\.\d+\.\d+(-[0-9A-Za-z.]+)?", sys.argv[1]):
        sys.exit(__doc__)
    version = sys.argv[1]
    for workspace in (ROOT, ROOT / "python"):
        put(workspace / "Cargo.toml", r'^version = ".*"$', f'version = "{version}"')
        subprocess.run(["cargo", "update", "--workspace", "--offline", "--quiet"], cwd=workspace, check=True)
    today = datetime.date.today().isoformat()
    put(ROOT / "CHANGELOG.md", "^## Unreleased$", f"## Unreleased\n\n## {version} ({today})")


if __name__ == "__main__":
    main()
