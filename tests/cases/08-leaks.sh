#!/bin/bash
# 12 copies of one image per class; one image under two labels; files in train and in test; a class of one image.
. "$(dirname "$0")/environment.sh"
make_images src cat:8 dog:8
mkdir -p copies/cat copies/dog
for number in $(seq 12); do
  for class in cat dog; do cp src/$class/000.png copies/$class/$number.png; done
done
echo "12 copies of one image per class:"
train_briefly copies | head -5
{
  echo path,label,split
  for class in cat dog; do
    for number in 0 1 2 3 4 5 6 7; do
      for split in train test; do echo src/$class/00$number.png,$class,$split; done
    done
  done
  echo src/cat/000.png,dog,train
} >leak.csv
echo "every file in train and in test, one of them under two labels:"
train_briefly leak.csv | head -5
make_images one cat:1 dog:6 bird:2
echo "classes of one and two images:"
train_briefly one | head -7
