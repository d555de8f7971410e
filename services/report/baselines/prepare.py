"""Names -> ways to hide faces, ready to work on photos."""

from collections.abc import Mapping, Sequence

from services.report.baselines import drawn
from services.report.baselines.contract import Baseline, First, Tools
from services.report.baselines.ksame import SAME, SAME_M, same
from services.report.baselines.region import REGIONS
from services.report.faces import Faces

NAMES = (*(region.name for region in REGIONS), SAME, SAME_M, drawn.TRUNCATED, drawn.RANDOM)


async def prepare(names: Sequence[str], faces: Faces, firsts: Mapping[int, First], tools: Tools) -> list[Baseline]:
    """The ways of those names, in the order of `NAMES`; one that needs a model that is not here is left out.

    Args:
        firsts: by person, from their first photo.

    Raises:
        ModelServerUnavailable, DeadlineExceeded: Triton's failures.
    """
    ways: list[Baseline] = [region for region in REGIONS if region.name in names]
    ways += [same(name, faces, firsts) for name in (SAME, SAME_M) if name in names]
    if drawn.TRUNCATED in names and tools.inverter is not None:
        ways.append(await drawn.truncated(faces, firsts, tools))
    if drawn.RANDOM in names and tools.sampler.generator.mapping is not None:
        ways.append(await drawn.random(faces, firsts, tools))
    return ways
