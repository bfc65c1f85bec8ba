"""kill -9 at random moments of ten runs, then --resume until they are done: are the weights those of an unbroken run?
Damaged files of a run; limits on file size, open files and disk space (the part `limits`, which needs root).
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from model.exceptions import TrainingError
from tests.cases.attack.harness import (
    ALEXNET,
    HOME,
    ShellResult,
    list_images,
    report,
    run_parts,
    run_shell,
    start_shell,
)
from training.loop.run_directory import RunDirectory

FOLDER = HOME / "training"
MOUNT = FOLDER / "mount"
OPTIONS = (
    "--data data --hidden 64 --epochs 3 --batch-size 8 --artifacts artifacts --cache cache --runs runs --save-steps 1"
)

os.environ["OMP_NUM_THREADS"] = "1"
random.seed(int(os.environ.get("SEED", "4")))


def train(options: str, before: str = "") -> ShellResult:
    return run_shell(f"{before}{ALEXNET} train {options}", timeout=250, cwd=FOLDER)


def start_training(options: str) -> subprocess.Popen[str]:
    return start_shell(f"exec {ALEXNET} train {options}", cwd=FOLDER)


def artifact_of(name: str) -> Path:
    return FOLDER / "artifacts" / name / "1"


def weights_of(name: str) -> str:
    return hashlib.sha256((artifact_of(name) / "network.onnx").read_bytes()).hexdigest()[:16]


def run_of(name: str) -> Path | None:
    """The first run of this name."""
    return next(iter(sorted(FOLDER.glob(f"runs/{name}-*"))), None)


def resume(run: Path) -> ShellResult:
    return train(f"--resume {run.relative_to(FOLDER)}")


def prepare() -> str:
    """Train without a break. Returns a checksum of the network."""
    for name in ("mono_0", "mono_100", "poly_0"):
        target = FOLDER / "data" / name
        if not target.exists():
            target.mkdir(parents=True)
            for path in [path for path in list_images() if path.parent.name == name][:16]:
                shutil.copy(path, target)
    if not artifact_of("base").exists():
        report("base:", train(f"{OPTIONS} --name base"))
    return weights_of("base")


def kill_after(process: subprocess.Popen[str], seconds: float) -> bool:
    """Kill the process after `seconds`. Returns False if it ended before."""
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True


def killed_runs() -> None:
    result = train(f"{OPTIONS} --name again")
    report(f"unbroken once more: {result.status}, {result.seconds} s,", verdict("again"))
    kills, same = 0, 0
    for number in range(10):
        name = f"killed{number}"
        new_run = f"{OPTIONS} --save-steps {1 if number % 2 else 3} --name {name}"
        kills += kill_after(start_training(new_run), random.uniform(0.25, 1) * result.seconds)
        for attempt in range(6):
            if (artifact_of(name) / "manifest.json").exists():
                break
            run = run_of(name)
            resumable = run is not None and (run / "checkpoint.pt").exists()
            process = start_training(f"--resume {run}" if resumable else new_run)
            if attempt < 2:
                kills += kill_after(process, random.uniform(0.3, 0.95) * result.seconds)
            elif process.wait(250):
                report("  ", name, "ended with", process.returncode)
        outcome = verdict(name)
        same += outcome == "same weights"
        report("  ", name, outcome)
    report(f"kill -9 {kills} times over 10 runs: {same} of 10 end with the weights of the unbroken run")


def verdict(name: str) -> str:
    if not artifact_of(name).exists():
        return "no artifact"
    return "same weights" if weights_of(name) == BASE else "OTHER WEIGHTS"


def break_run(name: str) -> Path:
    """Start a run and kill it after its first checkpoint."""
    process, deadline = start_training(f"{OPTIONS} --name {name}"), time.monotonic() + 90
    while process.poll() is None and time.monotonic() < deadline:
        run = run_of(name)
        if run and (run / "checkpoint.pt").exists():
            time.sleep(1.5)
            process.kill()
            process.wait()
            return run
        time.sleep(0.02)
    raise RuntimeError(f"no checkpoint of {name}")


def flatten(value: object, path: str = "") -> dict[str, object]:
    if isinstance(value, dict):
        return {key: v for name, inner in value.items() for key, v in flatten(inner, f"{path}.{name}").items()}
    return {path: value}


def is_equal(first: Any, second: Any) -> bool:
    return bool(torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second)


def damage(content: bytes, kind: str) -> bytearray:
    damaged, offset = bytearray(content), random.randrange(len(content))
    match kind:
        case "flip":
            damaged[offset] ^= 1 << random.randrange(8)
        case "block of 512":
            damaged[offset : offset + 512] = os.urandom(min(512, len(damaged) - offset))
        case "4096 zeros":
            offset = offset // 4096 * 4096
            damaged[offset : offset + 4096] = bytes(min(4096, len(damaged) - offset))
        case "cut":
            del damaged[offset:]
        case _:
            damaged += os.urandom(1000)
    return damaged


def damaged_checkpoints() -> None:
    run = break_run("checkpoint")
    content = (run / "checkpoint.pt").read_bytes()
    copy = FOLDER / "damaged"
    copy.mkdir(exist_ok=True)
    state = RunDirectory(run).load_checkpoint()
    values, outcomes = flatten(state), Counter[tuple[str, str]]()
    for number in range(60):
        kind = ("flip", "flip", "block of 512", "4096 zeros", "cut", "grow")[number % 6]
        (copy / "checkpoint.pt").unlink(missing_ok=True)  # the previous file is still mapped
        (copy / "checkpoint.pt").write_bytes(damage(content, kind))
        try:
            loaded = flatten(RunDirectory(copy).load_checkpoint())
        except TrainingError:
            outcomes[kind, "refused"] += 1
            continue
        different = [key for key, value in values.items() if key not in loaded or not is_equal(value, loaded[key])]
        outcomes[kind, f"LOADED with another {different[0]}" if different else "loaded, all the same"] += 1
    for outcome, times in sorted(outcomes.items()):
        report("  ", *outcome, times)
    name, weight = [(k, v) for k, v in values.items() if isinstance(v, torch.Tensor) and v.numel() > 1000][-1]
    offset = content.find(weight.contiguous().numpy().tobytes()[:64])
    flipped = bytearray(content)
    flipped[offset + 2] ^= 0x40
    (run / "checkpoint.pt").write_bytes(flipped)
    result = resume(run)
    report(f"one bit of {name} flipped, resumed: {result.status},", verdict("checkpoint"), result.last(150))


def damaged_files() -> None:
    for file in ("config.json", "split.csv", "metrics.jsonl", "split.info.json"):
        outcomes, message = Counter[str](), ""
        for number in range(3):
            name = f"damaged-{file.partition('.')[0]}{len(file)}-{number}"
            run = break_run(name)
            content = bytearray((run / file).read_bytes())
            content[random.randrange(len(content))] ^= 1 << random.randrange(7)
            (run / file).write_bytes(content)
            result = resume(run)
            outcomes["refused" if result.status else verdict(name)] += 1
            message = result.last(140) if result.status else message
        report(f"   a bit of {file}:", dict(outcomes), message)
    damaged_cache()


def damaged_cache() -> None:
    cache = next(path for path in (FOLDER / "cache").iterdir() if path.is_dir())
    report("   cache:", sorted((path.name, path.stat().st_size) for path in cache.iterdir()))
    for file in ("images.u8", "progress.npz"):
        content = (cache / file).read_bytes()
        damaged, offset = bytearray(content), len(content) // 3
        if file == "images.u8":
            damaged[offset : offset + 60_000] = b"\xff" * 60_000
        else:
            damaged[offset] ^= 4
        (cache / file).write_bytes(damaged)
        name = f"cache-{file.partition('.')[0]}"
        result = train(f"{OPTIONS} --name {name}")
        outcome = f"ended with {result.status}: {result.last(150)}" if result.status else verdict(name)
        report(f"   {file} of the cache damaged:", outcome)
        (cache / file).write_bytes(content)


def limits() -> None:
    report("ulimit -f 15000 (a checkpoint has 23 MB):", train(f"{OPTIONS} --name sizes", "ulimit -f 15000; "))
    report("ulimit -n 24:", train(f"{OPTIONS} --name files", "ulimit -n 24; "))
    MOUNT.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=10m", "tmpfs", str(MOUNT)], check=True)
    try:
        report("10 MB for runs:", train(f"{OPTIONS.replace('--runs runs', '--runs mount/runs')} --name full"))
        report(sorted((path.name, path.stat().st_size) for path in (MOUNT / "runs").glob("*/*")))
    finally:
        subprocess.run(["umount", "-l", str(MOUNT)], check=False)


if __name__ == "__main__":
    BASE = prepare()
    run_parts(killed_runs, damaged_checkpoints, damaged_files, limits)
