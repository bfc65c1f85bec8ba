"""`alexnet pack RUN`: a trained network made small enough for git, and an ordinary artifact of it.

Han et al. 2016, "Deep Compression": the smallest weights of the large fully connected layers are set to zero, the rest
are trained a little more, rounded to a few levels, and entropy-coded (see `model.artifacts.packed`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from model.artifacts.artifact import LABELS, MANIFEST, Artifact
from model.artifacts.packed import CONVOLUTION_LEVELS, LINEAR_LEVELS, PACKED, pack
from training import config
from training.evaluation.evaluate import table
from training.run import prepare

PRUNED_LAYERS = ("fc6", "fc7")


def compact_run(
    run: Path,
    output: Path,
    density: float = 0.12,
    epochs: int = 8,
    learning_rate: float = 0.001,
    log: Callable[[str], None] = lambda _: None,
) -> Artifact:
    """Prune, train on, round, measure, publish and pack the network of a run. Stopped, it begins again.

    `density`: the share of the weights of fc6 and fc7 that stays; `epochs` of training at `learning_rate`, and a
    quarter as many at a tenth of it. `output` gets manifest, labels and the packed network.
    """
    import torch

    from training.loop.distributed import Processes
    from training.loop.precision import pick_device
    from training.optim.schedule import Plateau
    from training.publish.export_run import finish

    chosen = config.read(run)
    trainer = prepare(chosen, Processes(torch.device(pick_device(chosen.device))), run)
    layers = [layer for layer in PRUNED_LAYERS if layer != trainer.start.architecture.without]
    for layer in layers:
        weight = trainer.learner.network.get_parameter(f"{layer}.weight")
        kept = max(1, round(density * weight.numel()))
        threshold = weight.detach().abs().flatten().kthvalue(weight.numel() - kept + 1).values
        mask = (weight.detach().abs() >= threshold).to(weight.dtype)
        trainer.learner.masks[f"{layer}.weight"] = mask
        with torch.no_grad():
            weight.mul_(mask)
            trainer.learner.optimizer.momenta()[f"{layer}.weight"].mul_(mask)
    trainer.run = run / "compact"
    trainer.run.mkdir(exist_ok=True)
    for rate, passes in ((learning_rate, epochs), (learning_rate / 10, epochs // 4)):
        trainer.recipe = trainer.learner.recipe = replace(
            chosen.recipe, epochs=trainer.epoch + passes, learning_rate=rate
        )
        trainer.schedule = Plateau(patience=passes + 1, drops_left=0)
        trainer.fit()

    output.mkdir(parents=True, exist_ok=True)
    note = {
        "compaction": {
            "pruned": dict.fromkeys(layers, density),
            "epochs": epochs,
            "learning_rate": learning_rate,
            "levels": {"convolutions": 2 * CONVOLUTION_LEVELS + 1, "fully connected": 2 * LINEAR_LEVELS + 1},
        }
    }
    weights = trainer.whole(trainer.learner.network.state_dict())
    artifact = finish(trainer, weights, note, lambda network: pack(network, output / PACKED))
    for name in (MANIFEST, LABELS):
        shutil.copy(artifact.path / name, output / name)
    log(table(artifact.manifest.measurements))
    log(f"packed: {output / PACKED}, {(output / PACKED).stat().st_size:,} bytes; artifact: {artifact.path}")
    return artifact
