"""Cut the sample of MNIST that is shipped with seqlra: ``data/mnist_sample``, the same bytes every time.

    python scripts/make_mnist_sample.py --data-dir ../shared/data

``--data-dir`` holds ``mnist/`` with the four IDX files of the whole MNIST, plain or gzipped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from seqlra.data.idx import write_idx
from seqlra.data.images import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, read_folder

SEED = 1998  # the year of MNIST
TRAIN, TEST = 15_000, 3_000  # a quarter and three tenths; their gzipped files stay under 4 MB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="the folder that holds mnist/")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "data" / "mnist_sample")
    options = parser.parse_args()

    whole = read_folder(options.data_dir / "mnist")
    options.out.mkdir(parents=True, exist_ok=True)
    draw = np.random.RandomState(SEED)  # numpy promises that this old generator will never change its numbers
    for images, labels, count in ((TRAIN_IMAGES, TRAIN_LABELS, TRAIN), (TEST_IMAGES, TEST_LABELS, TEST)):
        # drawn at random, so classes are about as frequent as in MNIST; in the order of MNIST
        chosen = np.sort(draw.permutation(len(whole[images]))[:count])
        for name in (images, labels):
            path = options.out / f"{name}.gz"
            write_idx(path, whole[name][chosen])
            print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
