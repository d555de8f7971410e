"""What stands for helm and kubectl where there is no cluster: they do what they can without, and write down the rest.

    python stand_in.py FOLDER PROGRAM REAL [argument ...]

helm renders what it would install or upgrade, into FOLDER/rendered; kubectl makes what it would create, into
FOLDER/made, and keeps what it is given to apply. Every call is a line of FOLDER/calls.jsonl.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

ALONE = {"--wait", "--atomic"}


def main(folder: Path, program: str, real: str, arguments: list[str]) -> int:
    with (folder / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps([program, *arguments]) + "\n")
    number = sum(1 for _ in (folder / "calls.jsonl").open())
    if program == "helm" and arguments[0] in ("install", "upgrade"):
        told = ["template", *(one for one in arguments[1:] if one not in ALONE)]
        return run([real, *told], folder / "rendered" / f"{number:03d}.yaml")
    if program == "kubectl" and "create" in arguments and "apply" not in arguments:
        made = folder / "made" / f"{number:03d}.yaml"
        extra = [] if "--dry-run=client" in arguments else ["--dry-run=client", "-o", "yaml"]
        status = run([real, *arguments, *extra], made)
        if not extra and status == 0:
            shutil.copyfileobj(made.open(), sys.stdout)
        return status
    if program == "kubectl" and arguments[:2] == ["apply", "-f"]:
        text = sys.stdin.read() if arguments[2] == "-" else Path(arguments[2]).read_text()
        (folder / "made" / f"{number:03d}.yaml").write_text(text)
    if "-i" in arguments:  # what is sent into a pod
        shutil.copyfileobj(sys.stdin.buffer, (folder / "sent.tar").open("ab"))
    return 0


def run(command: list[str], output: Path) -> int:
    with output.open("w") as stream:
        return subprocess.run(command, stdout=stream, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]))
