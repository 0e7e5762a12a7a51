"""The data of the views as it stands in a page: as many digits as a picture or a table can show, nothing twice."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["packed"]

DIGITS = 5
SHORTEST = 12
"""Numbers in a list that is worth a place in the pool."""


def packed(view: dict[str, Any]) -> dict[str, Any]:
    """``{"view": ..., "pool": [...]}``: in the view, ``{"@": i}`` stands for the list at place ``i`` of the pool.

    Curves of the reference mode, the numbers of an axis and bit-equal modes occur in many frames.
    """
    pool: dict[str, int] = {}
    lists: list[list[Any]] = []
    counts: dict[str, int] = {}
    _count(view, counts)

    def pack(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: pack(entry) for key, entry in value.items()}
        if not isinstance(value, list):
            return _shorter(value)
        key = _key(value)
        if key is None or counts[key] < 2:
            return [pack(entry) for entry in value]
        if key not in pool:
            pool[key] = len(lists)
            lists.append([_shorter(entry) for entry in value])
        return {"@": pool[key]}

    return {"view": pack(view), "pool": lists}


def _key(value: list[Any]) -> str | None:
    """What tells one plain list from another; None for one that is short or holds more than plain values."""
    if len(value) < SHORTEST or any(isinstance(entry, list | dict) for entry in value):
        return None
    return json.dumps([_shorter(entry) for entry in value])


def _count(value: Any, counts: dict[str, int]) -> None:
    if isinstance(value, dict):
        for entry in value.values():
            _count(entry, counts)
    elif isinstance(value, list):
        key = _key(value)
        if key is not None:
            counts[key] = counts.get(key, 0) + 1
        else:
            for entry in value:
                _count(entry, counts)


def _shorter(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short
