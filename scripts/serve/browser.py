"""A headless Chromium, driven through its debugging protocol over a pipe; needs nothing but Python and the browser."""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
"""What the browser is called on different systems."""
KEYS = {"Enter": 13, "Tab": 9, "Escape": 27, "Space": 32, "ArrowRight": 39, "ArrowDown": 40, "Backspace": 8, "Home": 36, "End": 35}
WAIT = 30
"""Seconds until what is waited for counts as missing."""


def found():
    """The path of a browser, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """One window with one page in it."""

    def __init__(self, program):
        self.folder = tempfile.mkdtemp(prefix="crayon-browser-")
        read, theirs_write = os.pipe()
        theirs_read, write = os.pipe()
        self.answers, self.orders = read, write

        def pipes():
            # The browser reads orders from descriptor 3 and answers on 4; either may be taken by the other pipe at first.
            spare = [os.dup(theirs_read), os.dup(theirs_write)]
            os.dup2(spare[0], 3)
            os.dup2(spare[1], 4)

        command = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
                   "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe",
                   f"--user-data-dir={self.folder}", "about:blank"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        preexec_fn=pipes, close_fds=False)
        os.close(theirs_read)
        os.close(theirs_write)
        self.count, self.rest, self.session = 0, b"", None
        self.complaints = []
        """Errors that the page logged or threw, and what its policy blocked."""
        target = self.order("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.order("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM", "Accessibility"):
            self.order(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.order("Browser.close", session=None)
            self.process.wait(timeout=5)
        except Exception:  # However it fails, the browser must not stay behind.
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def order(self, method, session="own", **params):
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        if session == "own" and self.session:
            message["sessionId"] = self.session
        os.write(self.orders, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.next_message(WAIT)
            if answer.get("id") == self.count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def next_message(self, seconds):
        while b"\0" not in self.rest:
            if not select.select([self.answers], [], [], seconds)[0]:
                raise TimeoutError("the browser does not answer")
            piece = os.read(self.answers, 1 << 16)
            if not piece:
                raise RuntimeError("the browser has ended")
            self.rest += piece
        line, self.rest = self.rest.split(b"\0", 1)
        message = json.loads(line)
        kind, params = message.get("method"), message.get("params", {})
        if kind == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"].get("exception", params["exceptionDetails"]).get("description")))
        elif kind == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif kind == "Page.javascriptDialogOpening":
            self.complaints.append(f"a dialog: {params['message']}")
        return message

    def open(self, url):
        self.order("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def reload(self):
        # The mark is gone when the page is a new one.
        self.run("window.before = true")
        self.order("Page.reload")
        self.until("!window.before && document.readyState === 'complete'")

    @contextmanager
    def slow(self, rate):
        """What is fetched meanwhile comes at so many bytes a second."""
        self.order("Network.enable")
        limits = {"offline": False, "latency": 0, "uploadThroughput": -1}
        self.order("Network.emulateNetworkConditions", downloadThroughput=rate, **limits)
        try:
            yield
        finally:
            self.order("Network.emulateNetworkConditions", downloadThroughput=-1, **limits)
            self.order("Network.disable")

    def run(self, script):
        """The value of a JavaScript expression."""
        result = self.order("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def until(self, script, what=None, seconds=WAIT):
        """Waits until the expression is true, and gives its value. Elements are told as empty objects, which are not."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if value := self.run(script):
                    return value
            except RuntimeError as error:
                # A page that is just being left cannot be asked.
                if "context" not in str(error):
                    raise
            time.sleep(0.03)
        raise AssertionError(f"waited in vain for {what or script}")

    def key(self, name, shift=False):
        code = KEYS[name]
        text = {"Enter": "\r", "Space": " "}.get(name)
        common = {"key": " " if name == "Space" else name, "code": name, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        self.order("Input.dispatchKeyEvent", type="keyDown", **common, **({"text": text} if text else {}))
        self.order("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text):
        self.order("Input.insertText", text=text)

    def place(self, selector):
        """The middle of an element in the window, after it was scrolled to and stands still."""
        quoted = json.dumps(selector)
        measure = f"""(() => {{ const it = document.querySelector({quoted}); if (!it) return null; it.scrollIntoView({{block: "nearest"}});
            const box = it.getBoundingClientRect(); return box.width ? [box.x + box.width / 2, box.y + box.height / 2] : null; }})()"""
        before, place = None, self.until(measure, selector)
        while place != before:
            time.sleep(0.03)
            before, place = place, self.until(measure, selector)
        return {"x": place[0], "y": place[1]}

    def click(self, selector):
        where = self.place(selector)
        self.order("Input.dispatchMouseEvent", type="mouseMoved", **where)
        for kind in ("mousePressed", "mouseReleased"):
            self.order("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **where)

    def drop(self, selector, *paths):
        """Files let fall on an element."""
        where = self.place(selector)
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.order("Input.dispatchDragEvent", type=kind, data=data, **where)

    def choose(self, selector, *paths):
        """Files chosen in a field."""
        root = self.order("DOM.getDocument")["root"]["nodeId"]
        node = self.order("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.order("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def downloads(self, folder):
        """Files that the page saves go to `folder`."""
        self.order("Browser.setDownloadBehavior", session=None, behavior="allow", downloadPath=str(folder))

    def window(self, width, height, mobile=False):
        self.order("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def prefer(self, **features):
        """Media features, such as prefers_color_scheme="dark"."""
        listed = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.order("Emulation.setEmulatedMedia", features=listed)

    def picture(self, path):
        # Whatever glides into its place has arrived.
        self.until("document.getAnimations().every((one) => one.effect.getTiming().iterations === Infinity || one.playState === 'finished')")
        path.write_bytes(base64.b64decode(self.order("Page.captureScreenshot", format="png")["data"]))

    def named(self):
        """`(role, name)` of everything that takes the focus, as a screen reader is told."""
        nodes = self.order("Accessibility.getFullAXTree")["nodes"]
        focusable = [node for node in nodes if not node.get("ignored") and any(
            one["name"] == "focusable" and one["value"]["value"] for one in node.get("properties", []))]
        return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in focusable]
