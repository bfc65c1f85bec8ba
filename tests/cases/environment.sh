# Sourced by every case: a temporary folder, removed at the end, and functions to make images, index and serve.
# ALEXNET: the program (default: the `alexnet` on PATH). PYTHON: the Python of its environment (default: the one beside
# the program). ARTIFACT: an artifact to index and serve with (default: a tiny one is trained).
PROGRAM=$(realpath "$(command -v "${ALEXNET:-alexnet}")") || { echo "no alexnet on PATH: set ALEXNET" >&2; exit 2; }
PYTHON=${PYTHON:-$(dirname "$PROGRAM")/python}
CASES=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ -n "$ARTIFACT" ] && ARTIFACT=$(realpath "$ARTIFACT")
WORK=$(mktemp -d) && cd "$WORK" || exit 2
SERVER=

finish() {
  [ -n "$SERVER" ] && kill "$SERVER" 2>/dev/null && wait "$SERVER" 2>/dev/null
  cd /
  rm -rf "$WORK" 2>/dev/null
}
trap finish EXIT

alexnet() { "$PROGRAM" "$@"; }

alexnet_as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups -- "$PROGRAM" "$@"; }

# make_images ROOT CLASS:COUNT ...
make_images() { "$PYTHON" "$CASES/make_images.py" "$@"; }

# train_briefly DATA: one epoch of a small network
train_briefly() { timeout 90 "$PROGRAM" train --epochs 1 --hidden 8 --crops 1 --data "$1" 2>&1 | grep -v 'it/s\|loading PyTorch\|looking for the images'; }

# build_index DATA INDEX
build_index() { alexnet index add --data "$1" --artifact "$ARTIFACT" --index "$2" 2>&1 | grep -v 'it/s\|image/s'; }

# count_labels INDEX: images per label
count_labels() { alexnet index list --index "$1" | awk '{print $2}' | sort | uniq -c; }

# serve PORT [OPTION ...]: start a server, with its log in serve.log, and wait until it is ready
serve() {
  local port=$1
  shift
  "$PROGRAM" serve --artifact "$ARTIFACT" --port "$port" "$@" >serve.log 2>&1 &
  SERVER=$!
  for _ in $(seq 120); do
    curl -sf "http://127.0.0.1:$port/ready" >/dev/null && return
    kill -0 "$SERVER" 2>/dev/null || break
    sleep .5
  done
  cat serve.log
}

if [ ! -f "$ARTIFACT/manifest.json" ]; then
  make_images tiny cat:8 dog:8
  alexnet train --data tiny --name tiny --epochs 1 --hidden 8 >train.log 2>&1 || cat train.log
  ARTIFACT=$WORK/artifacts/tiny/1
fi
