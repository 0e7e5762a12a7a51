"""Files are written whole or not at all: to a temporary name beside the target, then renamed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

__all__ = ["write_bytes", "write_text"]


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write ``content`` to ``path``, whose folder must exist.  Raises OSError and leaves the old file as it was."""
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(2, "its folder does not exist", str(path))
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def write_text(path: Path | str, content: str) -> None:
    """Write ``content`` to ``path`` as UTF-8, as :func:`write_bytes` does."""
    write_bytes(path, content.encode("utf-8"))
