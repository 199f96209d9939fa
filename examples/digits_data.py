"""Writes the UCI digits that scikit-learn ships as text, for programs without scikit-learn.

    python examples/digits_data.py digits.csv

1797 lines of `label,p0,...,p63`: the digit that was written, and 8 x 8 pixels from 0 to 16.
"""

import sys

from sklearn.datasets import load_digits


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} OUT")
    digits = load_digits()
    with open(sys.argv[1], "w", encoding="ascii") as out:
        for label, pixels in zip(digits.target, digits.data):
            out.write(",".join(str(int(value)) for value in (label, *pixels)) + "\n")


if __name__ == "__main__":
    main()
