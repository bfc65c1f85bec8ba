"""Scanners: rows in float16, and on a GPU where there is one."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from index.scanning.nearest import nearest
from index.scanning.scanners import FULL_SCANNER, MAX_GPU_NEIGHBORS, GpuScanner, SearchedRows, SearchPool
from model.exceptions import DeviceError

NO_GPU = not getattr(faiss, "get_num_gpus", lambda: 0)()


@pytest.mark.parametrize("count", [5, 2048, 7000])
def test_rows_in_float16_are_scanned_in_full(count: int) -> None:
    features = np.random.default_rng(0).exponential(1, (count, 64)).astype(np.float16)
    query = features[count // 2].astype(np.float32)
    distances = np.linalg.norm(features.astype(np.float64) - query, axis=1)
    with SearchPool() as pool:
        for mask in (None, np.arange(count) % 3 != 1):
            expected = distances if mask is None else np.where(mask, distances, np.inf)
            rows, _ = nearest(SearchedRows(features, pool, mask), query, 3)
            np.testing.assert_array_equal(rows, np.argsort(expected, kind="stable")[:3])


@pytest.mark.skipif(not NO_GPU, reason="there is a GPU")
def test_a_missing_gpu_is_an_error() -> None:
    with pytest.raises(DeviceError, match="needs a GPU and faiss-gpu"):
        GpuScanner(64)


@pytest.mark.skipif(NO_GPU, reason="there is no GPU")
def test_the_gpu_scanner_equals_the_cpu() -> None:
    generator = np.random.default_rng(0)
    features = generator.exponential(1, (5000, 64)).astype(np.float32)
    scanner = GpuScanner(64)
    with SearchPool() as pool:
        for mask in (None, np.arange(5000) % 1000 != 0, np.arange(5000) % 2 == 0):
            searched = SearchedRows(features, pool, mask)
            on_gpu, on_cpu = (nearest(searched, features[7], 10, s) for s in (scanner, FULL_SCANNER))
            np.testing.assert_array_equal(on_gpu.rows, on_cpu.rows)
            np.testing.assert_array_equal(on_gpu.distances, on_cpu.distances)


def test_rows_that_a_later_search_copied_to_the_gpu_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    if NO_GPU:  # FAISS's CPU index stands in for its GPU index
        monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
        monkeypatch.setattr(faiss, "StandardGpuResources", lambda: None, raising=False)
        monkeypatch.setattr(faiss, "GpuIndexFlatL2", lambda _, dim: faiss.IndexFlatL2(dim), raising=False)
    generator = np.random.default_rng(0)
    features = generator.exponential(1, (MAX_GPU_NEIGHBORS + 200, 64)).astype(np.float32)
    query = features[90]
    scanner = GpuScanner(64)
    with SearchPool() as pool:
        for later in (100, len(features)):  # the second number is too large for the GPU
            nearest(SearchedRows(features[:later], pool), query, 3, scanner)
            for mask in (None, np.arange(50) % 5 != 0):
                searched = SearchedRows(features[:50], pool, mask)
                on_gpu, on_cpu = (nearest(searched, query, 10, s) for s in (scanner, FULL_SCANNER))
                np.testing.assert_array_equal(on_gpu.rows, on_cpu.rows)
                np.testing.assert_array_equal(on_gpu.distances, on_cpu.distances)
