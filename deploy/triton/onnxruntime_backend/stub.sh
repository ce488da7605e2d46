#!/bin/sh
# Triton starts this in the place of NVIDIA's stub, which lies beside it, once for each instance of a model. serve.py sets
# TRITON_STUB_NICENESS, the server's own, where a process may raise its priority again: then the stub of an entry starts
# with a low one, so that loading takes nothing from those that serve, and model.py raises it when the model is loaded.
# Models of other backends have nobody to raise them.
for backend in "$@"; do :; done
case "${TRITON_STUB_NICENESS:-}:$backend" in
    ?*:*/onnxruntime) exec nice -n 10 "$0.real" "$@" ;;
esac
exec "$0.real" "$@"
