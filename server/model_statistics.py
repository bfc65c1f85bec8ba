"""Statistics of the inference requests of one loaded model, as Triton's clients read them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from server.workers.inference import InferenceResult

PHASES = {"compute_input": "decode", "queue": "queue", "compute_infer": "inference", "compute_output": "encode"}
"""Triton's name for each phase -> ours."""


@dataclass
class Duration:
    """How often something happened, and how many seconds it took in total."""

    count: float = 0.0
    seconds: float = 0.0

    def add(self, seconds: float, count: float = 1.0) -> None:
        self.count += count
        self.seconds += seconds

    def to_json(self) -> dict[str, int]:
        return {"count": round(self.count), "ns": round(1e9 * self.seconds)}


@dataclass
class ModelStatistics:
    """Statistics of Open Inference Protocol requests to one loaded model. Only the event loop changes them.

    `executions`: runs of the network by number of images; a run shared with other requests counts in part.
    """

    last_inference: float = 0.0
    images: int = 0
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    phases: defaultdict[str, Duration] = field(default_factory=lambda: defaultdict(Duration))
    executions: defaultdict[int, Duration] = field(default_factory=lambda: defaultdict(Duration))

    def record_failure(self, seconds: float) -> None:
        """Count a request that failed."""
        self.fail.add(seconds)

    def record_success(
        self, seconds: float, seconds_by_phase: Mapping[str, float], results: Sequence[InferenceResult]
    ) -> None:
        """Count a request that succeeded. `results`: its results, one per run of the network that it took part in."""
        self.last_inference = time.time()
        self.success.add(seconds)
        for name, phase in PHASES.items():
            self.phases[name].add(seconds_by_phase.get(phase, 0.0))
        for result in results:
            num_images = len(result.features)
            self.images += num_images
            share = num_images / result.batch_images
            self.executions[result.batch_images].add(share * result.inference_seconds, share)

    def to_json(self, name: str, version: str) -> dict[str, Any]:
        """The model's entry in Triton's `model_stats`."""
        none = Duration().to_json()
        return {
            "name": name,
            "version": version,
            "last_inference": int(1000 * self.last_inference),
            "inference_count": self.images,
            "execution_count": round(sum(runs.count for runs in self.executions.values())),
            "inference_stats": {
                "success": self.success.to_json(),
                "fail": self.fail.to_json(),
                **{name: self.phases[name].to_json() for name in PHASES},
                "cache_hit": none,
                "cache_miss": none,
            },
            "batch_stats": [
                {
                    "batch_size": size,
                    "compute_input": none,
                    "compute_infer": runs.to_json(),
                    "compute_output": none,
                }
                for size, runs in sorted(self.executions.items())
            ],
        }
