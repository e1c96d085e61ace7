"""Checks that links in the repository's Markdown lead somewhere, and that every page of docs/ is in docs/SUMMARY.md.

    python3 scripts/docs/links.py

Relative links and pictures must name a file or a folder, and a heading of it where they have an anchor. Anchors are those of GitHub. Addresses of the network
are not asked. Links inside code are not links.
"""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^ {0,3}(```|~~~).*?^ {0,3}\1[`~]*[ \t]*$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^()<>\s]*(?:\([^()\s]*\)[^()<>\s]*)*)>?(?:\s+\"[^\"]*\")?\s*\)")
DEFINITION = re.compile(r"^ {0,3}\[[^\]]+\]:\s*<?(\S+?)>?\s*$", re.MULTILINE)
HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.*?)[ \t]*#*[ \t]*$", re.MULTILINE)
OUTSIDE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)


def blank(match):
    """The lines of a match without what stands in them, so that line numbers stay."""
    return re.sub(r"[^\n]", " ", match[0])


def pages():
    """Markdown files of the repository, those not committed yet among them."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.md"], cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    return sorted(ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).exists())


def anchors(page):
    """Anchors of a page's headings: lower case, no signs, dashes for blanks, a number behind one that was there before."""
    found = set()
    for heading in HEADING.findall(FENCE.sub(blank, page.read_text(encoding="utf-8"))):
        text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        # Signs of code and emphasis; `_` stays, for it stands in names.
        anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        number, plain = 0, anchor
        while anchor in found:
            number += 1
            anchor = f"{plain}-{number}"
        found.add(anchor)
    return found


def links(text):
    """Every link with its line, from 1."""
    text = CODE.sub(blank, FENCE.sub(blank, text))
    for pattern in (LINK, DEFINITION):
        for match in pattern.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, match[1]


def broken(page, link, known):
    """What is wrong with a link of a page; `None` where nothing is."""
    if not link:
        return "leads nowhere"
    if OUTSIDE.match(link):
        return None
    path, _, anchor = link.partition("#")
    target = (page.parent / unquote(path)).resolve() if path else page
    if not target.is_relative_to(ROOT):
        return "leaves the repository"
    if not target.exists():
        return "is not there"
    if not anchor:
        return None
    if target.suffix != ".md":
        return "has an anchor and is not a page"
    if target not in known:
        known[target] = anchors(target)
    return None if unquote(anchor).lower() in known[target] else "has no such heading"


def unlisted():
    """Pages of docs/ that SUMMARY.md does not name, or names twice."""
    summary = ROOT / "docs" / "SUMMARY.md"
    listed = [(summary.parent / link).resolve() for _, link in links(summary.read_text(encoding="utf-8"))]
    for page in sorted((ROOT / "docs").rglob("*.md")):
        times = listed.count(page)
        if page != summary and times != 1:
            yield f"{page.relative_to(ROOT)}: stands in docs/SUMMARY.md {times} times, not once"


def main():
    known, problems, count = {}, [], 0
    for page in pages():
        for line, link in links(page.read_text(encoding="utf-8")):
            count += 1
            problem = broken(page, link, known)
            if problem:
                problems.append(f"{page.relative_to(ROOT)}, line {line}: {link} {problem}")
    problems += unlisted()
    if problems:
        sys.exit("\n".join(problems))
    print(f"{count} links lead somewhere")


if __name__ == "__main__":
    main()
