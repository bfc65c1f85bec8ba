#!/bin/bash
# Training as a user who can write neither the installed package nor HOME (docker run --user, systemd). Needs root to
# switch users.
. "$(dirname "$0")/environment.sh"
make_images photos cat:4 dog:4
chmod -R a+rwX "$WORK"
HOME=/ timeout 120 setpriv --reuid 65534 --regid 65534 --clear-groups -- "$PROGRAM" \
  train --data photos --epochs 1 --hidden 8 2>&1 | tail -2
