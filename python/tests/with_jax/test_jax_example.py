"""The example of training with JAX, on two ranks."""

import re
from pathlib import Path

from launch import run_ranks

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "jax_digits.py"


def test_two_ranks_learn_the_digits_alike(tmp_path):
    script = f"import runpy\nrunpy.run_path({str(EXAMPLE)!r}, run_name='__main__')\n"
    ranks = run_ranks(tmp_path, script, 2, join=False)
    found = [re.search(r"accuracy (\S+), weights ([0-9a-f]{64})", r.output) for r in ranks]
    assert found[0].groups() == found[1].groups()
    assert float(found[0][1]) >= 0.93
