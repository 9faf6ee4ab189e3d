"""Paths as a user gives them: the home folder, URLs, endings. One function reads them, for every call."""

import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import qifscan as qs
from qifscan import place
from qifscan.cli import main
from qifscan.runs import state

SCAN = (
    '[axes]\neta = [-5.0, -4.0]\n[protocol]\ntransient = 0.1\nwindow = 0.1\nintegrator = "euler"\ndt = 0.05\n'
)

URLS = [
    *("https://example.org/x.zarr", "s3:/bucket/x", "gs://bucket", "memory:///x", "s3://a/../b", "s3://a//b"),
    *("simplecache::s3://bucket/x.zarr", "hf://datasets/x", "s3://key@bucket/x.zarr", "s3://bucket/x?y=1"),
]
"""Those that are no place of a store."""


def small(**changes):
    return qs.Scan(axes={"eta": [-5.0, -4.0]}, protocol=qs.Protocol(transient=0.1, window=0.1), **changes)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home folder and an empty working folder."""
    for name in ("home", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def test_a_path_in_the_home_folder_is_one_there(home):
    ran = qs.run(small(), "~/res.zarr")
    assert sorted(p.name for p in home.iterdir()) == ["res.zarr", "res.zarr.jsonl"]
    assert list(Path.cwd().iterdir()) == []
    assert ran.equals(qs.open_scan("~/res.zarr").load())
    assert qs.open_scan((home / "res.zarr").as_uri()).load().equals(ran)
    assert qs.verify("~/res.zarr", points=1).sound
    assert qs.replay("~/res.zarr", eta=-5.0).attrs["checked"] == "equal bit for bit"
    qs.open_theory("~/res.zarr")
    other = qs.Scan(axes={"eta": [-5.0, -3.0]}, protocol=small().protocol)
    qs.run(other, Path("~/more.zarr"), extend="~/res.zarr")
    (home / "scan.toml").write_text(SCAN)
    assert qs.Scan.from_toml("~/scan.toml").size == 2
    assert CliRunner().invoke(main, ["run", "~/scan.toml", "~/from command.zarr"]).exit_code == 0
    assert CliRunner().invoke(main, ["show", "~/from command.zarr"]).exit_code == 0
    stores = {"res.zarr", "more.zarr", "from command.zarr"}
    names = {*stores, *(f"{name}.jsonl" for name in stores), "scan.toml", "from command.png"}
    assert {p.name for p in home.iterdir() if not p.name.startswith(".")} == names
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("url", URLS)
def test_a_url_is_refused_in_one_line_by_every_call_and_nothing_is_written(home, url):
    calls = [
        lambda: qs.run(small(), url),
        lambda: qs.run(small(), "new.zarr", extend=url),
        lambda: qs.open_scan(url),
        lambda: qs.open_theory(url),
        lambda: qs.verify(url),
        lambda: qs.replay(url, eta=-5.0),
        lambda: qs.show(url),
        lambda: qs.basins(url),
        lambda: qs.Scan.from_toml(url),
        lambda: qs.run(small(), Path(url)),
        lambda: state.state_of(url),
    ]
    for call in calls:
        with pytest.raises(qs.ScanError, match=r"expected (a path|\w+://BUCKET)") as caught:
            call()
        assert len(str(caught.value).splitlines()) == 1
    Path("scan.toml").write_text(SCAN)
    for arguments in (["run", "scan.toml", url], ["status", url], ["verify", url], ["show", url]):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 2
        assert len(result.stderr.splitlines()) == 1
    assert [p.name for p in Path.cwd().iterdir()] == ["scan.toml"]


@pytest.mark.parametrize(
    "given", ["", "~nobody-of-this-name/x", "a\0b", 3, None, b"x.zarr", "x" * 300, "file://elsewhere/x"]
)
def test_what_is_no_path_is_refused_in_one_line(home, given):
    with pytest.raises(qs.ScanError, match=r"^path: found") as caught:
        qs.run(small(), given)
    assert len(str(caught.value).splitlines()) == 1
    assert list(Path.cwd().iterdir()) == []


def test_a_name_with_odd_characters_is_a_name(home):
    for name in ("a:b", "50%.zarr", "C:", "a b", "x~", "./~"):
        assert place.local("path", name) == Path(name)
    assert place.local("path", "file:///a%20b") == Path("/a b")


def test_a_suffix_is_what_was_meant_as_one(home):
    for name in ("sweep_tau0.5", "sweep_tau0.7"):
        qs.run(small(), name)
        assert CliRunner().invoke(main, ["show", name]).output == f"figure        {name}.png\n"
    Path("sim_eta0.5").write_text(SCAN)
    assert CliRunner().invoke(main, ["run", "sim_eta0.5"]).exit_code == 0
    assert CliRunner().invoke(main, ["bifurcate", "sim_eta0.5"]).exit_code == 0
    shown = CliRunner().invoke(main, ["show", "sweep_tau0.5", "-o", "fig0.5"])
    assert shown.output == "figure        fig0.5.png\n"
    made = {"sim_eta0.5.zarr", "sim_eta0.5-theory.zarr", "fig0.5.png"}
    assert made | {"sweep_tau0.5.png", "sweep_tau0.7.png"} <= {p.name for p in Path.cwd().iterdir()}
    refused = CliRunner().invoke(main, ["show", "sweep_tau0.5", "-o", "fig.docx"])
    assert refused.exit_code == 2
    assert "docx" in refused.stderr


def test_escape_sequences_are_printed_as_text(home):
    Path("scan.toml").write_text('title = "\\u001b[2Jgone\\u009b31m\\u202e"\n' + SCAN)
    printed = CliRunner().invoke(main, ["plan", "scan.toml", "--no-probe"]).output
    assert r"\x1b[2Jgone\x9b31m\u202e" in printed
    assert not {"\x1b", "\x9b", "\u202e"} & set(printed)
    qs.run(qs.Scan.from_toml("scan.toml"), "a.zarr")
    Path("other.toml").write_text(SCAN.replace("-4.0", "-3.0"))
    refused = CliRunner().invoke(main, ["run", "other.toml", "a.zarr"])
    assert "belongs to another scan" in refused.stderr
    assert "\x1b" not in refused.stderr
    np.testing.assert_equal(os.listdir(home), [])
