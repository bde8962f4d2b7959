"""Real zip and tar archives: whole, damaged, and unsafe ones."""

import gzip
import io
import os
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from fieldtrial.training.data.fetch import unpack as unpacking
from fieldtrial.training.data.fetch.unpack import ArchiveError, unpack

FILES = {
    "set/train/a/1.bin": b"one" * 1000,
    "set/train/b/2.bin": b"two" * 1000,
    "set/readme.txt": b"read me",
}


def write_zip(path: Path, files: dict[str, bytes], **modes: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("set")
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = modes.get("mode", stat.S_IFREG | 0o644) << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


def write_tar(path: Path, files: dict[str, bytes], *others: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        folder = tarfile.TarInfo("set")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(folder)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in others:
            archive.addfile(info)
    return path


def written(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in" / "here").mkdir(parents=True)
    return tmp_path / "in" / "here"


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_wanted_files_are_unpacked(write: object, tmp_path: Path, folder: Path) -> None:
    archive = write(tmp_path / "archive", FILES)  # type: ignore[operator]
    unpack(archive, folder, lambda name: name.endswith(".bin"))
    assert written(folder) == {
        name: content for name, content in FILES.items() if name.endswith(".bin")
    }


def test_a_zip_without_the_modes_of_unix_is_unpacked(tmp_path: Path, folder: Path) -> None:
    unpack(write_zip(tmp_path / "archive.zip", FILES, mode=0), folder, lambda _: True)
    assert written(folder) == FILES


@pytest.mark.parametrize(
    "name", ["../outside.txt", "set/../../outside.txt", "/tmp/outside.txt", "set/a/../../../x"]
)
@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_no_path_leaves_the_folder(write: object, name: str, tmp_path: Path, folder: Path) -> None:
    archive = write(tmp_path / "archive", {"set/good": b"good", name: b"bad"})  # type: ignore[operator]
    for wanted in ({"set/good", name}, {"set/good"}):
        with pytest.raises(
            ArchiveError, match=r"archive holds '.*', which leads out of its folder"
        ):
            unpack(archive, folder, wanted.__contains__)
        assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"archive", "good"}
        (folder / "set" / "good").unlink()


def odd(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    "member",
    [
        odd("set/link", tarfile.SYMTYPE, "/etc"),
        odd("set/link", tarfile.SYMTYPE, "train"),
        odd("set/hard", tarfile.LNKTYPE, "set/readme.txt"),
        odd("set/device", tarfile.CHRTYPE),
        odd("set/block", tarfile.BLKTYPE),
        odd("set/pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda member: member.name + member.linkname,
)
def test_no_link_and_no_device_is_made(
    member: tarfile.TarInfo, tmp_path: Path, folder: Path
) -> None:
    with pytest.raises(ArchiveError, match=f"holds '{member.name}', which is a link or a device"):
        unpack(write_tar(tmp_path / "archive", FILES, member), folder, lambda _: True)
    assert not os.path.lexists(folder / member.name)


def test_no_link_of_a_zip_is_made(tmp_path: Path, folder: Path) -> None:
    archive = write_zip(tmp_path / "archive.zip", {"set/link": b"/etc"}, mode=stat.S_IFLNK | 0o777)
    with pytest.raises(ArchiveError, match="holds 'set/link', which is a link"):
        unpack(archive, folder, lambda _: True)
    assert written(folder) == {}


@pytest.mark.parametrize("write", [write_zip, write_tar])
@pytest.mark.parametrize("damage", ["cut off", "flipped", "no archive", "empty"])
def test_damaged_archives_are_named(
    write: object, damage: str, tmp_path: Path, folder: Path
) -> None:
    archive = write(tmp_path / "archive", {"set/noise": os.urandom(50_000)})  # type: ignore[operator]
    whole = bytearray(archive.read_bytes())
    whole[20_000:20_100] = bytes(byte ^ 255 for byte in whole[20_000:20_100])
    bad = {
        "cut off": archive.read_bytes()[:-20_000],
        "flipped": bytes(whole),
        "no archive": b"<html>",
        "empty": b"",
    }
    archive.write_bytes(bad[damage])
    with pytest.raises(
        ArchiveError, match=rf"^{archive} is damaged, cut off, or neither zip nor tar.gz: ."
    ):
        unpack(archive, folder, lambda _: True)


def test_damage_of_every_compression_is_named(tmp_path: Path, folder: Path) -> None:
    archive = tmp_path / "archive.zip"
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(archive, "w", method) as opened:
            opened.writestr("noise", os.urandom(5_000).hex())
        whole = bytearray(archive.read_bytes())
        whole[60:1000] = bytes(byte ^ 255 for byte in whole[60:1000])
        archive.write_bytes(whole)
        with pytest.raises(
            ArchiveError, match=rf"^{archive} is damaged, cut off, or neither zip nor tar.gz: ."
        ):
            unpack(archive, folder / str(method), lambda _: True)


def test_a_name_that_is_no_text_is_damage(tmp_path: Path, folder: Path) -> None:
    archive = write_zip(tmp_path / "archive.zip", {"größe": b""})
    archive.write_bytes(archive.read_bytes().replace("größe".encode(), b"gr\xff\xffsse"))
    with pytest.raises(ArchiveError, match="is damaged"):
        unpack(archive, folder, lambda _: True)


def test_an_encrypted_zip_is_refused(tmp_path: Path, folder: Path) -> None:
    archive = write_zip(tmp_path / "archive.zip", {"set/secret": b"secret"})
    content = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.rindex(signature) + offset] |= 1
    archive.write_bytes(content)
    with pytest.raises(ArchiveError, match="password"):
        unpack(archive, folder, lambda _: True)


def test_a_name_that_comes_twice_is_refused(tmp_path: Path, folder: Path) -> None:
    archive = write_tar(tmp_path / "archive", FILES, tarfile.TarInfo("set/readme.txt"))
    with pytest.raises(ArchiveError, match=r"holds 'set/readme\.txt' twice"):
        unpack(archive, folder, lambda _: True)
    with pytest.raises(ArchiveError, match="holds 'set/a/b' twice, or as a file and as a folder"):
        unpack(
            write_tar(tmp_path / "other", {"set/a": b"", "set/a/b": b""}),
            folder,
            lambda name: "a" in name,
        )


def test_an_archive_of_something_else_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ArchiveError, match=r"archive holds no file of this data set"):
        unpack(
            write_zip(tmp_path / "archive", FILES), folder, lambda name: name.startswith("other/")
        )


def test_a_file_without_a_name_is_refused(tmp_path: Path, folder: Path) -> None:
    for name in ("", ".", "./"):
        path = write_tar(tmp_path / "a.tar.gz", {name: b"x"})
        with pytest.raises(ArchiveError, match="holds a file without a name"):
            unpack(path, folder, lambda _: True)
    path = write_zip(tmp_path / "a.zip", {"": b"x"})
    with pytest.raises(ArchiveError, match="holds a file without a name"):
        unpack(path, folder, lambda _: True)


@pytest.mark.parametrize("write", [write_zip, write_tar])
@pytest.mark.parametrize("is_wanted", [True, False])
def test_an_archive_that_unpacks_to_too_much_is_refused(
    write: object, is_wanted: bool, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(write)
    monkeypatch.setattr(unpacking, "LEAST_BYTES", 1 << 20)
    fits = write(tmp_path / "fits", {"a": bytes(1 << 19)})
    unpack(fits, folder, lambda _: True)
    assert fits.stat().st_size * unpacking.MOST_RATIO < 1 << 20  # so LEAST_BYTES is the limit
    bomb = write(tmp_path / "bomb", {"b": bytes(1 << 19), "c": bytes(1 << 20)})
    with pytest.raises(ArchiveError, match="unpacks to more than 1,048,576 bytes, 100 times"):
        unpack(bomb, folder, lambda _: is_wanted)
    assert not (folder / "c").exists()


def test_many_empty_files_are_too_much_too(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "LEAST_BYTES", 1 << 16)
    monkeypatch.setattr(unpacking, "MOST_RATIO", 1)
    path = write_tar(tmp_path / "a", {f"{number:08d}": b"" for number in range(2000)})
    with pytest.raises(ArchiveError, match="unpacks to more than"):
        unpack(path, folder, lambda _: True)


def test_a_tar_whose_names_take_the_space_is_refused(tmp_path: Path, folder: Path) -> None:
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        path = tmp_path / str(form)
        with tarfile.open(path, "w:gz", format=form) as archive:
            archive.addfile(tarfile.TarInfo("a/" * (unpacking.HEADS_BYTES // 2) + "b"))
        with pytest.raises(ArchiveError, match="more than 1,048,576 bytes that are no file's"):
            unpack(path, folder, lambda _: True)


def test_what_follows_a_tar_is_not_read_for_ever(tmp_path: Path, folder: Path) -> None:
    path = write_tar(tmp_path / "a", {"a": b""})
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(2 << 20)))
    with pytest.raises(ArchiveError, match="more than 1,048,576 bytes that are no file's"):
        unpack(path, folder, lambda _: True)


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_folders_in_folders_have_an_end(write: object, tmp_path: Path, folder: Path) -> None:
    assert callable(write)
    for depth, problem in ((99, None), (100, "holds a file in 100 folders; at most 99")):
        path = write(tmp_path / str(depth), {"a/" * depth + "b": b""})
        if problem is None:
            unpack(path, folder, lambda _: True)
        else:
            with pytest.raises(ArchiveError, match=problem):
                unpack(path, folder, lambda _: True)


def test_what_does_not_fit_onto_the_disk_is_not_begun(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    path = write_zip(tmp_path / "a", {"a": bytes(1001)})
    with pytest.raises(ArchiveError, match=r"holds 'a' of 1,001 bytes, and .* has room for 1,000"):
        unpack(path, folder, lambda _: True)
    assert written(folder) == {}
