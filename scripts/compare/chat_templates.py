#!/usr/bin/env python3
"""Compares the token ids of conversations under tricky chat templates with transformers' `apply_chat_template`.

    chat_templates.py [--crayon target/release/crayon]

Makes a small random model with a byte-level tokenizer, gives it one template after another, and reads the ids that
`crayon chat --session` keeps. Needs torch, transformers and tokenizers (scripts/fixtures/requirements.txt). Prints a
line a template; exits 1 when one differs. Templates that transformers refuses must be refused.
"""

import argparse
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

MESSAGE = "What is  7 % 3? <|im_end|>\u00e9"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEMPLATES = {
    "plain": CHATML,
    "CRLF": CHATML.replace("\n", "\r\n"),
    "CR": CHATML.replace("\n", "\r"),
    "line end at the end": CHATML + "\n",
    "line ends at the end": CHATML + "\n\n",
    "start token written": "{{ bos_token }}" + CHATML,
    "start token inside": "<|im_start|>{{ bos_token }}{{ messages[0].content }}",
    "every special token": "{{ bos_token }}{{ eos_token }}{{ unk_token }}{{ pad_token }}{{ sep_token }}{{ image_token }}{{ messages[0].content }}",
    "a token that is not there": "{{ cls_token }}[{{ mask_token }}]{% if cls_token is defined %}x{% endif %}{{ messages[0].content }}",
    "percent, one value": "{{ '<%s>' % messages[0].role }}{{ messages[0].content }}",
    "percent, a tuple": "{{ '%s: %s (%d)' % (messages[0].role, messages[0].content | trim, messages | length) }}",
    "percent, a mapping": "{{ '%(a)s-%(b)05.1f' % {'a': messages[0].content, 'b': 2.25} }}",
    "percent, precedence": "{{ '%s' % messages[0].role | upper ~ '!' }}{{ '%d%%' % 7 + '?' }}{{ messages[0].content }}",
    "percent, numbers": "{% for m in messages %}{{ loop.index % 2 }}{{ -7 % 3 }}{{ 7 // 2 }}{{ m.content }}{% endfor %}",
    "format filter": "{{ '%s|%5s|%-5s|' | format('a', 'b', 'c') }}{{ messages[0].content }}",
    "format method": "{{ '{}-{}'.format('a', 1) }}{{ messages[0].content }}",
    "date": "{{ strftime_now('%Y') }}{{ strftime_now('%d %B')[:0] }}{{ messages[0].content }}",
    "trimmed blocks": "  {% if true %}\n    {{- messages[0].content }}\n  {% endif %}\n  end",
    "kept blanks": "  {%+ if true %}\n    {{ messages[0].content }}\n  {% endif +%}\n  end",
    "namespace": "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + m.role | length %}{% endfor %}{{ ns.n }}",
    "macro": "{% macro turn(m, end='!') %}{{ m.role }}:{{ m.content }}{{ end }}{% endmacro %}{{ turn(messages[0]) }}{{ turn(messages[0], end='?') }}",
    "slices": "{{ messages[0].content[1:-1] }}{{ messages[0].content[:9][::-1] }}{{ messages[-1].role }}",
    "string methods": "{{ messages[0].content.strip().split(' ')[0].upper().replace('W', 'V') }}{{ messages[0].content.startswith(' ') }}",
    "json": "{{ messages | tojson }}{{ {'a': [1, 2.5, none, true, 'é\"<']} | tojson(indent=2) }}",
    "loop controls": "{% for m in messages * 3 %}{% if loop.index == 2 %}{% continue %}{% endif %}{% if loop.last %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
    "generation block": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    "raw block": "{% raw %}{{ '%s' % x }}{% endraw %}{{ messages[0].content }}",
    "comments": "{# '%s' % x #}{{ messages[0].content }}{#- end -#} \n x",
    "Python's names": "{{ True }}{{ False }}{{ None }}{{ none }}{{ messages[0].content }}",
    "tools": "{% if tools %}T{% endif %}{% if tools is none %}n{% endif %}{% if documents is defined %}d{% endif %}{{ messages[0].content }}",
    "quotes": "{{ \"it's\" }}{{ 'a\\'b\\n\\\\' }}{{ '\\u00e9\\x41' }}{{ messages[0].content }}",
    "refusal": "{{ raise_exception('no ' ~ messages[0].role) }}",
    "named, with a default": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": CHATML}],
    "named, none the default": [{"name": "a", "template": "A"}, {"name": "b", "template": "B"}],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crayon", default="target/release/crayon", help="the program to compare")
    settings = parser.parse_args()
    transformers.logging.set_verbosity_error()
    different = 0
    with tempfile.TemporaryDirectory() as folder:
        model(Path(folder))
        for name, template in TEMPLATES.items():
            reference, ours = reference_ids(Path(folder), template), crayon_ids(settings.crayon, Path(folder))
            # Behind the prompt stands the one token of the answer, if that is not its end.
            same = ours == reference or (None not in (ours, reference) and ours[:-1] == reference)
            different += not same
            print(f"{name:28} {'as transformers' if same else 'DIFFERS'}, {len(reference) if reference else 'refused'}")
            if not same:
                print(f"    transformers {shown(reference)}\n    crayon       {shown(ours)}")
    return int(different > 0)


def model(folder: Path) -> None:
    """A tokenizer of single bytes and a network nobody trained."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: id for id, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<unk>", "<pad>", "<sep>", "<image>"])
    config = transformers.LlamaConfig(
        vocab_size=264, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
        max_position_embeddings=1024,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))


def reference_ids(folder: Path, template) -> list[int] | None:
    named = {f"{name}_token": f"<{name}>" for name in ("unk", "pad", "sep", "image")}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", **named, "add_bos_token": True,
        "chat_template": template,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    # Names of control tokens in a message are text here and control tokens there: spell the reference's apart.
    message = MESSAGE.replace("<|im_end|>", "\ufdd0")
    try:
        text = tokenizer.apply_chat_template([{"role": "user", "content": message}], add_generation_prompt=True, tokenize=False)
    except Exception:
        return None
    plain = [id for part in "<|im_end|>" for id in tokenizer.encode(part, add_special_tokens=False)]
    ids = []
    for number, part in enumerate(text.split("\ufdd0")):
        ids += (plain if number else []) + tokenizer.encode(part, add_special_tokens=False)
    return ids


def crayon_ids(binary: str, folder: Path) -> list[int] | None:
    session = folder / "talk.session"
    session.unlink(missing_ok=True)
    run = subprocess.run(
        [binary, "chat", "-m", str(folder), "--session", str(session), "--max-tokens", "1", "--quiet"],
        input=MESSAGE + "\n", capture_output=True, text=True,
    )
    if run.returncode or not session.is_file():
        return None
    # Eight bytes that name the format, its version, the header's length, the header, then the ids.
    content = session.read_bytes()
    (length,) = struct.unpack_from("<Q", content, 12)
    count = json.loads(content[20 : 20 + length])["tokens"]
    return list(struct.unpack_from(f"<{count}I", content, 20 + length))


def shown(ids: list[int] | None) -> str:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    return "refused" if ids is None else "".join(letters[id] if id < 256 else f"[{id}]" for id in ids)


if __name__ == "__main__":
    sys.exit(main())
