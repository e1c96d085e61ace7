#!/usr/bin/env python3
"""Runs the tests of crayon-kernels on an emulated processor, for instructions that this one lacks.

    kernels.py --kernel VMLINUZ [--cpu MODEL] [--bochs PROGRAM] [-- TEST ARGUMENTS]

Builds the crate's tests as one static program, puts it into a small Linux on a CD image, starts that
in the emulator Bochs and shows what it prints. Exits with the tests' own code.

Needs
- Bochs with AVX-512, for AMX also with that (3.0 or newer), with the display library `nogui` or `term`. Debian's
  `bochs` and `bochs-term` (2.7) have AVX-512 with VNNI (`--cpu corei7_icelake_u`), not AMX. `bochs --help cpu` lists models.
- a Linux kernel for x86-64 with everything built in that a serial console and an initial RAM disk need, 5.16 or
  newer for AMX: Debian's linux-image-cloud-amd64 is one (`dpkg -x` it; the file is boot/vmlinuz-*).
- isolinux and its modules, and xorriso: Debian's `isolinux`, `syslinux-common`, `xorriso`.
- a C compiler and a static C library for the target x86_64-unknown-linux-gnu (Debian's `gcc` and `libc6-dev`).

What has been seen (a Bochs of August 2026, Linux 6.1): with `--cpu corei7_icelake_u` the tests run on the emulator as it is.
`sapphire_rapids` needs three gaps in its source closed first:
- Linux hands out tiles only with XFD: bit 4 of CPUID leaf 0Dh, sub-leaf 1, EAX; bit 2 of sub-leaf 18, ECX; the registers 1C4h
  and 1C5h; and #NM from tile instructions while bit 18 of the first is set.
- TDPBSSD, TDPBSUD and TDPBUSD take signed bytes for unsigned ones (`DPBDSS` and its siblings in cpu/avx/amx.cc).
- XSAVE loses tiles when threads change (cpu/xsave.cc): it writes rows and bytes of a configuration the wrong way round, half of a
  tile's rows, and takes tiles for unused that are in use.
"""

import argparse
import gzip
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TARGET = "x86_64-unknown-linux-gnu"
# Linux's first process: starts the tests and says how they ended. It never ends itself: Linux would stop and leave the console unread.
INIT = r"""
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int count, char **arguments) {
    int status = 0;
    pid_t tests = fork();
    if (tests == 0) {
        execv("/tests", arguments);
        _exit(126);
    }
    waitpid(tests, &status, 0);
    printf("\ntests ended: %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    fflush(stdout);
    for (;;) pause();
}
"""
ENDED = re.compile(r"^tests ended: (\d+)\r?\n", re.MULTILINE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", type=Path, required=True, help="vmlinuz of a Linux for x86-64")
    parser.add_argument("--cpu", default="sapphire_rapids", help="the emulator's model of processor")
    parser.add_argument("--bochs", default="bochs", help="the emulator")
    parser.add_argument("--display", default="nogui", help="its display library")
    parser.add_argument("--share", type=Path, default=Path("/usr/share/bochs"), help="folder of its BIOS images")
    parser.add_argument("--isolinux", type=Path, default=Path("/usr/lib/ISOLINUX/isolinux.bin"))
    parser.add_argument("--modules", type=Path, default=Path("/usr/lib/syslinux/modules/bios"))
    parser.add_argument("--memory", type=int, default=1024, help="MiB")
    parser.add_argument("--minutes", type=float, default=60, help="given up after this long")
    parser.add_argument("--program", type=Path, help="a static test program, instead of building one")
    parser.add_argument("--target-dir", type=Path, help="cargo's target folder")
    parser.add_argument("arguments", nargs="*", help="of the tests, after --")
    settings = parser.parse_args()

    program = settings.program or build(settings.target_dir)
    with tempfile.TemporaryDirectory(prefix="emulate-") as folder:
        image = make_image(Path(folder), program, settings)
        return emulate(Path(folder), image, settings)


def build(target_dir: Path | None) -> Path:
    """The crate's unit tests as one program that needs no libraries."""
    command = ["cargo", "test", "--release", "-p", "crayon-kernels", "--lib", "--no-run", "--target", TARGET]
    command += ["--message-format", "json"]
    if target_dir:
        command += ["--target-dir", str(target_dir)]
    flags = os.environ.get("RUSTFLAGS", "") + " -C target-feature=+crt-static"
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env={**os.environ, "RUSTFLAGS": flags})
    messages = map(json.loads, done.stdout.splitlines())
    programs = [m["executable"] for m in messages if m.get("profile", {}).get("test") and m.get("executable")]
    return Path(programs[-1])


def first_process(folder: Path) -> bytes:
    source, init = folder / "init.c", folder / "init"
    source.write_text(INIT)
    subprocess.run([os.environ.get("CC", "cc"), "-static", "-O1", "-o", init, source], check=True)
    return init.read_bytes()


def make_image(folder: Path, program: Path, settings: argparse.Namespace) -> Path:
    """A CD that boots Linux and runs `program`."""
    root = folder / "cd"
    root.mkdir()
    shutil.copy(settings.kernel, root / "vmlinuz")
    with gzip.open(root / "initrd.gz", "wb", compresslevel=1) as out:
        out.write(archive({
            "dev": (stat.S_IFDIR | 0o755, b"", (0, 0)),
            "dev/console": (stat.S_IFCHR | 0o600, b"", (5, 1)),
            # Property tests draw their seeds from these.
            "dev/random": (stat.S_IFCHR | 0o644, b"", (1, 8)),
            "dev/urandom": (stat.S_IFCHR | 0o644, b"", (1, 9)),
            "init": (stat.S_IFREG | 0o755, first_process(folder), (0, 0)),
            "tests": (stat.S_IFREG | 0o755, program.read_bytes(), (0, 0)),
        }))
    # The emulated clock runs at its own pace, and the random numbers it lacks are not worth waiting for. Two features go:
    # the emulator stops at registers of `waitpkg`, and has `fsrm` without the `erms` that Linux takes for granted then.
    options = "console=ttyS0 quiet clearcpuid=waitpkg,fsrm random.trust_cpu=on tsc=reliable mitigations=off nokaslr rdinit=/init RUST_BACKTRACE=0"
    # `initrd=` stands here because isolinux would append it to the arguments of the tests.
    environment = [a for a in settings.arguments if re.match(r"[A-Z_]+=", a)]
    arguments = [a for a in settings.arguments if a not in environment]
    line = " ".join([options, *environment, "--", "--test-threads=1", *arguments])
    (root / "isolinux.cfg").write_text(f"DEFAULT l\nLABEL l\n KERNEL vmlinuz\n APPEND initrd=initrd.gz {line}\n")
    shutil.copy(settings.isolinux, root / "isolinux.bin")
    shutil.copy(settings.modules / "ldlinux.c32", root)
    image = folder / "cd.iso"
    boot = ["-b", "isolinux.bin", "-c", "boot.cat", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"]
    subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-o", image, *boot, root], check=True, capture_output=True)
    return image


def archive(files: dict[str, tuple[int, bytes, tuple[int, int]]]) -> bytes:
    """A cpio archive in the form that Linux unpacks (`newc`)."""
    out = bytearray()
    entries = [*files.items(), ("TRAILER!!!", (0, b"", (0, 0)))]
    for number, (name, (mode, data, device)) in enumerate(entries, 1):
        fields = [number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0]
        out += b"070701" + "".join(f"{field:08x}" for field in fields).encode() + name.encode() + b"\0"
        out += bytes(-len(out) % 4)
        out += data
        out += bytes(-len(out) % 4)
    return bytes(out)


def emulate(folder: Path, image: Path, settings: argparse.Namespace) -> int:
    """Starts the emulator and shows the serial port until the tests end; their exit code."""
    serial = folder / "serial"
    share = settings.share
    # Newer versions have an extension, and in the sources it lies in a folder of its own.
    names = ["VGABIOS-lgpl-latest.bin", "VGABIOS-lgpl-latest", "VGABIOS-lgpl/VGABIOS-lgpl-latest.bin"]
    vga = next(name for name in names if (share / name).exists())
    (folder / "bochsrc").write_text(f"""\
cpu: model={settings.cpu}, count=1, ips=100000000
memory: guest={settings.memory}, host={settings.memory}
romimage: file={share}/BIOS-bochs-latest
vgaromimage: file={share}/{vga}
ata0-master: type=cdrom, path={image}, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev={serial}
display_library: {settings.display}
clock: sync=none
log: {folder / "log"}
panic: action=fatal
error: action=report
""")
    command = [settings.bochs, "-q", "-f", folder / "bochsrc"]
    output = folder / "output"
    with output.open("wb") as out:
        emulator = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    start, shown = time.monotonic(), 0
    try:
        while time.monotonic() - start < settings.minutes * 60:
            running = emulator.poll() is None
            text = serial.read_text(errors="replace") if serial.exists() else ""
            print(text[shown:], end="", flush=True)
            shown = len(text)
            if ended := ENDED.search(text):
                return int(ended[1])
            if "Kernel panic" in text:
                print("Linux stopped before the tests did", file=sys.stderr)
                return 1
            if not running:
                print(output.read_text(errors="replace")[-2000:], file=sys.stderr)
                print("the emulator stopped before the tests did", file=sys.stderr)
                return 1
            time.sleep(1)
        print(f"\ngiven up after {settings.minutes} minutes", file=sys.stderr)
        return 1
    finally:
        emulator.kill()
        emulator.wait()


if __name__ == "__main__":
    sys.exit(main())
