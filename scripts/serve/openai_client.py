"""Asks `crayon serve` through OpenAI's own Python package and checks what comes back.

    pip install openai
    cargo build --release
    python3 scripts/serve/openai_client.py target/release/crayon

Starts a server with the built-in model on a free port, on this device only, and ends it.
"""

import json
import subprocess
import sys
import tempfile

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
    stranger = openai.OpenAI(base_url=url, api_key="other", max_retries=0)
    refused(openai.AuthenticationError, lambda: stranger.models.list(), "invalid_api_key")
    return "model, n, logprobs, messages, length, key"


def leaving(client):
    stream = client.chat.completions.create(model="mini", messages=QUESTION, max_tokens=200, stream=True)
    next(iter(stream))
    stream.close()
    return whole(client)[:20] + "…"


def main(program):
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as keys:
        keys.write(KEY + "\n")
        keys.flush()
        command = [program, "serve", "--json", "--port", "0", "--api-key-file", keys.name]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            url = json.loads(server.stdout.readline())["url"]
            client = openai.OpenAI(base_url=url, api_key=KEY, max_retries=0)
            checks = [whole, streamed, completion, sampling, pot, models, leaving]
            for check in checks:
                print(f"{check.__name__:12}{check(client)!r}")
            print(f"{'refusals':12}{refusals(client, url)!r}")
        finally:
            server.send_signal(2)
            assert server.wait(timeout=20) == 0, "the server does not end well"
    print(f"all well with openai {openai.__version__}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "target/release/crayon")
