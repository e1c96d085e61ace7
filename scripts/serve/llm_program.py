"""Asks a running `crayon serve` through `llm`, a chat program for the terminal, as its users set it up.

    pip install llm
    crayon serve --port 8080 &
    python3 scripts/serve/llm_program.py http://127.0.0.1:8080/v1 [PATH OF llm]
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

SCHEMA = {
    "type": "object",
    "properties": {"animal": {"enum": ["cat", "dog"]}, "legs": {"type": "integer", "minimum": 0, "maximum": 8}},
    "required": ["animal", "legs"],
    "additionalProperties": False,
}


def main(url, program=None):
    program = program or shutil.which("llm") or sys.exit("llm is not installed: pip install llm")
    with urllib.request.urlopen(f"{url}/models") as reply:
        name = json.load(reply)["data"][0]["id"]

    def direct(messages):
        body = json.dumps({"model": name, "messages": messages, "max_tokens": 40}).encode()
        request = urllib.request.Request(f"{url}/chat/completions", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)["choices"][0]["message"]["content"]

    with tempfile.TemporaryDirectory() as folder:
        # What llm's own documentation says for servers with OpenAI's interface, written as YAML that is JSON.
        model = {"model_id": "mine", "model_name": name, "api_base": url, "supports_schema": True, "supports_tools": True}
        (Path(folder) / "extra-openai-models.yaml").write_text(json.dumps([model]))
        surroundings = {**os.environ, "LLM_USER_PATH": folder}

        def llm(*words, text=None):
            run = subprocess.run([program, *words], input=text, capture_output=True, text=True, env=surroundings)
            assert run.returncode == 0, run.stderr
            return run.stdout

        assert "mine" in llm("models")
        limit = ["-o", "max_tokens", "40"]
        question = "What is a boat?"
        expected = direct([{"role": "user", "content": question}])
        assert llm("-m", "mine", *limit, question).strip() == expected.strip(), expected
        print(f"a question, as a stream: {expected!r}")
        assert llm("-m", "mine", *limit, "--no-stream", question).strip() == expected.strip()
        print("a question, whole")
        system = direct([{"role": "system", "content": "Be short."}, {"role": "user", "content": question}])
        assert llm("-m", "mine", *limit, "-s", "Be short.", question).strip() == system.strip()
        print("with instructions")
        llm("-m", "mine", *limit, question)
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": expected}, {"role": "user", "content": "Why?"}]
        assert llm("-c", *limit, "Why?").strip() == direct(turns).strip()
        print("a conversation that goes on")
        said = llm("chat", "-m", "mine", *limit, text=f"{question}\nquit\n")
        assert expected.strip() in said, said
        print("its own chat")
        pet = json.loads(llm("-m", "mine", "--schema", json.dumps(SCHEMA), "A pet"))
        assert pet["animal"] in ("cat", "dog") and isinstance(pet["legs"], int), pet
        print(f"a schema: {pet}")


if __name__ == "__main__":
    main(*sys.argv[1:])
