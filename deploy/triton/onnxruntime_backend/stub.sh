#!/bin/sh
# Triton starts this in the place of NVIDIA's stub, which lies beside it, once for each instance of a model. Where the
# process may raise its priority again (root, CAP_SYS_NICE), it starts with a low one, so that loading a model takes
# nothing from those that serve; model.py raises it when the model is loaded.
if sh -c 'renice -n 1 -p $$ && renice -n 0 -p $$' >/dev/null 2>&1; then
    export TRITON_STUB_NICED=1
    exec nice -n 10 "$0.real" "$@"
fi
exec "$0.real" "$@"
