import pytest

pytest.register_assert_rewrite(f'{__name__}.drawn')  # what its assertions compare is shown where they fail
