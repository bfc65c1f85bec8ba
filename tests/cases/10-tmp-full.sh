#!/bin/bash
# A form with more than a megabyte when TMPDIR is full (here 64 kB): 500. The same bytes as the whole body: 200.
# Needs root.
[ -n "$INSIDE" ] || INSIDE=1 exec unshare -m bash "$0"
. "$(dirname "$0")/environment.sh"
"$PYTHON" - <<'P'
import numpy as np
from PIL import Image
Image.fromarray(np.random.default_rng(0).integers(0, 255, (900, 900, 3), dtype=np.uint8)).save("large.png")
P
mkdir small && mount -t tmpfs -o size=64k tmpfs small
TMPDIR=$WORK/small serve 8151 --read-only
url=http://127.0.0.1:8151
curl -s -F image=@large.png "$url/classify?top=1&crops=1"; echo
curl -s --data-binary @large.png "$url/classify?top=1&crops=1"; echo
grep -m1 OSError serve.log
kill "$SERVER"; wait "$SERVER" 2>/dev/null; umount small
