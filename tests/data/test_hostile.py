"""Files that mean harm, or are broken in ways that a library would not notice: one line each, and little memory."""

import gzip
import os
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffenc_jax.config.sections import DataConfig
from diffenc_jax.core import process
from diffenc_jax.core.errors import InputError
from diffenc_jax.data import checks
from diffenc_jax.data.dataset import HELD_OUT, load_dataset
from tests.data.traced import traced
from tests.fuzz.fuzz_readers import idx_bytes, npy_bytes, zip_bytes

IMAGES = np.random.RandomState(0).randint(0, 256, (12, 6, 5, 3)).astype(np.uint8)
ZEROS = bytes(64 * 2**20)
LITTLE = 24 * 2**20


def read(path):
    return load_dataset(DataConfig(str(path)), "train", "test").splits


def refusal(path):
    """What is said of `path`, in one line that begins with a name; little memory is used on the way."""
    with traced() as memory, pytest.raises(InputError) as caught:
        read(path)
    said = str(caught.value)
    assert said.isprintable()
    assert len(said) < 500
    assert memory.peak < LITTLE
    return said


def assert_refused(path, content, message):
    """A file of this content, with a message that names it."""
    path.write_bytes(content)
    said = refusal(path)
    assert said.startswith(f"{path} ")
    assert message.strip() in said


def npy_header(shape, dtype="|u1", fill=0):
    """A .npy file's first bytes, its header filled up by so many spaces."""
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}{' ' * fill}\n".encode()
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text


ARRAYS = {
    "but its header, of shape [4, 6, 5, 3], needs": npy_header((4, 6, 5, 3)) + bytes(4 * 90 + 1),
    "but its header, of shape [4, 6, 5, 4], needs": npy_header((4, 6, 5, 4)) + bytes(4 * 90),
    "but its header, of shape [1099511627776, 1099511627776, 3], needs": npy_header((2**40, 2**40, 3)) + bytes(100),
    "must hold images [N, H, W, C] or [N, H, W]; this is [-2, -5, 3]": npy_header((-2, -5, 3)) + bytes(30),
    "must hold uint8, values 0 .. 255; this is object": npy_header((4, 4, 4), "|O") + bytes(512),
    "must hold uint8, values 0 .. 255; this is bool": npy_header((4, 4, 4), "|b1") + bytes(64),
    "must hold uint8, values 0 .. 255; this is int8": npy_header((4, 4, 4), "|i1") + bytes(64),
    "must hold uint8, values 0 .. 255; this is float32": npy_bytes(np.full((4, 4, 4), np.nan, np.float32)),
    "its header: Header info length (12063)": npy_header((4, 4, 4), fill=12_000) + bytes(64),
    "EOF: reading array header": npy_header((4, 4, 4), fill=2**26),
    "the magic string is not correct": zip_bytes({"a.npy": npy_bytes(IMAGES)}),
    "its format version (3, 0) is not supported": b"\x93NUMPY\x03\x00" + bytes(100),
}


@pytest.mark.parametrize("message", ARRAYS)
def test_npy(tmp_path, message):
    assert_refused(tmp_path / "a.npy", ARRAYS[message], message)


def damaged(archive):
    """One byte of the values changed, of which only the checksum knows."""
    at = archive.index(IMAGES.tobytes()) + 100
    return archive[:at] + bytes([archive[at] ^ 1]) + archive[at + 1 :]


def lying(archive, size):
    """With another unpacked size in the directory at the archive's end."""
    at = archive.rindex(b"PK\x01\x02") + 24
    return archive[:at] + struct.pack("<I", size) + archive[at + 4 :]


DEFLATED = zipfile.ZIP_DEFLATED
WHOLE = npy_bytes(IMAGES)
ARCHIVES = {
    "needs 4": zip_bytes({"a.npy": npy_header((4, 6, 5, 3)) + ZEROS}, DEFLATED),
    "EOF: reading array header": zip_bytes({"a.npy": npy_header((4, 6, 5, 3), fill=2**26)}, DEFLATED),
    "Bad CRC-32 for file": damaged(zip_bytes({"a.npy": WHOLE})),
    "Bad CRC-32 for file 'a.npy'": lying(zip_bytes({"a.npy": npy_header((2**20, 8, 8)) + ZEROS}, DEFLATED), 500),
    "is compressed in a way that numpy does not use": zip_bytes({"a.npy": WHOLE}, zipfile.ZIP_BZIP2),
    "is compressed in a way that numpy does not use ": zip_bytes({"a.npy": WHOLE}, zipfile.ZIP_LZMA),
    "its shape is [2, 0, 5, 3]": zip_bytes({"a.npy": npy_bytes(IMAGES[:2, :0])}),
    "its images: none": zip_bytes({"a.txt": b"hello", "b.npy": npy_bytes(np.zeros(3))}),
    "a is object": zip_bytes({"a.npy": npy_header((4, 4, 4), "|O") + bytes(512)}),
    "a is float64": zip_bytes({"a.npy": npy_bytes(IMAGES / 255)}),
    r"its images: a\nb, c\x1b[31m": zip_bytes({"a\nb.npy": WHOLE, "c\x1b[31m.npy": WHOLE}),
    "File is not a zip file": WHOLE,
}


@pytest.mark.parametrize("message", ARCHIVES)
def test_npz(tmp_path, message):
    assert_refused(tmp_path / "a.npz", ARCHIVES[message], message)


def test_npz_encrypted(tmp_path):
    archive = bytearray(zip_bytes({"a.npy": WHOLE}))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        archive[archive.rindex(mark) + at] |= 1
    (tmp_path / "a.npz").write_bytes(archive)
    assert "is encrypted" in refusal(tmp_path / "a.npz")


GREY = IMAGES[..., 0]
FILES = {
    "it is cut short or too long: its header promises 360 bytes": gzip.compress(idx_bytes(GREY) + ZEROS),
    "it is cut short or too long: its header promises 360": idx_bytes(GREY) + b"1",
    "promises 361 bytes, more than can be in": bytes([0, 0, 8, 3]) + struct.pack(">3I", 19, 1, 19) + bytes(9),
    "promises 79228162458924105385300197375 bytes": bytes([0, 0, 8, 3]) + b"\xff" * 12 + bytes(9),
    "more than can be in": gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**20, 64, 64) + bytes(99)),
    "it is cut short": bytes([0, 0, 8, 3, 0, 0]),
    "must hold uint8, values 0 .. 255; this is float32": bytes([0, 0, 13, 3]) + struct.pack(">3I", 1, 1, 1) + bytes(4),
    "must hold images [N, H, W, C] or [N, H, W]; this is [12]": bytes([0, 0, 8, 1]) + struct.pack(">I", 12) + bytes(12),
    "holds no images: its shape is [0, 6, 5]": idx_bytes(GREY[:0]),
    "Error -3 while decompressing": gzip.compress(idx_bytes(GREY))[:10] + b"\xff" * 50,
    "Compressed file ended before the end-of-stream marker": gzip.compress(idx_bytes(GREY))[:-1],
    "CRC check failed": gzip.compress(idx_bytes(GREY))[:-8] + bytes(8),
}


@pytest.mark.parametrize("message", FILES)
def test_idx(tmp_path, message):
    assert_refused(tmp_path / "images", FILES[message], message)


def small_memory(monkeypatch):
    monkeypatch.setattr(checks, "machine_memory", lambda: 2**20)


@pytest.mark.parametrize("suffix", [".npz", ".npy", "", ".gz"])
def test_more_than_the_memory_is_refused_unread(tmp_path, monkeypatch, suffix):
    small_memory(monkeypatch)
    shape = (2**14, 64, 64)
    path = tmp_path / f"a{suffix}"
    head = npy_header(shape) if suffix.startswith(".n") else bytes([0, 0, 8, 3]) + struct.pack(">3I", *shape)
    pack = {".npz": lambda data: zip_bytes({"a.npy": data}, DEFLATED), ".gz": gzip.compress}.get(suffix, bytes)
    path.write_bytes(pack(head + ZEROS))
    assert refusal(path).startswith(f"{path} ")
    assert "this machine has 0.00105 GB" in refusal(path)


def test_the_machine_has_memory():
    assert 2**28 < checks.machine_memory() < 2**50


def test_a_containers_limit_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "CONTAINER_LIMIT", tmp_path / "max")
    physical = checks.machine_memory()
    (tmp_path / "max").write_text("1000000\n")
    assert checks.machine_memory() == 1_000_000
    (tmp_path / "max").write_text("max\n")
    assert checks.machine_memory() == physical


BOUNDED = """
import resource, sys
from pathlib import Path
from diffenc_jax.data.user_files import open_path
from diffenc_jax.core import process
from diffenc_jax.core.errors import InputError
resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
try:
    open_path(Path(sys.argv[1])).splits["train"]()[:10]
except InputError as error:
    print(error)
"""


def test_ten_gigabytes_in_ten_megabytes(tmp_path):
    """A process that may have 2 GB refuses them at once."""
    piece = gzip.compress(ZEROS)
    path = tmp_path / "bomb"
    path.write_bytes(gzip.compress(idx_bytes(GREY)) + piece * 160)
    assert 9e6 < path.stat().st_size < 12e6
    said = subprocess.run([sys.executable, "-c", BOUNDED, path], capture_output=True, text=True, timeout=60)
    assert said.stderr == ""
    assert said.stdout == (
        f"{path} cannot be read as an IDX file: it is cut short or too long: its header promises 360 bytes\n"
    )


def save(folder, image, name="b.png", **options):
    """A folder of a plain picture and of `image`."""
    folder.mkdir(exist_ok=True)
    Image.fromarray(IMAGES[0]).save(folder / "a.png")
    image.save(folder / name, **options)
    return folder


def rgba(alpha):
    return Image.fromarray(np.concatenate([IMAGES[1], np.full((6, 5, 1), alpha, np.uint8)], -1))


def png_of_16_bits(path):
    """16 bits a colour, which Pillow reads but cannot write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 5, 6, 16, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes(5 * 3 * 2)) * 6)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


def palette(**options):
    image = Image.fromarray(IMAGES[1] // 100 * 100).quantize(27)
    image.info.update(options)
    return image


def wrong_pictures(top):
    """Yields (folder, what must be said of b.png in it)."""
    yield save(top / "grey", Image.fromarray(IMAGES[1, ..., 0])), r"is (6, 5, 1), but the first picture is (6, 5, 3)"
    yield save(top / "see-through", rgba(128)), "it is transparent in places; put it onto a background"
    yield save(top / "clear colour", palette(), transparency=0), "it is transparent in places"
    for dtype in (np.uint16, np.int32, np.float32):
        image = Image.fromarray(IMAGES[1, ..., 0].astype(dtype))
        name = "b.png" if dtype == np.uint16 else "b.tif"
        yield save(top / np.dtype(dtype).name, image, name), "save it as grey or RGB of 8 bits"
    deep = save(top / "16 bits a colour", rgba(255))
    png_of_16_bits(deep / "b.png")
    yield deep, "its pixels are RGB of 16 bits; save it as"
    yield save(top / "cmyk", Image.fromarray(IMAGES[1]).convert("CMYK"), "b.jpg"), "its pixels are CMYK; save it as"
    moving = [Image.fromarray(image) for image in IMAGES[:3]]
    moving = save(top / "moving", moving[0], "b.gif", save_all=True, append_images=moving[1:])
    yield moving, "it holds several pictures"
    cut = save(top / "cut", Image.fromarray(IMAGES[1]))
    (cut / "b.png").write_bytes((cut / "b.png").read_bytes()[:-40])
    yield cut, "cannot be read as a picture: "
    text = save(top / "text", Image.fromarray(IMAGES[1]))
    (text / "b.png").write_text("hello")
    yield text, "cannot be read as a picture: cannot identify image file"
    program = save(top / "program", Image.fromarray(IMAGES[1]))
    (program / "b.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 6\nshowpage\n")
    yield program, "cannot be read as a picture: cannot identify image file"
    empty = save(top / "empty", Image.fromarray(IMAGES[1]))
    (empty / "b.png").write_bytes(b"")
    yield empty, "cannot be read as a picture"
    folder = save(top / "folder", Image.fromarray(IMAGES[1]))
    (folder / "b.png").unlink()
    (folder / "b.png").mkdir()
    yield folder, "is a folder, where a file should be"
    pipe = save(top / "pipe", Image.fromarray(IMAGES[1]))
    (pipe / "b.png").unlink()
    os.mkfifo(pipe / "b.png")
    yield pipe, "is no regular file"
    for name, target in (("out", top / "text" / "a.png"), ("nowhere", top / "absent"), ("itself", Path("b.png"))):
        linked = save(top / name, Image.fromarray(IMAGES[1]))
        (linked / "b.png").unlink()
        (linked / "b.png").symlink_to(target)
        yield linked, "leads out of the folder by a link" if name == "out" else "does not exist"
    below = save(top / "below", Image.fromarray(IMAGES[1]))
    (below / "b.png").unlink()
    (below / "b.png").symlink_to(top / "text")
    yield below, "is a link to a folder; put the folder itself there"


def test_pictures(tmp_path):
    for folder, message in wrong_pictures(tmp_path):
        said = refusal(folder)
        assert said.startswith(f"{folder / 'b.'}"), said
        assert message in said


def test_a_picture_that_unpacks_to_a_bomb(tmp_path):
    """Of 13000 x 13000 pixels, in 20 kB; the first is refused by its header too, as no other gives the size."""
    Image.new("1", (13_000, 13_000)).save(tmp_path / "b.png")
    assert "could be decompression bomb" in refusal(tmp_path)
    Image.new("1", (9_000, 9_000)).save(tmp_path / "b.png")
    Image.fromarray(IMAGES[0]).save(tmp_path / "a.png")
    assert "is (9000, 9000, 1), but the first picture is (6, 5, 3)" in refusal(tmp_path)


def test_pictures_beyond_the_memory(tmp_path, monkeypatch):
    small_memory(monkeypatch)
    for name in ("a.png", "b.png"):
        Image.new("L", (1200, 1200)).save(tmp_path / name)
    assert "would take 0.00144 GB of memory" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (rgba(255), IMAGES[1]),
        (palette(), np.asarray(palette().convert("RGB"))),
        (Image.fromarray(IMAGES[1, ..., 0] > 99), np.where(IMAGES[1, ..., :1] > 99, 255, 0)),
        (Image.fromarray(np.stack([IMAGES[1, ..., 0], np.full((6, 5), 255, np.uint8)], -1)), IMAGES[1, ..., :1]),
    ],
    ids=["opaque", "palette", "black and white", "grey and opaque"],
)
def test_pictures_without_a_loss_are_right(tmp_path, image, expected):
    for name in "abc":
        image.save(tmp_path / f"{name}.png")
    np.testing.assert_array_equal(read(tmp_path)["train"][0], expected)


def test_a_single_picture_is_held_out(tmp_path):
    Image.fromarray(IMAGES[0]).save(tmp_path / "a.png")
    assert refusal(tmp_path) == f"{tmp_path} (train): this split has no images; give at least two, {HELD_OUT}"


def test_links_within_the_folder_are_followed(tmp_path):
    save(tmp_path, Image.fromarray(IMAGES[1]))
    (tmp_path / "c.png").symlink_to("b.png")
    splits = read(tmp_path)
    assert sorted(len(images) for images in splits.values()) == [1, 2]


def test_train_or_test_elsewhere(tmp_path):
    for split in ("train", "test"):
        save(tmp_path / split, Image.fromarray(IMAGES[1]))
    top = tmp_path / "top"
    top.mkdir()
    for split in ("train", "test"):
        (top / split).symlink_to(tmp_path / split)
    assert "train leads out of the folder by a link" in refusal(top)


def test_idx_elsewhere(tmp_path):
    (tmp_path / "images").write_bytes(idx_bytes(GREY))
    (tmp_path / "top").mkdir()
    for prefix in ("train", "t10k"):
        (tmp_path / "top" / f"{prefix}-images-idx3-ubyte").symlink_to(tmp_path / "images")
    assert "train-images-idx3-ubyte leads out of the folder by a link" in refusal(tmp_path / "top")


def test_a_name_is_no_instruction_to_the_terminal(tmp_path):
    (tmp_path / "a\n\x1b[31mb\udcff.png").write_text("hello")
    assert r"a\n\x1b[31mb\udcff.png cannot be read as a picture" in refusal(tmp_path)


@contextmanager
def not_as_root():
    """Nothing is closed to root."""
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        yield
    finally:
        os.seteuid(user)


PARTNERS = {"data_batch_1": "test_batch", "train-images-idx3-ubyte": "t10k-images-idx3-ubyte"}


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a", "a.png", *PARTNERS])
def test_closed_files_and_folders(name):
    with tempfile.TemporaryDirectory() as top:
        Path(top).chmod(0o755)
        folder = Path(top) / "images"
        folder.mkdir()
        for file in filter(None, (name, PARTNERS.get(name))):
            (folder / file).touch(mode=0)
        source = folder if name in (*PARTNERS, "a.png") else folder / name
        with not_as_root():
            said = refusal(source)
        assert said.startswith(f"{folder / name} cannot be read as ")
        assert said.endswith(": Permission denied")
        for mode in (0o000, 0o444):  # neither to be listed nor entered; to be listed alone
            folder.chmod(mode)
            with not_as_root():
                said = refusal(source)
            assert said.endswith((": Permission denied", "nor a path that can be read"))
            assert str(folder) in said


def test_a_closed_folder_among_pictures_is_not_passed_over():
    with tempfile.TemporaryDirectory() as top:
        Path(top).chmod(0o755)
        save(Path(top), Image.fromarray(IMAGES[1]))
        (Path(top) / "more").mkdir(mode=0)
        with not_as_root():
            assert refusal(Path(top)) == f"{top} cannot be read as a folder of pictures: Permission denied"


@pytest.mark.parametrize("source", ["~nobody-of-that-name/a", "a" * 5000, "/dev/null"])
def test_sources_that_are_no_paths(source):
    assert "nor a path that can be read" in refusal(source) or "is no regular file" in refusal(source)
