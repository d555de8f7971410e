"""Models converted from files that the tests write load in the real Triton and answer as onnxruntime does."""

import asyncio
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from conversion.registry import Options
from conversion.repository import convert_file
from deploy.local.triton import LocalTriton
from services.anonymizer.latents import broadcast, inputs_of, truncate
from services.anonymizer.models import find_generator
from services.anonymizer.synthesise import render
from services.anonymizer.triton import Triton
from services.population.sample import sampler_for
from tests.stylegan import files as stylegan_files
from tests.unit import keras_files


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A StyleGAN of 64 px and a CNN, each under a name of its own."""
    root = tmp_path_factory.mktemp("converted")
    stylegan_files.write(root / "gan.pkl", stylegan_files.generator(seed=4, resolution=64))
    keras_files.write(root / "cnn.h5", keras_files.generator(ids=9, seed=4))
    convert_file("stylegan", root / "gan.pkl", "gan", root / "models", Options())
    convert_file("cnn", root / "cnn.h5", "cnn", root / "models", Options())
    return root / "models"


@pytest.fixture(scope="module")
def server(repository, tmp_path_factory):
    with LocalTriton(repository, ["gan-mapping", "gan-synthesis", "cnn"], tmp_path_factory.mktemp("run")) as running:
        yield running


def answer(repository: Path, model: str, feed: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(repository / model / "1" / "model.onnx"))
    return session.run(None, feed)[0]


def test_people_of_a_converted_stylegan_are_sampled_and_rendered(server, repository):
    generator = find_generator("gan", repository)

    async def through() -> tuple[np.ndarray, np.ndarray]:
        async with Triton(server.url, timeout_s=60) as triton:
            sampler = sampler_for(generator, repository)
            latents = await sampler.latents(11, 3, triton)  # more rows than one request holds
            return latents, await sampler.pictures(latents, triton)

    latents, pictures = asyncio.run(through())
    assert latents.shape == (11, generator.latent_dims)
    assert (pictures.shape, pictures.dtype) == ((11, 64, 64, 3), np.uint8)
    z = np.random.default_rng(3).standard_normal((11, generator.z_dims), dtype=np.float32)
    w = answer(repository, "gan-mapping", {"z": z})
    expected = truncate(broadcast(w, generator), sampler_for(generator, repository).w_mean)
    np.testing.assert_allclose(latents.reshape(expected.shape), expected, atol=1e-5)
    difference = np.abs(pictures.astype(int) - answer(repository, "gan-synthesis", {"w": expected}))
    assert difference.max() <= 1


def test_crowd_of_a_converted_cnn_is_a_mix_of_its_members_with_any_emotion(server, repository):
    generator = find_generator("cnn", repository)
    people = np.eye(9, dtype=np.float32)
    crowd = people[[1, 4, 6]].mean(axis=0, keepdims=True)

    async def through(chosen: dict[str, str]) -> np.ndarray:
        async with Triton(server.url, timeout_s=60) as triton:
            return await render(crowd, triton, generator, chosen)

    plain, happy = asyncio.run(through({})), asyncio.run(through({"emotion": "happy"}))
    for pictures, emotion in ((plain, 5), (happy, 4)):
        feed = {"identity": crowd, "orientation": np.array([[0, 1]], np.float32)}
        feed["emotion"] = np.eye(8, dtype=np.float32)[[emotion]]
        assert np.abs(pictures.astype(int) - answer(repository, "cnn", feed)).max() <= 1
    assert (plain != happy).any()
    assert inputs_of(crowd, generator, {})["emotion"].tolist() == [[0, 0, 0, 0, 0, 1, 0, 0]]


def test_people_of_a_cnn_are_those_it_was_trained_on(server, repository):
    generator = find_generator("cnn", repository)

    async def latents(count: int) -> np.ndarray:
        async with Triton(server.url, timeout_s=60) as triton:
            return await sampler_for(generator, repository).latents(count, 2, triton)

    found = asyncio.run(latents(20))
    assert found.shape == (9, 9)
    assert sorted(found.argmax(axis=1)) == list(range(9))
    np.testing.assert_array_equal(asyncio.run(latents(4)), found[:4])
