# The long commands, by name: `just` lists them, `just NAME` runs one. Each is a line that can be copied as well.

data := env("CRAYON_DATA", "../shared/data")

# Lists what there is.
default:
    @just --list --unsorted

# What every change must pass.
check:
    .ci/run

# The parts of `crayon images` that are off by default.
features:
    cargo clippy --release -p crayon --features parquet,hnsw,qdrant,heic --all-targets -- -D warnings
    cargo test --release -p crayon-images -p crayon-vision -p crayon --features crayon/parquet,crayon/hnsw,crayon/qdrant,crayon/heic

# The program without models and without training.
lean:
    cargo test --release -p crayon --no-default-features --test lean

# What documents show, written anew as the program prints it.
docs *DOCUMENTS:
    cargo build --release --workspace --bins --examples
    python3 scripts/docs/refresh.py {{ DOCUMENTS }}
    python3 scripts/docs/links.py

# The documentation site, in target/site.
site:
    mdbook build docs

# Kernels for 64-bit ARM, emulated. Needs Debian's qemu-user-static and gcc-aarch64-linux-gnu. CPU: max has every instruction, neoverse-n1 lacks i8mm.
arm CPU="max":
    rustup target add aarch64-unknown-linux-gnu
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -cpu {{ CPU }} -L /usr/aarch64-linux-gnu" \
    cargo test --release -p crayon-kernels --lib --target aarch64-unknown-linux-gnu

# Kernels for AVX-512 and AMX, emulated. KERNEL is a Linux kernel; the head of the script says what else it needs.
amx KERNEL CPU="sapphire_rapids":
    python3 scripts/emulate/kernels.py --kernel {{ KERNEL }} --cpu {{ CPU }}

# Readers of foreign bytes, with inputs by chance, until Ctrl-C. TARGET: prompt, records, metadata, bodies or events.
fuzz TARGET:
    cargo +nightly fuzz run {{ TARGET }}

# Small random networks and what transformers computes with them.
fixtures:
    python3 -m venv .venv
    .venv/bin/pip install -r scripts/fixtures/requirements.txt
    .venv/bin/python scripts/fixtures/make.py

# Speed of this machine: kernels, one model, everything on one page.
bench MODEL="mini":
    cargo run --release -- bench kernels
    cargo run --release -- bench generate -m {{ MODEL }}
    cargo run --release -- report -o report -m {{ MODEL }}

# Speed beside llama.cpp and candle. Needs `pip install llama-cpp-python` and an idle machine.
rivals:
    cargo build --release --workspace
    python3 benches/llama_cpp/speed.py > docs/results/speed.md
    python3 benches/llama_cpp/long.py > docs/results/long-speed.md
    cargo run --release -p crayon-bench-candle -- compare

# Many requests at once on a model file.
load MODEL:
    cargo build --release
    python3 benches/serve/load.py -m {{ MODEL }} > docs/results/serve.md

# Figures of the built-in models: minutes to hours.
eval-mini:
    cargo build --release
    python3 scripts/eval/embedded.py --data {{ data }} > docs/results/embedded-models.md
    python3 scripts/eval/pots.py --data {{ data }}
    python3 scripts/eval/outside.py --binary target/release/crayon --data {{ data }}
    python3 scripts/eval/start.py > docs/results/start.md

# Figures of number types and of integer models: hours.
eval-types:
    cargo build --release
    python3 scripts/eval/formats.py --data {{ data }} > docs/results/formats.md
    python3 scripts/eval/quantize.py --data {{ data }} > docs/results/quantize.md

# Figures of customization: hours. A stopped run goes on.
eval-customize:
    cargo build --release
    python3 scripts/eval/customize.py run mini --pool models/mini-pool.safetensors --without customer_reviews,commonsense_qa --data {{ data }}
    python3 scripts/eval/customize.py page mini

# Figures of routing, with MODEL as the bigger model. Needs `pip install "llama-cpp-python[server]"`.
eval-routing MODEL:
    cargo build --release
    python3 scripts/eval/routing.py --strong {{ MODEL }} --data {{ data }} > docs/results/routing.md

# Figures of word weights in searches.
eval-images:
    cargo build --release
    python3 scripts/eval/images.py --data {{ data }} > docs/results/images.md

# An archive for this machine, with completions and manual pages, in dist.
pack:
    cargo build --release --locked -p crayon
    python3 scripts/release/pack.py target/release/crayon $(rustc --print host-tuple) dist

# A Debian package, in target/debian. Needs cargo-deb.
deb: pack
    cargo deb -p crayon --no-build

# The wheel for this machine, in target/wheels, built and tested.
wheel:
    python3 scripts/release/wheel.py

# The version everywhere it stands, as in `just version 0.2.0`.
version VERSION:
    python3 scripts/release/version.py {{ VERSION }}

# A container of `crayon serve`. Needs podman; docker takes the same words.
container:
    podman build -t crayon .
