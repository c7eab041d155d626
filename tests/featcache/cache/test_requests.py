"""A request says by which rules its data set was read, unless those are the first."""

from __future__ import annotations

import pytest

from featcache.cache.requests import Request

ONE = Request("d", "/data", "0" * 64, ("cls",), ("clean",), 0, False)


@pytest.mark.parametrize(("rules", "labels"), [(2, ""), (1, "none"), (2, "0=ai,1=real")])
def test_rules_and_what_was_stated_are_read_back(rules: int, labels: str) -> None:
    request = Request("d", "/data", "0" * 64, ("cls",), ("clean",), 0, False, rules, labels)
    document = request.to_document()
    assert (document["rules"], document["labels"]) == (rules, labels)
    assert Request.from_document(document, "request") == request


def test_a_request_of_the_first_rules_is_written_as_it_was() -> None:
    document = ONE.to_document()
    assert not {"rules", "labels"} & document.keys()
    assert Request.from_document(document, "request") == ONE
