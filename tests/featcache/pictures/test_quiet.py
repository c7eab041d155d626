import re
import warnings
from typing import Any

from featcache.pictures.quiet import quietly


def test_the_filter_of_warnings_can_be_copied_by_its_pattern() -> None:
    with quietly():
        patterns: list[Any] = [each[3] for each in warnings.filters if hasattr(each[3], "thread")]
    assert patterns and all(re.match(each.pattern, "PIL.Image") is None for each in patterns)
