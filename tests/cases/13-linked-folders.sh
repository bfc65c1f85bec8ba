#!/bin/bash
# A class folder that is a symbolic link: training takes it, indexing leaves it out without a word. And a loop.
. "$(dirname "$0")/environment.sh"
make_images photos cat:4
make_images elsewhere dog:4
ln -s ../elsewhere/dog photos/dog
train_briefly photos | head -1
build_index photos ix
count_labels ix
make_images loop cat:4 dog:4
ln -s .. loop/cat/up
train_briefly loop | head -2 | cut -c1-160
