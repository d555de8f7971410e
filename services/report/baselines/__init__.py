"""Other ways to hide the same faces, for the report to compare with; one way a file."""

from services.report.baselines.contract import Baseline, First, Tools, first_of
from services.report.baselines.prepare import NAMES, prepare

__all__ = ["NAMES", "Baseline", "First", "Tools", "first_of", "prepare"]
