#!/bin/bash
# One dangling link, one missing row of a table: training ends. One unreadable subfolder: indexing ends (needs root, to
# become another user).
. "$(dirname "$0")/environment.sh"
make_images photos cat:4 dog:4
ln -s /nowhere/annexed.png photos/cat/annexed.png
echo "a dangling link:"
build_index photos ix
train_briefly photos | tail -1
{
  echo path,label
  for class in cat dog; do
    for number in 0 1 2 3; do echo photos/$class/00$number.png,$class; done
  done
  echo photos/cat/gone.png,cat
} >table.csv
echo "a row of a table without its file:"
train_briefly table.csv | tail -1
if [ "$(id -u)" = 0 ]; then
  make_images disk cat:3
  chmod -R a+rX "$WORK"
  mkdir -m 700 disk/lost+found
  chmod 777 .
  echo "an unreadable subfolder, as nobody:"
  alexnet_as_nobody index add --data disk --artifact "$ARTIFACT" --index ixn 2>&1 | tail -1
fi
