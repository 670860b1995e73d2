"""An exported known-good: all of it comes back, and whatever is wrong with a file, nothing becomes known-good by it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyrage
import pytest
import zstandard

from pytest_ccci.errors import ArchiveError, InfrastructureFault, StoreDamaged, UsageError
from pytest_ccci.redact import Redactor
from pytest_ccci.store import archive, manifest
from pytest_ccci.store.archive import Head, open_archive, rendered, require_passphrase
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.copying import CopyBackend
from pytest_ccci.store.fs import Fs
from pytest_ccci.store.manifest import Entry, Kind
from pytest_ccci.store.record import CanonicalRecord

Look = Callable[[Path], dict[str, tuple[object, ...]]]
PASSPHRASE = "correct horse battery staple"
SECRETS = {"db_password_v1": "hunter2-hunter2"}


@pytest.fixture
def source(store: CanonicalStore, plant: Callable[[Path], None], seed: Any) -> CanonicalStore:
    plant(store.live("data"))
    (store.live("db") / "table").write_text("rows")
    seed.promote(store, seed.snapshot(store, word=SECRETS["db_password_v1"]))
    return store


@pytest.fixture
def other(tmp_path: Path) -> CanonicalStore:
    return CanonicalStore(tmp_path / "other", "demo", backend=CopyBackend())


def taken_in(store: CanonicalStore, file: Path, *, passphrase: str = "") -> CanonicalRecord:
    with open_archive(file) as incoming:
        secrets = incoming.secrets(passphrase) if passphrase else SECRETS
        return store.receive(incoming, secrets=secrets)


def plain(file: Path) -> bytes:
    with file.open("rb") as raw:
        return zstandard.ZstdDecompressor().stream_reader(raw).read()


def squeezed(raw: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(raw)


def test_everything_comes_back_on_another_machine(
    source: CanonicalStore, other: CanonicalStore, tmp_path: Path, picture: Look
) -> None:
    head = source.export(tmp_path / "x.tar.zst", passphrase=PASSPHRASE)
    record = taken_in(other, tmp_path / "x.tar.zst", passphrase=PASSPHRASE)
    assert (record.release, record.commit, record.images) == ("1.0.0+1.0", "c" * 40, {"app": "nginx:1"})
    assert (head.files, head.size) == (record.files, record.size)
    assert other.secrets() == SECRETS
    assert other.verify() == ()
    assert other.state().drift
    other.restore(stopped=lambda: None)
    assert picture(other.layout.live) == picture(source.layout.live)
    live = other.live("data")
    assert (live / "plain").samefile(live / "deep" / "hard")
    assert (live / "sparse").stat().st_blocks * 512 < 1 << 20


def test_without_secrets_nothing_of_them_is_in_the_file(source: CanonicalStore, tmp_path: Path) -> None:
    source.export(tmp_path / "x", passphrase="")
    raw = plain(tmp_path / "x")
    record = source.record()
    assert record is not None
    secrets = source.layout.snapshot(record.snapshot_id).secrets.read_bytes()
    # A digest of a weak secret is as good as the secret.
    for trace in (SECRETS["db_password_v1"], hashlib.sha256(secrets).hexdigest(), record.complete_digest):
        assert trace.encode() not in raw
    assert b"db_password_v1" in raw
    assert (tmp_path / "x").stat().st_mode & 0o077 == 0


def test_with_secrets_they_are_readable_only_with_the_passphrase(source: CanonicalStore, tmp_path: Path) -> None:
    source.export(tmp_path / "x", passphrase=PASSPHRASE)
    assert SECRETS["db_password_v1"].encode() not in plain(tmp_path / "x")
    with open_archive(tmp_path / "x") as incoming:
        with pytest.raises(ArchiveError, match="cannot be decrypted"):
            incoming.secrets("another passphrase")
        assert incoming.secrets(PASSPHRASE) == SECRETS
    with tarfile.open(fileobj=io.BytesIO(plain(tmp_path / "x"))) as tar:
        member = tar.extractfile("secrets.age")
        assert member is not None
        assert json.loads(pyrage.passphrase.decrypt(member.read(), PASSPHRASE))["secrets"] == SECRETS


def test_secrets_are_hidden_as_soon_as_they_are_decrypted(
    source: CanonicalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.export(tmp_path / "x", passphrase=PASSPHRASE)
    of_a_new_process = Redactor()
    monkeypatch.setattr(archive, "SECRETS", of_a_new_process)
    with open_archive(tmp_path / "x") as incoming:
        (value,) = incoming.secrets(PASSPHRASE).values()
    assert of_a_new_process.scrub(value) == "[secret]"


def test_secrets_cannot_be_moved_to_another_head(source: CanonicalStore, tmp_path: Path) -> None:
    head = source.export(tmp_path / "x", passphrase=PASSPHRASE)
    raw = plain(tmp_path / "x")
    forged = rendered(head.model_copy(update={"release": "9.0.0+1.0"}))
    assert len(forged) == len(rendered(head))
    (tmp_path / "y").write_bytes(squeezed(raw.replace(rendered(head), forged, 1)))
    with open_archive(tmp_path / "y") as incoming:
        assert incoming.head.release == "9.0.0+1.0"
        with pytest.raises(ArchiveError, match="secrets are not those"):
            incoming.secrets(PASSPHRASE)


def test_a_short_passphrase_is_refused() -> None:
    with pytest.raises(UsageError, match="12 characters"):
        require_passphrase("hunter2")


def test_a_damaged_snapshot_is_not_exported(source: CanonicalStore, tmp_path: Path) -> None:
    record = source.record()
    assert record is not None
    path = source.layout.snapshot(record.snapshot_id).volumes / "db" / "table"
    path.write_text("ROWS")
    with pytest.raises(StoreDamaged, match="nothing was exported"):
        source.export(tmp_path / "x")
    path.write_text("longer than it was")
    with pytest.raises(StoreDamaged, match="nothing was exported"):
        source.export(tmp_path / "x")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["canonical"]


def untouched(store: CanonicalStore, before: CanonicalRecord | None) -> bool:
    """Nothing became known-good, nothing is left over, nothing is pending."""
    store.recover()
    state = store.state()
    kept = [path.name for path in store.layout.snapshots.iterdir()]
    return (
        (state.record, state.quarantined, state.in_progress) == (before, None, None)
        and kept == ([before.snapshot_id] if before else [])
        and list(store.layout.work.iterdir()) == []
        and (before is None or store.verify() == ())
    )


@pytest.mark.parametrize("share", [0.0, 0.02, 0.2, 0.4, 0.6, 0.8, 0.97])
def test_a_file_that_was_cut_off_is_refused(
    source: CanonicalStore, other: CanonicalStore, tmp_path: Path, share: float
) -> None:
    source.export(tmp_path / "x")
    raw = (tmp_path / "x").read_bytes()
    (tmp_path / "x").write_bytes(raw[: round(len(raw) * share)])
    with pytest.raises(ArchiveError, match="no whole export"):
        taken_in(other, tmp_path / "x")
    assert untouched(other, None)


@pytest.mark.parametrize("part", range(24))
def test_no_flipped_bit_in_what_was_packed_becomes_known_good(
    source: CanonicalStore, tmp_path: Path, part: int, seed: Any
) -> None:
    """Flipped below the compression, whose own check sum would find it otherwise."""
    source.export(tmp_path / "x")
    before = source.record()
    raw = bytearray(plain(tmp_path / "x"))
    # Not in the padding at the end, which says nothing.
    at = len(bytes(raw).rstrip(b"\0")) * (2 * part + 1) // 48
    raw[at] ^= 1
    (tmp_path / "y").write_bytes(squeezed(bytes(raw)))
    try:
        taken_in(source, tmp_path / "y")
    except ArchiveError:
        assert untouched(source, before)
    else:
        # It hit what the manifest overrules: a tar header's time, say.
        assert source.verify() == ()
        seed.good(source)


@pytest.mark.parametrize("at", [0.3, 0.5, 0.9])
def test_a_flipped_bit_in_the_file_is_refused(
    source: CanonicalStore, other: CanonicalStore, tmp_path: Path, at: float
) -> None:
    source.export(tmp_path / "x")
    raw = bytearray((tmp_path / "x").read_bytes())
    raw[round(len(raw) * at)] ^= 16
    (tmp_path / "x").write_bytes(raw)
    with pytest.raises(ArchiveError):
        taken_in(other, tmp_path / "x")
    assert untouched(other, None)


@pytest.mark.parametrize("content", [b"", b"no archive", squeezed(b""), squeezed(b"x" * 2000)])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ArchiveError, match="no whole export"), open_archive(tmp_path / "x"):
        pytest.fail("it was read")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="No such file"), open_archive(tmp_path / "x"):
        pytest.fail("it was read")


def test_an_error_of_the_disk_that_a_file_is_on_is_told_with_its_name() -> None:
    """This one can be opened, and its beginning cannot be read."""
    words = r"/proc/self/mem(?s:.*)Input/output error"
    with pytest.raises(ArchiveError, match=words), open_archive(Path("/proc/self/mem")):
        pytest.fail("it was read")


FOLDER = Entry("data", Kind.FOLDER, 0o755, 0, 0, 0, 0)
FILE = Entry("data/a", Kind.FILE, 0o644, 0, 0, 0, 0, digest=hashlib.sha256(bytes(8)).hexdigest())
ELSEWHERE = Entry("data/b", Kind.LINK, 0o777, 0, 0, 0, 0, target="/tmp")
FORGED: dict[str, list[Entry]] = {
    "up": [FOLDER, FILE._replace(path="data/../evil")],
    "up at once": [FILE._replace(path="../evil"), FOLDER],
    "absolute": [FILE._replace(path="/evil"), FOLDER],
    "empty step": [FOLDER, FILE._replace(path="data//a")],
    "dot": [FOLDER, FILE._replace(path="data/./a")],
    "nul": [FOLDER, FILE._replace(path="data/a\0b")],
    "through a link": [FOLDER, ELSEWHERE, FILE._replace(path="data/b/evil")],
    "through a file": [FOLDER, FILE, FILE._replace(path="data/a/b")],
    "no folder before": [FOLDER, FILE._replace(path="data/sub/a")],
    "twice": [FOLDER, FILE, FILE],
    "out of order": [FOLDER, FILE._replace(path="data/z"), FILE],
    "link to outside": [FOLDER, FILE._replace(path="data/c", leader="../../../etc/passwd", digest="")],
    "link through a link": [FOLDER, ELSEWHERE, FILE._replace(path="data/c", leader="data/b/passwd", digest="")],
    "link to a folder": [FOLDER, FILE._replace(path="data/c", leader="data", digest="")],
    "link to what follows": [FOLDER, FILE._replace(leader="data/c", digest=""), FILE._replace(path="data/c")],
    "another volume": [FOLDER, FOLDER._replace(path="other")],
    "no volume": [],
    "a volume that is a link": [ELSEWHERE._replace(path="data")],
    "a volume that is a file": [FILE._replace(path="data")],
    "a file beside the volumes": [FOLDER, FILE._replace(path="evil")],
    "odd mode": [FOLDER._replace(mode=0o170755)],
    "negative size": [FOLDER, FILE._replace(size=-1)],
    "owner is text": [FOLDER._replace(uid="0")],  # type: ignore[arg-type]  # JSON may say so
    "time is a fraction": [FOLDER._replace(mtime_ns=1.5)],  # type: ignore[arg-type]  # JSON may say so
    "path is a number": [FOLDER._replace(path=5)],  # type: ignore[arg-type]  # JSON may say so
    "owner is beyond what there is": [FOLDER._replace(uid=1 << 40)],
    "name that no system writes": [FOLDER, FILE._replace(path="data/\ud800")],
    "attribute is no base64": [FOLDER._replace(xattrs=(("user.a", "*"),))],
}


def forge(
    path: Path, entries: list[Entry], *, head: Head, names: Callable[[str], str] = str, secrets: bytes | None = None
) -> None:
    """An archive with all digests right, and a manifest as bad as can be."""
    lines = path.with_name("forged.jsonl")
    digest = manifest.write(iter(entries), lines, fs=Fs()).digest
    coverage = b"{}"
    facts = {"manifest_digest": digest, "coverage_digest": hashlib.sha256(coverage).hexdigest(), "volumes": ("data",)}
    secret = {} if secrets is None else {"secrets.age": secrets}
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as tar:
        parts = {"known-good.json": rendered(head.model_copy(update=facts)), "coverage.json": coverage}
        for name, content in {**parts, **secret, "manifest.jsonl": lines.read_bytes()}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for entry in entries:
            member = tarfile.TarInfo(names(f"volumes/{entry.path}".replace("\0", "").replace("\ud800", "")))
            member.type = {Kind.FOLDER: tarfile.DIRTYPE, Kind.LINK: tarfile.SYMTYPE}.get(entry.kind, tarfile.REGTYPE)
            member.linkname = entry.target
            tar.addfile(member)
    path.write_bytes(squeezed(sink.getvalue()))


@pytest.fixture
def head(source: CanonicalStore, tmp_path: Path) -> Head:
    return source.export(tmp_path / "pattern")


def test_a_forged_archive_that_is_sound_is_taken(other: CanonicalStore, head: Head, tmp_path: Path) -> None:
    """Else the tests below would pass for any reason."""
    forge(tmp_path / "x", [FOLDER, FILE, ELSEWHERE], head=head)
    taken_in(other, tmp_path / "x")
    other.restore(stopped=lambda: None)
    assert (other.live("data") / "a").read_bytes() == b""


@pytest.mark.parametrize("name", FORGED)
def test_a_manifest_that_leads_elsewhere_is_refused(
    other: CanonicalStore, head: Head, tmp_path: Path, name: str
) -> None:
    forge(tmp_path / "x", FORGED[name], head=head)
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    with pytest.raises(ArchiveError, match="manifest cannot be used"):
        taken_in(other, tmp_path / "x")
    assert untouched(other, None)
    assert {"evil", "passwd"}.isdisjoint(path.name for path in tmp_path.rglob("*"))
    assert set(before) - {str(path) for path in tmp_path.rglob("*")} == set()


@pytest.mark.parametrize(
    "foreign", [lambda name: name.replace("data/a", "data/../../a"), lambda name: "/" + name, lambda name: name + "x"]
)
def test_a_name_that_the_manifest_does_not_know_is_refused(
    other: CanonicalStore, head: Head, tmp_path: Path, foreign: Callable[[str], str]
) -> None:
    forge(tmp_path / "x", [FOLDER, FILE], head=head, names=foreign)
    with pytest.raises(ArchiveError, match="should come next"):
        taken_in(other, tmp_path / "x")
    assert untouched(other, None)


def test_what_the_manifest_does_not_know_at_the_end_is_refused(
    other: CanonicalStore, head: Head, tmp_path: Path
) -> None:
    forge(tmp_path / "x", [FOLDER, FILE], head=head)
    raw = plain(tmp_path / "x").rstrip(b"\0")
    raw += bytes(-len(raw) % 512)
    extra = io.BytesIO()
    with tarfile.open(fileobj=extra, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("volumes/data/evil"))
    (tmp_path / "x").write_bytes(squeezed(raw + extra.getvalue()))
    with pytest.raises(ArchiveError, match="more in it"):
        taken_in(other, tmp_path / "x")
    assert untouched(other, None)


AGE = (
    b"age-encryption.org/v1\n-> scrypt WhgMhqOAZmaEGMKjUVNt/g 22\nP/lPQtPmQQlzg46Bv0o5G0mnZuTTo2KBCkV+wx1OqTY\n--- x\n"
)


@pytest.mark.parametrize("secrets", [b"", b"{}", b"age-encryption.org/v1\n-> X25519 a\n", AGE])
def test_secrets_that_an_export_does_not_write_are_refused_before_any_work(
    head: Head, tmp_path: Path, secrets: bytes
) -> None:
    """The last one asks for 2 ** 22 rounds of scrypt, which take 4 GiB of memory."""
    forge(tmp_path / "x", [FOLDER, FILE], head=head.model_copy(update={"with_secrets": True}), secrets=secrets)
    with open_archive(tmp_path / "x") as incoming, pytest.raises(ArchiveError, match="not encrypted as an export"):
        incoming.secrets(PASSPHRASE)


def test_secrets_are_in_no_message(head: Head, tmp_path: Path) -> None:
    sealed = pyrage.passphrase.encrypt(b'{"head": "", "secrets": "hunter2-hunter2"}', PASSPHRASE)
    forge(tmp_path / "x", [FOLDER, FILE], head=head.model_copy(update={"with_secrets": True}), secrets=sealed)
    with open_archive(tmp_path / "x") as incoming, pytest.raises(ArchiveError, match="no whole export") as told:
        incoming.secrets(PASSPHRASE)
    assert "hunter2" not in str(told.value)


def test_a_part_that_is_too_large_is_refused(head: Head, tmp_path: Path) -> None:
    forge(tmp_path / "x", [FOLDER], head=head.model_copy(update={"with_secrets": True}), secrets=bytes(17 << 20))
    with pytest.raises(ArchiveError, match="too large"), open_archive(tmp_path / "x"):
        pytest.fail("it was read")


@pytest.mark.parametrize(
    ("entry", "words"), [(FILE._replace(size=5), "another size"), (FILE._replace(digest="0" * 64), "another content")]
)
def test_a_content_that_the_manifest_does_not_know_is_refused(
    other: CanonicalStore, head: Head, tmp_path: Path, entry: Entry, words: str
) -> None:
    forge(tmp_path / "x", [FOLDER, entry], head=head)
    with pytest.raises(ArchiveError, match=words):
        taken_in(other, tmp_path / "x")
    assert untouched(other, None)


@pytest.mark.parametrize("name", ["../evil", "a/b", ""])
def test_a_recipe_that_leads_elsewhere_is_refused(head: Head, tmp_path: Path, name: str) -> None:
    forge(tmp_path / "x", [FOLDER, FILE], head=head.model_copy(update={"recipe": name}))
    with pytest.raises(ArchiveError, match="head cannot be used"), open_archive(tmp_path / "x"):
        pytest.fail("it was read")


def write_head(path: Path, content: dict[str, object]) -> None:
    """An archive that ends after its head, whose digest is right."""
    text = json.dumps(content, separators=(",", ":"), sort_keys=True).encode()
    raw = json.dumps({"sha256": hashlib.sha256(text).hexdigest(), "known_good": content}).encode()
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        member = tarfile.TarInfo("known-good.json")
        member.size = len(raw)
        tar.addfile(member, io.BytesIO(raw))
    path.write_bytes(squeezed(sink.getvalue()))


@pytest.mark.parametrize("version", [1, 3])
def test_an_export_of_another_version_is_refused_and_what_to_do_is_told(
    head: Head, tmp_path: Path, version: int
) -> None:
    write_head(tmp_path / "x", {**head.model_dump(mode="json"), "version": version})
    words = rf"version {version}, .*reads version 2(?s:.*)export it again"
    with pytest.raises(ArchiveError, match=words), open_archive(tmp_path / "x"):
        pytest.fail("it was read")


@pytest.mark.parametrize("more", [{"version": "2"}, {"extra": 1}, {"files": "7"}, {"volumes": 7}])
def test_a_head_that_says_what_none_says_is_refused(head: Head, tmp_path: Path, more: dict[str, object]) -> None:
    write_head(tmp_path / "x", {**head.model_dump(mode="json"), **more})
    with pytest.raises(ArchiveError, match=r"head cannot be used|version"), open_archive(tmp_path / "x"):
        pytest.fail("it was read")


def test_a_stream_can_be_imported(source: CanonicalStore, other: CanonicalStore, tmp_path: Path) -> None:
    """As in ``ssh elsewhere cat known-good | ccci import /dev/stdin``."""
    source.export(tmp_path / "x")
    os.mkfifo(tmp_path / "pipe")
    feeder = threading.Thread(
        target=lambda: (tmp_path / "pipe").write_bytes((tmp_path / "x").read_bytes()), daemon=True
    )
    feeder.start()
    taken_in(other, tmp_path / "pipe")
    feeder.join()
    assert other.verify() == ()


def test_a_file_that_came_about_meanwhile_is_kept(source: CanonicalStore, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    with pytest.raises(InfrastructureFault, match="File exists"):
        source.export(tmp_path / "x")
    assert (tmp_path / "x").read_text() == "mine"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["canonical", "x"]


@pytest.mark.parametrize("put", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/etc/passwd")])
def test_what_is_no_file_any_more_is_not_exported(
    source: CanonicalStore, tmp_path: Path, put: Callable[[Path], None]
) -> None:
    record = source.record()
    assert record is not None
    path = source.layout.snapshot(record.snapshot_id).volumes / "db" / "table"
    path.unlink()
    put(path)
    with pytest.raises(StoreDamaged, match="nothing was exported"):
        source.export(tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_live_volumes_that_are_those_of_the_old_known_good_count_as_drifted_after_an_import(
    source: CanonicalStore, other: CanonicalStore, tmp_path: Path, seed: Any
) -> None:
    source.export(tmp_path / "x")
    (other.live("db") / "table").write_text("of another machine")
    seed.good(other)
    assert not other.state().drift
    taken_in(other, tmp_path / "x")
    assert other.state().drift
    assert (other.live("db") / "table").read_text() == "of another machine"
    other.restore(stopped=lambda: None)
    assert (other.live("db") / "table").read_text() == "rows"
