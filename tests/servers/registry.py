"""A registry of container images, as far as an engine's pull needs one: one image, which can be replaced."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


class Registry:
    """Serves ``{address}/team/bot:1`` on loopback, where engines ask for no certificate."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}
        self.digest = ""
        self.put("first")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def name(self) -> str:
        """The image's name, without a tag."""
        return f"127.0.0.1:{self._server.server_address[1]}/team/bot"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def put(self, content: str) -> str:
        """Push another image under the same tag; its digest."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            entry = tarfile.TarInfo("content")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content.encode()))
        layer = gzip.compress(packed.getvalue(), mtime=0)
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Cmd": ["/content"]},
                "rootfs": {"type": "layers", "diff_ids": [_digest(packed.getvalue())]},
            }
        ).encode()
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": self._part("application/vnd.docker.container.image.v1+json", config),
                "layers": [self._part("application/vnd.docker.image.rootfs.diff.tar.gzip", layer)],
            }
        ).encode()
        self._blobs[_digest(manifest)] = manifest
        self.digest = _digest(manifest)
        return self.digest

    def _part(self, kind: str, content: bytes) -> dict[str, Any]:
        self._blobs[_digest(content)] = content
        return {"mediaType": kind, "size": len(content), "digest": _digest(content)}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                kind, _, what = self.path.removeprefix("/v2/").removeprefix("team/bot/").partition("/")
                digest = registry.digest if what == "1" else what
                content = b"{}" if self.path == "/v2/" else registry._blobs.get(digest)
                self.send_response(200 if content is not None else 404)
                self.send_header("Content-Length", str(len(content or b"")))
                self.send_header("Docker-Distribution-API-Version", "registry/2.0")
                if kind == "manifests":
                    self.send_header("Content-Type", _MANIFEST)
                    self.send_header("Docker-Content-Digest", digest)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content or b"")

            do_HEAD = do_GET  # noqa: N815 - the name is the library's

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
