"""How much memory the trace of a large model takes: every stage of every layer, written to disk as it comes.

    python benchmarks/large_trace.py [--output benchmarks/results/large_trace.json]

Builds a quantized model of random weights (by default that of mamba-2.8b: 64 layers, d_inner 5120, 50280 words) in a
process of its own, traces one item of 2,048 tokens there, and reports the peak of that process' resident memory
(getrusage) beside the bytes of the model itself.  The weights are drawn in INT8, layer by layer, so that nothing larger
than the model is ever held.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SCALES = {"scan.A_log_scale": 0.02, "scan.dt_bias_scale": 0.02, "scan.state_scale": 1.0, "hadamard.scale": 0.5}
"""Of the random model; every other scale is 0.02, which keeps activations within some hundreds."""


def random_state(config: Any, shared: bool) -> dict[str, Any]:
    """A model's tensors with random codes; ``shared``: every layer has the tensors of the first."""
    import torch

    from quamba_lab.model import model_shapes

    generator = torch.Generator().manual_seed(0)
    state: dict[str, Any] = {}
    for name, (shape, dtype) in model_shapes(config).items():
        _, _, within = name.removeprefix("layers.").partition(".")
        first = f"layers.0.{within}"
        if shared and name.startswith("layers.") and first in state:
            state[name] = state[first]
        elif dtype == torch.int8:
            state[name] = torch.randint(-127, 128, shape, dtype=dtype, generator=generator)
        elif dtype == torch.float16:
            state[name] = torch.randn(shape, generator=generator, dtype=torch.float32).half()
        else:
            state[name] = torch.tensor(SCALES.get(within, 0.02), dtype=dtype)
    return state


def trace(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Build the model, trace one item into ``folder``, and report this process' memory in bytes."""
    import torch

    from quamba_lab.float_weights import MambaConfig
    from quamba_lab.model import QuantizedMamba
    from quamba_lab.trace import ROUNDING_STAGES, STAGES, Trace
    from quamba_lab.trace_store import TraceStore, TraceWriter

    config = MambaConfig(
        vocab_size=options.vocabulary, hidden_size=options.hidden, num_hidden_layers=options.layers
    )
    state = random_state(config, options.shared)
    weights = sum({t.data_ptr(): t.numel() * t.element_size() for t in state.values()}.values())
    model = QuantizedMamba(config, state, options.mode)
    tokens = torch.randint(0, options.vocabulary, (1, options.tokens), generator=torch.Generator().manual_seed(1))
    model(tokens[:, :16])  # builds and loads the libraries: theirs is no memory of a trace
    before, start = peak(), time.perf_counter()
    stages = (*STAGES, *ROUNDING_STAGES) if options.rounding else STAGES
    with TraceWriter(folder) as writer, Trace(model, stages, sink=writer):
        model(tokens)
    seconds, after = time.perf_counter() - start, peak()
    return {
        "mode": options.mode, "layers": options.layers, "d_inner": config.inner_size, "tokens": options.tokens,
        "vocabulary": options.vocabulary, "shared_weights": options.shared, "stages": len(stages),
        "model_bytes": weights, "peak_before_trace_bytes": before, "peak_bytes": after,
        "captured_bytes": TraceStore(folder).nbytes,
        "written_bytes": sum(file.stat().st_size for file in folder.iterdir()), "seconds": round(seconds, 1),
        "threads": torch.get_num_threads(), "torch": torch.__version__,
    }  # fmt: skip


def peak() -> int:
    """Bytes: the most that this process ever had in memory."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    p.add_argument("--layers", type=int, default=64)
    p.add_argument("--hidden", type=int, default=2560, help="model channels, half of d_inner (default: 2560)")
    p.add_argument("--tokens", type=int, default=2048)
    p.add_argument("--vocabulary", type=int, default=50280)
    p.add_argument("--mode", default="0")
    p.add_argument("--rounding", action="store_true", help="the values before rounding too: five times the bytes")
    p.add_argument("--shared", action="store_true", help="every layer has the tensors of the first")
    p.add_argument("--output", type=Path, help="a JSON file to write (default: none)")
    p.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    return p


def main() -> None:
    options = parser().parse_args()
    if options.child:
        print(json.dumps(trace(options, options.child)))
        return
    with tempfile.TemporaryDirectory(prefix="quamba_lab_trace_") as folder:
        command = [sys.executable, __file__, *sys.argv[1:], "--child", folder]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    result = json.loads(said)
    result["date"] = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    if options.output:
        partial = options.output.with_suffix(".partial")
        partial.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        partial.replace(options.output)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
