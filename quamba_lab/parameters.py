"""What a run may be asked for: every value is checked once, at the edge, before anything is computed.

The command line, the sweep and the first cell of every notebook call :func:`check`; all refuse with the same sentence.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .texts import LANGUAGES, say

__all__ = ["DEFAULT_MODES", "ParameterError", "Settings", "check", "check_mode", "injected", "plan_flags"]

DEFAULT_MODES = ("0", "2-0", "2-1", "2-2")
"""The modes of the debug plan's first step, and 2-0, which must equal 0."""


class ParameterError(ValueError):
    """A parameter that cannot be used: one sentence with the value, what is allowed and the way out."""


@dataclass(frozen=True)
class Settings:
    """Checked parameters of a run; ``layers`` holds every layer when none was chosen."""

    model: str = "demo"
    task: str = "lambada_demo"
    modes: tuple[str, ...] = DEFAULT_MODES
    mode_a: str = "0"
    mode_b: str = "2-1"
    limit: int = 100
    layers: tuple[int, ...] = ()
    item: int = 0
    seed: int = 0
    device: str = "cpu"
    lang: str = "en"
    flags: dict[str, str] = field(default_factory=dict)

    def public(self) -> dict[str, Any]:
        """What a verdict depends on, without paths: a model's or a task's folder is named by its last part."""
        settings = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        settings["model"], settings["task"] = Path(self.model).name, Path(self.task).name
        return settings


def plan_flags(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The debug plan's environment flags that are set now, by name."""
    from .modes import FLAGS

    environ = os.environ if environ is None else environ
    return {flag: environ[flag] for flag in FLAGS if flag in environ}


def _typed(name: str, value: Any, kind: type, hint: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, kind):
        raise ParameterError(
            say(
                "{name} is {value}, a {kind}: expected {hint}",
                name=name,
                value=f"{value!r}",
                kind=type(value).__name__,
                hint=hint,
            )
        )
    return value


def _mode_name(value: Any) -> Any:
    """papermill's ``-p mode_a 0`` and YAML make a number of a mode's name: its name again."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _unquoted(value: Any) -> Any:
    """The list that ``-p layers "[0, 7]"`` means: papermill hands on the text.  Anything else as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return value
    import yaml

    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value


def check_mode(name: str, value: Any) -> str:
    """``value`` if it names a mode; ``name`` is what the message calls it.  Raises :class:`ParameterError`."""
    from .modes import MODES

    value = _mode_name(value)
    _typed(name, value, str, say("a mode's name as a string, one of {modes}", modes=", ".join(MODES)))
    if value not in MODES:
        raise ParameterError(
            say(
                "{name} is {value}, which is no mode: choose one of {modes}",
                name=name,
                value=f"{value!r}",
                modes=", ".join(MODES),
            )
        )
    return value


def _list(name: str, value: Any, kind: type | None, hint: str) -> tuple[Any, ...]:
    value = _unquoted(value)
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ParameterError(
            say(
                "{name} is {value}, a {kind}: expected a list of {hint}",
                name=name,
                value=f"{value!r}",
                kind=type(value).__name__,
                hint=hint,
            )
        )
    if kind is None:
        return tuple(value)
    return tuple(_typed(say("an entry of {name}", name=name), entry, kind, hint) for entry in value)


def check(
    *,
    model: Any = "demo",
    task: Any = "lambada_demo",
    modes: Any = (),
    mode_a: Any = "",
    mode_b: Any = "",
    limit: Any = 100,
    layers: Any = (),
    item: Any = 0,
    seed: Any = 0,
    device: Any = "cpu",
    lang: Any = "en",
    layer_count: int | None = None,
    task_size: int | None = None,
) -> Settings:
    """The :class:`Settings` for these values.  Empty ``modes``, ``mode_a``, ``mode_b`` and ``layers`` choose defaults.

    ``mode_b``, the mode under suspicion, is what the plan's environment flags say when they say anything, else 2-1,
    else the last of ``modes``.  ``layer_count`` and ``task_size`` are looked up when they are not given (the task is
    read, of the model only its configuration).  Raises :class:`ParameterError` and the errors of the loaders.
    """
    from .modes import Mode

    _typed("model", model, str, say("'demo' or the path of a model folder"))
    _typed("task", task, str, say("'lambada_demo' or the path of a .jsonl file"))
    chosen = tuple(check_mode(say("an entry of modes"), name) for name in _list("modes", modes, None, "mode names"))
    flags = plan_flags()
    named = Mode.from_environment().name if flags else None
    reference = check_mode("mode_a", mode_a) if mode_a != "" else (chosen or DEFAULT_MODES)[0]
    if mode_b != "":
        suspect = check_mode("mode_b", mode_b)
    elif named is not None and named != reference:
        suspect = named
    else:
        candidates = [name for name in chosen or DEFAULT_MODES if name != reference]
        if not candidates:
            raise ParameterError(
                say("modes is {value}: two different modes are needed to compare, add one", value=list(chosen))
            )
        suspect = "2-1" if "2-1" in candidates else candidates[-1]
    if suspect == reference:
        raise ParameterError(
            say("mode_a and mode_b are both {suspect}: choose two different modes to compare", suspect=f"{suspect!r}")
        )
    every = tuple(dict.fromkeys((*(chosen or DEFAULT_MODES), reference, suspect)))

    _typed("limit", limit, int, say("a whole number of items, at least 1"))
    size = _task_size(task) if task_size is None else task_size
    if not 1 <= limit <= size:
        raise ParameterError(
            say("limit is {limit}: the task has {size} items, choose 1 to {size}", limit=limit, size=size)
        )
    _typed("item", item, int, say("the number of an item, 0 to {last}", last=limit - 1))
    if not 0 <= item < limit:
        raise ParameterError(
            say("item is {item}: with limit {limit} the items are 0 to {last}", item=item, limit=limit, last=limit - 1)
        )
    _typed("seed", seed, int, say("a whole number, at least 0"))
    if seed < 0:
        raise ParameterError(say("seed is {seed}: choose a whole number, at least 0", seed=seed))

    count = _layer_count(model) if layer_count is None else layer_count
    picked = _list("layers", layers, int, "layer numbers")
    for layer in picked:
        if not 0 <= layer < count:
            raise ParameterError(
                say(
                    "layer {layer} is out of range: the model has {count} layers, 0 to {last}",
                    layer=layer,
                    count=count,
                    last=count - 1,
                )
            )
    if lang not in LANGUAGES:
        raise ParameterError(
            say("lang is {lang}: choose one of {languages}", lang=f"{lang!r}", languages=", ".join(LANGUAGES))
        )
    return Settings(
        model, task, every, reference, suspect, limit, tuple(dict.fromkeys(picked)) or tuple(range(count)), item, seed,
        _device(device), lang, flags,
    )  # fmt: skip


def _task_size(task: str) -> int:
    from .tasks import load_task

    return len(load_task(task))


def _layer_count(model: str) -> int:
    from .demo import DEMO
    from .float_weights import read_config

    return read_config(DEMO / "model" if model == "demo" else model).num_hidden_layers


def _device(device: Any) -> str:
    import torch

    _typed("device", device, str, "'cpu' or 'cuda'")
    kind = device.split(":")[0]
    if kind not in ("cpu", "cuda"):
        raise ParameterError(say("device is {device}: choose 'cpu' or 'cuda'", device=f"{device!r}"))
    if kind == "cuda" and not torch.cuda.is_available():
        raise ParameterError(
            say(
                "device is {device}, but torch sees no GPU: choose 'cpu', or see `quamba-lab doctor`",
                device=f"{device!r}",
            )
        )
    return device


def injected(inputs: Sequence[str], known: Iterable[str]) -> list[str]:
    """Names that papermill injected but no parameter has, from the cells run so far (IPython's ``In``).

    papermill itself only warns about them, so a misspelt parameter would run with the default in silence.
    """
    cells = [source for source in inputs if source.lstrip().startswith("# Parameters\n")]
    if not cells:
        return []
    names = [
        target.id
        for node in ast.parse(cells[-1]).body
        for target in (node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)])
        if isinstance(target, ast.Name)
    ]
    return [name for name in names if name not in set(known)]
