"""Tests of the installed wheel. Answers are those of the AVX2 kernels where there are any: other processors round otherwise."""

import os
import platform

X86 = platform.machine() in ("x86_64", "AMD64")
if X86:
    os.environ["CRAYON_KERNELS"] = "avx2"
