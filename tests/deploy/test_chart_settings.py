"""The chart and services/settings.py agree: every variable that a pod is told is a setting, and takes its value."""

import shutil

import pytest

from deploy.checks.values_schema import OWNED
from services.anonymizer.models import choose
from services.client.place import API_KEY
from services.population.compatibility import models_for, served_models
from services.population.index import open_index
from services.population.sample import sampler_for
from services.settings import Settings
from tests.deploy.conftest import container, containers, environment

PREFIX = "ANONFACES_"


def loaded(objects: list[dict]) -> set[str]:
    """The models that Triton loads."""
    told = container(objects, "triton")["args"]
    return {one.removeprefix("--load-model=") for one in told if one.startswith("--load-model=")}


def test_every_variable_is_a_setting_with_a_value_that_it_takes(objects, monkeypatch):
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | {API_KEY}
    for one in containers(objects):
        told = [variable for variable in one.get("env", []) if variable["name"].startswith(PREFIX)]
        assert {variable["name"] for variable in told} <= known
        for variable in told:
            if "value" in variable:
                monkeypatch.setenv(variable["name"], variable["value"])
        Settings()
    settings = Settings()
    assert settings.host == "0.0.0.0"
    assert settings.triton_url == "town-triton:8001"


def test_settings_that_the_chart_owns_are_settings():
    assert set(Settings.model_fields) >= OWNED


def test_every_setting_reaches_the_service_as_it_was_written(render):
    """Helm makes 536870912 a float, and would write it as 5.36870912e+08."""
    chosen = {"max_held_bytes": "536870912", "trace_share": "0.25", "may_relax": "true", "stranger": "mask"}
    told = environment(render("gpu-large"))  # one is of that file, three are of everything.yaml
    assert {name: told[f"{PREFIX}{name.upper()}"] for name in chosen} == chosen


@pytest.mark.parametrize(
    ("which", "chosen", "precision"),
    [
        ("cpu-small", "", "int8"),
        ("gpu", "", "float32"),
        ("gpu-large", "", "float32"),
        ("cpu-small", ",settings.detector_precision=float32", "float32"),
    ],
)
def test_models_that_triton_loads_are_those_of_the_default_index(render, which, chosen, precision):
    objects = render(which, more=(), chosen=f"access.keysSecret=k{chosen}")
    told = Settings(detector_precision=environment(objects)[f"{PREFIX}DETECTOR_PRECISION"])
    assert told.detector_precision == precision
    assert loaded(objects) == served_models(told, choose(told))


def test_models_that_a_population_takes_are_loaded_as_well(objects, render):
    models = choose(Settings())
    sampled = sampler_for(models.generator, Settings().model_repository).models
    assert loaded(render()) >= {*models.online(), *sampled, "inversion-mobile-stylegan"}


def test_without_a_map_the_service_does_not_look_for_one(render):
    assert environment(render(chosen="index.maps.keySecret=,population.enabled=false"))[f"{PREFIX}ENROLMENT"] == "off"


@pytest.mark.parametrize("pinned", [False, True])
def test_paths_of_the_chart_lead_to_the_index_its_map_and_its_key(render, settings, tmp_path, pinned):
    """The volume is laid out as a build lays it out; the current version and a pinned one open, everybody enrolled."""
    for part in ("indexes", "maps"):
        shutil.copytree(settings.home / part / "demo", tmp_path / "indexes" / part / "demo", symlinks=True)
    version = open_index(settings).version
    (tmp_path / "secrets" / "map").mkdir(parents=True)
    shutil.copy(settings.home / "keys" / "demo.key", tmp_path / "secrets" / "map")
    told = environment(render(chosen=f"index.name=demo,index.version={version if pinned else ''}"))
    paths = {
        name: f"{tmp_path}{told[f'{PREFIX}{name.upper()}']}" for name in ("index", "enrolment_maps", "enrolment_key")
    }
    mounts = [m["mountPath"] for m in container(render(), "service")["volumeMounts"]]
    assert all(any(told[f"{PREFIX}{name.upper()}"].startswith(m) for m in mounts) for name in paths)
    index = open_index(Settings(**paths, enrolment="require"))
    assert index.version == version
    assert len(index.enrolled.identities) == index.crowds.sizes.sum()
    models_for(index, Settings(**paths))


def test_population_is_written_where_the_service_reads(render):
    objects = render(chosen="index.version=")
    (head,) = (c for c in containers(objects) if any(m["name"] == "populations" for m in c["volumeMounts"]))
    told = {one["name"]: one.get("value") for one in head["env"]}
    assert told[f"{PREFIX}DETECTOR_PRECISION"] == environment(objects)[f"{PREFIX}DETECTOR_PRECISION"]
    writes = Settings(home=told[f"{PREFIX}HOME"], index="town")
    reads = environment(objects)
    assert str(writes.index_path) == reads[f"{PREFIX}INDEX"]
    assert str(writes.home / "maps" / "town") == reads[f"{PREFIX}ENROLMENT_MAPS"]
    assert told[f"{PREFIX}ENROLMENT_KEY"] == reads[f"{PREFIX}ENROLMENT_KEY"]
    mounts = {m["mountPath"]: m.get("readOnly", False) for m in head["volumeMounts"]}
    assert mounts[str(writes.populations_dir)] is False
    assert mounts["/photos"] is True
