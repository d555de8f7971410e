"""The page for those without Grafana: what its server gives away, and what a real browser shows of a real stack."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from deploy.local.cli import app
from deploy.local.prometheus import LocalPrometheus
from deploy.monitoring.panels import DASHBOARDS, EMPTY_WHEN_WELL, NO_GPU
from deploy.monitoring.watch.run import run
from deploy.monitoring.watch.server import WatchServer
from services.errors import ConfigurationError
from services.processes import free_port
from services.settings import Settings
from tests.conftest import as_bytes, ask_a_little
from tests.deploy.browser import Browser, chromium, contrast
from tests.deploy.test_monitoring import ALERTS

PICTURES = Path(__file__).parents[2] / "build"
PANELS = [panel for panels in DASHBOARDS.values() for panel in panels]
FRESH = "document.body.dataset.state == 'fresh'"


@pytest.fixture(scope="module")
def alone() -> Iterator[httpx.Client]:
    """A client of the page's server, where no Prometheus runs."""
    with (
        WatchServer(f"http://127.0.0.1:{free_port()}", every_s=5) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        yield client


def test_page_loads_nothing_from_elsewhere(alone):
    page = alone.get("/")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"(https?:)?//|style=|<script>", page.text)
    assert page.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/api/v1/admin/tsdb/snapshot", "/api/v1/status/config", "/-/reload", "/../server.py"])
def test_nothing_else_of_prometheus_or_of_the_disk_is_served(alone, path):
    assert alone.get(path).status_code == 404


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_only_get_is_served(alone, method):
    assert alone.request(method, "/api/v1/query").status_code == 405


def test_name_of_another_site_that_points_here_is_refused(alone):
    assert alone.get("/panels.json", headers={"Host": "faces.example"}).status_code == 421


def test_parameter_that_the_page_does_not_send_is_refused(alone):
    answer = alone.get("/api/v1/query", params={"query": "up", "timeout": "1h"})
    assert answer.status_code == 400
    assert "timeout" in answer.json()["error"]


def test_prometheus_that_does_not_answer_is_said_to(alone):
    answer = alone.get("/api/v1/query", params={"query": "up"})
    assert answer.status_code == 502
    assert "Prometheus does not answer" in answer.json()["error"]


def test_runbook_has_a_place_for_each_alert(alone):
    text = alone.get("/runbook").text
    places = set(re.findall(r'id="([\w-]+)"', text))
    assert {name.lower() for name in ALERTS} <= places
    assert set(re.findall(r'href="#([\w-]+)"', text)) <= places
    assert set(re.findall(r'href="([^#"]+)"', text)) == {"page.css", "icon.svg", "."}


def test_missing_prometheus_is_said_before_anything_starts(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="apt-get install"):
        run(Settings(), 0, False, None)


@pytest.mark.parametrize(
    ("chosen", "named"),
    [({"api_keys": Path("keys.json")}, "ANONFACES_OPEN_METRICS"), ({"tls_client_ca": Path("ca.pem")}, "TLS_CLIENT_CA")],
)
def test_metrics_that_prometheus_may_not_read_are_said_before_anything_starts(monkeypatch, chosen, named):
    monkeypatch.setattr("shutil.which", lambda program: program)
    with pytest.raises(ConfigurationError, match=named):
        run(Settings().model_copy(update=chosen), 0, False, None)


def test_port_that_is_taken_is_said_before_anything_starts(monkeypatch, alone):
    monkeypatch.setattr("shutil.which", lambda program: program)
    done = CliRunner().invoke(app, ["watch", "--port", str(alone.base_url.port)])
    assert isinstance(done.exception, ConfigurationError)
    assert "--port" in str(done.exception)


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    if chromium() is None:
        pytest.skip("needs Chromium (Debian: chromium)")
    with Browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


READINGS = {
    ("s", 0.00095): "950 µs",
    ("s", 0.25): "250 ms",
    ("s", 300): "5 min",
    ("bytes", 38587597): "36.8 MiB",
    ("percentunit", 0.005): "0.50 %",
    ("reqps", 12345): "12.3 k /s",
    ("short", None): "–",
}
TICKS = {
    ("s", 0.00095): ["0", "0.5 ms", "1 ms"],
    ("bytes", 38587597): ["0", "16 MiB", "32 MiB", "48 MiB"],
    ("percentunit", 0.0055): ["0", "0.2 %", "0.4 %", "0.6 %"],
    ("short", 24): ["0", "10", "20", "30"],
}


def test_units_are_those_that_people_read(browser, alone):
    browser.open(f"{alone.base_url}/runbook")
    units = "import('/units.js').then(units => {}.map(([unit, value]) => {}))"
    told = browser.run(units.format(json.dumps(list(READINGS)), "units.reading(unit, value)"))
    assert told == list(READINGS.values())
    told = browser.run(units.format(json.dumps(list(TICKS)), "units.ticks(unit, value, false).map(tick => tick[1])"))
    assert told == list(TICKS.values())


def test_what_is_missing_or_no_number_is_a_gap(browser, alone):
    browser.open(f"{alone.base_url}/runbook")
    answers = [[{"metric": {"model": "m"}, "values": [[100, "1"], [110, "NaN"], [115, "+Inf"], [120, "0"]]}], []]
    asked = [{"legend": "p50 {{model}}"}, {"legend": "p95 {{model}}"}]
    told = browser.run(
        "import('/series.js').then(series => series.table("
        f"{json.dumps(asked)}, {json.dumps(answers)}, {{start: 100, step: 5, count: 6}}))"
        ".then(({rows, columns}) => [columns, rows.map(row => [row.name, ...row.lines.map(String)])])"
    )
    assert told == [["p50", "p95"], [["m", "1,,,,0,"]]]


@pytest.fixture(scope="module")
def page(watched, http, astronaut) -> Iterator[WatchServer]:
    """The page's server, once lines can be drawn: with three points of the longest steps that are tried, the hour's."""
    small, deadline = as_bytes(astronaut[:256, 100:356], "JPEG"), time.monotonic() + 180
    points = "count_over_time(sum(rate(anonfaces_requests_total[2m]))[10m:20s]) >= 3"
    while not watched.ask(points):
        assert time.monotonic() < deadline
        ask_a_little(http, small)
    with WatchServer(watched.url, watched.every_s) as server:
        yield server


@pytest.fixture
def opened(browser, page) -> Browser:
    browser.open(page.url)
    browser.wait(FRESH)
    return browser


def test_every_panel_draws_a_line_or_says_why_there_is_none(opened):
    shown = opened.run(
        "[...document.querySelectorAll('.panel')].map(panel => ({title: panel.querySelector('h3').textContent,"
        " state: panel.dataset.state, text: panel.querySelector('svg').textContent,"
        " paths: [...panel.querySelectorAll('path.line')].map(path => path.getAttribute('d'))}))"
    )
    assert [one["title"] for one in shown] == [panel.title for panel in PANELS]
    for one, panel in zip(shown, PANELS, strict=True):
        if one["state"] == "drawn":
            assert all(re.fullmatch(r"(M[\d.]+ -?[\d.]+h0(L[\d.]+ -?[\d.]+)*)+", path) for path in one["paths"]), one
            assert any("L" in path for path in one["paths"]), one
        else:
            why = NO_GPU if panel.needs_gpu else EMPTY_WHEN_WELL.get(panel.title, "every other panel has an answer")
            assert one["state"] == "empty", one
            assert one["text"] == f"no data{why}"


def test_nothing_is_complained_of_and_no_request_leaves_the_origin(opened, page):
    assert opened.complaints == []
    assert len(opened.requests) > len(PANELS)
    assert {httpx.URL(url).copy_with(raw_path=b"/") for url in opened.requests} == {httpx.URL(f"{page.url}/")}


def test_state_says_what_is_up_and_which_alerts_are_active(opened, watched):
    groups = httpx.get(f"{watched.url}/api/v1/rules", params={"type": "alert"}).json()["data"]["groups"]
    active = [rule["name"] for group in groups for rule in group["rules"] if rule["state"] != "inactive"]
    told = opened.run("document.querySelector('#alerts').textContent")
    assert all(name in told for name in active)
    assert active or told == f"{len(ALERTS)} alerts watch, none fires"
    assert opened.run("document.querySelector('#targets').innerText").split() == ["service", "up", "triton", "up"]


def test_value_is_that_of_the_service(opened, index):
    (k,) = [f"{name}-{n}" for name, row in DASHBOARDS.items() for n, p in enumerate(row) if p.title.startswith("k ")]
    assert opened.run(f"document.getElementById('{k}').querySelector('text.end').textContent") == f"k{index.k}"


def test_range_is_chosen_and_values_are_read_with_keys(opened):
    opened.run("document.querySelector('[name=range]').focus()")
    before = opened.run("document.body.dataset.turn")
    opened.press("ArrowRight")
    opened.wait(f"document.body.dataset.turn > {before} && {FRESH}")
    assert any("query_range" in url and "step=20" in url for url in opened.requests)
    field = "document.querySelector('#service-0 .field')"
    opened.run(f"{field}.focus()")
    opened.press("ArrowLeft")
    opened.press("ArrowLeft")
    assert opened.run(f"{field}.getAttribute('aria-valuenow')") == "179"
    assert re.match(r"\d\d:\d\d:\d\d: .*ok", opened.run(f"{field}.getAttribute('aria-valuetext')"))
    assert "ok" in opened.run(f"{field}.querySelector('.tip').innerText")
    cursors = "[...document.querySelectorAll('.cursor')].filter(line => line.getAttribute('visibility') == 'visible')"
    assert opened.run(f"{cursors}.length") > len(PANELS) / 2
    opened.press("Escape")
    assert opened.run(f"{cursors}.length") == 0
    assert opened.run(f"{field}.querySelector('.tip').hidden")


def test_mouse_reads_the_values_under_it(opened):
    field = "document.querySelector('#service-0 .field')"
    box = opened.run(f"(({{x, y, width}}) => [x, y, width])({field}.getBoundingClientRect())")
    opened.point(box[0] + box[2] / 2, box[1] + 60)
    tip = opened.wait(f"!{field}.querySelector('.tip').hidden && {field}.querySelector('.tip').innerText")
    assert re.match(r"\d\d:\d\d:\d\d\s", tip)
    opened.point(1, 1)
    opened.wait(f"{field}.querySelector('.tip').hidden")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_page_fits_its_window_in_both_schemes(opened, width, dark):
    opened.look(width, 900, dark)
    opened.wait(f"document.documentElement.clientWidth == {width} && document.querySelector('.panel svg').clientWidth")
    opened.picture(PICTURES / f"watch-{width}-{'dark' if dark else 'light'}.png")
    assert opened.run("document.documentElement.scrollWidth") == width
    beyond = (
        "[...document.querySelectorAll('.panel')].filter(panel => [...panel.querySelectorAll('text, table')]"
        ".some(part => part.getBoundingClientRect().right > panel.getBoundingClientRect().right))"
        ".map(panel => panel.innerText)"
    )
    assert opened.run(beyond) == []
    colours = opened.run(COLOURS)
    assert (sum(colours["card"]) < sum(colours["ink"])) is dark


def test_contrast_is_enough_to_read_by(opened):
    """WCAG 2: 4.5 for text, 3 for lines, in both schemes."""
    for dark in (False, True):
        opened.look(1280, 900, dark)
        colours = opened.run(COLOURS)
        for name, colour in colours.items():
            least = 4.5 if name in ("ink", "soft", "link", "bad", *(f"c{n}" for n in range(8))) else 0
            assert contrast(colour, colours["card"]) >= least, (name, dark)
        assert contrast(colours["bad"], colours["bad-paper"]) >= 4.5
        assert contrast(colours["warn"], colours["warn-paper"]) >= 4.5


COLOURS = """(() => {
  const pen = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const names = ['ink', 'soft', 'link', 'card', 'bad', 'bad-paper', 'warn', 'warn-paper',
                 ...Array.from({length: 8}, (_, n) => `c${n}`)];
  return Object.fromEntries(names.map(name => {
    pen.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);
    pen.fillRect(0, 0, 1, 1);
    return [name, [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3)];
  }));
})()"""


def test_alert_fires_where_the_service_is_down_and_a_dead_prometheus_is_said_to_be(browser, tmp_path):
    targets = {"service": f"http://127.0.0.1:{free_port()}"}
    with (
        LocalPrometheus(targets, tmp_path, every_s=1.0, patience=0.01) as prometheus,
        WatchServer(prometheus.url, prometheus.every_s) as server,
    ):
        browser.open(server.url)
        firing = browser.wait("document.querySelector('#alerts [data-state=firing]')?.innerText", 40)
        assert "AnonfacesDown" in firing
        assert "page, firing" in firing
        # Each part of the page is asked for on its own: one may be answered before Prometheus has tried the service.
        down = browser.wait("document.querySelector('#targets [data-health=down]')?.innerText", 40)
        assert "connection refused" in down
        browser.wait("[...document.querySelectorAll('.panel')].every(panel => panel.dataset.state == 'empty')", 40)
        assert browser.complaints == []
        browser.picture(PICTURES / "watch-down.png", whole=False)

        prometheus.stop()
        browser.wait("document.body.dataset.state == 'stale'", 40)
        assert "Prometheus does not answer" in browser.run("document.querySelector('#trouble').innerText")
        browser.run("document.querySelector('#alerts a').click()")
        browser.wait("document.querySelector('h2:target')?.innerText == 'AnonfacesDown'")
