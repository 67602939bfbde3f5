"""One fuzzer under atheris: `python -m fuzz.engine NAME [OPTION OF LIBFUZZER...] FOLDER...`.

The fuzzer has its own process, because libFuzzer takes the process over: it ends it, reads its arguments and keeps its
time. The product's modules are instrumented while they are imported, so none of them may be imported earlier.
"""

from __future__ import annotations

import importlib
import sys

import atheris

with atheris.instrument_imports(include=["wgjit", "fuzz", "tests.unit.wire.test_bpf"]):
    fuzzer = importlib.import_module(f"fuzz.{sys.argv[1]}")

# To merge, libFuzzer starts itself anew, through a shell, by what stands first here.
atheris.Setup([f"'{sys.executable}' -m fuzz.engine {sys.argv[1]}", *sys.argv[2:]], fuzzer.check)
atheris.Fuzz()
