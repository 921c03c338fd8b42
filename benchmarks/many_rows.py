"""Many rows: features in files on disk, scored by the command line in a process of its own; prints one JSON line.

    python benchmarks/many_rows.py [FEATURES.npz] [--rows 1000000] [--dimensions 512] [--classes 10] [--dtype float32]
                                   [--container npy] [--shards 1] [--folder FOLDER] [-- OPTIONS of lapsi score]

The rows are those of the file, again and again, each with noise of a tenth of their deviation, and labels as the file has them.
Without a file they are Gaussian, around a centre for each class. Resident memory counts pages of the files, which the system
takes back as it needs them; anonymous memory does not. What the plan says comes from --dry-run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from lapsi.execution.cost import GIB

BLOCK_ROWS = 16_384
NOISE = 0.1
BETWEEN = 0.05  # seconds between two looks at a process
CONTAINERS = ("npy", "parquet", "safetensors")


def batches(shape: argparse.Namespace, start: int, stop: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Features (n, d) and labels (n,) of rows `start` to `stop`, a block at a time, the same however they are cut."""
    held, given = known_rows(shape)
    for begin in range(start - start % BLOCK_ROWS, stop, BLOCK_ROWS):
        rng = np.random.default_rng(begin)
        rows = np.arange(begin, begin + BLOCK_ROWS) % len(held)
        spread = NOISE * held.std() if shape.data is not None else 1.0
        block = held[rows] + spread * rng.standard_normal((BLOCK_ROWS, held.shape[1]), dtype=np.float32)
        part = slice(max(start - begin, 0), stop - begin)
        yield as_type(block, shape.dtype)[part], given[rows][part]


def known_rows(shape: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Rows (k, d) float32 that are repeated, and their labels (k,): those of the file, or a centre of each class."""
    if shape.data is None:
        centres = 0.3 * np.random.default_rng(0).normal(size=(shape.classes, shape.dimensions))
        return centres.astype(np.float32), np.arange(shape.classes)
    with np.load(shape.data) as archive:
        return archive["features"][:, : shape.dimensions].astype(np.float32), archive["labels"].astype(np.int64)


def as_type(block: np.ndarray, dtype: str) -> np.ndarray:
    """The same numbers in another type; whole ones scaled to a range of 256."""
    if dtype != "uint8":
        return block.astype(dtype)
    return np.clip(np.rint(128 + 24 * block / block.std()), 0, 255).astype(np.uint8)


def write_shard(shape: argparse.Namespace, folder: Path, shard: int) -> None:
    """One shard of the features, with its labels."""
    start, stop = (shape.rows * place // shape.shards for place in (shard, shard + 1))
    parts = batches(shape, start, stop)
    name = folder / f"features-{shard:05d}.{shape.container}"
    if shape.container == "parquet":
        write_parquet(name, parts)
        return
    first, labels = next(parts)
    held = [labels]
    path = name.with_suffix(".npy")
    features = np.lib.format.open_memmap(path, "w+", first.dtype, (stop - start, first.shape[1]))
    features[: len(first)] = first
    done = len(first)
    for block, labels in parts:
        features[done : done + len(block)] = block
        held.append(labels)
        done += len(block)
    if shape.container == "npy":
        np.save(folder / f"labels-{shard:05d}.npy", np.concatenate(held))
    else:
        save_file({"features": features, "labels": np.concatenate(held)}, name)
        path.unlink()


def write_parquet(path: Path, parts: Iterator[tuple[np.ndarray, np.ndarray]]) -> None:
    """Lists of numbers and labels, a row group for each block."""
    writer = None
    for block, labels in parts:
        values = pa.array(np.ascontiguousarray(block).ravel())
        ends = pa.array(np.arange(0, block.size + 1, block.shape[1], dtype=np.int32))
        table = pa.table({"features": pa.ListArray.from_arrays(ends, values), "labels": labels})
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def measured(command: list[str]) -> tuple[float, int, int | None]:
    """Seconds that a command takes, its peak of resident memory in bytes, and of anonymous memory where that is told."""
    start, anonymous, ended = time.perf_counter(), 0, 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not ended:
        anonymous = max(anonymous, anonymous_bytes(process.pid))
        time.sleep(BETWEEN)
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return time.perf_counter() - start, usage.ru_maxrss * 1024, anonymous or None


def anonymous_bytes(process: int) -> int:
    """Memory of a process that lies in no file; 0 where that is not known."""
    with suppress(OSError):
        found = re.search(r"^Anonymous:\s+(\d+) kB", Path(f"/proc/{process}/smaps_rollup").read_text(), re.MULTILINE)
        return 1024 * int(found[1]) if found else 0
    return 0


def run(shape: argparse.Namespace, options: list[str], folder: Path) -> dict[str, Any]:
    """Writes the files, scores them, and tells what that took."""
    source = folder / "shards"
    source.mkdir()
    for shard in range(shape.shards):
        write_shard(shape, source, shard)
    size = sum(file.stat().st_size for file in source.glob("features-*"))
    command = [sys.executable, "-m", "lapsi", "score", str(source), *options]
    plan = json.loads(subprocess.run([*command, "--dry-run", "--json"], check=True, capture_output=True, text=True).stdout)
    seconds, peak, anonymous = measured([*command, "-o", str(folder / "run"), "--quiet"])
    record = json.loads((folder / "run" / "run.json").read_text())
    return {
        "data": None if shape.data is None else shape.data.name,
        "shape": [record["n_samples"], record["n_features"], record["n_classes"]],
        "dtype": shape.dtype,
        "container": shape.container,
        "shards": shape.shards,
        "options": options,
        "features_gib": round(size / GIB, 3),
        "planned_gib": round(plan["peak_bytes"] / GIB, 3),
        "peak_resident_gib": round(peak / GIB, 3),
        "peak_anonymous_gib": None if anonymous is None else round(anonymous / GIB, 3),
        "seconds_planned": round(plan["seconds"], 1),
        "seconds_whole": round(seconds, 1),
        "seconds": {name: round(value, 1) for name, value in record["seconds"].items()},
        "verification": record["verification"] and record["verification"]["max_relative_error"],
        "cores": os.cpu_count(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dimensions", type=int, default=512)
    parser.add_argument("--classes", type=int, default=10, help="where no file is given")
    parser.add_argument("--dtype", choices=("float32", "float16", "float64", "uint8"), default="float32")
    parser.add_argument("--container", choices=CONTAINERS, default="npy")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the files are written, and removed again; default: the system's")
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    shape, options = parser.parse_args(sys.argv[1:cut]), sys.argv[cut + 1 :]
    with tempfile.TemporaryDirectory(dir=shape.folder) as folder:
        record = run(shape, options, Path(folder))
    print(json.dumps(record))


if __name__ == "__main__":
    main()
