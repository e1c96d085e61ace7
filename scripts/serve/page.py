"""Uses the web page of `crayon serve` as a person would, in a headless Chromium, and checks what it shows.

    cargo build --release
    python3 scripts/serve/page.py target/release/crayon --pictures FOLDER

Needs Python and a Chromium or Chrome. Starts servers with the built-in model on free ports of this device only, and one that stands for
a bigger model and answers with what could do harm if the page were careless. Every check is a function; the first that fails ends it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import page_dev
from browser import Browser, found

ROOT = Path(__file__).resolve().parents[2]
KEY = "key-of-this-test"
HARM = """# A title

<script>window.harmed = 1</script><img src=x onerror="window.harmed = 2"> **bold** and `code <b>`

- one [link](https://example.org/a?b=1) and [a trap](javascript:window.harmed=3)
- ![picture](https://example.org/picture.png)

```html
<script>window.harmed = 4</script>
```

| a | b |
|---|---|
| <svg onload="window.harmed = 5"> | *d* |

"""
LAST = "document.querySelector('#log .message:last-child')"


class Harmful(BaseHTTPRequestHandler):
    """A bigger model that tries what a text can try."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        # Text that nests without end, and ticks that are never closed.
        endless = "> " * 500 + "deep\n\n" + "".join("`" * ticks + " " for ticks in range(1, 170))
        message = {"role": "assistant", "content": HARM + endless}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}
        body = json.dumps({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server:
    from_disk = False
    """Whether the page's files come from the folder rather than the program."""

    def __init__(self, program, *arguments):
        self.proxy = None
        command = [program, "serve", "-q", "--json", "--port", "0", *map(str, arguments)]
        # Nothing is asked but what listens on this device, so the network need not be forbidden.
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "CRAYON_OFFLINE": "0"})

    def __enter__(self):
        self.url = json.loads(self.process.stdout.readline())["url"].removesuffix("/v1") + "/"
        if self.from_disk:
            self.proxy = page_dev.server(self.url, 0)
            threading.Thread(target=self.proxy.serve_forever, daemon=True).start()
            self.url = f"http://127.0.0.1:{self.proxy.server_port}/"
        return self

    def __exit__(self, *_):
        if self.proxy:
            self.proxy.shutdown()
        self.process.send_signal(2)
        self.process.wait(timeout=20)


def ask(browser, question):
    browser.run("document.querySelector('#question').focus()")
    browser.type(question)
    browser.key("Enter")


def answered(browser, state="done", seconds=60):
    """Waits for the last answer's end and gives its text."""
    browser.until(f"{LAST}?.dataset.state === '{state}' && !document.querySelector('#send').hidden", f"an answer that is {state}", seconds)
    return browser.run(f"{LAST}.querySelector('.said').innerText")


def said(browser):
    """All messages, as they are seen."""
    return browser.run("[...document.querySelectorAll('#log .message .said')].map((one) => one.innerText)")


def set_to(browser, selector, value):
    """A field filled as by hand."""
    browser.run(f"""(() => {{ const it = document.querySelector({json.dumps(selector)}); it.value = {json.dumps(value)};
        it.dispatchEvent(new Event("input", {{bubbles: true}})); it.dispatchEvent(new Event("change", {{bubbles: true}})); }})()""")


def act(browser, row, what):
    """What a conversation's row offers shows when it is pointed at or has the focus."""
    browser.run(f"document.querySelector('#conversations {row} .open').focus()")
    browser.click(f"#conversations {row} [aria-label^='{what}']")


def fresh(browser):
    browser.click("#new-chat")
    browser.until("!document.querySelector('#welcome').hidden && document.querySelector('#answers').options.length > 0")


class Checks:
    def __init__(self, browser, url, folder, pictures):
        self.browser, self.url, self.folder, self.pictures = browser, url, folder, pictures

    def picture(self, name):
        if self.pictures:
            self.browser.picture(self.pictures / f"{name}.png")

    def saved(self, pattern):
        """What a saved file holds."""
        end = time.monotonic() + 20
        while not (files := list((self.folder / "downloads").glob(pattern))):
            assert time.monotonic() < end, "no file was saved"
            time.sleep(0.05)
        return [json.loads(file.read_text()) for file in files]

    def beginning(self):
        """An empty page says what it is and offers questions."""
        b = self.browser
        b.open(self.url)
        b.until("document.querySelector('#answers').value === 'model:mini'")
        assert "nine million parameters" in b.run("document.querySelector('#welcome').innerText")
        assert b.run("document.querySelectorAll('.starter').length") == 3
        assert b.run("document.activeElement.id") == "question"
        self.picture("empty")

    def streaming(self):
        """A question is answered piece by piece, with what is told about the answer."""
        b = self.browser
        b.run("""window.lengths = new Set(); window.seen = new MutationObserver(() =>
            lengths.add(document.querySelector('#log .message:last-child .said')?.innerText.length)).observe(document.querySelector('#log'), {childList: true, subtree: true})""")
        b.click("#starters li:nth-child(2) button")
        text = answered(b)
        assert len(text) > 80 and b.run("lengths.size") > 1, (text, b.run("lengths.size"))
        assert b.run(f"{LAST}.querySelector('.badge').textContent") == "device"
        assert "confidence" in b.run(f"{LAST}.querySelector('.badges').innerText")
        b.click("#log .message:last-child .details summary")
        details = b.run(f"{LAST}.querySelector('.details').innerText")
        assert "on this device: " in details and "s in all" in details, details
        # A screen reader was told whole sentences.
        spoken = b.run("[...document.querySelectorAll('#announcer p')].map((one) => one.textContent)")
        assert len(spoken) > 1 and all(len(part) > 8 for part in spoken), spoken
        assert b.run("document.title").startswith("Tell me a story")

    def retry(self):
        """An answer can be had again: the likeliest words are the same."""
        b = self.browser
        before = said(b)
        b.click("#log .message:last-child .actions button[aria-label='Answer again']")
        answered(b)
        assert said(b) == before

    def editing(self):
        """A sent question can be changed, by keys alone; what followed it is gone."""
        b = self.browser
        ask(b, "What is a cat?")
        answered(b)
        assert len(said(b)) == 4
        b.run("document.querySelector('#log .message:first-child .actions button').focus()")
        b.key("Enter")
        b.until("document.activeElement.matches('.editor textarea')")
        b.key("Escape")
        assert len(said(b)) == 4 and b.run("document.activeElement.getAttribute('aria-label')") == "Edit the question"
        b.key("Enter")
        b.until("document.activeElement.matches('.editor textarea')")
        b.run("document.activeElement.select()")
        b.type("What do dogs like to eat?")
        b.key("Enter")
        answered(b)
        assert len(said(b)) == 2 and said(b)[0] == "What do dogs like to eat?", said(b)

    def stopping(self):
        """An answer is stopped while it is written, and while a text is read; what there was stays."""
        b = self.browser
        fresh(b)
        # A small model's whole answer is here before anybody can stop it: so it comes over a slow line.
        with b.slow(1500):
            ask(b, "Tell me a story about a fox and a bear.")
            b.until(f"{LAST}?.querySelector('.said')?.innerText.length > 30")
            b.click("#stop")
            text = answered(b, "stopped")
        assert len(text) > 20 and "Stopped." in b.run(f"{LAST}.innerText")
        long = self.folder / "long.txt"
        long.write_text("Anna saw a dog. Tom went home. The rain fell. " * 8000)
        fresh(b)
        b.choose("#document-file", long)
        b.until("document.querySelectorAll('#documents .chip').length === 1")
        ask(b, "What fell?")
        b.until(f"{LAST}.innerText.includes('Reading for')")
        b.key("Escape")
        answered(b, "stopped", 5)

    def company(self):
        """Two conversations are answered at once, and each gets its own answer."""
        b = self.browser
        fresh(b)
        ask(b, "Tell me a story about a fox and a bear.")
        fresh(b)
        ask(b, "What is a cat?")
        answered(b)
        b.click("#conversations li:nth-child(2) .open")
        assert len(answered(b)) > 80 and said(b)[0].startswith("Tell me a story")
        number = "document.querySelectorAll('#conversations li').length"
        for left in (b.run(number) - 1, b.run(number) - 2):
            act(b, "li:first-child", "Delete")
            b.until(f"{number} === {left}")

    def history(self):
        """Conversations are listed, survive a reload, are renamed, deleted, and brought back."""
        b = self.browser
        titles = "[...document.querySelectorAll('#conversations .open')].map((one) => one.textContent)"
        before = b.run(titles)
        assert len(before) == 3 and before[0] == "What fell?", before
        b.click("#conversations li:nth-child(3) .open")
        messages = said(b)
        assert messages[0] == "What do dogs like to eat?"
        b.reload()
        b.until(f"{titles}.length === 3")
        assert said(b) == messages
        act(b, "li.here", "Rename")
        b.until("document.activeElement.matches('.rename')")
        b.type("Dogs & <b>more</b>")
        b.key("Enter")
        b.until(f"{titles}.includes('Dogs & <b>more</b>')")
        act(b, "li.here", "Delete")
        b.until(f"{titles}.length === 2")
        b.click("#toasts .toast:last-child button")
        b.until(f"{titles}.length === 3")
        assert said(b) == messages
        b.downloads(self.folder / "downloads")
        act(b, "li.here", "Export")
        (saved,) = self.saved("*.json")
        assert saved[0]["title"] == "Dogs & <b>more</b>" and [one["role"] for one in saved[0]["messages"]] == ["user", "assistant"], saved

    def documents(self):
        """A text longer than the window is dropped, read through a pot, and the gauge says what became of it."""
        b = self.browser
        fresh(b)
        day = "Anna saw a dog. Tom went home. The rain fell. " * 60
        (self.folder / "day.md").write_text(f"{day}The secret number is 4812. {day}")
        (self.folder / "picture.txt").write_bytes(bytes(range(256)))
        set_to(b, "#settings-form [name=pot]", "256")
        b.drop("#scroll", self.folder / "day.md")
        b.until("document.querySelectorAll('#documents .chip').length === 1")
        b.drop("#scroll", self.folder / "picture.txt")
        b.until("document.querySelector('#toasts').innerText.includes('not a text')")
        assert b.run("document.querySelectorAll('#documents .chip').length") == 1
        ask(b, "What is the secret number?")
        text = answered(b)
        gauge = b.run(f"{LAST}.querySelector('.pot-room').getAttribute('aria-valuetext')")
        assert "4812" in text and "distilled away" in gauge, (text, gauge)
        kept = int(b.run(f"{LAST}.querySelector('.pot-room').getAttribute('aria-valuenow')"))
        assert 0 < kept <= 256, kept
        b.run("document.querySelector('#toasts').replaceChildren()")
        self.picture("document")
        set_to(b, "#settings-form [name=pot]", "")

    def crayons(self):
        """Examples are judged; what was chosen answers; a question from elsewhere does not go through it."""
        b = self.browser
        fresh(b)
        b.click("#teach-home")
        b.until("document.querySelector('#examples-read').textContent === '20 examples.'")
        b.click("#make")
        b.until("document.querySelectorAll('.ladder tbody tr').length >= 4", seconds=90)
        rows = b.run("[...document.querySelectorAll('.ladder tbody tr')].map((one) => one.innerText.split(/\\s+/)[0])")
        assert rows[:2] == ["base", "blend"], rows
        chosen = b.run("[...document.querySelectorAll('.ladder .chosen .rung')].map((one) => one.textContent)")
        assert len(chosen) == 1 and chosen[0] != "base", chosen
        if chosen[0] in ("blend", "nearest", "fitted"):
            widths = b.run("[...document.querySelectorAll('.bars .bar')].map((one) => one.getBoundingClientRect().width)")
            assert len(widths) > 3 and max(widths) > 3 * min(widths), widths
        self.picture("crayons")
        b.click(".result .row .main")
        b.until("!document.querySelector('#crayons').open")
        ask(b, "turn off the lamp in the living room")
        assert answered(b).strip() == "smart home"
        assert "scope" in b.run(f"{LAST}.querySelector('.badges').innerText")
        ask(b, "Why is the sky blue?")
        answered(b)
        assert b.run(f"{LAST}.querySelector('.notes').innerText"), "a note that the model answers as it is"
        used = b.run("document.querySelector('#answers').value")
        # A new conversation goes on with it.
        fresh(b)
        b.until(f"document.querySelector('#answers').value === {json.dumps(used)}")
        b.reload()
        b.until(f"document.querySelector('#answers').value === {json.dumps(used)}")
        if used.startswith("model:"):
            self.mixing()
        self.forgetting()

    def mixing(self):
        """Where the server keeps crayons, one is mixed by hand."""
        b = self.browser
        b.click("#open-crayons")
        b.click("#mixing summary")
        b.until("document.querySelectorAll('#sliders input').length > 2")
        b.run("document.querySelector('#sliders input').focus()")
        for _ in range(3):
            b.key("ArrowRight")
        assert b.run("document.querySelector('#sliders output').textContent") == "3.0 %"
        b.run("document.querySelector('#mix-form [name=name]').focus()")
        b.type("by-hand")
        b.key("Enter")
        b.until("document.querySelector('#answers').value === 'model:mini:by-hand'")
        b.key("Escape")
        ask(b, "What is a cat?")
        assert answered(b).strip()

    def forgetting(self):
        """Crayons are deleted, and then the model answers as it is."""
        b = self.browser
        if not b.run("document.querySelector('#crayons').open"):
            b.click("#open-crayons")
        b.until("document.querySelectorAll('#crayon-list li').length > 0")
        while count := b.run("document.querySelectorAll('#crayon-list li').length"):
            b.click("#crayon-list li [aria-label^='Delete']")
            b.until(f"document.querySelectorAll('#crayon-list li').length === {count - 1}")
        assert b.run("document.querySelector('#answers').value") == "model:mini"
        set_to(b, "#examples", "no tab here\nwhat is this\tthat")
        assert "Line 1" in b.run("document.querySelector('#examples-read').textContent") and b.run("document.querySelector('#make').disabled")
        b.key("Escape")
        b.until("!document.querySelector('#crayons').open")
        b.drop("#scroll", ROOT / "examples/travel.jsonl")
        b.until("document.querySelector('#crayons').open && document.querySelector('#examples').value.includes('answer')")
        b.key("Escape")

    def refused(self):
        """What the server refuses is shown in its words, with a way to mend it; mended, it is asked again."""
        b = self.browser
        fresh(b)
        set_to(b, "#settings-form [name=max_tokens]", "1000000")
        ask(b, "Hello!")
        answered(b, "failed")
        shown = b.run(f"{LAST}.querySelector('.problem').innerText")
        assert "1000000" in shown.replace(",", "") and "Open the setting “max_tokens”" in shown, shown
        b.click("#log .problem button:last-child")
        b.until("document.activeElement.name === 'max_tokens'")
        b.run("document.activeElement.select()")
        b.type("12")
        b.key("Escape")
        b.until("!document.querySelector('#settings').open")
        b.click("#log .problem button")
        assert answered(b).strip()

    def settings(self):
        """Settings are kept, used, and put back; what is out of range is not."""
        b = self.browser
        fresh(b)
        b.click("#open-settings")
        set_to(b, "#settings-form [name=temperature]", "1.5")
        set_to(b, "#settings-form [name=seed]", "7")
        set_to(b, "#settings-form [name=top_p]", "3")
        b.reload()
        values = "['temperature', 'seed', 'top_p', 'max_tokens'].map((name) => document.querySelector(`#settings-form [name=${name}]`).value)"
        assert b.run(values) == ["1.5", "7", "", "12"], b.run(values)
        b.until("document.querySelector('#answers').options.length > 0")
        ask(b, "Tell me a story.")
        first = answered(b)
        assert "limit of tokens" in b.run(f"{LAST}.innerText")
        set_to(b, "#settings-form [name=seed]", "8")
        b.click("#log .message:last-child .actions button[aria-label='Answer again']")
        assert answered(b) != first
        b.click("#open-settings")
        b.click("#settings-reset")
        assert b.run(values) == ["", "", "", ""]
        b.key("Escape")

    def themes(self):
        """Dark and light follow the system until the switch is used, which is remembered."""
        b = self.browser
        paper = "getComputedStyle(document.body).backgroundColor"
        b.prefer(prefers_color_scheme="light")
        light = b.run(paper)
        b.prefer(prefers_color_scheme="dark")
        dark = b.run(paper)
        assert light != dark
        # The colours change at once, but the page hears of it with the next frame.
        b.until("document.querySelector('#theme').getAttribute('aria-label') === 'Light theme'")
        self.picture("dark")
        b.click("#theme")
        assert b.run(paper) == light
        b.reload()
        assert b.run(paper) == light
        b.prefer(prefers_color_scheme="light", prefers_reduced_motion="reduce")
        b.click("#theme")
        assert b.run(paper) == dark
        assert b.run("getComputedStyle(document.querySelector('#sidebar')).transitionDuration") == "0s"
        b.run("localStorage.removeItem('crayon.theme')")
        b.reload()
        assert b.run(paper) == light

    def phone(self):
        """On a phone nothing is cut off, and the list of conversations comes and goes."""
        b = self.browser
        b.window(375, 700, mobile=True)
        b.reload()
        b.until("document.querySelector('#answers').options.length > 0")
        wide = "document.documentElement.scrollWidth > innerWidth"
        assert not b.run(wide)
        assert b.run("document.querySelector('#sidebar').inert")
        b.click("#menu")
        b.until("document.activeElement.id === 'new-chat'")
        b.click("#new-chat")
        b.until("document.querySelector('#sidebar').inert")
        ask(b, "What do cats like to eat?")
        answered(b)
        assert not b.run(wide)
        self.picture("phone")
        b.click("#open-crayons")
        assert not b.run(wide) and b.run("document.querySelector('#crayons').getBoundingClientRect().width") == 375
        b.key("Escape")
        b.window(1200, 800)

    def keyboard(self):
        """Everything is reached by Tab, in the order it is seen, and says what it is."""
        b = self.browser
        fresh(b)
        # Tab goes on from where was clicked; one step back from there is the first thing on the page.
        b.click(".brand")
        order = []
        for step in range(60):
            b.key("Tab", shift=step == 0)
            order.append(b.run("""(() => { const it = document.activeElement; 
                // A field in a frame lends it its ring.
                const framed = it.closest('.file-button') ?? (it.id === 'question' ? it.closest('.field') : it);
                const style = getComputedStyle(framed);
                const ring = style.outlineStyle !== 'none' || style.boxShadow !== 'none';
                return [it.id || it.textContent || it.getAttribute('aria-label'), ring]; })()"""))
            if order[-1][0] == "send":
                break
        names = [name for name, _ in order]
        assert names[0] == "Skip to the question", names
        wanted = ["new-chat", "answers", "open-crayons", "theme", "open-settings", "teach-home", "document-file", "question", "send"]
        assert [name for name in names if name in wanted] == wanted, names
        assert all(ring for _, ring in order), order
        unnamed = [one for one in b.named() if one[0] not in ("RootWebArea", "generic", "region", "scrollable") and not one[1].strip()]
        assert not unnamed, unnamed
        b.run("document.activeElement.blur()")
        b.run("document.querySelector('.skip').focus()")
        b.key("Enter")
        b.until("document.activeElement.id === 'question'")
        for opener, dialog in (("open-crayons", "crayons"), ("open-settings", "settings")):
            b.run(f"document.querySelector('#{opener}').focus()")
            b.key("Enter")
            b.until(f"document.querySelector('#{dialog}').open")
            unnamed = [one for one in b.named() if one[0] not in ("RootWebArea", "generic", "region") and not one[1].strip()]
            assert not unnamed, unnamed
            b.key("Escape")
            b.until(f"!document.querySelector('#{dialog}').open && document.activeElement.id === '{opener}'")


def harmless(browser, url):
    """What a model writes is text: it runs nothing, loads nothing, and links to the web only."""
    b = browser
    b.open(url)
    fresh(b)
    set_to(b, "#settings-form [name=route]", "server")
    ask(b, "Do your worst.")
    answered(b)
    assert b.run("window.harmed") is None
    inside = f"{LAST}.querySelector('.said')"
    assert b.run(f"{inside}.querySelectorAll('script, img, svg, iframe, style, [onerror], [onload]').length") == 0
    assert b.run(f"[...{inside}.querySelectorAll('a')].map((one) => one.href)") == ["https://example.org/a?b=1", "https://example.org/picture.png"]
    assert b.run(f"[...{inside}.querySelectorAll('a')].every((one) => one.rel.includes('noopener'))")
    counts = b.run(f"['h3', 'strong', 'code', 'li', 'pre', 'td', 'em'].map((tag) => {inside}.querySelectorAll(tag).length)")
    assert counts == [1, 1, 2, 2, 1, 2, 1], counts
    assert "<script>window.harmed = 1</script>" in b.run(f"{inside}.innerText")
    assert b.run(f"{LAST}.querySelector('.badge').textContent") == "server"
    # Nor could the page's own scripts turn a text into markup by mistake.
    assert b.run("(() => { try { document.body.innerHTML = 'x'; return false; } catch { return true; } })()")
    ask(b, "<img src=x onerror='window.harmed = 6'>")
    answered(b)
    b.reload()
    b.until("document.querySelectorAll('#log .message').length === 4")
    assert b.run("window.harmed") is None
    set_to(b, "#settings-form [name=route]", "")


def keys(browser, url):
    """A server that wants a key gets one, once."""
    b = browser
    b.open(url)
    b.until("document.querySelector('#key').open")
    b.type("wrong")
    b.key("Enter")
    b.until("document.querySelector('#key').open && document.querySelector('#key-form [name=key]').value === ''")
    b.until("document.activeElement.name === 'key'")
    b.type(KEY)
    b.key("Enter")
    b.until("document.querySelector('#answers').value === 'model:mini'")
    b.reload()
    b.until("document.querySelector('#answers').value === 'model:mini'")
    ask(b, "Hello!")
    assert answered(b).strip()


def drawn(browser, url, folder):
    """The pictures of docs/page.md."""
    b = browser
    b.window(1080, 680)
    b.open(url)
    b.run("localStorage.clear()")
    b.reload()
    b.until("document.querySelector('#answers').options.length > 0")
    b.click("#teach-home")
    b.until("document.querySelector('#examples').value")
    b.click("#make")
    b.until("document.querySelector('.ladder') !== null", seconds=90)
    b.picture(folder / "page-crayons.png")
    b.click(".result .row .main")
    for question in ("turn off the lamp in the living room", "Why is the sky blue?"):
        ask(b, question)
        answered(b)
    b.picture(folder / "page-light.png")
    b.window(360, 640, mobile=True)
    b.reload()
    b.until("document.querySelector('#answers').options.length > 1")
    b.picture(folder / "page-phone.png")
    b.window(1080, 680)
    b.prefer(prefers_color_scheme="dark")
    fresh(b)
    set_to(b, "#answers", "model:mini")
    day = "Anna saw a dog. Tom went home. The rain fell. " * 150
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "day.txt").write_text(f"{day}The secret number is 4812. {day}")
        b.choose("#document-file", Path(place) / "day.txt")
        b.until("document.querySelector('#documents .chip') !== null")
    set_to(b, "#settings-form [name=pot]", "256")
    ask(b, "What is the secret number?")
    answered(b)
    b.click("#log .message:last-child .details summary")
    b.picture(folder / "page-dark.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", default="target/release/crayon")
    parser.add_argument("--pictures", type=Path, help="a folder for pictures of the page")
    parser.add_argument("--draw", type=Path, help="a folder for the pictures of docs/page.md; nothing is checked")
    parser.add_argument("--from-disk", action="store_true", help="the page's files as they are in the folder, not as they were built")
    parser.add_argument("--only", nargs="*", help="names of checks; beginning comes first always")
    args = parser.parse_args()
    Server.from_disk = args.from_disk
    program, window = str(Path(args.program).resolve()), found()
    if window is None:
        sys.exit("no Chromium or Chrome is installed here")
    if args.draw:
        with Server(program, "--pool", "built-in") as server, Browser(window) as browser:
            drawn(browser, server.url, args.draw)
        return
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
    bigger = ThreadingHTTPServer(("127.0.0.1", 0), Harmful)
    threading.Thread(target=bigger.serve_forever, daemon=True).start()
    remote = ["--server", f"http://127.0.0.1:{bigger.server_port}/v1", "--server-model", "harmful"]

    def passes(check, *given):
        name, began = check.__name__, time.monotonic()
        try:
            check(*given)
        except Exception:
            if args.pictures:
                browser.picture(args.pictures / f"failed-{name}.png")
            print(f"{name}: {browser.complaints}", file=sys.stderr)
            raise
        print(f"{name:12}{time.monotonic() - began:5.1f} s  {check.__doc__}", flush=True)

    with tempfile.TemporaryDirectory() as folder, Browser(window) as browser:
        folder = Path(folder)
        browser.window(1200, 800)
        with Server(program, "--pool", "built-in") as server:
            checks = Checks(browser, server.url, folder, args.pictures)
            passes(checks.beginning)
            for name in ["streaming", "retry", "editing", "company", "stopping", "history", "documents", "crayons", "refused", "settings", "themes", "phone",
                         "keyboard"]:
                if not args.only or name in args.only:
                    passes(getattr(checks, name))
        with Server(program, *remote) as server:
            passes(harmless, browser, server.url)
        (folder / "keys.txt").write_text(KEY + "\n")
        with Server(program, "--api-key-file", folder / "keys.txt") as server:
            passes(keys, browser, server.url)
        # The browser logs what is refused as errors; what the checks provoke is not a fault.
        faults = [one for one in browser.complaints if not any(code in one for code in ("status of 400", "status of 401", "status of 404", "TrustedHTML"))]
        assert not faults, faults
    print("all well")


if __name__ == "__main__":
    main()
