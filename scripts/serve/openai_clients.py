"""Drives OpenAI's Python package against a running `crayon serve`: what it sends by itself, and what its types demand.

    pip install openai
    crayon serve --port 8080 &
    python3 scripts/serve/openai_clients.py http://127.0.0.1:8080/v1 [KEY]
"""

import json
import math
import struct
import sys
import urllib.request

import openai

QUESTION = [{"role": "user", "content": "What do cats like to eat?"}]
SCHEMA = {
    "type": "object",
    "properties": {
        "animal": {"enum": ["cat", "dog"]},
        "legs": {"type": "integer", "minimum": 0, "maximum": 8},
    },
    "required": ["animal", "legs"],
    "additionalProperties": False,
}
TOOL = {
    "type": "function",
    "function": {
        "name": "feed",
        "description": "Feeds an animal",
        "parameters": {
            "type": "object",
            "properties": {"animal": {"enum": ["cat", "dog"]}, "grams": {"type": "integer", "minimum": 1, "maximum": 99}},
            "required": ["animal", "grams"],
            "additionalProperties": False,
        },
    },
}


def streaming(client, model):
    whole = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=24)
    chunks = list(
        client.chat.completions.create(
            model=model, messages=QUESTION, max_tokens=24, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content, (text, whole)
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    return f"{len(chunks)} chunks"


def several(client, model):
    answer = client.chat.completions.create(
        model=model, messages=QUESTION, max_tokens=8, n=3, temperature=1.5, seed=3, frequency_penalty=0.5
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    texts = client.completions.create(model=model, prompt=["Once", "The sun"], max_tokens=6, echo=True)
    assert texts.choices[0].text.startswith("Once") and texts.choices[1].text.startswith("The sun")
    return f"{len(answer.choices)} and {len(texts.choices)} answers"


def logprobs(client, model):
    answer = client.chat.completions.create(
        model=model, messages=QUESTION, max_tokens=8, logprobs=True, top_logprobs=2
    )
    told = answer.choices[0].logprobs.content
    assert len(told) == answer.usage.completion_tokens
    for one in told:
        assert len(one.top_logprobs) == 2 and one.logprob <= one.top_logprobs[0].logprob + 1e-5 <= 1e-4
        assert bytes(one.bytes).decode(errors="replace") == one.token
    legacy = client.completions.create(model=model, prompt="Once upon", max_tokens=4, logprobs=2).choices[0].logprobs
    assert len(legacy.tokens) == len(legacy.token_logprobs) == len(legacy.text_offset) == 4
    return f"{len(told)} tokens"


def forms(client, model):
    schema = {"type": "json_schema", "json_schema": {"name": "pet", "schema": SCHEMA, "strict": True}}
    answer = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=64, response_format=schema)
    value = json.loads(answer.choices[0].message.content)
    assert value["animal"] in ("cat", "dog") and 0 <= value["legs"] <= 8, value
    letters = client.completions.create(
        model=model, prompt="A plate:", max_tokens=20, extra_body={"grammar": {"regex": "[A-Z]{2}-[0-9]{3}"}}
    )
    assert len(letters.choices[0].text) == 6 and letters.choices[0].text[2] == "-", letters
    return json.dumps(value)


def tools(client, model):
    answer = client.chat.completions.create(
        model=model, messages=QUESTION, tools=[TOOL], tool_choice="required", max_tokens=64
    )
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls" and choice.message.content is None, choice
    call = choice.message.tool_calls[0]
    arguments = json.loads(call.function.arguments)
    assert call.function.name == "feed" and arguments["animal"] in ("cat", "dog") and 1 <= arguments["grams"] <= 99
    stream = client.chat.completions.create(
        model=model, messages=QUESTION, tools=[TOOL], tool_choice="required", max_tokens=64, stream=True
    )
    deltas = [call for chunk in stream for call in (chunk.choices[0].delta.tool_calls or [])]
    assert deltas[0].function.arguments == call.function.arguments and deltas[0].index == 0
    talk = QUESTION + [
        choice.message,
        {"role": "tool", "tool_call_id": call.id, "content": "The cat was fed."},
    ]
    after = client.chat.completions.create(model=model, messages=talk, tools=[TOOL], max_tokens=16)
    assert after.choices[0].finish_reason in ("stop", "length", "tool_calls")
    return f"{call.function.name}({call.function.arguments})"


def embeddings(client, model):
    texts = ["The cat sat on the mat.", "A cat lay on the mat.", "12 + 30 = 42"]
    made = client.embeddings.create(model=model, input=texts)
    vectors = [one.embedding for one in made.data]
    assert all(abs(math.sqrt(sum(x * x for x in vector)) - 1) < 1e-4 for vector in vectors)
    plain = client.embeddings.create(model=model, input=texts[0], encoding_format="float").data[0].embedding
    assert struct.pack(f"{len(plain)}f", *plain) == struct.pack(f"{len(plain)}f", *vectors[0])
    near, far = (sum(a * b for a, b in zip(vectors[0], other)) for other in vectors[1:])
    assert near > far, (near, far)
    return f"{len(plain)} numbers, cosines {near:.2f} and {far:.2f}"


def responses(client, model):
    whole = client.responses.create(model=model, input="What do cats like to eat?", max_output_tokens=24)
    assert whole.output_text and whole.status in ("completed", "incomplete"), whole
    events = list(client.responses.create(model=model, input="What do cats like to eat?", max_output_tokens=24, stream=True))
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"], kinds
    assert kinds[-1] in ("response.completed", "response.incomplete"), kinds
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == whole.output_text == events[-1].response.output_text
    assert [event.sequence_number for event in events] == list(range(len(events)))
    form = {"format": {"type": "json_schema", "name": "pet", "schema": SCHEMA}}
    pet = client.responses.create(
        model=model, instructions="Be short.", input=[{"role": "user", "content": "A pet?"}], text=form, max_output_tokens=64
    )
    assert json.loads(pet.output_text)["animal"] in ("cat", "dog")
    flat = {"type": "function", **TOOL["function"]}
    called = client.responses.create(
        model=model, input="Feed the cat.", tools=[flat], tool_choice="required", max_output_tokens=64
    )
    assert called.output[0].type == "function_call" and called.output[0].name == "feed", called
    return f"{len(events)} events"


def people(client, model):
    root = str(client.base_url).rstrip("/")

    def ask(method, path, body=None):
        headers = {"Authorization": f"Bearer {client.api_key}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(root + path, data, headers, method=method)) as answer:
            return json.load(answer)

    pools = ask("GET", "/pools")["data"]
    if not pools:
        return "no pool here"
    weights = [1.0] + [0.0] * (pools[0]["adapters"] - 1)
    made = ask("POST", "/customizations", {"name": "client-test", "weights": weights, "replace": True})
    try:
        answer = client.chat.completions.create(model=made["model"], messages=QUESTION, max_tokens=8)
        assert answer.model == made["model"] and list(answer.crayon["adapter"].values()) == weights
    finally:
        assert ask("DELETE", "/customizations/client-test")["deleted"]
    return made["model"]


def refusals(client, model):
    for error, code, ask in (
        (openai.NotFoundError, "model_not_found", dict(model="nobody")),
        (openai.BadRequestError, "invalid_value", dict(model=model, temperature=9)),
        (openai.BadRequestError, "unknown_parameter", dict(model=model, extra_body={"surprise": 1})),
    ):
        try:
            client.chat.completions.create(messages=QUESTION, **ask)
            raise AssertionError(f"{ask} was not refused")
        except error as refused:
            assert refused.code == code, refused
    raw = client.chat.completions.with_raw_response.create(model=model, messages=QUESTION, max_tokens=2, store=True)
    assert raw.headers["x-crayon-ignored"] == "store"
    return "by their classes"


def main(url, key="none"):
    client = openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=120)
    model = client.models.list().data[0].id
    assert client.models.retrieve(model).id == model
    for check in (streaming, several, logprobs, forms, tools, embeddings, responses, people, refusals):
        print(f"{check.__name__}: {check(client, model)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
