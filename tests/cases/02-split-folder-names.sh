#!/bin/bash
# Roboflow's train/valid/test, and Training/Testing of many published datasets.
. "$(dirname "$0")/environment.sh"
for split in train valid test; do make_images robo/$split cat:4 dog:4; done
build_index robo ix
count_labels ix
train_briefly robo | head -1
for split in Training Testing; do make_images kaggle/$split glioma:4 none:4; done
train_briefly kaggle | head -1
