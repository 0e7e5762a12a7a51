"""Building and loading csrc: C++ for the CPU, NVRTC for the GPU, both cached by what they were made of.

A build is named by the hash of its sources (headers included), its flags and its compiler's version, and lies in
``QUAMBA_LAB_CACHE``, else ``XDG_CACHE_HOME/quamba_lab``, else ``~/.cache/quamba_lab``.  It is written under a
temporary name and renamed, so any number of processes may build at once.  Nothing is built at import.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import torch

__all__ = [
    "CSRC", "BuildError", "CudaKernel", "cache_folder", "cpp_compiler", "cpu_isa", "cpu_library", "cpu_unavailable",
    "cuda_arch", "cuda_cubin", "cuda_kernel", "cuda_unavailable", "nvrtc_version", "source_hash",
]  # fmt: skip

CSRC = Path(__file__).resolve().parents[2] / "csrc"
CPU_FLAGS = ("-O3", "-std=c++17", "-fPIC", "-shared", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
ISA_FLAGS = {
    "avx512": ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mf16c", "-mprefer-vector-width=512"),
    "avx2": ("-mavx2", "-mfma", "-mf16c"),
    "baseline": (),
}  # fmt: skip
_LOCK = threading.RLock()


class BuildError(ValueError):
    """Something cannot be built here: one sentence on what is missing and how to get it."""


def cache_folder() -> Path:
    """The folder of finished builds, made if need be.  Raises :class:`BuildError` when it cannot be written."""
    chosen = os.environ.get("QUAMBA_LAB_CACHE")
    general = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    folder = Path(chosen).expanduser() if chosen else general / "quamba_lab"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        writable = False
    if not writable:
        raise BuildError(f"cannot write {folder}: set QUAMBA_LAB_CACHE to a folder that you may write")
    return folder


def _closure(sources: Sequence[Path]) -> list[Path]:
    """The sources and every file that they include with quotes, in order of discovery."""
    found: list[Path] = []
    waiting = [Path(s) for s in sources]
    while waiting:
        path = waiting.pop(0).resolve()
        if path in found:
            continue
        if not path.exists():
            raise BuildError(f"{path} is missing: install from a checkout with pip install -e ., csrc comes with it")
        found.append(path)
        for name in re.findall(r'^\s*#\s*include\s+"([^"]+)"', path.read_text(), re.MULTILINE):
            waiting.append(path.parent / name)
    return found


def source_hash(sources: Sequence[Path], *extra: str) -> str:
    """Sixteen hex digits that name the sources, what they include, and ``extra`` (flags, versions)."""
    digest = hashlib.sha256()
    for path in _closure(sources):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    for item in extra:
        digest.update(item.encode() + b"\0")
    return digest.hexdigest()[:16]


@contextmanager
def _announced(what: str):
    """One line on stderr around a build that takes a while, so that a first use is not silent."""
    sys.stderr.write(f"quamba_lab: building {what} (first use; kept in the cache) ... ")
    sys.stderr.flush()
    start = time.perf_counter()
    try:
        yield
    except BaseException:
        sys.stderr.write("failed\n")
        raise
    sys.stderr.write(f"{time.perf_counter() - start:.1f} s\n")


def _publish(data: bytes, target: Path) -> None:
    """Write ``data`` under a temporary name beside ``target`` and rename it there."""
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
        file.write(data)
    os.replace(file.name, target)


# ---------------------------------------------------------------------------------------------------------- the CPU


@lru_cache(maxsize=8)
def _compiler_version(path: str) -> str:
    """'g++ 12.2.0' for the compiler at ``path``."""
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    number = re.findall(r"\d+\.\d+(?:\.\d+)?", said.partition("\n")[0])
    kind = "clang++" if "clang" in said else "g++" if "Free Software Foundation" in said else Path(path).name
    return f"{kind} {number[-1] if number else ''}".strip()


@lru_cache(maxsize=8)
def _on_path(wanted: str | None, search: str | None) -> str | None:
    """Where the compiler is; remembered, because every call of a scan asks for its library."""
    names = [wanted] if wanted else ["g++", "clang++"]
    return next((path for name in names if (path := shutil.which(name, path=search))), None)


def cpp_compiler() -> tuple[str, str]:
    """Path and version of the C++ compiler: ``CXX``, else g++, else clang++.  Raises :class:`BuildError` if none."""
    wanted = os.environ.get("CXX")
    if path := _on_path(wanted, os.environ.get("PATH")):
        return path, _compiler_version(path)
    if wanted:
        raise BuildError(f"CXX={wanted} is no program on the PATH: unset CXX or point it at g++ or clang++")
    raise BuildError(
        "no C++ compiler: install g++ (apt install g++, or conda install cxx-compiler), or set CXX; "
        "the PyTorch scans work without one"
    )


def cpu_isa() -> str:
    """The widest of ``avx512``, ``avx2`` and ``baseline`` that this CPU runs (ATEN_CPU_CAPABILITY lowers it)."""
    capability = torch.backends.cpu.get_cpu_capability().lower()
    return capability if capability in ISA_FLAGS else "baseline"


def cpu_unavailable() -> str | None:
    """None when C++ can be built here, else why not and what to install."""
    try:
        cpp_compiler()
        _closure([CSRC / "published.cpp"])
    except BuildError as error:
        return str(error)
    return None


def _compile(command: list[str], target: Path) -> str | None:
    """Run the compiler into ``target`` by way of a temporary name; None, or what it said when it failed."""
    handle, partial = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}.", suffix=target.suffix)
    os.close(handle)
    result = subprocess.run([*command, "-o", partial], capture_output=True, text=True, check=False)
    if result.returncode:
        os.unlink(partial)
        return result.stderr.strip() or f"exit status {result.returncode}"
    os.replace(partial, target)
    return None


@lru_cache(maxsize=32)
def _cpu_library(sources: tuple[Path, ...], flags: tuple[str, ...], isa: str, cxx: str, version: str) -> ctypes.CDLL:
    all_flags = [*CPU_FLAGS, *ISA_FLAGS[isa], *flags]
    digest = source_hash(sources, version, *all_flags)
    name = Path(sources[0]).stem
    for openmp in (["-fopenmp"], []):
        target = cache_folder() / f"{name}-{isa}-{'omp' if openmp else 'serial'}-{digest}.so"
        if not target.exists():
            command = [cxx, *all_flags, *openmp, *map(str, sources)]
            with _announced(f"{name}, {version} {isa}"):
                said = _compile(command, target)
                if said and openmp and "omp" in said:
                    continue  # a compiler without OpenMP: one thread, and the record says so
                if said:
                    raise BuildError(f"{version} could not build {name}: {said.splitlines()[0]} ({' '.join(command)})")
        library = ctypes.CDLL(str(target))
        shown = " ".join(f for f in [*CPU_FLAGS, *flags, *openmp] if f not in ("-fPIC", "-shared"))
        library.build_record = f"{version} {shown}, {isa}, source {digest[:8]}"
        return library
    raise AssertionError("unreachable: the second pass returns or raises")


def cpu_library(sources: Sequence[Path | str] | Path | str, flags: Sequence[str] = (), isa: str | None = None):
    """Build (once) and load C++ ``sources`` of a plain C interface.

    ``sources``: paths, relative ones in csrc.  ``flags``: beyond ``CPU_FLAGS``, for example ``-DNAME=1``.
    ``isa``: one of ``ISA_FLAGS``; by default the widest that this CPU runs.  Returns a ``ctypes.CDLL`` with an
    attribute ``build_record``.  Raises :class:`BuildError`.
    """
    listed = [sources] if isinstance(sources, (str, Path)) else sources
    cxx, version = cpp_compiler()
    with _LOCK:
        return _cpu_library(tuple(CSRC / s for s in listed), tuple(flags), isa or cpu_isa(), cxx, version)


# ---------------------------------------------------------------------------------------------------------- the GPU

_INSTALL_NVRTC = "pip install cuda-bindings nvidia-cuda-nvrtc (or pip install -e '.[gpu]')"


def _nvrtc():
    """NVIDIA's bindings of NVRTC.  Raises :class:`BuildError` naming what to install."""
    try:
        from cuda.bindings import nvrtc

        nvrtc.nvrtcVersion()
    except Exception as error:  # the import fails, or the library behind it does, each in ways of its own
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        raise BuildError(f"NVRTC cannot be loaded ({said}): {_INSTALL_NVRTC}") from None
    return nvrtc


@lru_cache(maxsize=1)
def nvrtc_version() -> str:
    """'NVRTC 13.0'.  Raises :class:`BuildError`."""
    _, major, minor = _nvrtc().nvrtcVersion()
    return f"NVRTC {major}.{minor}"


def cuda_unavailable() -> str | None:
    """None when kernels can be built and run on a GPU here, else why not and what to install."""
    if not torch.cuda.is_available():
        return "no CUDA device: torch.cuda.is_available() is False; the CPU builds work without one"
    try:
        nvrtc_version()
        _closure([CSRC / "published.cu"])
    except BuildError as error:
        return str(error)
    return None


@lru_cache(maxsize=16)
def cuda_arch(device_index: int) -> str:
    """'sm_90' for the device."""
    major, minor = torch.cuda.get_device_capability(device_index)
    return f"sm_{major}{minor}"


def _nvrtc_compile(source: Path, expression: str, flags: Sequence[str]) -> tuple[bytes, str]:
    """The cubin, and the name of the kernel in it: ``expression`` itself, or the mangled instantiation."""
    nvrtc = _nvrtc()
    success = nvrtc.nvrtcResult.NVRTC_SUCCESS

    def checked(result):
        if result[0] != success:
            raise BuildError(f"{nvrtc_version()} failed on {source.name}: {result[0].name}")
        return result[1] if len(result) > 1 else None

    program = checked(nvrtc.nvrtcCreateProgram(source.read_bytes(), source.name.encode(), 0, [], []))
    template = "<" in expression
    if template:
        checked(nvrtc.nvrtcAddNameExpression(program, expression.encode()))
    options = [f.encode() for f in flags]
    if nvrtc.nvrtcCompileProgram(program, len(options), options)[0] != success:
        log = b" " * checked(nvrtc.nvrtcGetProgramLogSize(program))
        checked(nvrtc.nvrtcGetProgramLog(program, log))
        said = log.decode().strip()
        raise BuildError(f"{nvrtc_version()} could not build {source.name} ({' '.join(flags)}):\n{said}")
    lowered = checked(nvrtc.nvrtcGetLoweredName(program, expression.encode())).decode() if template else expression
    cubin = b" " * checked(nvrtc.nvrtcGetCUBINSize(program))
    checked(nvrtc.nvrtcGetCUBIN(program, cubin))
    checked(nvrtc.nvrtcDestroyProgram(program))
    return cubin, lowered


def cuda_cubin(source: Path | str, expression: str, flags: Sequence[str], arch: str) -> tuple[bytes, str, str]:
    """Build (once) a kernel for ``arch`` ('sm_90').  Needs no GPU.

    Returns the cubin, the kernel's name in it and the build record.  Raises :class:`BuildError`.
    """
    path = CSRC / source
    shown = (*flags, "-std=c++17", f"-arch={arch}")
    digest = source_hash([path], nvrtc_version(), expression, *shown)
    target = cache_folder() / f"{path.stem}-{arch}-{digest}.cubin"
    names = target.with_suffix(".json")
    if not (target.exists() and names.exists()):
        with _announced(f"{expression}, {nvrtc_version()} {arch}"):
            cubin, lowered = _nvrtc_compile(path, expression, [*shown, f"-I{path.parent}"])
        _publish(cubin, target)
        _publish(json.dumps({"kernel": lowered}).encode(), names)
    lowered = json.loads(names.read_text())["kernel"]
    record = f"{arch}, {nvrtc_version()}, {' '.join(shown)}, source {digest[:8]}"
    return target.read_bytes(), lowered, record


@lru_cache(maxsize=1)
def _driver() -> ctypes.CDLL:
    """The CUDA driver, called directly: NVIDIA's Python launchers cost more than the smallest scans here take."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    driver = ctypes.CDLL(name)
    driver.cuLaunchKernelEx.argtypes = [ctypes.c_void_p] * 4  # four to convert, where cuLaunchKernel has eleven
    return driver


def _checked(code: int, what: str) -> None:
    if code:
        text = ctypes.c_char_p()
        _driver().cuGetErrorString(code, ctypes.byref(text))
        raise BuildError(f"{what} failed: CUDA error {code}, {(text.value or b'unknown').decode()}")


_CONFIG = "@7I2PI0P"  # CUlaunchConfig: grid, block and shared memory, stream, attributes and their count; to 8 bytes
_OVERLAPS = struct.pack("@2Ii", 6, 0, 1)  # CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION, padding, allowed


class CudaKernel:
    """A loaded kernel: ``kernel(grid, block, shared, *args)`` launches it on torch's current device and stream.

    ``signature``: one ``struct`` letter per argument (P pointer, i int32, q int64, f float32, d float64), in order.
    A signature in braces packs all arguments into one struct, the kernel's only parameter.
    Pointers are integers, ``tensor.data_ptr()``, 0 for null.  A launch packs its configuration and the arguments into
    a buffer of the thread and calls the driver: a few microseconds, no synchronization, legal in CUDA graph capture.
    Arguments must belong to the current device.  ``overlaps``: the kernel itself waits for the stream's last one, with
    griddepcontrol.wait, and in a CUDA graph may be made ready before that ends (programmatic dependent launch); outside
    of graphs a small kernel waits for the host, who would pay for it.
    """

    def __init__(self, cubin: bytes, name: str, signature: str, record: str, overlaps: bool = False):
        driver = _driver()
        self.build_record = record
        self._cubin = cubin  # the driver may read it again when another device first uses the kernel
        library, handle = ctypes.c_void_p(), ctypes.c_void_p()
        torch.cuda.init()
        code = driver.cuLibraryLoadData(ctypes.byref(library), cubin, None, None, 0, None, None, 0)
        _checked(code, f"loading {name}")
        _checked(driver.cuLibraryGetKernel(ctypes.byref(handle), library, name.encode()), f"finding {name}")
        self._handle = handle.value
        letters = signature.strip("{}")
        packing = struct.Struct(_CONFIG + letters)
        self._size, self._pack_into = packing.size, packing.pack_into
        self._offsets = [struct.calcsize(_CONFIG)]  # where each of the kernel's parameters starts behind the launch's
        if not signature.startswith("{"):
            sizes = [struct.calcsize(_CONFIG + letters[: i + 1]) for i in range(len(letters))]
            self._offsets = [end - struct.calcsize(letter) for end, letter in zip(sizes, letters, strict=True)]
        self._local = threading.local()
        self._launch = driver.cuLaunchKernelEx
        self._attribute = ctypes.create_string_buffer(_OVERLAPS, 72)  # sizeof CUlaunchAttribute
        self._in_graph = (ctypes.addressof(self._attribute), 1) if overlaps else None

    def allow_shared(self, size: int, device_index: int) -> None:
        """Permit ``size`` bytes of dynamic shared memory above the default 48 KB on this device."""
        dynamic_shared = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        _checked(_driver().cuKernelSetAttribute(dynamic_shared, size, ctypes.c_void_p(self._handle), device_index),
                 f"allowing {size} bytes of shared memory")  # fmt: skip

    def _buffers(self):
        packed = ctypes.create_string_buffer(self._size)
        start = ctypes.addressof(packed)
        pointers = (ctypes.c_void_p * len(self._offsets))(*[start + o for o in self._offsets])
        self._local.buffers = packed, start, pointers, ctypes.addressof(pointers)
        return self._local.buffers

    def __call__(self, grid: tuple[int, int, int], block: int, shared: int, *args) -> None:
        packed, start, _, pointers = getattr(self._local, "buffers", None) or self._buffers()
        stream = torch._C._cuda_getCurrentRawStream(torch._C._cuda_getDevice())
        attributes = self._in_graph if self._in_graph and torch.cuda.is_current_stream_capturing() else (0, 0)
        self._pack_into(packed, 0, *grid, block, 1, 1, shared, stream, *attributes, *args)
        if code := self._launch(start, self._handle, pointers, None):
            _checked(code, f"launching with grid {grid}, {block} threads, {shared} bytes of shared memory")


def _may_overlap(device_index: int) -> bool:
    """Whether a kernel may be made ready while the stream's last one runs, in CUDA graphs too: from driver 12.3 on."""
    version = ctypes.c_int()
    _checked(_driver().cuDriverGetVersion(ctypes.byref(version)), "asking the driver for its version")
    return version.value >= 12030 and torch.cuda.get_device_capability(device_index)[0] >= 9


@lru_cache(maxsize=256)
def _cuda_kernel(
    path: str, expression: str, signature: str, flags: tuple[str, ...], arch: str, overlaps: bool
) -> CudaKernel:
    cubin, lowered, record = cuda_cubin(path, expression, flags, arch)
    return CudaKernel(cubin, lowered, signature, record, overlaps)


def cuda_kernel(
    source: Path | str, expression: str, signature: str, flags: Sequence[str] = (), device: int | None = None,
    overlaps: bool = False,
) -> CudaKernel:  # fmt: skip
    """Build (once) and load a kernel for a device, by default the current one.

    ``source``: a path, relative ones in csrc.  ``expression``: the name of an ``extern "C"`` kernel, or a template
    instantiation such as ``scan<32, 4>``.  ``flags``: NVRTC's, for example ``--use_fast_math`` or ``-DTAPS=1``.
    ``signature``, ``overlaps``: see :class:`CudaKernel`; the latter is left out where the GPU or its driver cannot.
    Raises :class:`BuildError`.
    """
    index = torch.cuda.current_device() if device is None else device
    with _LOCK:
        overlaps = overlaps and _may_overlap(index)
        return _cuda_kernel(str(source), expression, signature, tuple(flags), cuda_arch(index), overlaps)
