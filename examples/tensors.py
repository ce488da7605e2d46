"""tritonclient against the gateway: `python tensors.py PICTURE`. Works unchanged against a Triton's HTTP port."""

import os
import sys

import numpy as np
import tritonclient.http as triton
from PIL import Image

MODEL = "mobilenet_v2"
# tritonclient wants host:port.
SERVER = os.environ.get("VISION_SERVER", "http://127.0.0.1:8080").removeprefix("http://")


def main(path: str) -> None:
    client = triton.InferenceServerClient(SERVER)
    _, height, width, _ = client.get_model_metadata(MODEL)["inputs"][0]["shape"]
    # With /v1 the gateway would do this: upright, cropped as the model was trained.
    picture = Image.open(path).convert("RGB").resize((width, height))
    image = triton.InferInput("image", [1, height, width, 3], "UINT8")
    image.set_data_from_numpy(np.asarray(picture)[np.newaxis])
    probabilities = client.infer(MODEL, [image]).as_numpy("probabilities")[0]
    for class_id in np.argsort(probabilities)[::-1][:3]:
        print(f"{probabilities[class_id]:6.1%}  class {class_id}")


if __name__ == "__main__":
    main(sys.argv[1])
