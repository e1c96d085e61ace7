#!/usr/bin/env python3
"""Embedding speed of a CLIP ViT-B/32 beside torch, onnxruntime and faster-clip: the same made-up weights, in turns, each run in
a process of its own.

    pip install torch transformers onnx onnxruntime onnxscript faster-clip pillow psutil
    cargo build --release
    python3 benches/clip/rival.py > clip-speed.md

Every rival runs with several batch sizes, and its best counts; onnxruntime runs its graph as exported and as its own optimizer for
transformers rewrites it, and the better counts. Texts have the same number of tokens everywhere and no padding. int8 is dynamic
quantization of the linear layers: onnxruntime's, torch's, and here `w8a8`; faster-clip keeps 8-bit weights and multiplies floats. Rounds are in turns, the median of each is told.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOKENS, FULL, SIZE = 16, 77, 224
BATCHES = {"pictures": [1, 8, 64], "texts": [8, 128], "full": [4, 32]}
NAMES = {"pictures": "pictures a second", "texts": f"texts of {TOKENS} tokens a second", "full": f"texts of {FULL} tokens a second"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crayon", default=str(ROOT / "target/release/crayon"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="time of one measurement of a rival")
    parser.add_argument("--keep", type=Path, help="file of rounds: those of earlier runs count, those of this one are added")
    parser.add_argument("--compiled", action="store_true", help="torch.compile, too, which takes minutes")
    parser.add_argument("--folder", type=Path, help="where the model and its graphs are kept [default: for this run only]")
    parser.add_argument("--child", nargs=2, metavar=("RIVAL", "KIND"), help=argparse.SUPPRESS)
    settings = parser.parse_args()
    if settings.child:
        print(json.dumps(child(*settings.child, settings)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        settings.folder = settings.folder or Path(temporary)
        prepare(settings.folder)
        report(settings)


# --- the model --------------------------------------------------------------------------------------------------------------


def prepare(folder: Path) -> None:
    """The model as transformers saves it, and its graphs for onnxruntime."""
    if (folder / "ready").exists():
        return
    import torch
    from transformers import CLIPConfig, CLIPModel

    torch.set_grad_enabled(False)
    torch.manual_seed(1)
    model = CLIPModel(CLIPConfig()).eval()
    for name, value in model.named_parameters():
        if value.dim() > 1 and "embedding" not in name:
            value.copy_(torch.randn(value.shape) / math.sqrt(value[0].numel()))
    model.save_pretrained(folder)
    # Byte pairs without a merge: the texts are made up, too.
    (folder / "bpe_simple_vocab_16e6.txt").write_text("#version: 0.2\n")
    subprocess.run([sys.executable, __file__, "--folder", folder, "--child", "export", "all"], check=True, stdout=subprocess.DEVNULL)
    (folder / "ready").touch()


def towers(folder: Path):
    import torch
    from transformers import CLIPModel

    class Pictures(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, pixels):
            return self.model.visual_projection(self.model.vision_model(pixel_values=pixels).pooler_output)

    class Texts(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, ids):
            return self.model.text_projection(self.model.text_model(input_ids=ids).pooler_output)

    torch.set_grad_enabled(False)
    model = CLIPModel.from_pretrained(folder).eval()
    return Pictures(model).eval(), Texts(model).eval()


def export(folder: Path) -> dict:
    import onnx
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers import optimizer

    pictures, texts = towers(folder)
    batch, length = torch.export.Dim("batch", min=1, max=256), torch.export.Dim("length", min=2, max=77)
    torch.onnx.export(pictures, (inputs("pictures", 2),), folder / "pictures.onnx", dynamo=True,
                      dynamic_shapes=({0: batch},), external_data=True)
    torch.onnx.export(texts, (inputs("texts", 2),), folder / "texts.onnx", dynamo=True,
                      dynamic_shapes=({0: batch, 1: length},), external_data=True)
    for tower, heads, hidden in [("pictures", 12, 768), ("texts", 8, 512)]:
        try:
            rewritten = optimizer.optimize_model(str(folder / f"{tower}.onnx"), model_type="clip", num_heads=heads,
                                                 hidden_size=hidden, opt_level=1, only_onnxruntime=False)
            rewritten.save_model_to_file(str(folder / f"{tower}.optimized.onnx"), use_external_data_format=False)
        except Exception as error:  # what it cannot rewrite runs as exported
            print(f"{tower}: {error}", file=sys.stderr)
        for kind in ["", ".optimized"]:
            source = folder / f"{tower}{kind}.onnx"
            if not source.exists():
                continue
            model = onnx.load(source)
            del model.graph.value_info[:]
            plain = folder / f"{tower}{kind}.plain.onnx"
            onnx.save(model, plain)
            for channels in [False, True]:
                name = f"{tower}{kind}.int8{'.channels' if channels else ''}.onnx"
                try:
                    quantize_dynamic(plain, folder / name, weight_type=QuantType.QInt8, per_channel=channels,
                                     op_types_to_quantize=["MatMul", "Gemm", "Attention"],
                                     extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT})
                except Exception as error:
                    print(f"{name}: {error}", file=sys.stderr)
            plain.unlink()
    return {}


def inputs(what: str, count: int):
    import torch

    torch.manual_seed(count)
    if what == "pictures":
        return torch.randn(count, 3, SIZE, SIZE)
    ids = torch.randint(0, 512, (count, TOKENS if what == "texts" else FULL))
    ids[:, 0], ids[:, -1] = 512, 49407
    return ids


# --- rivals -----------------------------------------------------------------------------------------------------------------


def child(rival: str, kind: str, settings) -> dict:
    if rival == "export":
        return export(settings.folder)
    run = {"torch": torch_rival, "onnxruntime": onnx_rival, "faster-clip": faster_clip}[rival](kind, settings)
    out = {}
    for what, function in run.items():
        best = 0.0
        for batch in BATCHES[what]:
            best = max([best] + [rate(call, inputs(what, batch), batch, settings.seconds) for call in function])
        out[what] = best
    import psutil

    out["resident_mb"] = psutil.Process().memory_info().rss / 1e6
    return out


def rate(call, given, batch: int, seconds: float) -> float:
    call(given)
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        call(given)
        times.append(time.perf_counter() - start)
    return batch / statistics.median(times)


def torch_rival(kind: str, settings) -> dict:
    import torch

    torch.set_num_threads(settings.threads)
    torch.set_grad_enabled(False)
    pictures, texts = towers(settings.folder)
    if kind == "int8":
        pictures, texts = (torch.ao.quantization.quantize_dynamic(tower, {torch.nn.Linear}, torch.qint8) for tower in (pictures, texts))
    if kind == "fp32 compiled":
        pictures, texts = torch.compile(pictures, dynamic=False), torch.compile(texts, dynamic=False)
    infer = torch.inference_mode()
    infer.__enter__()
    return {"pictures": [pictures], "texts": [texts], "full": [texts]}


def onnx_rival(kind: str, settings) -> dict:
    import onnxruntime

    def sessions(tower: str):
        names = {
            "fp32": [f"{tower}.onnx", f"{tower}.optimized.onnx"],
            "int8": [f"{tower}{middle}.int8{end}.onnx" for middle in ["", ".optimized"] for end in ["", ".channels"]],
        }[kind]
        found = []
        for name in names:
            if not (settings.folder / name).exists():
                continue
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads, options.inter_op_num_threads = settings.threads, 1
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
            try:
                session = onnxruntime.InferenceSession(settings.folder / name, options, providers=["CPUExecutionProvider"])
                key = session.get_inputs()[0].name
                call = lambda x, session=session, key=key: session.run(None, {key: x.numpy()})
                call(inputs("pictures" if tower == "pictures" else "texts", 1))
                found.append(call)
            except Exception as error:
                print(f"{name}: {error}", file=sys.stderr)
        return found

    texts = sessions("texts")
    return {"pictures": sessions("pictures"), "texts": texts, "full": texts}


def faster_clip(kind: str, settings) -> dict:
    """Its picture tower with these weights. It takes files: bitmaps of the tower's size, which need no decoding to speak of. Its
    text tower is another network."""
    import io

    from PIL import Image

    place = settings.folder / "cache/sentence-transformers__clip-ViT-B-32/0_CLIPModel"
    place.mkdir(parents=True, exist_ok=True)
    if not (place / "model.safetensors").exists():
        os.link(settings.folder / "model.safetensors", place / "model.safetensors")
    os.environ.update(FASTER_CLIP_CACHE=str(settings.folder / "cache"), RAYON_NUM_THREADS=str(settings.threads))
    from faster_clip import ClipModel

    file = io.BytesIO()
    Image.effect_noise((SIZE, SIZE), 80).convert("RGB").save(file, "BMP")
    model, file = ClipModel(), file.getvalue()
    return {"pictures": [lambda x: model.encode_image([file] * len(x))]}


# --- this program -----------------------------------------------------------------------------------------------------------


def crayon(kind: str, settings) -> dict:
    call = [settings.crayon, "--json", "-q", "bench", "clip", "-m", settings.folder, "--threads", settings.threads,
            "--tokens", TOKENS, "--runs", 5]
    call += ["--type", "w8a8"] if kind == "int8" else []
    found = json.loads(subprocess.run([str(part) for part in call], stdout=subprocess.PIPE, check=True, text=True).stdout)
    return {"pictures": found["pictures_s"], "texts": found["texts_s"], "full": found["full_texts_s"],
            "resident_mb": found["resident_mb"], "cosine": found["cosine"]}


def parity(settings) -> float:
    """The largest difference of a text's embedding from transformers', through the program itself."""
    import torch

    _, texts = towers(settings.folder)
    answer = subprocess.run([settings.crayon, "--json", "-q", "embed", "text", "-m", str(settings.folder), "a red heart"],
                            stdout=subprocess.PIPE, check=True, text=True)
    found = json.loads(answer.stdout)
    ids = [512] + [token["id"] for token in found["tokens"]] + [49407]
    expected = torch.nn.functional.normalize(texts(torch.tensor([ids]))[0], dim=0)
    return (expected - torch.tensor(found["embedding"])).abs().max().item()


RIVALS = [("torch", "fp32"), ("onnxruntime", "fp32"), ("torch", "int8"), ("onnxruntime", "int8"),
          ("faster-clip", "int8")]


def report(settings) -> None:
    rivals = RIVALS + ([("torch", "fp32 compiled")] if settings.compiled else [])
    rows = {program: [] for program in [("crayon", "fp32"), ("crayon", "int8"), *rivals]}
    if settings.keep and settings.keep.exists():
        for name, kind, found in json.loads(settings.keep.read_text()):
            rows.setdefault((name, kind), []).extend(found)
    for _ in range(settings.rounds):
        for (name, kind), found in rows.items():
            if name == "crayon":
                found.append(crayon(kind, settings))
                continue
            call = [sys.executable, __file__, "--folder", settings.folder, "--threads", settings.threads, "--seconds", settings.seconds, "--child", name, kind]
            answer = subprocess.run([str(part) for part in call], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            if answer.returncode == 0:
                found.append(json.loads(answer.stdout.strip().splitlines()[-1]))
            else:
                print(f"{name} {kind}: {answer.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
    if settings.keep:
        settings.keep.write_text(json.dumps([[*program, found] for program, found in rows.items()]))
    rounds = len(rows[("crayon", "fp32")])
    versions = ", ".join(f"{name} {version(name)}" for name in ["torch", "onnxruntime", "faster-clip", "transformers"])
    print("# Speed of CLIP\n")
    print(f"Printed by `python3 benches/clip/rival.py`: ViT-B/32 with made-up weights, {settings.threads} threads, medians of "
          f"{rounds} rounds in turns; {versions}; {processor()}.\n")
    print(f"The embedding of a text differs from transformers' by {parity(settings):.1e} at most (f32, of values of a vector of length 1).\n")
    for kinds in [["fp32", "fp32 compiled"], ["int8"]]:
        print(f"## {kinds[0]}\n\n| program | " + " | ".join(NAMES.values()) + " | memory, MB |\n|---|---:|---:|---:|---:|")
        table = {name: {what: statistics.median(row.get(what, math.nan) for row in found) for what in [*NAMES, "resident_mb"]}
                 for name, found in rows.items() if name[1] in kinds and found}
        for (name, kind), row in table.items():
            shown = name if kind in ("fp32", "int8") else f"{name}, compiled"
            print(f"| {shown} | " + " | ".join("–" if math.isnan(row[what]) else f"{row[what]:.1f}" for what in NAMES) + f" | {row['resident_mb']:.0f} |")
        own = table[("crayon", kinds[0])]
        others = [row for (name, _), row in table.items() if name != "crayon"]
        ratios = [own[what] / max(row[what] for row in others if row[what] > 0) for what in NAMES]
        print("| **crayon beside the best** | " + " | ".join(f"**{ratio:.2f}**" for ratio in ratios) + " | |\n")
    cosine = rows[("crayon", "int8")][-1]["cosine"]
    print(f"Beside f32, embeddings with `w8a8` have a cosine of {cosine[0]:.4f} (pictures) and {cosine[1]:.4f} (texts) at least.")


def version(name: str) -> str:
    from importlib.metadata import version as of

    return of(name)


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return os.uname().machine


if __name__ == "__main__":
    main()
