#!/usr/bin/env bash
# Section 6, Table 2: 1 CNN, 5 CNNs, 1 CNN* and 7 CNNs* on any images.
#
#   experiments/seven_cnns.sh --data IMAGES --wider MORE_IMAGES [--archive ZIP] [--wider-archive ZIP]
#                          [--home FOLDER] [options of training/run.py for every network]
#
# Five networks from scratch on IMAGES; two pre-trained with a sixth convolution on MORE_IMAGES (more classes, as the
# paper's Fall 2011 release) and fine-tuned on IMAGES; the mean of their ten-crop probabilities. All of them have the
# split of the first one's run. Networks whose artifacts exist are not trained again.
set -euo pipefail
folder=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python}
alexnet=${ALEXNET:-alexnet}
data= wider= home=${ALEXNET_HOME:-.} archive=() wider_archive=() options=()
while (($#)); do
  case $1 in
    --data) data=$2 ;;
    --wider) wider=$2 ;;
    --archive) archive=(--archive "$2") ;;
    --wider-archive) wider_archive=(--archive "$2") ;;
    --home) home=$2 ;;
    *)
      options+=("$1")
      shift
      continue
      ;;
  esac
  shift 2
done
[[ -n $data && -n $wider ]] || { sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 2; }
artifacts=$home/artifacts

train() { # NAME, then options of training/run.py
  local name=$1
  shift
  [[ -d $artifacts/$name/1 ]] || "$python" "$folder/../training/run.py" --recipe small "${options[@]}" --name "$name" --home "$home" "$@"
}

train cnn-0 --data "$data" "${archive[@]}" --seed 0
splits=("$home"/runs/cnn-0-*/split.csv)
split=${splits[-1]}
[[ -f $split ]] || { echo "error: no run of cnn-0 below $home/runs, whose split the others need" >&2; exit 1; }
scratch=("$artifacts/cnn-0") pretrained=()
for seed in 1 2 3 4; do
  train "cnn-$seed" --data "$split" --seed "$seed"
  scratch+=("$artifacts/cnn-$seed")
done
for seed in 5 6; do
  train "wider-$seed" --data "$wider" "${wider_archive[@]}" --seed "$seed" --network alexnet-six-conv
  train "cnn-star-$seed" --data "$split" --seed "$seed" --init-from "$artifacts/wider-$seed"
  pretrained+=("$artifacts/cnn-star-$seed")
done

evaluate() {
  echo "== $1"
  shift
  local members=() path
  for path; do members+=(--artifact "$path"); done
  "$alexnet" evaluate "${members[@]}" --data "$split"
}
evaluate "1 CNN" "${scratch[0]}"
evaluate "5 CNNs" "${scratch[@]}"
evaluate "1 CNN*" "${pretrained[0]}"
evaluate "7 CNNs*" "${scratch[@]}" "${pretrained[@]}"
