"""Two images are the same, or every difference is named: on exports of a few files made here."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import ImageNotFound

from tritonbuild import imagediff
from tritonbuild.cli.verbs import compare as compare_verb
from tritonbuild.errors import CommandFailed, UsageError
from tritonbuild.imagediff import compare_images, report_lines
from tritonbuild.trees import read_tree

Cli = Callable[..., Any]
NOON = 1_787_529_600


def entry(name: str, content: bytes | None = None, **attributes: Any) -> tuple[tarfile.TarInfo, bytes]:
    """Return a file, or a folder where there is no content; ``attributes`` are those of TarInfo."""
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
    info.mode, info.mtime, info.size = 0o755, NOON, len(content or b"")
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, content or b""


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, b"", type=kind, linkname=target)


def pack(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def export(*layers: bytes, packed: bool = False) -> bytes:
    """Return what `docker save` writes: the folders of layers in the order of their names."""
    parts = [
        entry(f"{number:02}/layer.tar", gzip.compress(layer) if packed else layer)
        for number, layer in enumerate(layers)
    ]
    names = [info.name for info, _ in parts]
    # The order of the layers stands in the manifest, which comes last.
    manifest = json.dumps([{"Config": "config.json", "Layers": names}]).encode()
    return pack(*reversed(parts), entry("config.json", b"{}"), entry("manifest.json", manifest))


def in_pieces(data: bytes) -> Iterator[bytes]:
    """Hand out bytes as an engine does: in chunks that end anywhere."""
    for start in range(0, len(data), 1000):
        yield data[start : start + 1000]


@dataclass
class FakeImage:
    """An image of the engine, with the tree of some layers."""

    id: str
    layers: tuple[bytes, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    saved: int = 0

    @property
    def attrs(self) -> dict[str, Any]:
        diff_ids = [f"sha256:{hash(layer)}" for layer in self.layers]
        return {
            "Architecture": "amd64",
            "Os": "linux",
            "Config": self.settings,
            "RootFS": {"Layers": diff_ids},
        }

    def save(self, chunk_size: int) -> Iterator[bytes]:
        self.saved += 1
        return in_pieces(export(*self.layers))


class Engine:
    def __init__(self, **images: FakeImage) -> None:
        self._images = images
        self.images = SimpleNamespace(get=self._get)

    def _get(self, name: str) -> FakeImage:
        if name not in self._images:
            raise ImageNotFound(name)
        return self._images[name]


def differences(first: bytes, second: bytes) -> dict[str, dict[str, tuple[Any, Any]]]:
    """Return path -> attribute -> values, of two images of one layer each."""
    engine: Any = Engine(a=FakeImage("sha256:a", (first,)), b=FakeImage("sha256:b", (second,)))
    return {d.path: dict(d.attributes) for d in compare_images(engine, "a", "b").paths}


@pytest.mark.parametrize(
    ("changed", "attribute", "values"),
    [
        pytest.param(entry("x", b"old", mode=0o700), "mode", ("0755", "0700"), id="mode"),
        pytest.param(entry("x", b"old", uid=7, gid=8), "owner", ("0:0", "7:8"), id="owner"),
        pytest.param(
            entry("x", b"old", mtime=NOON + 1),
            "time",
            ("2026-08-24T00:00:00Z", "2026-08-24T00:00:01Z"),
            id="time",
        ),
        pytest.param(
            entry("x", b"old", mtime=NOON + 0.5),
            "time",
            ("2026-08-24T00:00:00Z", "2026-08-24T00:00:00.5Z"),
            id="part_of_a_second",
        ),
        pytest.param(
            entry("x", b"old", pax_headers={"SCHILY.xattr.user.a": "1"}),
            "xattrs",
            ("", "user.a='1'"),
            id="xattr",
        ),
    ],
)
def test_an_attribute_that_differs_is_named_alone(
    changed: tuple[tarfile.TarInfo, bytes], attribute: str, values: tuple[str, str]
) -> None:
    assert differences(pack(entry("x", b"old")), pack(changed)) == {"x": {attribute: values}}


def test_content_of_the_same_size_differs_by_its_hash() -> None:
    found = differences(pack(entry("x", b"old")), pack(entry("x", b"new")))
    assert list(found) == ["x"]
    assert list(found["x"]) == ["sha256"]


def test_content_of_another_size_shows_both() -> None:
    found = differences(pack(entry("x", b"old")), pack(entry("x", b"longer")))
    assert set(found["x"]) == {"sha256", "size"}
    assert found["x"]["size"] == (3, 6)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_that_points_elsewhere_is_found(kind: bytes) -> None:
    found = differences(pack(link("x", "here", kind)), pack(link("x", "there", kind)))
    assert found == {"x": {"target": ("here", "there")}}


def test_a_file_that_became_a_folder_is_found() -> None:
    assert differences(pack(entry("x", b"")), pack(entry("x")))["x"]["kind"] == ("file", "folder")


def test_a_device_with_another_number_is_found() -> None:
    null, zero = (entry("x", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=n) for n in (3, 5))
    assert differences(pack(null), pack(zero)) == {"x": {"device": ("1:3", "1:5")}}


def test_a_path_that_only_one_image_has_is_found() -> None:
    found = differences(pack(entry("both", b""), entry("old", b"")), pack(entry("both", b""), entry("new")))
    assert found == {"new": {"kind": (None, "folder")}, "old": {"kind": ("file", None)}}


def test_the_order_of_files_in_a_layer_makes_no_difference() -> None:
    first, second = entry("a", b"1"), entry("b", b"2")
    assert differences(pack(first, second), pack(second, first)) == {}


@pytest.mark.parametrize("packed", [False, True])
def test_layers_are_laid_over_each_other_as_a_container_sees_them(packed: bool) -> None:
    layers = [
        pack(
            entry("keep", b"1"), entry("gone", b""), entry("dir"), entry("dir/old", b""), entry("dirt", b"")
        ),
        pack(entry(".wh.gone", b""), entry("keep", b"22"), entry("dir"), entry("dir/.wh..wh..opq", b"")),
        pack(),  # WORKDIR on a folder that is there: zeros only
        pack(entry("dir/new", b"")),
    ]
    tree = read_tree(in_pieces(export(*layers, packed=packed)))
    assert sorted(tree.entries) == ["dir", "dir/new", "dirt", "keep"]
    assert tree.entries["keep"].size == 2


def test_a_folder_removed_by_a_layer_takes_what_is_in_it() -> None:
    layers = [pack(entry("a"), entry("a/b"), entry("a/b/c", b"")), pack(entry("a/.wh.b", b""))]
    assert sorted(read_tree(in_pieces(export(*layers))).entries) == ["a"]


def test_a_layer_that_the_engine_writes_as_a_link_to_an_equal_one_counts() -> None:
    layer, manifest = pack(entry("x", b"")), json.dumps([{"Layers": ["1/layer.tar", "2/layer.tar"]}])
    parts = [link("1/layer.tar", "../2/layer.tar"), entry("2/layer.tar", layer)]
    tree = read_tree(in_pieces(pack(*parts, entry("manifest.json", manifest.encode()))))
    assert sorted(tree.entries) == ["x"]


def test_an_export_without_a_manifest_is_refused() -> None:
    with pytest.raises(CommandFailed, match=r"no manifest\.json"):
        read_tree(in_pieces(pack(entry("x", b"1"))))


def test_images_of_the_same_layers_are_the_same_without_being_read() -> None:
    images = {name: FakeImage(f"sha256:{name}", (b"layer",)) for name in "ab"}
    engine: Any = Engine(**images)
    difference = compare_images(engine, "a", "b")
    assert difference.is_empty
    assert [image.saved for image in images.values()] == [0, 0]


def test_settings_are_compared_one_by_one() -> None:
    settings = [
        {"Env": ["A=1", "B=2"], "Labels": {"l": "x", "m": "y"}, "User": "u", "Cmd": ["serve"]},
        {"Env": ["A=1", "B=3"], "Labels": {"l": "x"}, "User": "v", "Cmd": ["serve", "now"]},
    ]
    first, second = (FakeImage(f"sha256:{n}", (b"",), settings=s) for n, s in enumerate(settings))
    engine: Any = Engine(a=first, b=second)
    difference = compare_images(engine, "a", "b")
    assert not difference.is_empty
    assert difference.settings == {
        "env B": ("2", "3"),
        "labels m": ("y", None),
        "user": ("u", "v"),
        "cmd": ('["serve"]', '["serve", "now"]'),
    }


def dpkg(version: str) -> list[tuple[tarfile.TarInfo, bytes]]:
    """Return what dpkg notes of two packages, of which one comes in a given version."""
    curl = f"Package: curl\nStatus: install ok installed\nVersion: {version}\nDescription: x\n y\n"
    other = "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n"
    return [
        entry("var/lib/dpkg/status", f"{curl}\n{other}\n".encode()),
        entry("var/lib/dpkg/info/curl:amd64.list", b"/.\n/bin/curl\n/usr/lib/c.py\n/usr\n"),
        entry("var/lib/dpkg/info/libx.list", b"/.\n/usr/share/x\n/usr\n"),
    ]


@pytest.fixture
def two_mirrors() -> Any:
    """An engine with two images, the second made when the mirror had a newer curl."""
    first = pack(
        *dpkg("7.88-1"),
        entry("usr/bin/curl", b"old"),
        entry("usr/lib/__pycache__/c.cpython-311.pyc", b"old"),
        entry("usr/share/x", b"old"),
        entry("usr", mtime=1),
    )
    second = pack(
        *dpkg("7.88-2"),
        entry("usr/bin/curl", b"new"),
        entry("usr/lib/__pycache__/c.cpython-311.pyc", b"new"),
        entry("usr/share/x", b"new"),
        entry("usr", mtime=2),
    )
    return Engine(a=FakeImage("sha256:a", (first,)), b=FakeImage("sha256:b", (second,)))


def test_what_a_newer_package_explains_is_told_from_what_the_build_did(two_mirrors: Any) -> None:
    difference = compare_images(two_mirrors, "a", "b")
    assert difference.packages == {"curl": ("7.88-1", "7.88-2")}
    assert difference.owners == {
        "usr/bin/curl": "curl",
        "usr/lib/__pycache__/c.cpython-311.pyc": "curl",
    }
    lines = list(report_lines(difference))
    assert "packages  1 differ" in lines
    assert "  ~ curl 7.88-1 -> 7.88-2" in lines
    assert "paths     5 differ, 2 of them in packages that differ" in lines
    # Whatever no package explains comes first.
    paths = lines[lines.index("paths     5 differ, 2 of them in packages that differ") + 1 :]
    assert [line.split()[1] for line in paths[:3]] == ["/usr", "/usr/share/x", "/var/lib/dpkg/status"]
    assert all(line.endswith("(curl)") for line in paths[3:])


def test_compare_prints_every_path_and_has_a_code_of_its_own(
    run_cli: Cli, two_mirrors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare_verb, "connect", lambda: two_mirrors)
    outcome = run_cli("compare", "a", "b")
    assert outcome.code == 18
    assert "  ~ /usr  time 1970-01-01T00:00:01Z -> 1970-01-01T00:00:02Z" in outcome.out.splitlines()
    assert outcome.errors == ["a and b are not the same"]
    assert run_cli("compare", "a", "a").code == 0


def test_compare_as_json_holds_the_whole_values(
    run_cli: Cli, two_mirrors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare_verb, "connect", lambda: two_mirrors)
    report = json.loads(run_cli("compare", "a", "b", "--json").out)
    assert report["same"] is False
    assert report["packages"] == {"curl": {"first": "7.88-1", "second": "7.88-2"}}
    changed = report["paths"]["usr/bin/curl"]
    assert changed["package"] == "curl"
    assert len(changed["sha256"]["first"]) == 64
    assert json.loads(run_cli("compare", "a", "a", "--json").out)["same"] is True


def test_an_image_that_is_not_here_is_a_wrong_command_line(two_mirrors: Any) -> None:
    with pytest.raises(UsageError, match="no image c"):
        compare_images(two_mirrors, "a", "c")


def test_all_that_changes_how_a_container_runs_is_compared() -> None:
    assert {"Env", "Cmd", "Entrypoint", "User", "WorkingDir", "Labels"} <= set(imagediff._SETTINGS)
