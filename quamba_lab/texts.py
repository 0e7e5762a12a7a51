"""Every sentence that the report, the notebooks' helpers and the widgets say by themselves, one table per language."""

from __future__ import annotations

__all__ = ["LANGUAGES", "Texts", "texts"]

EN = {
    "title": "Do two modes of a quantized Mamba really disagree?",
    "summary": "Summary",
    "contents": "Contents",
    "steps": "The steps",
    "verdict": "Verdict",
    "status.identical": "identical",
    "status.rounding": "rounding",
    "status.fault": "fault",
    "status.established": "established",
    "status.not established": "not established",
    "status.unknown": "no result",
    "status.identical.help": "Bit for bit the same.",
    "status.rounding.help": "Within what legal reorderings of the same arithmetic change.",
    "status.fault.help": "More than any legal reordering of the same arithmetic changes.",
    "status.established.help": "The paired tests tell the modes apart.",
    "status.not established.help": "The paired tests cannot tell the modes apart on these items.",
    "status.unknown.help": "The notebook of this step did not finish.",
    "run.done": "finished",
    "run.failed": "failed",
    "run.timed out": "timed out",
    "run.killed": "killed",
    "run.interrupted": "interrupted",
    "run.not started": "not started",
    "run.running": "running",
    "banner": "This page is not complete: the notebook {status}. {reason} Below stands what it had written by then.",
    "banner.failed": "failed",
    "banner.timed out": "ran out of time",
    "banner.killed": "was killed",
    "banner.interrupted": "was interrupted",
    "banner.not started": "was not started",
    "index.incomplete": "{count} of {total} notebooks did not finish; their pages carry a banner.",
    "settings": "Settings",
    "settings.model": "Model",
    "settings.task": "Task",
    "settings.limit": "Items",
    "settings.modes": "Modes",
    "settings.mode_a": "Reference mode (A)",
    "settings.mode_b": "Mode in question (B)",
    "settings.layers": "Layers",
    "settings.item": "Item looked at closely",
    "settings.seed": "Seed",
    "settings.device": "Device",
    "settings.lang": "Language",
    "settings.flags": "Environment flags",
    "settings.flags.none": "none of the debug plan's flags is set",
    "witness": "What really ran, mode by mode",
    "reproduce": "How to make this report again",
    "versions": "Versions",
    "runs": "The notebooks of this report",
    "runs.notebook": "Notebook",
    "runs.status": "Run",
    "runs.seconds": "Seconds",
    "code": "Code",
    "download.svg": "Picture (SVG)",
    "download.png": "Picture (PNG)",
    "rows": "{count} rows",
    "rows.more": "The first {shown} of {count} rows; the CSV holds them all.",
    "yes": "yes",
    "no": "no",
    "trace": "Where it stopped",
    "download.csv": "Data (CSV)",
    "note.static": "The picture shows the default choice. With JavaScript the controls above choose others.",
    "next": "Next",
    "previous": "Back",
    "overview": "Overview",
    "skip": "Skip to the text",
    "compare.title": "What changed between two reports",
    "compare.same": "same",
    "compare.changed": "changed",
    "compare.step": "Step",
    "compare.old": "Old",
    "compare.new": "New",
    "compare.none": "Every verdict is the same.",
    "compare.some": "{count} of {total} verdicts changed.",
    "control.mode_a": "Mode A",
    "control.mode_b": "Mode B",
    "control.layer": "Layer",
    "control.token": "Token",
    "control.item": "Item",
    "control.stage": "Stage",
    "control.channel": "Channel",
    "control.run": "Run",
    "step.0_summary": "Summary",
    "step.1_is_it_real": "Is it real?",
    "step.2_scan_inputs": "The scan's inputs",
    "step.3_dequantization": "Dequantization",
    "step.4_scan_outputs": "The scan's outputs",
    "step.5_inside_the_scan": "Inside the scan",
    "step.6_diagnose_any_scan": "Diagnose any scan",
}

LANGUAGES: dict[str, dict[str, str]] = {"en": EN}
"""The tables by language; every table has the same keys (tests/test_report.py)."""


class Texts:
    """One language's table: ``texts("en")("banner", status=..., reason=...)``."""

    def __init__(self, lang: str):
        self.lang = lang
        self._table = LANGUAGES[lang]

    def __call__(self, key: str, **values: object) -> str:
        return self._table[key].format(**values) if values else self._table[key]

    def get(self, key: str, default: str) -> str:
        """The text of ``key``, or ``default`` for a name that is data (a step or a control of one's own)."""
        return self._table.get(key, default)


def texts(lang: str = "en") -> Texts:
    """The texts of a language.  Raises KeyError for one that has no table."""
    return Texts(lang)
