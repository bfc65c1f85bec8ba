#!/bin/bash
# A folder on a Synology disk: @eaDir holds thumbnails, #recycle what was deleted.
. "$(dirname "$0")/environment.sh"
make_images photos cat:4 dog:4
mkdir -p photos/cat/@eaDir/000.png photos/@eaDir/x 'photos/#recycle'
"$PYTHON" - <<'P'
from PIL import Image
Image.open("photos/cat/000.png").resize((32, 32)).save("photos/cat/@eaDir/000.png/SYNOPHOTO_THUMB_M.png")
Image.open("photos/cat/001.png").resize((32, 32)).save("photos/@eaDir/x/SYNOPHOTO_THUMB_M.png")
Image.open("photos/cat/002.png").resize((32, 32)).save("photos/#recycle/old.png")
P
build_index photos ix
alexnet index list --index ix
train_briefly photos | head -1
