"""Many mutants in processes of their own, so that a crash, a hang or a blow-up is seen and the rest goes on.

    python -m tests.fuzz.campaign --photos 100000 --indexes 10000 --out build/fuzz.json

A process has so much address space and a mutant so much time; what is beyond ends the process, and the campaign says at
which mutant. Mutant n is the same bytes on every machine: `python -m tests.fuzz.campaign --show 4711` writes that one.
"""

import argparse
import json
import mmap
import os
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

MEMORY_BYTES = 4 << 30  # of address space; a 40-megapixel photo needs about 1 GB
LONGEST_S = 20
AT = struct.Struct("<q")


@dataclass
class Part:
    """What one process has seen, or all of them."""

    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    longest_s: float = 0.0
    slowest: int = -1
    peak_mb: float = 0.0

    def add(self, told: dict) -> None:
        self.outcomes.update(told["outcomes"])
        self.findings += told["findings"]
        self.peak_mb = max(self.peak_mb, told["peak_mb"])
        if told["longest_s"] > self.longest_s:
            self.longest_s, self.slowest = told["longest_s"], told["slowest"]


def work(kind: str, first: int, last: int, place: Path) -> None:
    """Tries mutants first..last-1 and prints what was seen as JSON. The number under way is in the file `place`."""
    from tests.fuzz.indexes import check_index
    from tests.fuzz.photos import check_photo, photo

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    seen = Part()
    with place.open("r+b") as file, mmap.mmap(file.fileno(), AT.size) as under_way:
        for number in range(first, last):
            under_way[:] = AT.pack(number)
            data = photo(number) if kind == "photos" else b""
            signal.alarm(LONGEST_S)  # nobody handles it: it ends the process, in a C library as well
            start = time.perf_counter()
            try:
                outcome = check_index(number) if kind == "indexes" else check_photo(data)
            except Exception:
                outcome = "finding"
                seen.findings.append(f"{kind} {number}: {traceback.format_exc(limit=-4)}")
            signal.alarm(0)
            seen.outcomes[outcome] += 1
            took = time.perf_counter() - start
            if took > seen.longest_s:
                seen.longest_s, seen.slowest = took, number
    seen.peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(vars(seen)))


def run(kind: str, count: int, block: int, processes: int) -> Part:
    """Tries `count` mutants in blocks, a process each; after a crash the block goes on behind the mutant at fault."""
    seen, blocks = Part(), [(start, min(start + block, count)) for start in range(0, count, block)][::-1]
    running: dict[subprocess.Popen[str], tuple[int, int, Path]] = {}
    with tempfile.TemporaryDirectory() as folder:
        while blocks or running:
            while blocks and len(running) < processes:
                first, last = blocks.pop()
                place = Path(folder) / f"{first}"
                place.write_bytes(AT.pack(first))
                command = [
                    sys.executable,
                    "-m",
                    "tests.fuzz.campaign",
                    "--work",
                    kind,
                    str(first),
                    str(last),
                    str(place),
                ]
                process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
                running[process] = (first, last, place)
            process = next(iter(running))
            text, _ = process.communicate()
            first, last, place = running.pop(process)
            if process.returncode == 0:
                seen.add(json.loads(text))
                continue
            (number,) = AT.unpack(place.read_bytes())
            how = signal.Signals(-process.returncode).name if process.returncode < 0 else str(process.returncode)
            seen.findings.append(f"{kind} {number}: the process ended with {how}")
            blocks += [(start, end) for start, end in ((number + 1, last), (first, number)) if end > start]
    return seen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=0)
    parser.add_argument("--indexes", type=int, default=0)
    parser.add_argument("--block", type=int, default=2500, help="mutants of one process")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, help="where to write what was seen, as JSON")
    parser.add_argument("--show", type=int, help="writes this mutant to standard output")
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.work:
        kind, first, last, place = chosen.work
        work(kind, int(first), int(last), Path(place))
        return 0
    if chosen.show is not None:
        from tests.fuzz.photos import photo

        sys.stdout.buffer.write(photo(chosen.show))
        return 0
    report = {}
    for kind, count in (("photos", chosen.photos), ("indexes", chosen.indexes)):
        start = time.monotonic()
        seen = run(kind, count, chosen.block, chosen.processes)
        report[kind] = {"count": count, "seconds": round(time.monotonic() - start), **vars(seen)}
        print(f"{kind}: {count:,} mutants, {report[kind]['seconds']} s, longest {seen.longest_s:.2f} s")
        print(f"  (mutant {seen.slowest}), peak {seen.peak_mb:.0f} MB; {dict(seen.outcomes.most_common())}")
        print("".join(f"  FOUND {finding}\n" for finding in seen.findings), end="")
    if chosen.out:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(json.dumps(report, indent=1) + "\n")
    return int(any(one["findings"] for one in report.values()))


if __name__ == "__main__":
    raise SystemExit(main())
