"""Building csrc: caching, concurrency, the record of a build, and what is said when something is missing."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from nvcc import ARCHITECTURES, NVCC, compiles

from quamba_lab import scans
from quamba_lab.scans import build

SUM = 'extern "C" int add(int a, int b) { return a + b + EXTRA; }\n'


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("QUAMBA_LAB_CACHE", str(folder))
    build._cpu_library.cache_clear()
    yield folder
    build._cpu_library.cache_clear()


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "add.cpp"
    path.write_text('#include "extra.h"\n' + SUM)
    (tmp_path / "extra.h").write_text("#define EXTRA 0\n")
    return path


def test_a_second_load_comes_from_the_cache(cache, source, capfd):
    assert build.cpu_library(source).add(2, 3) == 5
    assert "building add" in capfd.readouterr().err
    (built,) = cache.glob("*.so")
    written = built.stat().st_mtime_ns
    build._cpu_library.cache_clear()
    start = time.perf_counter()
    assert build.cpu_library(source).add(2, 3) == 5
    assert time.perf_counter() - start < 1.0
    assert capfd.readouterr().err == ""
    assert built.stat().st_mtime_ns == written


def test_a_changed_header_or_flag_is_another_build(cache, source):
    assert build.cpu_library(source).add(2, 3) == 5
    (source.parent / "extra.h").write_text("#define EXTRA 10\n")
    build._cpu_library.cache_clear()
    assert build.cpu_library(source).add(2, 3) == 15
    build.cpu_library(source, ["-DUNUSED=1"])
    assert len(list(cache.glob("*.so"))) == 3


def test_the_record_names_compiler_flags_and_source(cache, source):
    record = build.cpu_library(source, ["-DUNUSED=1"]).build_record
    compiler, version = build.cpp_compiler()
    assert record.startswith(version)
    for part in ("-O3", "-ffp-contract=off", "-DUNUSED=1", build.cpu_isa(), "source "):
        assert part in record
    assert "-ffast-math" not in record
    assert os.path.isabs(compiler)


def test_processes_that_build_at_once_all_get_a_whole_library(cache, source):
    code = f"from quamba_lab.scans.build import cpu_library; assert cpu_library({str(source)!r}).add(20, 22) == 42"
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: subprocess.run([sys.executable, "-c", code], check=False), range(3)))
    assert [r.returncode for r in runs] == [0, 0, 0]
    assert len(list(cache.glob("*.so"))) == 1
    assert not [p for p in cache.iterdir() if p.name.startswith(".")]


def test_a_source_that_does_not_compile_is_one_clear_error(cache, tmp_path):
    bad = tmp_path / "bad.cpp"
    bad.write_text("int f( {")
    with pytest.raises(build.BuildError, match="could not build bad"):
        build.cpu_library(bad)
    assert not [p for p in cache.iterdir() if p.suffix == ".so"]


def test_without_a_compiler_the_message_says_what_to_install(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(build.BuildError, match=r"no C\+\+ compiler: install g\+\+"):
        build.cpp_compiler()
    if not torch.cuda.is_available():
        assert "install g++" in scans.unavailable("published")
    assert scans.unavailable("oracle") is None
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(build.BuildError, match="CXX=no-such-compiler"):
        build.cpp_compiler()


def test_a_missing_source_and_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    with pytest.raises(build.BuildError, match="is missing: install from a checkout"):
        build.source_hash([tmp_path / "nowhere.cpp"])
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QUAMBA_LAB_CACHE", str(tmp_path / "file"))
    with pytest.raises(build.BuildError, match="QUAMBA_LAB_CACHE"):
        build.cache_folder()


def test_the_cache_follows_xdg(tmp_path, monkeypatch):
    monkeypatch.delenv("QUAMBA_LAB_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert build.cache_folder() == tmp_path / "quamba_lab"


def test_importing_builds_nothing(tmp_path):
    environment = {**os.environ, "QUAMBA_LAB_CACHE": str(tmp_path / "cache"), "PATH": str(tmp_path)}
    code = "from quamba_lab import scans; assert 'published' in scans.names(); scans.unavailable('published')"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert not (tmp_path / "cache").exists()


if NVCC:  # where no CUDA compiler is present there is nothing to check

    @pytest.mark.parametrize("arch", ARCHITECTURES)
    @pytest.mark.parametrize("kernel", ["recurrence<float>", "recurrence<double>", "published_scan<128, 16, true>"])
    def test_kernels_compile_ahead_of_time(arch, kernel, tmp_path):
        published = kernel.startswith("published")
        compiles("published.cu" if published else "recurrence.cu", kernel, arch, tmp_path,
                 *(["--use_fast_math"] if published else []))  # fmt: skip


@pytest.mark.gpu
def test_a_kernel_is_built_once_and_loaded_fast_after(tmp_path):
    code = (
        "import time, torch; from quamba_lab.scans import build; torch.zeros(1, device='cuda');"
        "t = time.perf_counter();"
        "build.cuda_kernel('published.cu', 'published_scan<32, 4, false>', '{27P7i4x}', ('--use_fast_math',));"
        "print(time.perf_counter() - t)"
    )
    environment = {**os.environ, "QUAMBA_LAB_CACHE": str(tmp_path)}
    runs = [
        subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True, text=True)
        for _ in range(2)
    ]
    first, second = (float(r.stdout) for r in runs)
    assert first < 15, first
    assert second < 0.2, second
    assert "building" in runs[0].stderr
    assert "building" not in runs[1].stderr


@pytest.mark.gpu
def test_separate_arguments_reach_the_kernel(tmp_path):
    source = tmp_path / "fill.cu"
    source.write_text(
        'extern "C" __global__ void fill(float *to, int count, float value, long long *seen) {\n'
        "    const int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
        "    if (i < count) to[i] = value;\n"
        "    if (i == 0) *seen = count;\n}\n"
    )
    kernel = build.cuda_kernel(source, "fill", "PifP")
    to, seen = torch.zeros(100, device="cuda"), torch.zeros(1, dtype=torch.int64, device="cuda")
    kernel((2, 1, 1), 64, 0, to.data_ptr(), 99, 2.5, seen.data_ptr())
    assert to[:99].eq(2.5).all()
    assert to[99] == 0
    assert int(seen) == 99
    with pytest.raises(build.BuildError, match="launching with grid"):
        kernel((2, 1, 1), 5000, 0, to.data_ptr(), 1, 1.0, seen.data_ptr())


def test_the_flags_of_every_isa_build_a_library_that_works(cache, source):
    for isa in build.ISA_FLAGS:
        assert isinstance(build.cpu_library(source, isa=isa), ctypes.CDLL)
