"""The command itself: groups are imported when they are used; one whose packages are missing says what to install."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from services import cli
from services.errors import ConfigurationError


def test_nothing_of_a_group_is_imported_before_it_is_used():
    code = "import sys, services.cli; print(*(name for name in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"onnx", "onnxruntime", "openvino", "sklearn", "numba", "matplotlib", "pyarrow", "ray", "bentoml"}
    assert not heavy & set(loaded)


@pytest.mark.parametrize("group", cli.GROUPS)
def test_group_has_help(group):
    done = CliRunner().invoke(cli.COMMANDS, [group, "--help"])
    assert done.exit_code == 0
    assert f"{group} [OPTIONS] COMMAND" in done.output


@pytest.mark.parametrize("asked", [["models", "list"], ["models"], ["models", "--help"]])
def test_group_whose_packages_are_missing_names_its_extra(monkeypatch, asked):
    monkeypatch.setitem(cli.GROUPS, "models", ("not_a_package.cli", "convert"))
    done = CliRunner().invoke(cli.COMMANDS, asked)
    assert isinstance(done.exception, ConfigurationError)
    assert "anonfaces[convert]" in str(done.exception)


def test_fault_of_our_own_in_a_group_is_not_taken_for_a_missing_package(monkeypatch):
    monkeypatch.setitem(cli.GROUPS, "models", ("services.no_such_module", "convert"))
    assert isinstance(CliRunner().invoke(cli.COMMANDS, ["models"]).exception, ModuleNotFoundError)


def test_group_that_an_image_leaves_out_says_so(monkeypatch):
    monkeypatch.setattr(cli, "SET_UP", ("not_a_package",))
    monkeypatch.setitem(cli.GROUPS, "models", ("not_a_package.cli", "convert"))
    told = CliRunner().invoke(cli.COMMANDS, ["models", "list"]).exception
    assert isinstance(told, ConfigurationError)
    assert "not in this installation" in str(told)


def test_help_lists_every_group_though_one_is_missing(monkeypatch):
    monkeypatch.setitem(cli.GROUPS, "models", ("not_a_package.cli", "convert"))
    done = CliRunner().invoke(cli.COMMANDS, ["--help"])
    assert done.exit_code == 0
    assert all(group in done.output for group in cli.GROUPS)
    assert "the extra `convert`" in done.output
