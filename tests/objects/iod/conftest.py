from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def made_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("made")
