#!/bin/bash
# A dataset of vehicles with the class "train", and one of defects with the class "test".
. "$(dirname "$0")/environment.sh"
make_images vehicles bus:4 car:4 train:4
build_index vehicles ix
count_labels ix
train_briefly vehicles | tail -1
make_images quality good:4 test:4
build_index quality ix2
count_labels ix2
