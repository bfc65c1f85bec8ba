#!/bin/bash
# The same image as 8-bit gray, CIELAB, 32-bit gray, and 12 bits in 16: what the network is shown.
. "$(dirname "$0")/environment.sh"
"$PYTHON" - <<'P'
import numpy as np
from PIL import Image
y, x = np.mgrid[0:300, 0:300]
gray = ((x + y) * 255 // 598).astype(np.uint8)
Image.fromarray(gray).save("gray8.tif")
Image.fromarray(np.stack([gray] * 3, -1)).convert("LAB").save("lab.tif")
Image.fromarray(gray.astype(np.int32) * 65536).save("gray32.tif")
Image.fromarray(gray.astype(np.uint16) * 16).save("gray12in16.tif")
P
"$PYTHON" - <<'P'
from pathlib import Path
from model.exceptions import InvalidImageError
from model.datasets.image_files import read_image_file
from model.images.preprocess import decode_image
for name in ("gray8", "lab", "gray32", "gray12in16"):
    try:
        decoded = decode_image(read_image_file(Path(f"{name}.tif")))
    except InvalidImageError as error:
        print(f"{name:11} {error}")
    else:
        pixels, said = decoded.pixels, "; ".join(warning.message for warning in decoded.info.warnings)
        print(f"{name:11} mean {pixels.mean():6.1f}  min {pixels.min():3}  max {pixels.max():3}  {said}")
P
alexnet classify lab.tif --artifact "$ARTIFACT" | head -1
echo "status ${PIPESTATUS[0]}"
