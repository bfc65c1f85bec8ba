"""Scanners: candidates in float16, and on a GPU where there is one."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from index.nearest import nearest
from index.scanners import Float16Scanner, GpuScanner, SearchPool
from model.exceptions import DeviceError

NO_GPU = not getattr(faiss, "get_num_gpus", lambda: 0)()


@pytest.mark.parametrize("count", [5, 2048, 7000])
def test_the_float16_scanner_follows_a_growing_matrix(count: int) -> None:
    generator = np.random.default_rng(0)
    features = generator.exponential(1, (count, 64)).astype(np.float16)
    query, scanner = features[count // 2].astype(np.float32), Float16Scanner()
    with SearchPool() as pool:
        for end in (count // 2 + 1, count):
            for mask in (None, np.arange(end) % 3 != 1):
                rows, _ = nearest(features[:end], query, 4, pool, mask, scanner)
                distances = np.linalg.norm(features[:end].astype(np.float64) - query, axis=1)
                if mask is not None:
                    distances[~mask] = np.inf
                np.testing.assert_array_equal(rows, np.argsort(distances, kind="stable")[: len(rows)])


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
            on_gpu, on_cpu = (nearest(features, features[7], 10, pool, mask, *s) for s in ((scanner,), ()))
            np.testing.assert_array_equal(on_gpu.rows, on_cpu.rows)
            np.testing.assert_array_equal(on_gpu.distances, on_cpu.distances)
