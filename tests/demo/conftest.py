"""Pages without a browser, and rendered pictures to send."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from helpers.demo_page import Page
from helpers.pictures import Pictures, make_pictures


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Pictures:
    """Three classes, with 3 training and 2 test pictures of each."""
    return make_pictures(tmp_path_factory.mktemp("pictures"), train=3, val=0, test=2)


@pytest.fixture
def open_page(tmp_path) -> Iterator[Callable[..., Page]]:
    """Opens pages, whose threads end with the test."""
    opened: list[Page] = []

    def make(start: bool = True, **options: Any) -> Page:
        page = Page(tmp_path / f"page{len(opened)}", **options)
        opened.append(page)
        page.client.__enter__()  # one event loop for all its requests
        if start:
            page.teacher.start()
        return page

    yield make
    for page in opened:
        page.client.__exit__(None, None, None)
        assert page.teacher.stop(30)
