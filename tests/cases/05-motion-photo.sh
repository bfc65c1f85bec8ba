#!/bin/bash
# A 12-megapixel phone JPEG with its clip behind the end-of-image marker (Samsung, Pixel): any two bytes ff da in the
# clip count as a scan.
. "$(dirname "$0")/environment.sh"
mkdir photos
"$PYTHON" - <<'P'
from pathlib import Path
import numpy as np
from PIL import Image
rng = np.random.default_rng(0)
noise = Image.fromarray(rng.integers(0, 255, (300, 400, 3), dtype=np.uint8))
noise.resize((4000, 3000)).save("photos/still.jpg", quality=85)
clip = rng.integers(0, 256, 6_000_000, dtype=np.uint8).tobytes()
Path("photos/motion.jpg").write_bytes(Path("photos/still.jpg").read_bytes() + clip)
P
alexnet classify photos/still.jpg --artifact "$ARTIFACT" | head -1
alexnet classify photos/motion.jpg --artifact "$ARTIFACT"
