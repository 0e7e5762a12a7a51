"""The command line, ``quamba-lab``: every job of the notebooks without them.

Exit codes: 0 fine, 1 a finding (a fault, or an established difference), 2 wrong usage, 3 something did not finish.
Each command imports what it needs when it runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .texts import LANGUAGES, set_language, texts

__all__ = ["main"]

FINE, FAULT, USAGE, UNFINISHED = 0, 1, 2, 3
STDOUT = Path("-")


class UsageError(ValueError):
    """Wrong usage that only shows when two options are seen together."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a refusal is one sentence on stderr."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        set_language(getattr(options, "lang", LANGUAGES[0]))
        return options.run(options)
    except KeyboardInterrupt:
        print("quamba-lab: interrupted", file=sys.stderr)
        return UNFINISHED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe went away: nothing is left to say
        return FINE
    except (ValueError, OSError) as error:
        if isinstance(error, ValueError) and not _refused(error):
            raise  # no refusal in words but a mistake in the program: show where
        print(f"quamba-lab: {_sentence(error)}", file=sys.stderr)
        return USAGE


def _refused(error: ValueError) -> bool:
    """Whether this package itself raised the error, as it does for every value that it cannot use."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith("quamba_lab")


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}; name another path, or change its permissions"
    return " ".join(str(error).split())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="quamba-lab", description="Find out why two implementations of a quantized Mamba layer disagree."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    sub = command("eval", _eval, "accuracy and perplexity of one mode on a task")
    _model_options(sub, task_flag="--tasks")
    sub.add_argument("--num_fewshot", type=int, default=0, help="examples before each item; only 0 is meaningful here")
    sub.add_argument("--ssm_mode", help="the mode; without it the debug plan's environment flags decide, else 0")
    _json_option(sub)

    sub = command("report", _report, "run the workbook and write reports/index.html")
    _model_options(sub, task_flag="--task")
    _mode_options(sub)
    sub.add_argument("--output", type=Path, default=Path("reports"), help="the report's folder (default: reports)")
    sub.add_argument("--jobs", type=int, default=None, help="notebooks side by side (default: one per core)")
    sub.add_argument("--timeout", type=float, default=900.0, help="seconds a notebook may take (default: 900)")
    _language_option(sub)
    sub.add_argument("--compare", nargs=2, type=Path, metavar=("OLD", "NEW"), help="only: what changed between two")

    sub = command("compare", _compare, "the steps of the debug plan for two modes, on the terminal")
    _model_options(sub, task_flag="--task")
    _mode_options(sub)
    sub.add_argument("--steps", nargs="+", type=int, default=[1, 2, 3, 4, 5], metavar="N", help="which of 1 to 5")
    sub.add_argument("--layers", nargs="+", type=int, default=[], metavar="N", help="layers to look at (default: all)")
    sub.add_argument("--items", nargs="+", type=int, default=[0], metavar="N", help="items that steps 2 to 5 look at")
    _language_option(sub)
    sub.add_argument(
        "--json", type=Path, nargs="?", const=STDOUT, metavar="FILE",
        help="write the results as JSON into a file too; without one, print the JSON and nothing else",
    )  # fmt: skip

    sub = command("notebooks", _notebooks, "write the workbook's notebooks, in English or in Chinese, into a folder")
    sub.add_argument("folder", type=Path, help="the folder, which must not hold them already")
    _language_option(sub)

    sub = command("diagnose", _diagnose, "name the operation that is at fault in a scan")
    sub.add_argument("--scan", required=True, help="a registered name, or mypackage.module:function")
    sub.add_argument("--against", default="oracle", help="the scan to measure against (default: oracle)")
    sub.add_argument("--u", default="auto", choices=("auto", "int8", "float32", "float16"),
                     help="how the scan takes its u (default: auto, codes first)")
    sub.add_argument("--reproducer", type=Path, help="write the smallest input that shows the fault, as a program")
    _json_option(sub)

    sub = command("train-demo", _train_demo, "train the shipped model from its own text, on a GPU or a CPU")
    sub.add_argument("--output", type=Path, required=True, help="folder for the model, the task and the texts")
    sub.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    sub.add_argument("--steps", type=int, help="optimizer steps (default: those of the shipped model)")
    sub.add_argument("--seed", type=int, help="seed of weights and order (default: the shipped model's)")
    sub.add_argument("--restart", action="store_true", help="begin anew instead of going on from a checkpoint")

    sub = command("prepare", _prepare, "quantize a float model's folder: fuse, rotate, calibrate, W8A8")
    sub.add_argument("source", type=Path, help="folder with config.json and weights (transformers' or state-spaces')")
    sub.add_argument("target", type=Path, help="folder for the quantized model")
    sub.add_argument("--calibration", type=Path, required=True, help="a text file with one sample a line")
    sub.add_argument("--tokenizer", type=Path, help="folder of tokenizer.json (default: the source)")
    sub.add_argument("--percentile", type=float, default=0.9995, help="of the scan's input and state (default: 0.9995)")

    sub = command("bench", _bench, "how fast every scan is here, against the machine's floors")
    sub.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    sub.add_argument("--seconds", type=float, default=0.5, help="for each measurement (default: 0.5)")
    _json_option(sub)

    sub = command("doctor", _doctor, "what this machine has, and what to install for the rest")
    _json_option(sub)
    return parser


def _model_options(sub: argparse.ArgumentParser, task_flag: str) -> None:
    sub.add_argument("--model", default="demo", help="demo, or a model's folder (default: demo)")
    sub.add_argument(task_flag, dest="task", default="lambada_demo", help="lambada_demo, or a .jsonl file")
    sub.add_argument("--limit", type=int, default=100, help="items to use (default: 100)")
    sub.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")


def _mode_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--modes", nargs="+", default=[], metavar="MODE", help="the modes (default: 0 2-0 2-1 2-2)")
    sub.add_argument("--mode_a", "--a", default="", help="the reference mode (default: the first)")
    question = "the mode in question (default: the environment flags', else 2-1)"
    sub.add_argument("--mode_b", "--b", default="", help=question)
    sub.add_argument("--seed", type=int, default=0, help="seed of every random choice (default: 0)")


def _language_option(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--lang", default="en", help="the language of what is written: en or zh (default: en)")


def _json_option(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON too")


def _write_json(path: Path | None, content: Any) -> None:
    if path is None:
        return
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)
    if path == STDOUT:
        print(text)
        return
    from .files import write_text

    write_text(path, text + "\n")


def _eval(options: argparse.Namespace) -> int:
    if options.num_fewshot != 0:
        raise UsageError(f"--num_fewshot is {options.num_fewshot}: a last-word task has no examples to show, use 0")
    from .modes import MODES, Mode
    from .parameters import check, check_mode

    given = options.ssm_mode
    mode = Mode.from_environment().name if given is None else check_mode("--ssm_mode", given)
    settings = check(
        model=options.model, task=options.task, mode_a=mode, mode_b=next(m for m in MODES if m != mode),
        limit=options.limit, device=options.device,
    )  # fmt: skip
    from .model import load_model
    from .tasks import evaluate, load_task

    model = load_model(settings.model, mode, settings.device)
    result = evaluate(model, load_task(settings.task), settings.limit)
    low, high = _interval(int(result.correct.sum()), len(result))
    print(f"model {settings.model}, task {settings.task}, mode {mode}, {len(result)} items, 0-shot")
    print(f"accuracy   {100 * result.accuracy:6.2f} %   (95 % interval {100 * low:.1f} to {100 * high:.1f} %)")
    print(f"perplexity {result.perplexity:6.3f}")
    ran = sorted(model.witness().ran())
    for scan, build, u_dtype in ran:
        print(f"ran        {scan} on {u_dtype} u: {build}")
    _write_json(options.json, {
        "schema": 1, "settings": {"model": settings.public()["model"], "task": settings.public()["task"], "mode": mode,
                                  "limit": settings.limit, "device": settings.device},
        "accuracy": result.accuracy, "accuracy_interval": [low, high], "perplexity": result.perplexity,
        "ran": ran, "correct": result.correct.tolist(), "log_probability": result.log_probability.tolist(),
    })  # fmt: skip
    return FINE


def _interval(correct: int, total: int) -> tuple[float, float]:
    from statsmodels.stats.proportion import proportion_confint

    return proportion_confint(correct, total, method="wilson")


def _report(options: argparse.Namespace) -> int:
    if options.compare:
        from .report.changes import compare_reports

        target = compare_reports(*options.compare, options.output, options.lang)
        print(f"{target.summary}\n{target.path}")
        return FINE
    from .parameters import check
    from .sweep import sweep

    settings = check(
        model=options.model, task=options.task, modes=options.modes, mode_a=options.mode_a, mode_b=options.mode_b,
        limit=options.limit, seed=options.seed, device=options.device, lang=options.lang,
    )  # fmt: skip
    outcome = sweep(settings, options.output, jobs=options.jobs, timeout=options.timeout)
    for line in outcome.lines():
        print(line)
    return outcome.exit_code


def _compare(options: argparse.Namespace) -> int:
    from .parameters import check

    unknown = sorted(set(options.steps) - set(range(1, 6)))
    if unknown:
        raise UsageError(f"--steps has {unknown[0]}: the debug plan's steps are 1 to 5")
    both = [options.mode_a, options.mode_b]
    settings = check(
        model=options.model, task=options.task, modes=options.modes or (both if all(both) else []), mode_a=both[0],
        mode_b=both[1], limit=options.limit, layers=options.layers, item=options.items[0], seed=options.seed,
        device=options.device, lang=options.lang,
    )  # fmt: skip
    from .notebook import open_workbook
    from .steps import compare_modes, depth, exit_code, summary

    results, words = [], texts(settings.lang)
    chosen, items = (tuple(dict.fromkeys(given)) for given in (options.steps, options.items))
    run = open_workbook(settings)
    for result in compare_modes(run, settings.mode_a, settings.mode_b, chosen, list(settings.layers) or None, items):
        status = words.get(f"status.{result.status}", result.status)
        if options.json != STDOUT:
            print(f"{words('compare.step')} {result.STEP}: {status}\n  {result.verdict}", flush=True)
        results.append(result)
    steps = {str(result.STEP): result.to_json() for result in results}
    page: dict[str, Any] = {"schema": 1, "settings": settings.public(), "steps": steps}
    if 5 in chosen:
        layers = list(settings.layers)
        deeper = [*depth(run, settings.mode_a, settings.mode_b, layers, items)]
        whole = summary([*results, *deeper], settings.mode_a, settings.mode_b, layers, items, run=run)
        if options.json != STDOUT:
            print(f"{words('summary')}\n  {whole.verdict}", flush=True)
        page |= {"depth": {result.NAME: result.to_json() for result in deeper}, "summary": whole.to_json()}
    _write_json(options.json, page)
    return exit_code(results)


def _notebooks(options: argparse.Namespace) -> int:
    from .sweep import notebooks
    from .translate import write_notebooks

    for path in write_notebooks(notebooks(), options.folder, options.lang):
        print(path)
    return FINE


def _scan(name: str) -> Callable | str:
    """A registered name as it is, or the function that ``mypackage.module:function`` names."""
    module_name, colon, attribute = name.partition(":")
    if not colon:
        return name
    sys.path.insert(0, "")  # one's own module lies in the working folder
    try:
        found = importlib.import_module(module_name)
    except ImportError as error:
        raise UsageError(f"{module_name} cannot be imported ({error}): run where it lies, or install it") from None
    if not callable(getattr(found, attribute, None)):
        raise UsageError(f"{module_name} has no function {attribute!r}: name one, as in mypackage.module:function")
    return getattr(found, attribute)


def _diagnose(options: argparse.Namespace) -> int:
    scan, against = _scan(options.scan), _scan(options.against)
    from .diagnose import diagnose

    diagnosis = diagnose(scan, against=against, u=options.u, progress=sys.stderr.isatty())
    print(f"{options.scan}: {diagnosis.verdict}" + (f", {diagnosis.operation}" if diagnosis.operation else ""))
    for sentence in diagnosis.evidence:
        print(f"  {sentence}")
    _write_json(options.json, diagnosis.to_json())
    if options.reproducer is not None and diagnosis.reproducer:
        from .files import write_text

        write_text(options.reproducer, diagnosis.reproducer)
        print(f"reproducer: {options.reproducer}")
    return FINE if diagnosis.verdict in ("identical", "rounding") else FAULT


def _train_demo(options: argparse.Namespace) -> int:
    from .demo.train import train_demo

    train_demo(
        options.output, device=options.device, steps=options.steps, seed=options.seed, resume=not options.restart
    )
    print(f"{options.output / 'model'}")
    return FINE


def _prepare(options: argparse.Namespace) -> int:
    from .prepare import prepare_folder

    prepare_folder(
        options.source, options.target, options.calibration, tokenizer=options.tokenizer,
        percentile=options.percentile,
    )  # fmt: skip
    print(f"{options.target}")
    return FINE


def _bench(options: argparse.Namespace) -> int:
    from .bench import benchmark

    def tell(line: str) -> None:
        print(line, file=sys.stderr)

    result = benchmark(options.device, seconds=options.seconds, progress=tell if sys.stderr.isatty() else None)
    print(result.text())
    _write_json(options.json, result.to_json())
    return FINE


def _doctor(options: argparse.Namespace) -> int:
    from .doctor import examine

    examination = examine()
    print(examination.text())
    _write_json(options.json, examination.to_json())
    return FINE


if __name__ == "__main__":
    sys.exit(main())
