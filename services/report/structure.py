"""What the guarantee rests on: the crowds' sizes, and what index, models and settings the release was made with."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from services.population.index import ClusterIndex
from services.release.condense import thin_crowds
from services.release.records import Record
from services.release.terms import Terms


def structure_of(
    index: ClusterIndex, manifest: Mapping[str, Any], terms: Terms, records: Sequence[Record]
) -> dict[str, Any]:
    """Figures of a release and its index, as JSON has them.

    Args:
        manifest: the release's header.
        records: of its journal.
    """
    sizes = index.crowds.sizes
    thin, used = thin_crowds(records, index.k)
    provenance = index.manifest["provenance"]
    last = index.ledger[-1].model_dump(mode="json", exclude_none=True)
    return {
        "index": index.name,
        "index_version": index.version,
        "checksum": index.manifest["checksum"],
        "k": index.k,
        "resolution": terms.resolution,
        "crowds": len(sizes),
        "people": int(sizes.sum()),
        "sizes": {str(size): count for size, count in sorted(Counter(np.asarray(sizes).tolist()).items())},
        "smallest": int(sizes.min()),
        "largest": int(sizes.max()),
        "crowds_in_release": used,
        "thin_crowds": thin,
        "refused": dict(sorted(Counter(record.code for record in records if not record.released).items())),
        "masked_faces": sum(record.count("masked") for record in records),
        "strangers": sum(record.count("stranger") for record in records),
        "built": last,
        "models": {
            name: provenance[name] for name in ("detector", "embedder", "aligner", "generator") if name in provenance
        },
        "models_sha256": provenance.get("models_sha256", {}),
        "options": manifest["options"],
        "settings": manifest["settings"],
        "condensation": manifest["condensation"],
        "proof": manifest["proof"],
    }
