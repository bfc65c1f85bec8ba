#!/bin/bash
# A FIFO, /dev/zero, a sparse file and a name that isn't UTF-8, for train, index and classify. Takes some minutes.
work=${ATTACK_HOME:-${TMPDIR:-/tmp}/alexnet-attack}
program=$(realpath "$(command -v "${ALEXNET:-alexnet}")") && cd "$work" || exit 2
ulimit -v 6000000
rm -rf odd odd-home odd-index && mkdir -p odd/a odd/b
cp $(ls images/mono_0/*.png | head -10) odd/a/
cp $(ls images/poly_0/*.png | head -10) odd/b/
options="--hidden 16 --epochs 1 --batch-size 8 --home odd-home"

# run SECONDS NAME COMMAND ...
run() {
  timeout "$1" "${@:3}" >logs/odd.out 2>&1
  local status=$?
  [ $status = 124 ] && status="$status HANGS"
  echo "$2: $status | $(tail -1 logs/odd.out | cut -c1-150)"
}

mkfifo odd/a/x.png
run 60 "train, FIFO in the folder" "$program" train --data odd $options --name fifo
rm odd/a/x.png
ln -s /dev/zero odd/a/x.png
run 60 "train, link to /dev/zero" "$program" train --data odd $options --name zero
rm odd/a/x.png
truncate -s 20G odd/a/x.png
run 60 "train, sparse file of 20 GB" "$program" train --data odd $options --name sparse
run 60 "index, sparse file of 20 GB" "$program" index add --data odd --artifact artifacts --index odd-index
rm odd/a/x.png
cp "odd/a/$(ls odd/a | head -1)" "odd/a/$(printf 'x\377.png')"
run 60 "train, name that isn't UTF-8" "$program" train --data odd $options --name name
rm odd/a/x*.png
mkfifo odd/f.png
run 20 "classify, FIFO" "$program" classify odd/f.png --artifact artifacts
run 40 "classify, /dev/zero" "$program" classify /dev/zero --artifact artifacts
