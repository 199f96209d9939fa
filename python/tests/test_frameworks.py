"""The faces for other frameworks, where these are not installed."""

import pytest

from launch import run_alone


@pytest.mark.parametrize("name", ["jax", "tensorflow", "torch"])
def test_the_package_needs_none_of_them_and_says_how_to_get_one(name):
    output = run_alone(
        f"""
        import sys
        sys.modules["{name}"] = None    # as if it were not there
        import kirsh
        assert "numpy" not in sys.modules
        try:
            import kirsh.{name}
        except ImportError as error:
            print(error)
        """
    )
    assert f"pip install 'kirsh[{name}]'" in output


def test_what_is_not_asked_for_is_not_imported():
    output = run_alone(
        """
        import sys, kirsh
        print(sorted({"jax", "tensorflow", "keras", "torch", "numpy"} & set(sys.modules)))
        """
    )
    assert output.strip() == "[]"
