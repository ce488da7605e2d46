"""Exit 0 if the gateway in this container is ready, else 1 and why. No curl in the image, no import of the gateway."""

from __future__ import annotations

import os
import ssl
import sys
import urllib.error
import urllib.request

TLS = bool(os.environ.get("VISION_TLS_CERT"))
# The certificate is of the name that clients use, not of this address.
TRUSTING = ssl._create_unverified_context() if TLS else None  # noqa: S323 -- it never leaves the container
URL = f"{'https' if TLS else 'http'}://127.0.0.1:{os.environ.get('VISION_PORT', '8080')}/health/ready"

try:
    with urllib.request.urlopen(URL, timeout=2, context=TRUSTING):  # noqa: S310 -- always our own address
        pass
except (urllib.error.URLError, OSError) as err:
    sys.exit(f"{URL}: {err}")
