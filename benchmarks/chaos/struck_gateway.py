"""`vision serve`, whose worker threads can be struck from outside: SIGUSR1 raises SystemExit in each of them."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading

from service.cli import main


def strike(*_: object) -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("worker-") and thread.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, strike)
    sys.argv = ["vision", "serve"]
    main()
