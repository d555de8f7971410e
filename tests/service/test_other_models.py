"""A user's own generator and embedder: converted, named by an index, served, and kept apart from others."""

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from conversion.converted import Converted
from conversion.graph import FLOAT, UINT8, Graph
from conversion.parity import Parity
from conversion.pca.convert import Fitter
from conversion.registry import Options
from conversion.repository import convert_file, publish
from deploy.local.stack import LocalStack
from deploy.local.triton import LocalTriton
from services.anonymizer.align import FFHQ_LANDMARKS, cut_chips
from services.anonymizer.models import Attribute, Choice, Estimator, Generator, choose
from services.anonymizer.synthesise import render
from services.anonymizer.triton import Triton
from services.errors import ConfigurationError, IndexRefused
from services.population.build.options import BuildOptions
from services.population.build.options import Place as BuildPlace
from services.population.build.steps import build
from services.population.compatibility import models_for
from services.population.demo import sample_people
from services.population.index import ClusterIndex, EnrolmentStore, building, open_index
from services.population.sample import sampler_for
from services.settings import Settings
from tests.conftest import as_bytes, as_pixels

SMILE, PEOPLE, K = 6.0, 18, 3
ALIGNER = "centerface5-look192-similarity150"
JPEG = {"Content-Type": "image/jpeg"}


def with_emotion(synthesis: onnx.ModelProto) -> onnx.ModelProto:
    """The shipped generator, its w moved along a direction by a second input: a generator with a choice."""
    direction = np.random.default_rng(0).normal(size=512)
    moves = np.stack([np.zeros(512), SMILE * direction / np.linalg.norm(direction)]).astype(np.float32)
    model = onnx.ModelProto()
    model.CopyFrom(synthesis)
    graph = model.graph
    for node in graph.node:
        node.input[:] = ["moved" if name == "w" else name for name in node.input]
    graph.initializer.append(numpy_helper.from_array(moves, "moves"))
    graph.node.insert(0, helper.make_node("MatMul", ["emotion", "moves"], ["move"]))
    graph.node.insert(1, helper.make_node("Add", ["w", "move"], ["moved"]))
    graph.input.append(helper.make_tensor_value_info("emotion", onnx.TensorProto.FLOAT, ["N", 2]))
    onnx.checker.check_model(model)
    return model


def bright_is_happy(side: int) -> onnx.ModelProto:
    """An estimator for the tests: chips uint8 [N, S, S, 3] -> shares of neutral and happy, by how bright a face is."""
    graph = Graph()
    mean = graph.op("ReduceMean", graph.op("Cast", "chips", to=FLOAT), graph.ints(1, 2, 3), keepdims=0)
    bright = graph.op("Sigmoid", graph.op("Sub", graph.op("Mul", mean, graph.const(0.2)), graph.const(20.0)))
    happy = graph.op("Unsqueeze", bright, graph.ints(1))
    graph.name(graph.op("Concat", graph.op("Sub", graph.const(1.0), happy), happy, axis=1), "emotion")
    return graph.model("teller", [("chips", UINT8, [side, side, 3])], [("emotion", FLOAT, [2])])


@dataclass(frozen=True)
class Place:
    """A repository with models that the project does not know, and an index made with them."""

    settings: Settings
    index: ClusterIndex


@pytest.fixture(scope="module")
def place(tmp_path_factory, settings) -> Place:
    root = tmp_path_factory.mktemp("own")
    repository = root / "models"
    if not (settings.model_repository / "mobile-stylegan-512" / "1" / "model.onnx").is_file():
        pytest.skip("needs converted models; run `make models`")
    shutil.copytree(settings.model_repository, repository, ignore=shutil.ignore_patterns("mobile-stylegan-1024"))
    synthesis = onnx.load(repository / "mobile-stylegan-512" / "1" / "model.onnx")
    row = Generator(
        name="expressive",
        model="expressive",
        latent_shape=(512,),
        image_size=(512, 512),
        mapping="mobile-stylegan-mapping",
        z_dims=512,
        choices={"emotion": Choice(default="neutral", values={"neutral": (1.0, 0.0), "happy": (0.0, 1.0)})},
    )
    parity = Parity("itself", "no difference", 0.0, 0.0, 1)
    origin = {"source": {"kind": "mobile-stylegan", "files": []}, "licence": "as its source", "restricted": True}
    publish([Converted("expressive", with_emotion(synthesis), parity, serves=row)], origin, repository)
    asyncio.run(_publish_pca(repository, root))
    emotions = {"emotion": Attribute(output="emotion", values={"neutral": (0, 0), "happy": (1, 1)}, certain=0.6)}
    teller = Estimator(name="teller", model="teller", aligner=ALIGNER, chip_px=64, attributes=emotions)
    publish([Converted("teller", bright_is_happy(64), parity, serves=teller)], origin, repository)
    own = settings.model_copy(
        update={
            "home": root,
            "model_repository": repository,
            "index": str(root / "indexes" / "own"),
            "embedder": "eigenfaces",
            "generator": "expressive",
        }
    )
    return Place(own, asyncio.run(_build(own, root)))


async def _publish_pca(repository: Path, root: Path) -> None:
    """Eigenfaces of generated people."""
    models = ("mobile-stylegan-512", "mobile-stylegan-mapping")
    generator = choose(Settings(generator="mobile-stylegan-512", model_repository=repository)).generator
    with LocalTriton(repository, models, root / "run") as server:
        async with Triton(server.url, timeout_s=120) as triton:
            sampler = sampler_for(generator, repository)
            pictures = await sampler.pictures(await sampler.latents(24, 5, triton), triton)
    fitter = Fitter(10, False, seed=0)
    landmarks = FFHQ_LANDMARKS[None] * 512
    fitter.add(np.concatenate([cut_chips(picture, landmarks, ALIGNER, 150) for picture in pictures]))
    fitter.finish().save(root / "eigenfaces.npz")
    convert_file("pca", root / "eigenfaces.npz", "eigenfaces", repository, Options())


async def _build(own: Settings, root: Path) -> ClusterIndex:
    models = choose(own)
    sampler = sampler_for(models.generator, own.model_repository)
    with LocalTriton(own.model_repository, {*models.online(), *sampler.models}, root / "run") as server:
        async with Triton(server.url, timeout_s=120) as triton:
            people = await sample_people(
                PEOPLE, 3, triton, models, sampler, own.model_repository, lambda *told: None, "own"
            )
            where = BuildPlace(own.index_path, EnrolmentStore.of(own, "own"), own.model_repository, models)
            options = BuildOptions(K, "mdav", duplicates="ignore")
            with building(own.index_path):
                return (await build(people, options, where, triton, None, lambda *told: None)).index


@pytest.fixture(scope="module")
def client(place, tmp_path_factory):
    """A running stack that is told the index and nothing of the models: it takes those of the index."""
    told = place.settings.model_copy(update={"embedder": None, "generator": None})
    with (
        LocalStack(told, work=tmp_path_factory.mktemp("run")) as stack,
        httpx.Client(base_url=stack.url, timeout=120) as http,
    ):
        yield http


def anonymise(client: httpx.Client, photo: bytes, **options: str) -> httpx.Response:
    return client.post("/v1/anonymize", content=photo, headers=JPEG, params=options)


def test_index_names_the_models_it_was_made_with(place):
    told = place.index.manifest["provenance"]
    assert (told["embedder"], told["generator"], told["aligner"]) == ("eigenfaces", "expressive", ALIGNER)
    assert place.index.crowds.centroids.shape[1] == 10
    assert {"eigenfaces", "expressive"} <= told["models_sha256"].keys()


def test_photo_is_anonymised_by_the_models_of_the_index(client, astronaut, astronaut_jpeg):
    answer = anonymise(client, astronaut_jpeg)
    assert answer.status_code == 200, answer.text
    assert answer.headers["X-AnonFACES-K"] == str(K)
    assert int(answer.headers["X-AnonFACES-Masked"]) == 0
    changed = np.abs(as_pixels(answer.content).astype(int) - astronaut).mean(axis=2)
    assert changed[80:180, 180:270].mean() > 4 * changed[300:].mean()


def test_chosen_emotion_changes_the_surrogate_and_is_told(client, astronaut_jpeg):
    plain, neutral, happy = (
        anonymise(client, astronaut_jpeg, format="png", **chosen)
        for chosen in ({}, {"emotion": "neutral"}, {"emotion": "happy"})
    )
    assert (as_pixels(plain.content) == as_pixels(neutral.content)).all()
    assert np.abs(as_pixels(happy.content).astype(int) - as_pixels(neutral.content)).max() > 20
    told = [answer.headers.get("X-AnonFACES-Emotion") for answer in (plain, neutral, happy)]
    assert told == [None, "neutral", "happy"]


def test_kept_emotion_is_what_each_face_shows(client, astronaut):
    def told(photo: np.ndarray, **chosen: str) -> np.ndarray:
        answer = anonymise(client, as_bytes(photo, "PNG"), format="png", **chosen)
        assert answer.status_code == 200, answer.text
        return as_pixels(answer.content)

    bright, dark = np.clip(astronaut * 1.15, 0, 255).astype(np.uint8), (astronaut * 0.5).astype(np.uint8)
    assert (told(bright, emotion="keep") == told(bright, emotion="happy")).all()
    assert (told(dark, emotion="keep") == told(dark, emotion="neutral")).all()
    assert (told(bright, emotion="keep") != told(bright, emotion="neutral")).any()


def test_unknown_emotion_is_refused_with_the_known_ones(client, astronaut_jpeg):
    answer = anonymise(client, astronaut_jpeg, emotion="furious")
    assert (answer.status_code, answer.json()["error"]) == (400, "bad_request")
    assert "neutral, happy" in answer.json()["message"]


@pytest.mark.parametrize("emotion", ["happy", "keep"])
def test_generator_without_emotions_refuses_them(http, astronaut_jpeg, emotion):
    answer = anonymise(http, astronaut_jpeg, emotion=emotion)
    assert answer.status_code == 400
    assert "has no such input" in answer.json()["message"]


@pytest.mark.parametrize(("setting", "other"), [("embedder", "dlib-resnet"), ("generator", "mobile-stylegan-512")])
def test_index_refuses_other_models_than_its_own(place, setting, other):
    with pytest.raises(IndexRefused, match=r"eigenfaces|expressive|lengths"):
        models_for(open_index(place.settings), place.settings.model_copy(update={setting: other}))


def test_index_of_models_that_are_not_here_is_refused(place, settings):
    elsewhere = place.settings.model_copy(update={"model_repository": settings.model_repository, "generator": None})
    with pytest.raises(ConfigurationError, match="eigenfaces"):
        models_for(open_index(place.settings), elsewhere)


def test_brought_generator_renders_through_triton_what_it_computes(place, tmp_path):
    """The choice reaches the model, and the default is what a request without one gets."""
    generator = choose(place.settings).generator
    latents = place.index.crowds.surrogate_latents[:2]

    async def pictures() -> list[np.ndarray]:
        with LocalTriton(place.settings.model_repository, [generator.model], tmp_path) as server:
            async with Triton(server.url, timeout_s=120) as triton:
                return [await render(latents, triton, generator, chosen) for chosen in ({}, {"emotion": "happy"})]

    neutral, happy = asyncio.run(pictures())
    session = onnx_session(place.settings.model_repository / "expressive" / "1" / "model.onnx")
    for found, code in ((neutral, (1, 0)), (happy, (0, 1))):
        (expected,) = session.run(None, {"w": latents, "emotion": np.tile(np.float32(code), (2, 1))})
        assert np.abs(found.astype(int) - expected).max() <= 1


def onnx_session(path: Path):
    return pytest.importorskip("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
