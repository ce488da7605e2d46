"""Exit 0 if the gateway in this container is ready, else 1 and why. No curl in the image, no import of the gateway."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request

URL = f"http://127.0.0.1:{os.environ.get('VISION_PORT', '8080')}/health/ready"

try:
    with urllib.request.urlopen(URL, timeout=2):
        pass
except (urllib.error.URLError, OSError) as err:
    sys.exit(f"{URL}: {err}")
