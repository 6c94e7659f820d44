"""What notebooks import: few names, each with its own docstring, and none of the rooms before one is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import rd_utils as rd


def test_every_name_of_the_face_is_there_and_says_what_it_is():
    assert len(rd.__all__) <= 35 and set(rd.__all__) <= set(dir(rd))
    assert all(getattr(rd, name).__doc__ for name in rd.__all__)
    assert rd.losses.__name__ == "rd_utils.training.losses" and rd.open.__module__ == "rd_utils.workflow.notebook"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'rd_utils' has no attribute 'samplings'"):
        rd.samplings  # noqa: B018


def test_importing_the_package_imports_none_of_its_rooms():
    code = "import sys, rd_utils; print(*(name for name in sys.modules if name.startswith(('rd_utils.', 'pandas', 'torch'))))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"
