"""Generates gen/antiphon/** from antiphon/**.proto whenever the package is built, editable or not."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from grpc_tools import protoc
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

OUTPUTS = ("python", "grpc_python", "mypy", "mypy_grpc")


class Generate(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root, out = Path(self.root), Path(self.root, "gen")
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        protos = sorted(str(path.relative_to(root)) for path in root.glob("antiphon/**/*.proto"))
        # Without build isolation the plugins lie beside the interpreter, which need not be on PATH.
        os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
        includes = [root, Path(protoc.__file__).with_name("_proto")]
        code = protoc.main(
            ["protoc", *(f"-I{path}" for path in includes), *(f"--{o}_out={out}" for o in OUTPUTS), *protos]
        )
        if code:
            raise RuntimeError(f"protoc failed with {code}")
        for package in {path.parent for path in out.rglob("*.py")}:
            (package / "py.typed").touch()
