"""Serves the web page's files from the folder, as they are being written, and passes everything else on to a running `crayon serve`.

    target/release/crayon serve --pool built-in --port 8080
    python3 scripts/serve/page_dev.py --to http://127.0.0.1:8080 --port 8090
"""

import argparse
import http.client
import re
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "crates/serve/page"
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
OTHERS = {"home.jsonl": ROOT / "examples/home.jsonl"}


def policy():
    """The page's policy, as the program sends it."""
    source = (ROOT / "crates/serve/src/page.rs").read_text()
    text = re.search(r'const POLICY: &str = "(.*?)";', source, re.DOTALL)[1]
    return re.sub(r"\\\n\s*", "", text)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    to = None
    """Where everything but the page is asked for."""

    def do_GET(self):
        name = "index.html" if self.path == "/" else self.path.removeprefix("/page/")
        file = OTHERS.get(name, FOLDER / Path(name).name)
        if (self.path == "/" or self.path.startswith("/page/")) and file.is_file():
            body = file.read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", KINDS.get(file.suffix, "text/plain") + "; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("Content-Security-Policy", policy())
            self.end_headers()
            self.wfile.write(body)
        else:
            self.passed_on()

    def passed_on(self):
        connection = http.client.HTTPConnection(self.to.hostname, self.to.port, timeout=600)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        keep = {name: self.headers[name] for name in ("Content-Type", "Authorization") if name in self.headers}
        connection.request(self.command, self.path, body or None, {"Host": "localhost", **keep})
        answer = connection.getresponse()
        self.send_response(answer.status)
        for name in ("Content-Type", "Retry-After"):
            if answer.getheader(name):
                self.send_header(name, answer.getheader(name))
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            while piece := answer.read1(65536):
                self.wfile.write(piece)
                self.wfile.flush()
        except (OSError, http.client.HTTPException):
            pass
        # When the browser has gone, so has the request.
        connection.close()

    do_POST = do_DELETE = passed_on

    def log_message(self, *_):
        pass


def server(to, port):
    bound = type("Bound", (Handler,), {"to": urllib.parse.urlsplit(to)})
    return ThreadingHTTPServer(("127.0.0.1", port), bound)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", default="http://127.0.0.1:8080")
    parser.add_argument("--port", type=int, default=8090)
    args = parser.parse_args()
    server(args.to, args.port).serve_forever()
