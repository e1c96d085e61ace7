"""Builds the wheel `crayon-lm` for this machine, installs it in an environment of its own, and checks it there.

    python3 scripts/release/wheel.py [--zig] [OUT]
    python3 scripts/release/wheel.py --tools

The wheel lies in OUT, target/wheels if none is given. With `--zig` it runs on Linux systems as old as manylinux2014. `--tools` only gets maturin
and mypy, which everything else does first.
"""

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "python"
TARGET = ROOT / "target"


def run(*command, **options):
    subprocess.run([str(word) for word in command], check=True, **options)


def environment(*packages):
    """The Python of the environment that the wheel is built and tested in, with these packages."""
    home = TARGET / "venv"
    venv.create(home, with_pip=True)
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages)
    return python


def build(python, out, zig):
    """The path of the wheel."""
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("crayon_lm-*.whl"):
        old.unlink()
    system = ["--zig", "--compatibility", "manylinux2014"] if zig else []
    run(python, "-m", "maturin", "build", "--release", "--locked", "--manifest-path", HERE / "Cargo.toml", "--interpreter", python,
        "--out", out, *system, env={**os.environ, "CARGO_TARGET_DIR": str(TARGET)})
    [wheel] = out.glob("crayon_lm-*.whl")
    return wheel


def main():
    zig, words = "--zig" in sys.argv, [word for word in sys.argv[1:] if not word.startswith("--")]
    python = environment("maturin[zig]" if zig else "maturin", "mypy")
    if "--tools" in sys.argv:
        return
    wheel = build(python, Path(words[0]).resolve() if words else TARGET / "wheels", zig)
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB", flush=True)

    environment("--no-index", "--force-reinstall", wheel)
    # Away from the folder of the sources, so that it is the installed module which is found.
    run(python, "-m", "mypy.stubtest", "--allowlist", HERE / "tests" / "stubtest.txt", "crayon", cwd=TARGET)
    run(python, "-m", "mypy", "--strict", "--cache-dir", TARGET / "mypy", HERE / "tests", cwd=TARGET)
    run(python, "-m", "unittest", "discover", "--start-directory", HERE / "tests", "--top-level-directory", HERE, cwd=TARGET)


if __name__ == "__main__":
    main()
