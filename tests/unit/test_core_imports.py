"""A running service loads no training framework: they are slow to start, large, and in extras of their own."""

import json
import subprocess
import sys

FRAMEWORKS = ("tensorflow", "tf2onnx", "keras", "torch")
CODE = f"""
import json, pkgutil, sys
from importlib import import_module
import services
for module in pkgutil.walk_packages(services.__path__, "services."):
    if not module.name.endswith("__main__"):
        import_module(module.name)
import_module("conversion.registry"), import_module("conversion.cli")
print(json.dumps([name for name in {FRAMEWORKS} if name in sys.modules]))
print(sum(name.startswith("services.") for name in sys.modules))
"""


def test_services_and_the_command_line_load_no_framework():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    loaded, modules = done.stdout.splitlines()[-2:]
    assert json.loads(loaded) == []
    assert int(modules) > 20
