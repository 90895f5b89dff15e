"""Where received files go: into their directory, and nowhere else."""

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytofu.cli.receiving import Incoming, RefusedError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The directory, beside things that are not to be touched."""
    root = tmp_path / "inbox"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    return root


@pytest.fixture(autouse=True)
def nothing_happens_outside(root: Path, tmp_path: Path) -> Iterator[None]:
    yield
    assert {entry.name for entry in tmp_path.iterdir()} == {"inbox", "outside"}
    assert [entry.name for entry in (tmp_path / "outside").iterdir()] == ["secret"]
    assert (tmp_path / "outside" / "secret").read_bytes() == b"secret"
    assert not list(tmp_path.rglob(".pytofu-*")), "a temporary file is left"


def store(root: Path, name: str, content: bytes = b"content", *, overwrite: bool = False) -> str:
    incoming = Incoming(root, name, len(content), overwrite=overwrite)
    try:
        incoming.write(content)
        return incoming.store(hashlib.sha256(content).hexdigest())
    except (RefusedError, OSError):
        incoming.discard()
        raise


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("a", "a"),
        ("a b", "a b"),
        ("sub/a", "sub/a"),
        ("..a", "..a"),
        *((name, name) for name in (" a", "a ", "\t", "-a", "a|b", "\x1b[2J", "\udcff", "x" * 255)),
        ("pytofu-0123456789abcdef.part", "pytofu-0123456789abcdef.part"),
        ("ä\n", "ä\n"),
    ],
)
def test_a_file_is_stored(root: Path, name: str, where: str) -> None:
    assert store(root, name) == hashlib.sha256(b"content").hexdigest()
    assert (root / where).read_bytes() == b"content"


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "/", "../a", "sub/../../outside/a", "sub/..", "sub/../a"),
        *("/etc/passwd", "//a", "a\0b", "\0", "../outside/secret"),
        *("a/", "sub/", "sub//a", "./a", "sub/./a", "a/."),
    ],
)
def test_names_that_lead_elsewhere_are_refused(root: Path, name: str) -> None:
    with pytest.raises(RefusedError, match="not a name of a file in the directory"):
        Incoming(root, name, 1, overwrite=True)


@pytest.mark.parametrize("folder", ["", "sub/"])
def test_names_of_files_on_their_way_are_refused(root: Path, folder: str) -> None:
    """Else the next server would take the file for left over."""
    with pytest.raises(RefusedError, match="names are those of files on their way"):
        Incoming(root, f"{folder}.pytofu-0123456789abcdef.part", 1, overwrite=True)


def test_an_absolute_name_is_refused_even_for_a_file_in_the_directory(root: Path) -> None:
    with pytest.raises(RefusedError):
        Incoming(root, str(root / "a"), 1, overwrite=False)


@pytest.mark.parametrize("name", ["missing/a", "link/a", "sub/link/a", "loop/a", "file/a"])
def test_directories_that_are_missing_or_elsewhere_are_refused(root: Path, name: str) -> None:
    (root / "link").symlink_to(root.parent / "outside")
    (root / "sub" / "link").symlink_to("../../outside")
    (root / "loop").symlink_to("loop")
    (root / "file").touch()
    with pytest.raises(RefusedError, match="there is no such directory"):
        Incoming(root, name, 1, overwrite=True)


def test_links_within_the_directory_are_followed(root: Path) -> None:
    (root / "link").symlink_to("sub")
    store(root, "link/a")
    assert (root / "sub" / "a").read_bytes() == b"content"


def test_the_directory_itself_may_be_a_link(root: Path) -> None:
    link = root / "link"
    link.symlink_to(root / "sub")
    store(link, "a")
    assert (root / "sub" / "a").read_bytes() == b"content"


def test_a_link_to_a_file_elsewhere_is_replaced_and_not_followed(root: Path) -> None:
    (root / "a").symlink_to(root.parent / "outside" / "secret")
    with pytest.raises(RefusedError, match="there is such a file already"):
        store(root, "a")
    store(root, "a", overwrite=True)
    assert not (root / "a").is_symlink()
    assert (root / "a").read_bytes() == b"content"


def test_a_link_put_there_between_check_and_use_is_not_followed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = Path.resolve

    def resolve_and_swap(path: Path, strict: bool = False) -> Path:
        resolved = resolve(path, strict)
        if strict:
            (root / "sub").rmdir()
            (root / "sub").symlink_to(root.parent / "outside")
        return resolved

    monkeypatch.setattr(Path, "resolve", resolve_and_swap)
    with pytest.raises(RefusedError, match="there is no such directory"):
        Incoming(root, "sub/a", 1, overwrite=True)


def test_what_is_there_stays_unless_it_may_be_overwritten(root: Path) -> None:
    store(root, "a", b"one")
    with pytest.raises(RefusedError, match="there is such a file already"):
        store(root, "a", b"two")
    assert (root / "a").read_bytes() == b"one"
    store(root, "a", b"two", overwrite=True)
    assert (root / "a").read_bytes() == b"two"


def test_what_appears_meanwhile_stays_too(root: Path) -> None:
    incoming = Incoming(root, "a", 0, overwrite=False)
    (root / "a").write_bytes(b"first")
    with pytest.raises(RefusedError, match="there is such a file already"):
        incoming.store(hashlib.sha256(b"").hexdigest())
    incoming.discard()
    assert (root / "a").read_bytes() == b"first"


def test_of_two_at_the_same_time_one_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether there is such a file is asked and answered in one step."""
    incoming = Incoming(root, "a", 0, overwrite=False)
    monkeypatch.setattr(Incoming, "_check_free", lambda _: (root / "a").write_bytes(b"first"))
    incoming._check_free()
    with pytest.raises(RefusedError, match="there is such a file already"):
        incoming.store(hashlib.sha256(b"").hexdigest())
    incoming.discard()
    assert (root / "a").read_bytes() == b"first"


def test_a_file_system_without_hard_links(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    store(root, "a", b"one")
    assert (root / "a").read_bytes() == b"one"
    incoming = Incoming(root, "b", 0, overwrite=False)
    (root / "b").write_bytes(b"first")
    with pytest.raises(RefusedError, match="there is such a file already"):
        incoming.store(hashlib.sha256(b"").hexdigest())
    incoming.discard()


def test_a_link_that_fails(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(OSError, match="Input/output error"):
        store(root, "a")
    assert not (root / "a").exists()


def test_a_directory_is_not_replaced(root: Path) -> None:
    with pytest.raises(OSError, match="directory"):
        store(root, "sub", overwrite=True)
    assert (root / "sub").is_dir()


def test_a_name_that_the_system_refuses(root: Path) -> None:
    with pytest.raises(OSError, match="too long"):
        store(root, "x" * 300)


def test_the_file_has_its_name_only_when_it_is_complete(root: Path) -> None:
    incoming = Incoming(root, "a", 4, overwrite=False)
    incoming.write(b"12")
    assert not (root / "a").exists()
    incoming.write(b"34")
    assert not (root / "a").exists()
    incoming.store(hashlib.sha256(b"1234").hexdigest())
    assert (root / "a").exists()


@pytest.mark.parametrize("sha256", [None, "", "0" * 64])
def test_another_hash_is_refused(root: Path, sha256: str | None) -> None:
    incoming = Incoming(root, "a", 0, overwrite=False)
    with pytest.raises(RefusedError, match="its sha256 is e3b0"):
        incoming.store(sha256)
    incoming.discard()
    assert not (root / "a").exists()


def test_another_size_is_refused(root: Path) -> None:
    incoming = Incoming(root, "a", 4, overwrite=False)
    incoming.write(b"123")
    with pytest.raises(RefusedError, match="4 bytes were announced, 3 came"):
        incoming.store(None)
    with pytest.raises(RefusedError, match="more than the 4 bytes announced"):
        incoming.write(b"45")
    incoming.discard()


def test_no_descriptor_is_left(root: Path) -> None:
    before = os.listdir("/dev/fd")
    store(root, "sub/a")
    for name in ("sub/a", "missing/a", "x" * 300):
        with pytest.raises((RefusedError, OSError)):
            store(root, name)
    incoming = Incoming(root, "b", 4, overwrite=False)
    incoming.discard()
    assert len(os.listdir("/dev/fd")) == len(before)


@given(name=st.text(alphabet=st.sampled_from("./\0ab"), max_size=12))
def test_any_name_is_refused_or_stays_inside(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outer = tmp_path_factory.mktemp("outer")
    root = outer / "a"
    (root / "b").mkdir(parents=True)
    try:
        store(root, name, overwrite=True)
    except (RefusedError, OSError):
        return
    assert [entry for entry in outer.rglob("*") if entry.is_file()] == [
        entry for entry in root.rglob("*") if entry.is_file()
    ]
