"""The table of methods: it is light, and what cannot be loaded is said in one sentence."""

import subprocess
import sys

import pytest

from baselines.registry import method_class
from lua_lightning.errors import UserError


def test_the_table_is_read_without_pytorch():
    code = "import sys, baselines.registry, baselines.generate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_unknown_method_is_refused_with_its_near_match():
    with pytest.raises(UserError, match="did you mean 'demofusion'"):
        method_class("demofushion")


def test_a_method_whose_package_is_missing_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "baselines.lsrna", raising=False)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match=r"lsrna-demofusion needs the package cv2.*lua-lightning\[methods\]"):
        method_class("lsrna-demofusion")
