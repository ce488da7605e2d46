#!/bin/sh
# Ask with nothing but curl: sh ask.sh PICTURE. Writes found.jpg, the picture with boxes drawn on, where it is called.
set -eu
server=${VISION_SERVER:-http://127.0.0.1:8080}
picture=${1:?which picture? sh ask.sh PICTURE}

ask() { # ask PATH?QUERY: posts the picture; a refusal is shown (it says what is wrong) and ends the script
  curl --silent --show-error --fail-with-body -H 'Content-Type: application/octet-stream' --data-binary "@$picture" "$server$1"
}

ask '/v1/classify?tier=relaxed&top_k=3'
echo
ask '/v1/detect?tier=batch'
echo
ask '/v1/detect?tier=batch&overlay=true' >found.jpg
echo "found.jpg: $(wc -c <found.jpg) bytes"
