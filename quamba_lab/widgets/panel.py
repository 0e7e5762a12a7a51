"""The one widget that is not ipywidgets' own: a card that shows HTML and tells what was clicked in it (anywidget)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets

__all__ = ["Panel"]

HERE = Path(__file__).parent


class Panel(anywidget.AnyWidget):
    """``html``: the card, already escaped.  ``stale``: it does not show the present choice (yet).

    ``seen``: whether the card is in sight; None until the browser has told.  ``on_choose(choice)`` hears of a click,
    ``on_seen()`` when the card comes into sight.
    """

    _esm = HERE / "panel.js"
    _css = HERE / "panel.css"
    html = traitlets.Unicode("").tag(sync=True)
    stale = traitlets.Bool(False).tag(sync=True)

    def __init__(self, on_choose: Callable[[dict], None], on_seen: Callable[[], None], **kwargs: Any):
        super().__init__(**kwargs)
        self.seen: bool | None = None
        self._on_choose, self._on_seen = on_choose, on_seen
        self.on_msg(self._heard)

    def _heard(self, _: Any, content: dict[str, Any], buffers: Any) -> None:
        if content.get("type") == "visible":
            self.seen = bool(content["visible"])
            if self.seen:
                self._on_seen()
        elif content.get("type") == "choose" and isinstance(content.get("choice"), dict):
            self._on_choose(content["choice"])
