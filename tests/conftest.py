"""What every test may use."""

import pytest
from _data import TestData
from hypothesis import settings

settings.register_profile("house", deadline=None)  # a machine that others use, too, takes as long as it takes
settings.load_profile("house")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs research data where there is none."""
    folder = TestData().test_data
    if folder.is_dir():
        return
    absent = pytest.mark.skip(reason=f"RFR_TEST_DATA: no folder {folder}")
    for item in items:
        if item.get_closest_marker("weights"):
            item.add_marker(absent)
