"""The end of an enrolment: whose photos are whose, and the shards made few."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from services.population.enroll.group import Grouping, group_by_face
from services.population.enroll.rows import ENROLLED, KEY, as_array
from services.population.enroll.shards import newest, read_shard
from services.population.enroll.sources import Listing
from services.population.enroll.writing import Amend, Store

PREFIX = "face-"  # of the names of identities that were found by their faces


@dataclass(frozen=True)
class Sureness:
    """How sure it is that photos were grouped as they should have been."""

    threshold: float
    groups: int
    pairs_near: int  # of groups
    photos_near: int
    least_margin: float  # -1..1, of the group that stands apart least


def relabel(listing: Listing) -> Amend:
    """Makes a folder's rows say of identities and attributes what the listing says now."""
    told = {entry.photo: entry for entry in listing.entries}

    def amend(table: pa.Table) -> pa.Table:
        ours = pc.equal(table["source"], listing.source).to_pylist()
        photos = table["photo"].to_pylist()
        entries = [told.get(photo) if mine else None for photo, mine in zip(photos, ours, strict=True)]
        columns: dict[str, list[Any]] = {
            "identity": [entry and entry.identity for entry in entries],
            "given": [entry and list(entry.given.items()) for entry in entries],
        }
        for name, values in columns.items():
            kept = table[name].to_pylist()
            both = [old if entry is None else new for entry, old, new in zip(entries, kept, values, strict=True)]
            table = _set(table, name, both)
        return table

    return amend


def group_photos(store: Store, threshold: float) -> tuple[Amend, Sureness]:
    """Finds identities for the enrolled photos that have none, by their faces.

    Who has an identity keeps it. A new one is named after its first photo, so that a person who was removed and whose
    photos are enrolled again has the same name.
    """
    shards = store.shards()
    tables = []
    for path, counts in zip(shards, newest(shards), strict=True):
        table = read_shard(path, (*KEY, "bytes", "identity", "status", "embedding")).filter(pa.array(counts))
        tables.append(table.filter(pc.equal(table["status"], ENROLLED)))
    photos = pa.concat_tables(tables)
    order = np.lexsort([photos[name].to_numpy().astype(str) for name in reversed(KEY)])  # not by what was read when
    photos = photos.take(order)
    known = pc.dictionary_encode(photos["identity"]).combine_chunks()
    people = known.dictionary.to_pylist()
    fixed = known.indices.fill_null(-1).to_numpy().astype(np.int64)
    grouping = group_by_face(as_array(photos["embedding"]), threshold, fixed)
    names = _names(photos, grouping, people)
    keys = zip(*(photos[name].to_pylist() for name in KEY), strict=True)
    found = {key: (names[label], grouping.margins[label]) for key, label in zip(keys, grouping.labels, strict=True)}
    sureness = Sureness(
        threshold, len(names), grouping.pairs_near, grouping.photos_near, float(grouping.margins.min(initial=1.0))
    )
    return _named(found), sureness


def _named(found: Mapping[tuple[str, str], tuple[str, float]]) -> Amend:
    """Gives photos their groups' names and margins."""

    def amend(table: pa.Table) -> pa.Table:
        keys = zip(*(table[name].to_pylist() for name in KEY), strict=True)
        groups = [found.get(key) for key in keys]
        identities = table["identity"].to_pylist()
        named = [group[0] if group else old for group, old in zip(groups, identities, strict=True)]
        table = _set(table, "identity", named)
        return _set(table, "group_margin", [group and group[1] for group in groups])

    return amend


def _names(photos: pa.Table, grouping: Grouping, people: list[str]) -> list[str]:
    """The names of groups: those of known people first, then those of new ones."""
    names = list(people)
    taken = set(names)
    _, first = np.unique(grouping.labels, return_index=True)
    for row in first[len(people) :].tolist():
        what = f"{photos['photo'][row].as_py()}\0{photos['bytes'][row].as_py()}"
        base = PREFIX + hashlib.sha256(what.encode()).hexdigest()[:12]
        name, number = base, 1
        while name in taken:
            number += 1
            name = f"{base}-{number}"
        names.append(name)
        taken.add(name)
    return names


def _set(table: pa.Table, name: str, values: list[Any]) -> pa.Table:
    at = table.schema.get_field_index(name)
    return table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))
