"""Packs a built program as it is given to people: with completions, manual pages, README and licences.

    cargo build --release -p crayon
    python3 scripts/release/pack.py target/release/crayon x86_64-unknown-linux-gnu dist

Writes dist/crayon-VERSION-TARGET.tar.gz (for Windows .zip) and prints its SHA-256. The same files give the same bytes. What the program makes
of itself, completions and manual pages, lies in target/package afterwards, where `cargo deb` looks for it. The program has to run here.
"""

import argparse
import gzip
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MADE = ROOT / "target" / "package"
# As the shells look for them.
COMPLETIONS = {"bash": "crayon.bash", "zsh": "_crayon", "fish": "crayon.fish", "elvish": "crayon.elv", "powershell": "_crayon.ps1"}
BESIDE = ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"]
# The first moment that a zip file can name.
THEN = (1980, 1, 1, 0, 0, 0)


def version():
    """The workspace's version."""
    run = subprocess.run(["cargo", "metadata", "--no-deps", "--format-version", "1"], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return next(package["version"] for package in json.loads(run.stdout)["packages"] if package["name"] == "crayon")


def make(program):
    """Writes what the program makes of itself."""
    shutil.rmtree(MADE, ignore_errors=True)
    (MADE / "completions").mkdir(parents=True)
    for shell, name in COMPLETIONS.items():
        run = subprocess.run([program, "completions", shell], stdout=subprocess.PIPE, check=True)
        (MADE / "completions" / name).write_bytes(run.stdout)
    subprocess.run([program, "man", "-q", "-o", MADE / "man"], stdout=subprocess.DEVNULL, check=True)


def files(program):
    """Names in the archive with their bytes and whether they are run."""
    found = [(program.name, program.read_bytes(), True)]
    found += [(name, (ROOT / name).read_bytes(), False) for name in BESIDE]
    made = sorted(path for path in MADE.rglob("*") if path.is_file())
    return found + [(path.relative_to(MADE).as_posix(), path.read_bytes(), False) for path in made]


def tar(folder, found):
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
        for name, content, runs in found:
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mode = len(content), 0o755 if runs else 0o644
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def zipped(folder, found):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, _ in found:
            archive.writestr(zipfile.ZipInfo(f"{folder}/{name}", THEN), content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path)
    parser.add_argument("target", help="the system it is for, as Rust calls it")
    parser.add_argument("output", type=Path, help="folder of the archive")
    args = parser.parse_args()
    make(args.program.resolve())
    folder = f"crayon-{version()}-{args.target}"
    windows = "windows" in args.target
    packed = (zipped if windows else tar)(folder, files(args.program))
    args.output.mkdir(parents=True, exist_ok=True)
    archive = args.output / f"{folder}.{'zip' if windows else 'tar.gz'}"
    archive.write_bytes(packed)
    print(f"{hashlib.sha256(packed).hexdigest()}  {archive}")


if __name__ == "__main__":
    main()
