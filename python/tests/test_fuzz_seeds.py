"""The fuzz seeds are those that the golden vectors give."""

import runpy
from pathlib import Path

FUZZ = Path(__file__).parents[2] / "fuzz"


def test_the_seeds_follow_the_golden_vectors():
    expected = runpy.run_path(str(FUZZ / "seeds.py"))["seeds"]()
    here = {
        str(path.relative_to(FUZZ / "seeds")): path.read_bytes()
        for path in (FUZZ / "seeds").rglob("*")
        if path.is_file()
    }
    assert here == expected, "run `python fuzz/seeds.py`"
