"""What /metrics tells of a running service: right with several workers, and bounded whatever is asked."""

import re
from contextlib import suppress

import grpc
import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.stack import Service
from services.proto import anonfaces_v1_pb2 as pb
from services.proto.anonfaces_v1_pb2_grpc import AnonymizerStub

JPEG = {"Content-Type": "image/jpeg"}


def series(url: str) -> dict[str, float]:
    """Every sample of /metrics by name and labels."""
    text = httpx.get(f"{url}/metrics", timeout=60).text
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(found: dict[str, float], name: str, *labels: str) -> float:
    return sum(v for k, v in found.items() if k.startswith(f"{name}[") and all(label in k for label in labels))


@pytest.fixture(scope="module")
def pair(settings, stack, tmp_path_factory):
    """A service of two worker processes."""
    chosen = settings.model_copy(update={"workers": 2})
    service = Service(chosen, stack.triton.url, tmp_path_factory.mktemp("pair"))
    service.start()
    yield service
    service.stop()


def test_counters_are_those_of_all_workers(pair, astronaut_jpeg):
    before = series(pair.url)
    served = set()
    for _ in range(24):  # a connection each, so that both processes are asked
        answer = httpx.post(f"{pair.url}/v1/anonymize", content=astronaut_jpeg, headers=JPEG, timeout=60)
        served.add(answer.status_code)
    after = series(pair.url)
    assert served == {200}
    for name, labels in (
        ("anonfaces_requests_total", ("'http'", "'anonymize'", "'ok'")),
        ("anonfaces_photos_total", ("'ok'",)),
        ("anonfaces_faces_total", ("'stranger'",)),
        ("anonfaces_faces_found_total", ()),
        ("anonfaces_request_seconds_count", ("'anonymize'",)),
        ("anonfaces_crowd_distance_count", ("'stranger'",)),
    ):
        assert total(after, name, *labels) - total(before, name, *labels) == 24, name
    assert total(after, "anonfaces_index_info") == 1
    assert total(after, "anonfaces_requests_held") == total(after, "anonfaces_photos_in_work") == 0
    hits = total(after, "anonfaces_surrogate_lookups_total", "'hit'")
    assert total(after, "anonfaces_surrogate_lookups_total") - total(before, "anonfaces_surrogate_lookups_total") == 24
    assert hits >= 22  # each process renders the surrogate once


def test_every_worker_listens_on_the_grpc_port_and_all_are_counted(pair, astronaut_jpeg):
    assert sum(pair.grpc_port in _listening(process) for process in pair.server.descendants()) == 2
    name, labels = "anonfaces_requests_total", ("'grpc'", "'anonymize'", "'ok'")
    before = total(series(pair.url), name, *labels)
    answers = set()
    for _ in range(12):  # a connection each, not shared with others of this process
        with grpc.insecure_channel(
            pair.grpc_url.partition("//")[2], [("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            answer = AnonymizerStub(channel).Anonymize(pb.AnonymizeRequest(photo=astronaut_jpeg), timeout=60)
            answers.add(answer.photo)
    assert len(answers) == 1
    assert total(series(pair.url), name, *labels) == before + 12


def _listening(process: psutil.Process) -> set[int]:
    with suppress(psutil.NoSuchProcess):
        places = process.net_connections("tcp")
        return {place.laddr.port for place in places if place.status == psutil.CONN_LISTEN}
    return set()


def test_paths_and_options_that_anybody_makes_up_add_no_series(http, stack):
    def ask(number: int) -> None:
        http.get(f"/v1/nothing-{number}")
        http.get(f"/v1/surrogates/x{number}")
        http.post(f"/v1/anonymize?made_up_{number}=1", content=b"")
        http.request(f"MADE{number}", "/v1/index")

    ask(0)
    before = set(series(stack.url))
    for number in range(1, 20):
        ask(number)
    assert set(series(stack.url)) == before


def test_refusals_are_counted_under_their_code(http, stack):
    name = "anonfaces_requests_total"
    before = total(series(stack.url), name, "'anonymize'", "'unsupported_media_type'")
    assert http.post("/v1/anonymize", content=b"no photo", headers=JPEG).status_code == 415
    assert total(series(stack.url), name, "'anonymize'", "'unsupported_media_type'") == before + 1


def test_every_metric_is_documented(http):
    page = re.findall(r"# TYPE (anonfaces_\S+) ", http.get("/metrics").text)
    from services.metrics_doc import document

    documented = document()
    assert page
    assert all(f"`{name}`" in documented for name in page)
