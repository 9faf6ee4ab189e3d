"""What a server refuses: another host or page, no token, too much, code, and paths."""

import hashlib
import http.client
import importlib.util
import json
import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import qifscan as qs
from qifscan.cli import main
from qifscan.dynamics.imported import only
from qifscan.service import safety
from qifscan.service.bounds import Bounds
from qifscan.service.problems import ProblemError
from qifscan.service.processes import PROCESSES
from qifscan.service.safety import ADDRESSES, LOOPBACK, Quotas, Rates
from qifscan.service.serve import Address, serve, token_of
from tests.serving import served

TOKEN = "a-token-of-some-length"
SCAN = {"axes": {"eta": [-5.0, -4.0]}, "protocol": {"transient": 1.0, "window": 2.0}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("stores")
    qs.run(qs.Scan(**SCAN), made / "small.zarr", progress=None)
    (tmp_path_factory.getbasetemp() / "secret.txt").write_text("secret")
    return made


@pytest.fixture(scope="module")
def server(folder):
    with served(folder, origins=["https://lab.example"]) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(folder):
    with served(folder, token=TOKEN, bounds=Bounds(points=100, traces=3, queue=0, streams=0)) as running:
        yield running


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1234", "[::1]:8000", "LOCALHOST"])
def test_a_server_answers_to_its_own_names(server, host):
    assert server.get("/jobs", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.7", "", "localhost.", "[::1"]
)
def test_a_server_on_loopback_answers_to_no_other_name(server, host):
    answer = server.get("/jobs", headers={"Host": host})
    assert answer.status == 421
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["detail"].startswith(f'found the host "{host}", expected one of ')


def test_beyond_loopback_an_address_in_numbers_is_ours_and_a_name_only_if_it_is_known(folder):
    with served(folder, hosts=(*LOOPBACK, ADDRESSES, "lab"), token=TOKEN) as running:
        known = ["10.0.0.7:8000", "[fe80::1]:8000", "lab", "LAB:80"]
        assert [running.get("/jobs", headers={"Host": h}, token=TOKEN).status for h in known] == [200] * 4
        assert running.get("/jobs", headers={"Host": "evil.example"}, token=TOKEN).status == 421


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "https://lab.example.evil"]
)
def test_a_page_of_another_origin_is_refused_whatever_it_asks(server, origin):
    headers = {"Origin": origin}
    for method, path in [("GET", "/jobs"), ("POST", "/processes/scan/execution"), ("DELETE", "/jobs/x")]:
        answer = server.ask(method, path, headers=headers)
        assert answer.status == 403
        assert "access-control-allow-origin" not in answer.headers
    assert server.ask("OPTIONS", "/jobs", headers=headers).status == 403


def test_a_page_of_its_own_is_answered_and_one_that_is_listed_has_cors(server):
    own = server.get("/jobs", headers={"Origin": server.url})
    assert own.status == 200
    assert "access-control-allow-origin" not in own.headers
    listed = {"Origin": "https://lab.example"}
    answer = server.get("/jobs", headers=listed)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "https://lab.example")
    assert "origin" in answer.headers["vary"].lower()
    preflight = server.ask("OPTIONS", "/jobs", headers=listed)
    assert preflight.status == 204
    assert "authorization" in preflight.headers["access-control-allow-headers"]


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_elsewhere_can_go_to_the_server_but_load_nothing_from_it(server, site):
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
    assert server.get("/jobs/x/figure.png", headers=headers).status == 403
    assert server.get("/jobs", headers=headers | {"Sec-Fetch-Mode": "navigate"}).status == 200
    assert server.get("/jobs", headers={"Sec-Fetch-Site": "same-origin"}).status == 200


def test_without_the_token_nothing_is_answered_but_the_pages(guarded):
    for path in [
        "/jobs",
        "/api",
        "/conformance",
        "/stores/small/zarr.json",
        "/events",
        "/explore/small/map",
        "//",
    ]:
        for headers in [{}, {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": f"Basic {TOKEN}"}]:
            answer = guarded.get(path, headers=headers)
            assert answer.status == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert TOKEN not in answer.data.decode()
    assert guarded.execute("scan", {"scan": SCAN}).status == 401
    assert guarded.ask("POST", "/").status == 401
    assert guarded.get("/").status == 200
    assert guarded.get(f"/jobs?token={TOKEN}").status == 401
    assert guarded.get("/jobs", token=TOKEN).status == 200


def test_tokens_are_compared_in_constant_time(guarded, monkeypatch):
    compared = []

    def compare(a, b):
        compared.append((a, b))
        return a == b

    monkeypatch.setattr(safety.hmac, "compare_digest", compare)
    guarded.get("/jobs", token="x")
    assert compared == [(b"x", TOKEN.encode())]


def test_a_body_that_is_too_large_is_refused_before_it_is_read(folder):
    with served(folder, quotas=Quotas(body=1000, body_seconds=0.5)) as running:
        for body in (b"x" * 1001, iter([b"x" * 600] * 2)):
            answer = running.ask("POST", "/processes/scan/execution", body)
            assert (answer.status, answer.json["limit"]) == (413, 1000)
        # One that says how much is coming and never sends it.
        with socket.create_connection(("127.0.0.1", running.port)) as slow:
            slow.sendall(
                b"POST /processes/scan/execution HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
            )
            assert slow.recv(100).startswith(b"HTTP/1.1 408")
        assert running.execute("scan", {"scan": {"axes": {"eta": ["x"]}}}).status == 422


def test_too_many_requests_are_told_to_wait_those_that_compute_sooner(folder):
    with served(folder, quotas=Quotas(reads=20.0, writes=1.0, burst=2.0)) as running:
        writes = [running.execute("scan", {}) for _ in range(4)]
        assert [answer.status for answer in writes[:2]] == [422, 422]
        assert writes[-1].status == 429
        assert writes[-1].headers["retry-after"] == "1"
        reads = [running.get("/conformance").status for _ in range(60)]
        assert 35 < reads.count(200) < 60
        assert set(reads) == {200, 429}


def test_a_bucket_fills_with_time_and_is_one_of_an_address():
    rates = Rates(Quotas(writes=2.0, burst=1.0))
    for _ in range(2):
        rates.check("a", False, 0.0)
    with pytest.raises(ProblemError):
        rates.check("a", False, 0.0)
    rates.check("b", False, 0.0)
    rates.check("a", True, 0.0)
    rates.check("a", False, 1.0)


def test_every_answer_has_the_headers_that_keep_a_page_to_itself(server):
    for answer in [server.get("/"), server.get("/nothing"), server.get("/", headers={"Host": "evil"})]:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'self'; ")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in answer.headers or "uvicorn" not in answer.headers["server"]


def test_the_files_of_a_store_are_served(server, folder):
    assert server.get("/stores/small/r_mean/c/0").data == (folder / "small.zarr/r_mean/c/0").read_bytes()
    assert server.get("/stores/small/r_mean/zarr.json").json["node_type"] == "array"


NASTY = [
    "/stores/../secret.txt",
    "/stores/..%2fsecret.txt",
    "/stores/small/../../secret.txt",
    "/stores/small/..%2f..%2fsecret.txt",
    "/stores/small/%2e%2e/%2e%2e/secret.txt",
    "/stores/small//etc/passwd",
    "/stores/small/%2fetc%2fpasswd",
    "/stores/small/r_mean/c/..%2f..%2fzarr.json",
    "/stores/small/r_mean/c/0%00",
    "/stores/small/r_mean\\c\\0",
    "/stores/small/r_mean/c/00",
    "/stores/small/r_mean/c/-1",
    "/stores/small/r_mean/c/+0",
    "/stores/small/r_mean/c/0/0",
    "/stores/small/r_mean/c/1",
    "/stores/small/r_mean/c",
    "/stores/small/r_mean",
    "/stores/small/r_mean/",
    "/stores/small/",
    "/stores/small/c/0",
    "/stores/small/notes.txt",
    "/stores/small/linked/zarr.json",
    "/stores/small/r_std/c/0",
    "/stores/.qifscan-serve.lock/zarr.json",
    "/stores/%2e/zarr.json",
    "/stores//zarr.json",
    "/jobs/..%2f..%2fsecret.txt",
    "/jobs/%00",
    "/page/..%2fapp.py",
]


@pytest.mark.parametrize("path", NASTY)
def test_no_file_is_served_that_is_not_a_part_of_a_store(server, folder, path, tmp_path):
    store = folder / "small.zarr"
    if not (store / "notes.txt").exists():
        (store / "notes.txt").write_text("secret")
        (store / "linked").symlink_to(folder.parent)
        chunk = store / "r_std" / "c" / "0"
        chunk.unlink()
        chunk.symlink_to(folder.parent / "secret.txt")
    answer = server.get(path)
    assert answer.status == 404
    assert b"secret" not in answer.data.replace(b"secret.txt", b"")


def test_no_code_is_imported_that_a_request_names(folder, tmp_path, monkeypatch):
    (tmp_path / "harmful.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w').close()\nfrom qifscan.models import QIF\nmine = QIF\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    toml = 'model = "harmful:mine"\n[axes]\neta = [-5.0]\n'
    with served(folder) as running:
        for scan in (
            SCAN | {"model": "harmful:mine"},
            toml,
            SCAN | {"model": "os:system"},
            SCAN | {"model": 3},
        ):
            answer = running.execute("scan", {"scan": scan})
            assert answer.status == 422
            assert "expected one of qif, " in answer.json["detail"]
        for name in ("harmful:mine", "os:system", "this:s"):
            source = hashlib.sha256(Path(importlib.util.find_spec("this").origin).read_bytes()).hexdigest()
            named = {"observables": [name], "observable_sources": {name: source}}
            assert running.execute("scan", {"scan": SCAN | named}).status == 422
            with only([]), pytest.raises(qs.ScanError, match="expected a name that is known"):
                qs.Scan(**(SCAN | {"observables": [name]}))
        for sources in (3, [], "x", {"a": 1}, None):
            assert running.execute("scan", {"scan": SCAN | {"observable_sources": sources}}).status == 422
        for process in ("simulate", "theory"):
            given = {"model": "harmful:mine", **({"t_end": 1.0} if process == "simulate" else {})}
            assert running.execute(process, given).status == 422
    assert not (tmp_path / "ran").exists()
    assert "this" not in sys.modules
    with served(folder, bounds=Bounds(own=("harmful:mine",), queue=0)) as running:
        # It comes as far as the queue.
        assert running.execute("scan", {"scan": SCAN | {"model": "harmful:mine"}}).status == 503


def test_a_body_is_json_and_nothing_else(server):
    import pickle

    bodies = [pickle.dumps({"inputs": {}}), b"", b"[]", b'{"inputs": 3}', b"[" * 100_000, b"\xff\xfe", b'"x"']
    for body in bodies:
        assert server.ask("POST", "/processes/scan/execution", body).status == 400


def test_a_wrong_scan_is_told_every_mistake(server):
    wrong = {"axes": {"eta": [], "Jay": [1.0]}, "fixed": {"delta": -1.0}, "replicates": 0, "colour": "red"}
    answer = server.execute("scan", {"scan": wrong})
    assert answer.status == 422
    assert answer.headers["content-type"] == "application/problem+json"
    with pytest.raises(qs.ScanError) as here:
        qs.Scan(**wrong)
    assert answer.json["errors"] == str(here.value).splitlines()
    assert len(answer.json["errors"]) >= 4
    assert server.execute("scan", {}).json["errors"][0].startswith("inputs.scan: found nothing")
    assert server.execute("scan", {"scam": SCAN}).json["errors"][0].startswith("inputs.scam: ")
    assert server.execute("scan", {"scan": "eta = "}).status == 422
    assert server.execute("scan", {"scan": "day = 2020-01-01"}).status == 422
    assert server.execute("scan", {"scan": [1]}).status == 422
    assert (
        server.execute("scan", {"scan": SCAN | {"numbers_version": 1}})
        .json["errors"][0]
        .startswith("numbers_version: found 1, expected ")
    )


def test_a_scan_that_is_too_large_is_refused_with_the_numbers_of_its_plan(guarded, monkeypatch):
    def refused(**changes):
        answer = guarded.execute("scan", {"scan": SCAN | changes}, token=TOKEN)
        assert answer.status == 413
        return answer.json

    many = refused(axes={"eta": {"linspace": [-5, 5, 101]}})
    assert (many["plan"]["points"], many["limit"]) == (101, 100)
    assert "found 101 points, expected at most 100" in many["detail"]
    assert refused(replicates=2**31 - 1)["plan"]["points"] == 2 * (2**31 - 1)
    traced = refused(axes={"eta": {"linspace": [-5, 5, 50]}}, traces={"points": [{}]})
    assert (traced["plan"]["traces"], traced["limit"]) == (50, 3)
    with monkeypatch.context() as patch:
        patch.setattr("qifscan.runs.plan.available_memory", lambda: 1000)
        assert "of memory" in refused()["detail"]
    with monkeypatch.context() as patch:
        patch.setattr("qifscan.runs.plan.shutil.disk_usage", lambda path: type("U", (), {"free": 10})())
        disk = refused()
        assert "to write" in disk["detail"]
        assert disk["plan"]["points"] == 2
        assert disk["plan"]["bytes_on_disk"] > 10


def test_jobs_and_streams_beyond_the_bounds_are_told_to_come_again(guarded):
    queue = guarded.execute("scan", {"scan": SCAN | {"seed": 5}}, token=TOKEN)
    assert (queue.status, queue.headers["retry-after"]) == (503, "60")
    stream = guarded.get("/events", token=TOKEN)
    assert (stream.status, stream.headers["retry-after"]) == (503, "10")
    assert not list(guarded.folder.glob("*.job.json"))


@pytest.mark.parametrize(
    ("process", "inputs"),
    [
        ("simulate", {"t_end": 1e12}),
        ("simulate", {"t_end": 1e300}),
        ("simulate", {"t_end": 1000.0, "parameters": {"eta": [1.0] * 100, "J": [2.0] * 100}}),
        ("theory", {"parameters": {"eta": [1.0] * 200, "J": [2.0] * 200}}),
        ("theory", {"of": "special_points", "parameters": {"J": [2.0] * 200}}),
    ],
)
def test_an_answer_at_once_that_would_take_long_is_refused_at_once(server, process, inputs):
    begin = time.monotonic()
    assert server.execute(process, inputs).status in (413, 422)
    assert time.monotonic() - begin < 1.0


@pytest.mark.parametrize(
    ("process", "inputs"),
    [
        ("simulate", {}),
        ("simulate", {"t_end": "long"}),
        ("simulate", {"t_end": 1.0, "every": 0}),
        ("simulate", {"t_end": 1.0, "every": -(10**9)}),
        ("simulate", {"t_end": 1.0, "dt": 1e-300}),
        ("simulate", {"t_end": 1.0, "drive": {"kind": "open"}}),
        ("simulate", {"t_end": 1.0, "parameters": [1]}),
        ("simulate", {"t_end": 1.0, "parameters": {"eta": "x"}}),
        ("simulate", {"t_end": 1.0, "parameters": {"t_end": 2.0}}),
        ("simulate", {"t_end": 1.0, "progress": 1}),
        ("theory", {"of": "run"}),
        ("theory", {"of": ["branch"]}),
        ("theory", {"of": "branch", "within": 3}),
        ("theory", {"of": "equilibria", "parameters": {"eta": {"a": 1}}}),
        ("theory", {"of": "equilibria", "parameters": {"eta": [[1], [1, 2]]}}),
        ("verify", {"scan": SCAN, "points": 10**9}),
        ("verify", {"scan": SCAN, "points": "all"}),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(server, process, inputs):
    answer = server.execute(process, inputs)
    assert answer.status in (413, 422), answer.json
    assert answer.json["detail"]


FIELDS = [f"scan.{name}" for name in (*qs.Scan.model_fields, "observable_sources", "numbers_version")]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_whatever_is_asked_for_is_answered_or_refused_and_never_a_fault_of_the_server(server, data):
    process = data.draw(st.sampled_from(["simulate", "theory", "verify"]))
    sound = {"simulate": {"t_end": 1.0}, "theory": {}, "verify": {"scan": SCAN | {"seed": 77}}}[process]
    name = data.draw(st.sampled_from([*PROCESSES[process].inputs, "parameters.eta", *FIELDS]))
    value = data.draw(ANYTHING)
    outer, _, inner = name.partition(".")
    inputs = sound | {outer: (sound.get(outer) or {}) | {inner: value} if inner else value}
    answer = server.execute(process, inputs)
    assert answer.status in (200, 404, 413, 422, 429), (inputs, answer.json)
    json.loads(answer.data, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_a_fault_of_the_server_tells_nothing_of_itself(folder):
    from starlette.routing import Route

    async def broken(request):
        raise RuntimeError("the secret of the server")

    with served(folder, pages=lambda lookup: [Route("/broken", broken)]) as running:
        answer = running.get("/broken")
        assert answer.status == 500
        assert b"secret" not in answer.data


def test_a_folder_in_which_no_file_can_be_made_is_refused_in_one_line():
    result = CliRunner().invoke(main, ["serve", "/proc"])
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: /proc: found no ")
    assert line.endswith("expected a folder that new stores can be made in")


def test_only_loopback_goes_without_a_token(tmp_path, capsys):
    assert Address().only_here
    assert Address("::1").only_here
    assert Address("localhost").only_here
    for address in (Address("0.0.0.0"), Address("192.168.1.2"), Address("lab"), Address(names=("lab",))):
        assert not address.only_here
        with pytest.raises(qs.ScanError, match="--token-file: found nothing"):
            serve(tmp_path, address, bounds=Bounds())
    assert list(tmp_path.iterdir()) == []


def test_a_token_is_made_for_this_user_alone_and_a_file_that_others_read_is_refused(tmp_path):
    file = tmp_path / "token"
    made = token_of(file)
    assert len(made) >= 43
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert token_of(file) == made
    file.chmod(0o640)
    with pytest.raises(qs.QifscanError, match="chmod 600"):
        token_of(file)
    file.chmod(0o600)
    for text in ("short", "two words of some length", ""):
        file.write_text(text)
        with pytest.raises(qs.ScanError, match="characters"):
            token_of(file)
    with pytest.raises(qs.QifscanError, match="can't be written"):
        token_of(tmp_path / "nowhere" / "token")


def command(*arguments):
    run = subprocess.run(
        [sys.executable, "-m", "qifscan.cli", "serve", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return run.returncode, (run.stdout + run.stderr).splitlines()


@pytest.mark.skipif(os.name == "nt", reason="no such lock there")
def test_a_folder_has_one_server_and_what_is_wrong_is_one_line(tmp_path):
    import fcntl

    with open(tmp_path / ".qifscan-serve.lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(qs.QifscanError, match="another server serves it"):
            serve(tmp_path, Address(port=0), bounds=Bounds())
    with pytest.raises(qs.ScanError, match=r"no folder .*nothing, expected one to make it in"):
        serve(tmp_path / "nothing" / "stores", Address(port=0), bounds=Bounds())
    (tmp_path / "file").touch()
    with pytest.raises(qs.ScanError, match="found a file, expected the folder of the stores"):
        serve(tmp_path / "file", Address(port=0), bounds=Bounds())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(qs.QifscanError, match="can't listen there"):
            serve(tmp_path / "made", Address(port=taken.getsockname()[1]), bounds=Bounds())
    assert (tmp_path / "made").is_dir()


def test_a_request_is_not_http_by_accident(server):
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(b"GET /jobs HTTP/1.1\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 4")
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
    connection.request("GET", "/jobs", headers=headers)
    assert connection.getresponse().status == 200
    connection.close()
    assert np.isfinite(len(server.get("/jobs").data))
