"""Asks `crayon serve` through OpenAI's own Python package and checks what comes back, extensions (`extra_body`) included.

    pip install openai
    cargo build --release
    python3 scripts/serve/openai_client.py target/release/crayon

Trains a tiny pool, starts a server with the built-in model on a free port, on this device only, and a second one that passes on
what it is unsure of to the first, and ends them.
"""

import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai

KEY = "key-of-this-test"
QUESTION = [{"role": "user", "content": "Tell me a story about a fox."}]


def whole(client):
    answer = client.chat.completions.create(model="mini", messages=QUESTION, max_tokens=40)
    assert answer.object == "chat.completion" and answer.model == "mini"
    choice = answer.choices[0]
    assert choice.message.role == "assistant" and choice.message.content.strip()
    assert choice.finish_reason in ("stop", "length")
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens <= usage.prompt_tokens + 40
    return choice.message.content


def streamed(client):
    stream = client.chat.completions.create(
        model="mini", messages=QUESTION, max_completion_tokens=40, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert len(chunks) > 5 and chunks[-1].usage.completion_tokens > 0 and not chunks[-1].choices
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] in ("stop", "length")
    assert text == whole(client)
    return f"{len(chunks)} chunks"


def completion(client):
    answer = client.completions.create(model="mini", prompt="Once upon a time", max_tokens=12)
    pieces = client.completions.create(model="mini", prompt="Once upon a time", max_tokens=12, stream=True)
    assert answer.choices[0].text == "".join(piece.choices[0].text for piece in pieces)
    assert answer.usage.completion_tokens == 12 and answer.choices[0].finish_reason == "length"
    return answer.choices[0].text


def sampling(client):
    def draw(**settings):
        answer = client.chat.completions.create(model="mini", messages=QUESTION, max_tokens=24, **settings)
        return answer.choices[0].message.content

    warm = dict(temperature=1.5, top_p=0.95, presence_penalty=0.5)
    assert draw(seed=7, **warm) == draw(seed=7, **warm)
    assert len({draw(seed=seed, **warm) for seed in range(4)}) > 1
    text = draw()
    word = text.split(" ")[4]
    assert draw(stop=[word]) == text[: text.index(word)]
    return "seed, temperature, top_p, presence_penalty, stop"


def pot(client):
    text = "The rain fell on the town. " * 400 + "\n\nWhat fell?"
    answer = client.chat.completions.create(
        model="mini", messages=[{"role": "user", "content": text}], max_tokens=8, extra_body={"pot": 256}
    )
    extra = answer.crayon
    assert answer.usage.prompt_tokens > 1024 and extra["kept"] <= 256
    assert extra["kept"] + extra["evicted"] == answer.usage.prompt_tokens
    return f"{answer.usage.prompt_tokens} tokens read, {extra['kept']} kept"


def asked(client, question="What is a cat?", **extra):
    answer = client.chat.completions.create(
        model="mini", messages=[{"role": "user", "content": question}], max_tokens=24, extra_body=extra
    )
    return answer.choices[0].message.content, answer.crayon


def adapters(client):
    plain, extra = asked(client)
    assert extra["adapter"] is None and extra["scope"] is None and extra["where"] == "device"
    one, extra = asked(client, adapter="colours")
    assert extra["adapter"] == {"colours": 1.0} and extra["scope"] is not None
    strong, extra = asked(client, adapter={"colours": 6.0, "numbers": -2.0})
    assert extra["adapter"] == {"colours": 6.0, "numbers": -2.0}
    # All at once: each gets what it got alone.
    wishes = [{}, {"adapter": "colours"}, {"adapter": {"colours": 6.0, "numbers": -2.0}}] * 3
    with ThreadPoolExecutor(len(wishes)) as threads:
        found = list(threads.map(lambda wish: asked(client, **wish)[0], wishes))
    assert found == [plain, one, strong] * 3
    assert len({plain, one, strong}) > 1
    return f"{len(wishes)} at once, {len({plain, one, strong})} different answers"


def examples(client):
    question = "The hat is red and the boat is old. What colour is the hat?"
    own = ["The lamp is red and the pan is new. What colour is the lamp?", {"prompt": "What colour is the red shoe?", "answer": "red"}]
    text, extra = asked(client, question, examples=own, pool="tiny")
    assert extra["fits"] and abs(sum(extra["adapter"].values()) - 1) < 1e-5
    assert extra["adapter"]["colours"] > extra["adapter"]["numbers"] and 0 < extra["scope"] <= 1
    again, _ = asked(client, question, examples=own)
    assert again == text
    return f"{text!r} through {extra['adapter']['colours']:.2f} colours, scope {extra['scope']:.2f}"


def plainly(client, path, body=None):
    """What openai has no name for, as bytes."""
    request = urllib.request.Request(str(client.base_url).rstrip("/") + path, headers={"Authorization": f"Bearer {KEY}"})
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request) as answer:
        return answer.read()


def pools(client):
    offered = json.loads(plainly(client, "/pools"))["data"]
    assert [pool["id"] for pool in offered] == ["tiny"] and len(offered[0]["digest"]) == 64
    made = plainly(client, "/pools/tiny/blend", {"scores": [0.5, -0.5], "form": "svd"})
    length = int.from_bytes(made[:8], "little")
    table = json.loads(made[8 : 8 + length])
    settings = json.loads(table["__metadata__"]["adapter_config"])
    assert settings["peft_type"] == "LORA" and table["__metadata__"]["crayon.base"] == offered[0]["base"]
    return f"{offered[0]['adapters']} adapters, one of {len(made)} bytes for two scores"


def routes(client):
    here, extra = asked(client)
    assert extra["where"] == "server" and "unsure" in extra["reason"] and extra["confidence"] is not None
    reason = extra["reason"]
    device, extra = asked(client, route="device")
    assert extra["where"] == "device"
    _, extra = asked(client, route="server")
    assert extra["where"] == "server" and extra["confidence"] is None
    assert here == device, "the same model on both"
    return reason


def models(client):
    assert [model.id for model in client.models.list()] == ["mini"]
    assert client.models.retrieve("mini").owned_by == "crayon"
    return "mini"


def refusals(client, url):
    def refused(kind, ask, code=None):
        try:
            ask()
        except kind as error:
            assert code is None or error.code == code, (error.code, code)
            return
        raise AssertionError(f"not refused with {kind}")

    chat = client.chat.completions.create
    refused(openai.NotFoundError, lambda: chat(model="other", messages=QUESTION), "model_not_found")
    refused(openai.BadRequestError, lambda: chat(model="mini", messages=QUESTION, n=2), "unsupported_value")
    refused(openai.BadRequestError, lambda: chat(model="mini", messages=QUESTION, logprobs=True), "unsupported_value")
    refused(openai.BadRequestError, lambda: chat(model="mini", messages=[]), "invalid_value")
    long = [{"role": "user", "content": "a b " * 2000}]
    refused(openai.BadRequestError, lambda: chat(model="mini", messages=long), "context_length_exceeded")
    for extra, code in [
        ({"adapter": "poems"}, "adapter_not_found"),
        ({"examples": ["a"], "pool": "other"}, "pool_not_found"),
        ({"examples": []}, "invalid_value"),
        ({"route": "server"}, "no_server"),
    ]:
        refused(openai.BadRequestError, lambda: chat(model="mini", messages=QUESTION, extra_body=extra), code)
    for body in ({"scores": [0.5]}, {"scores": [0.5, 0.5], "text": "mine"}, {"scores": [0.5, 2]}):
        refused(urllib.error.HTTPError, lambda: plainly(client, "/pools/tiny/blend", body), 400)
    stranger = openai.OpenAI(base_url=url, api_key="other", max_retries=0)
    refused(openai.AuthenticationError, lambda: stranger.models.list(), "invalid_api_key")
    return "model, n, logprobs, messages, length, adapter, pool, examples, route, scores, key"


def leaving(client):
    stream = client.chat.completions.create(model="mini", messages=QUESTION, max_tokens=200, stream=True)
    next(iter(stream))
    stream.close()
    return whole(client)[:20] + "…"


def made(program, folder):
    """A pool of two adapters, and an adapter for each of its kinds."""
    things = ["ball", "hat", "car", "boat", "door", "cup"]
    colours = [f"The {a} is red and the {b} is old. What colour is the {a}?" for a in things for b in things[:3]]
    numbers = [(f"Count on: {i} {i + 1} {i + 2}", str(i + 3)) for i in range(18)]
    files = {"colours": [(text, "red") for text in colours], "numbers": numbers}
    for name, rows in files.items():
        lines = [json.dumps({"prompt": prompt, "answer": answer}) for prompt, answer in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")

    def run(*arguments):
        subprocess.run([program, "-q", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)

    data = [part for name in files for part in ("--data", folder / f"{name}.jsonl")]
    run("pool", "train", *data, "-n", 2, "--rank", 2, "--epochs", 2, "--rate", 0.003, "-o", folder / "tiny")
    for name in files:
        run("customize", "--examples", folder / f"{name}.jsonl", "--pool", folder / "tiny", "-o", folder / name)
    return [part for name in files for part in ("-a", f"{name}={folder / name}")] + ["--pool", str(folder / "tiny")]


class Server:
    def __init__(self, program, *arguments, **environment):
        command = [program, "serve", "-q", "--json", "--port", "0", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})

    def __enter__(self):
        self.url = json.loads(self.process.stdout.readline())["url"]
        return self

    def __exit__(self, *_):
        self.process.send_signal(2)
        assert self.process.wait(timeout=20) == 0, "the server does not end well"


def main(program):
    program = str(Path(program).resolve())
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        keys = folder / "keys.txt"
        keys.write_text(KEY + "\n")
        # Thresholds that send everything on.
        queries = folder / "queries.jsonl"
        queries.write_text('{"prompt": "What is a cat?"}\n')
        thresholds = folder / "thresholds.json"
        calibrate = ["route", "calibrate", "--data", queries, "--share", "1", "--max-tokens", "4", "-o", thresholds]
        subprocess.run([program, "-q", *map(str, calibrate)], check=True, stdout=subprocess.DEVNULL)
        with Server(program, "--api-key-file", keys, *made(program, folder)) as server:
            client = openai.OpenAI(base_url=server.url, api_key=KEY, max_retries=0)
            for check in [whole, streamed, completion, sampling, pot, models, leaving, adapters, examples, pools]:
                print(f"{check.__name__:12}{check(client)!r}")
            print(f"{'refusals':12}{refusals(client, server.url)!r}")
            bigger = ["--server", server.url, "--server-model", "mini", "--thresholds", thresholds]
            with Server(program, *bigger, CRAYON_SERVER_KEY=KEY, CRAYON_OFFLINE="0") as second:
                other = openai.OpenAI(base_url=second.url, api_key="none", max_retries=0)
                print(f"{'routes':12}{routes(other)!r}")
    print(f"all well with openai {openai.__version__}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "target/release/crayon")
