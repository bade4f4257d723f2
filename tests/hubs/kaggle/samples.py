"""Models served by the Kaggle simulator."""

import random

from tests.simulators.kaggle import Kaggle

WEIGHTS_PATH = "variables/variables.data"


def fill(kaggle: Kaggle) -> None:
    source = random.Random(31)
    for index in range(3):
        kaggle.models[f"team/small/tensorFlow2/v-{index}"] = {
            "saved_model.pb": source.randbytes(2000),
            "variables/variables.index": b"x",
            WEIGHTS_PATH: source.randbytes(100_000),
            "odd name & é.txt": b"odd",
        }
    kaggle.models["team/big/tfLite/only"] = {"only.bin": source.randbytes(70_000)}
