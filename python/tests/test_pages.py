"""What the pages about Python show is what their programs print.

    python -m tests.test_pages --write

A block marked `python` is a program, which goes on from the ones before it; the block marked `text` behind it is what it prints. With `--write`
that is written down. Seconds are written down but not compared.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

from . import X86

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "python" / "README.md", ROOT / "docs" / "python.md")
BLOCKS = re.compile(r"(```python\n)(.*?)(```\n\n```text\n)(.*?)(```\n)", re.DOTALL)


def printed(page: str) -> str:
    """The page with what its programs print."""
    names: dict[str, object] = {}

    def ran(block: re.Match[str]) -> str:
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(block[2], names)
        return f"{block[1]}{block[2]}{block[3]}{output.getvalue()}{block[5]}"

    home = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(ROOT / "examples" / "home.jsonl", folder)
        shutil.copytree(ROOT / "examples" / "pictures", Path(folder, "pictures"))
        os.chdir(folder)
        try:
            return BLOCKS.sub(ran, page)
        finally:
            os.chdir(home)
            # An open index would keep its file from being deleted.
            names.clear()


class Pages(unittest.TestCase):
    @unittest.skipUnless(X86, "other processors round otherwise")
    def test_what_they_show_is_printed(self) -> None:
        def timeless(text: str) -> str:
            return re.sub(r" +\d+\.\d\d s", " 0.00 s", text)

        for page in PAGES:
            text = page.read_text(encoding="utf-8")
            self.assertGreater(len(BLOCKS.findall(text)), 0)
            self.assertEqual(timeless(printed(text)), timeless(text), page)


if __name__ == "__main__" and "--write" in sys.argv:
    for path in PAGES:
        path.write_text(printed(path.read_text(encoding="utf-8")), encoding="utf-8")
