"""A preprocessor of mdBook: links that leave docs/ lead to the repository, and `<!-- not run -->` is left out.

docs/book.toml names it; mdBook runs it in docs/ and gives it the book as JSON.
"""

import json
import posixpath
import re
import sys

FILES = "https://github.com/crayon-lm/crayon/blob/main/"
LINK = re.compile(r"(\]\()(\.\./[^)\s]+)(\))")


def turned(text, folder):
    """The text of a page in `folder` of docs/."""
    def link(match):
        path, hash, anchor = match[2].partition("#")
        target = posixpath.normpath(posixpath.join("docs", folder, path))
        inside = target.startswith("docs/")
        return match[0] if inside else f"{match[1]}{FILES}{target}{hash}{anchor}{match[3]}"

    return LINK.sub(link, text.replace("<!-- not run -->\n", ""))


def turn(items):
    for item in items:
        chapter = item.get("Chapter") if isinstance(item, dict) else None
        if chapter:
            chapter["content"] = turned(chapter["content"], posixpath.dirname(chapter["path"] or ""))
            turn(chapter["sub_items"])


def main():
    # `supports RENDERER` asks whether this is for that output: for every one.
    if sys.argv[1:2] == ["supports"]:
        return
    _, book = json.load(sys.stdin)
    # Called `sections` before mdBook 0.5.
    turn(book.get("items") or book["sections"])
    json.dump(book, sys.stdout)


if __name__ == "__main__":
    main()
