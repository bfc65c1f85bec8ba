#!/bin/bash
# A folder is indexed again after an image was moved to another class, one deleted and one edited in place.
. "$(dirname "$0")/environment.sh"
make_images photos cat:4 dog:4
build_index photos ix
mv photos/cat/000.png photos/dog/was_cat.png
rm photos/cat/001.png
"$PYTHON" -c "from PIL import Image; Image.open('photos/dog/003.png').rotate(90).save('photos/dog/003.png')"
build_index photos ix
alexnet index sync photos --artifact "$ARTIFACT" --index ix --prune
echo "files on disk: $(find photos -type f | wc -l)"
alexnet index list --index ix
