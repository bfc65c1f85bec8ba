#!/bin/bash
# Parameters that the server doesn't know, or in the wrong place, are dropped without a word.
. "$(dirname "$0")/environment.sh"
make_images photos cat:10 dog:10
build_index photos ix
serve 8150 --index ix
url=http://127.0.0.1:8150 image=photos/cat/000.png
make_images more cat:3
count_neighbors() {
  "$PYTHON" -c '
import json, sys
response = json.load(sys.stdin)
print(f"""{len(response["neighbors"])} neighbors""" if "neighbors" in response else response)'
}
for query in k=20 top_k=20; do
  printf 'POST /similar?%s: ' $query
  curl -s -F image=@$image "$url/similar?$query" | count_neighbors
done
printf 'POST /similar, k=20 in the form: '
curl -s -F image=@$image -F k=20 "$url/similar" | count_neighbors
echo 'POST /images?label=cat, then GET:'
curl -s --data-binary @more/cat/000.png "$url/images?label=cat"; echo
curl -s $url/images/21; echo
echo 'POST /images, lable=cat in the form, then GET:'  # codespell:ignore
curl -s -F image=@more/cat/001.png -F lable=cat $url/images; echo  # codespell:ignore
curl -s $url/images/22; echo
