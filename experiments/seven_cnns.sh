#!/usr/bin/env bash
# Section 6, Table 2: 1 CNN, 5 CNNs, 1 CNN* and 7 CNNs* on one's own images.
#
#   experiments/seven_cnns.sh --data IMAGES --wider MORE_IMAGES [--archive ZIP] [--wider-archive ZIP]
#                          [--artifacts FOLDER] [options of training/run.py for every network]
#
# Five networks from scratch on IMAGES; two pre-trained with a sixth convolution on MORE_IMAGES (more classes, as the
# paper's Fall 2011 release) and fine-tuned on IMAGES; the mean of their ten-crop probabilities. What is there already,
# below the artifacts, is not trained again.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python}
alexnet=${ALEXNET:-alexnet}
data= wider= artifacts=artifacts own=() more=() rest=()
while (($#)); do
  case $1 in
    --data) data=$2 ;;
    --wider) wider=$2 ;;
    --archive) own=(--archive "$2") ;;
    --wider-archive) more=(--archive "$2") ;;
    --artifacts) artifacts=$2 ;;
    *)
      rest+=("$1")
      shift
      continue
      ;;
  esac
  shift 2
done
[[ -n $data && -n $wider ]] || { sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 2; }

train() { # NAME, then options of training/run.py
  local name=$1
  shift
  [[ -d $artifacts/$name/1 ]] || "$python" "$here/../training/run.py" "${rest[@]}" --name "$name" --artifacts "$artifacts" "$@"
}

scratch=() pretrained=()
for seed in 0 1 2 3 4; do
  train "cnn-$seed" --data "$data" "${own[@]}" --seed "$seed"
  scratch+=("$artifacts/cnn-$seed")
done
for seed in 5 6; do
  train "wider-$seed" --data "$wider" "${more[@]}" --seed "$seed" --sixth
  train "cnn-star-$seed" --data "$data" "${own[@]}" --seed "$seed" --init-from "$artifacts/wider-$seed"
  pretrained+=("$artifacts/cnn-star-$seed")
done

evaluate() {
  echo "== $1"
  shift
  local members=() path
  for path; do members+=(--artifact "$path"); done
  "$alexnet" evaluate "${members[@]}" --data "$data" "${own[@]}"
}
evaluate "1 CNN" "${scratch[0]}"
evaluate "5 CNNs" "${scratch[@]}"
evaluate "1 CNN*" "${pretrained[0]}"
evaluate "7 CNNs*" "${scratch[@]}" "${pretrained[@]}"
