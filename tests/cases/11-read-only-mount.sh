#!/bin/bash
# `serve` on an index below a read-only mount (docker run -v ./indexes:/data/indexes:ro). Needs root.
[ -n "$INSIDE" ] || INSIDE=1 exec unshare -m bash "$0"
. "$(dirname "$0")/environment.sh"
make_images photos cat:3 dog:3
build_index photos ix
mount --bind ix ix && mount -o remount,ro,bind ix
timeout 20 "$PROGRAM" serve --artifact "$ARTIFACT" --index ix --port 8152
echo "status $? (124: it served until it was stopped)"
umount ix
