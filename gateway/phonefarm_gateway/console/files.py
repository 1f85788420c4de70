"""Serves the console's files from memory: hashed paths, compressed once, with strict headers."""

import gzip
import hashlib
import mimetypes
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final, Self

from aiohttp import hdrs, web

PREFIX: Final = "/console"
_INDEX: Final = "index.html"
_FIRST: Final = "app.js"
_IMPORT: Final = re.compile(rb"^(?:import|.* from) '(\.[^']+)';$", re.MULTILINE)
"""An import that is loaded together with its module; `import(...)` is loaded when it is called."""
_PLACE: Final = "{{static}}"
_MODULES: Final = "{{modules}}"
_LEAST_COMPRESSED: Final = 512

# Nothing inline, nothing from elsewhere, no frame, and no text that becomes markup but Lit's own
# templates (CSP 3, Trusted Types).
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; "
    "require-trusted-types-for 'script'; trusted-types lit-html"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


@dataclass(frozen=True, kw_only=True)
class _File:
    """A file's bytes and type; `small` are the bytes compressed, when that helps."""

    body: bytes
    small: bytes | None
    kind: str

    @classmethod
    def of(cls, name: str, body: bytes) -> Self:
        guessed = mimetypes.guess_type(name)[0] or "application/octet-stream"
        kind = "text/javascript" if name.endswith(".js") else guessed
        if kind.startswith("text/") or kind == "image/svg+xml":
            kind += "; charset=utf-8"
        small = gzip.compress(body, 9, mtime=0) if len(body) >= _LEAST_COMPRESSED else None
        return cls(body=body, small=small, kind=kind)

    def answer(self, request: web.Request, cache: str) -> web.Response:
        headers = {**_HEADERS, hdrs.CONTENT_TYPE: self.kind, hdrs.CACHE_CONTROL: cache}
        if self.small is None:
            return web.Response(body=self.body, headers=headers)
        headers[hdrs.VARY] = hdrs.ACCEPT_ENCODING
        if "gzip" not in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
            return web.Response(body=self.body, headers=headers)
        headers[hdrs.CONTENT_ENCODING] = "gzip"
        return web.Response(body=self.small, headers=headers)


class ConsoleFiles:
    """Serves the console's page and what it loads.

    The page is asked for each time; all else has the hash of all files in its path, and browsers
    keep it for good. The page preloads the modules that are needed whatever it shows.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        """Take *files* by their path; `index.html` is the page."""
        digest = hashlib.sha256()
        for name, body in sorted(files.items()):
            digest.update(f"{name}\0{len(body)}\0".encode() + body)
        self.static = f"{PREFIX}/static/{digest.hexdigest()[:16]}"
        modules = "\n".join(
            f'<link rel="modulepreload" href="{self.static}/{name}">'
            for name in sorted(_loaded_first(files))
        )
        page = files[_INDEX].decode().replace(_MODULES, modules).replace(_PLACE, self.static)
        self._page = _File.of(_INDEX, page.encode())
        self._files = {name: _File.of(name, body) for name, body in files.items() if name != _INDEX}

    @classmethod
    def read(cls) -> Self:
        """Read the files of this program, from a wheel or a checkout."""
        return cls(dict(_walk(resources.files("phonefarm_gateway.console") / "static")))

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Register the page under every path of the console, and the files."""
        router.add_get(self.static + "/{name:.+}", self._show_file)
        router.add_get(PREFIX, self._show_page)
        # An endpoint of the API is no page, with any method.
        router.add_get(PREFIX + "/{page:(?!static/|session$|tickets$).*}", self._show_page)

    async def _show_page(self, request: web.Request) -> web.StreamResponse:
        return self._page.answer(request, "no-cache")

    async def _show_file(self, request: web.Request) -> web.StreamResponse:
        file = self._files.get(request.match_info["name"])
        if file is None:
            raise web.HTTPNotFound
        return file.answer(request, "public, max-age=31536000, immutable")


def _loaded_first(files: Mapping[str, bytes]) -> set[str]:
    """Return the modules that every page loads: the first one, and what it imports."""
    found: set[str] = set()
    waiting = [_FIRST]
    while waiting:
        name = waiting.pop()
        if name in found or name not in files:
            continue
        found.add(name)
        folder = posixpath.dirname(name)
        waiting += [
            posixpath.normpath(posixpath.join(folder, path.decode()))
            for path in _IMPORT.findall(files[name])
        ]
    return found


def _walk(folder: Traversable, under: str = "") -> list[tuple[str, bytes]]:
    found = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _walk(entry, f"{under}{entry.name}/")
        elif not entry.name.endswith(".d.ts"):
            found.append((under + entry.name, entry.read_bytes()))
    return found
