"""The built page, read once into memory: what is served is exactly these files, under exactly these paths."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from pathlib import Path

INDEX: Final = "index.html"
PAGES: Final = ("/", "/pair")  # paths of the page itself; what it shows there is up to it
FILES: Final = 200
FILE_BYTES: Final = 4 * 1024 * 1024
TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".txt": "text/plain; charset=utf-8",
}
_PACKED: Final = frozenset((".html", ".js", ".css", ".svg", ".json", ".webmanifest", ".txt"))


@attrs.frozen
class Asset:
    content: bytes
    type: str
    packed: bytes | None = None  # the content with gzip, where that is smaller


def read_assets(directory: Path | None) -> dict[str, Asset]:
    """The files below `directory` by their path on the door; none without a built page there.

    Files of a type that no page needs (source maps), links, and more than `FILES` are left out. Raises OSError.
    """
    if directory is None or not (directory / INDEX).is_file():
        return {}
    found: dict[str, Asset] = {}
    for path in sorted(directory.rglob("*"))[:FILES]:
        if path.suffix in TYPES and path.is_file() and not path.is_symlink():
            found["/" + path.relative_to(directory).as_posix()] = _read(path)
    index = found.pop(f"/{INDEX}")
    return found | dict.fromkeys(PAGES, index)


def _read(path: Path) -> Asset:
    content = path.read_bytes()
    if len(content) > FILE_BYTES:
        raise OSError(f"{path} has more than {FILE_BYTES} bytes, which no file of the page has")
    packed = gzip.compress(content, mtime=0) if path.suffix in _PACKED else content
    return Asset(content, TYPES[path.suffix], packed if len(packed) < len(content) else None)
