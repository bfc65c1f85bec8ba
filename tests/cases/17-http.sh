#!/bin/bash
# HEAD of health, names with a dot, compressed bodies, a slash at the end, addresses that are printed, a byte-order mark.
. "$(dirname "$0")/environment.sh"
serve 8153 --read-only
url=http://127.0.0.1:8153
make_images images cat:1
image=images/cat/000.png
status() { curl -s -o /dev/null -w "%{http_code}\n" "$@"; }
for path in live ready; do
  printf 'HEAD /%s ' $path
  status -I $url/$path
  printf 'GET /%s as nas.local ' $path
  status -H 'Host: nas.local:8153' $url/$path
done
gzip -c $image >image.gz
echo "a compressed body:"
curl -s -H 'Content-Encoding: gzip' --data-binary @image.gz $url/classify; echo
echo "POST /classify/ behind a proxy's prefix /vision:"
curl -si -H 'X-Forwarded-Prefix: /vision' -F image=@$image $url/classify/ | grep -i '^location'
curl -s $url/docs | grep -o "url: '[^']*'"
echo "--host ::1, then --port 0:"
timeout 15 "$PROGRAM" serve --artifact "$ARTIFACT" --read-only --host ::1 --port 8154 2>/dev/null | head -1
timeout 15 "$PROGRAM" serve --artifact "$ARTIFACT" --read-only --port 0 2>/dev/null | head -1
echo "a settings file with a byte-order mark:"
printf '\xef\xbb\xbfport = 8155\r\n' >bom.toml
timeout 15 "$PROGRAM" serve --config bom.toml --artifact "$ARTIFACT"
