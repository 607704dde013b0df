"""The decoder pool with real children: odd files, bombs, kills, hangs; nothing is left behind."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import io
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tagging import failpoints
from tagging.domain import FailureCode
from tagging.errors import StoreAwayError
from tagging.images import confinement, decoder_process
from tagging.images.content import allowed_formats
from tagging.images.decode import decode_image
from tagging.images.decoder_process import DecoderDied, DecoderProcess
from tagging.images.decoders import Decoded, DecodeRequest, DecoderPool, DecoderUnavailable
from tagging.images.model_input import to_model_input
from tagging.images.protocol import WireSpec
from tagging.images.rejection import ImageLimits

SPEC = WireSpec(kind="fashion-mnist", height=28, width=28, channels=1)
LIMITS = ImageLimits()
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's bound is Linux's")


def request(path: Path) -> DecodeRequest:
    return DecodeRequest(sha256=hashlib.sha256(path.read_bytes()).hexdigest(), path=path)


def write(path: Path, data: bytes) -> DecodeRequest:
    path.write_bytes(data)
    return request(path)


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_bomb(width: int, height: int, *, rows: int) -> bytes:
    """A grey PNG that announces `height` rows and holds `rows`, well compressed."""
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(bytes(width + 1)) for _ in range(rows)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = png_chunk(b"IHDR", head) + png_chunk(b"IDAT", packed)
    return b"\x89PNG\r\n\x1a\n" + body + png_chunk(b"IEND", b"")


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    with DecoderPool(2, LIMITS) as running:
        yield running


@pytest.fixture
def photos(tmp_path: Path) -> list[DecodeRequest]:
    """Forty small pictures, each its own."""
    requests = []
    for i in range(40):
        buffer = io.BytesIO()
        Image.new("RGB", (60, 60), (i, 0, 0)).save(buffer, "PNG")
        requests.append(write(tmp_path / f"{i}.png", buffer.getvalue()))
    return requests


def assert_answers(items: Sequence[DecodeRequest], answers: Sequence[Decoded]) -> None:
    """One answer each, in order; each failure has a code and a sentence."""
    assert [answer.sha256 for answer in answers] == [item.sha256 for item in items]
    for answer in answers:
        if answer.pixels is not None:
            assert answer.pixels.shape == (28, 28, 1)
            assert answer.pixels.dtype == np.uint8
            assert (answer.code, answer.detail) == (None, None)
        else:
            assert answer.code is not None
            assert answer.detail is not None
            assert len(answer.detail) > 20
            assert answer.detail.endswith(".")


def test_children_and_this_process_see_the_same_pixels(
    pool: DecoderPool, photos: list[DecodeRequest]
) -> None:
    answers = pool.decode(photos, SPEC)
    assert_answers(photos, answers)
    for item, answer in zip(photos, answers, strict=True):
        image = decode_image(item.path.read_bytes(), LIMITS, for_input=SPEC)
        assert answer.pixels is not None
        np.testing.assert_array_equal(answer.pixels, to_model_input(image, SPEC))


def test_nothing_to_do(pool: DecoderPool) -> None:
    assert pool.decode([], SPEC) == []


def test_an_unknown_kind_is_refused_before_any_work(
    pool: DecoderPool, photos: list[DecodeRequest]
) -> None:
    with pytest.raises(ValueError, match="no preprocessing of kind"):
        pool.decode(photos, WireSpec(kind="sketch", height=1, width=1, channels=1))


def test_progress_is_told_in_the_callers_thread(
    pool: DecoderPool, photos: list[DecodeRequest]
) -> None:
    told: list[tuple[int, int]] = []
    pool.decode(photos, SPEC, lambda done: told.append((done, threading.get_ident())))
    assert told[-1] == (len(photos), threading.get_ident())
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_what_progress_raises_ends_the_call_and_not_the_pool(
    pool: DecoderPool, photos: list[DecodeRequest]
) -> None:
    def lost(_: int) -> None:
        raise KeyError("lease lost")

    with pytest.raises(KeyError, match="lease lost"):
        pool.decode(photos, SPEC, lost)
    assert_answers(photos, pool.decode(photos, SPEC))


def test_two_threads_at_once_get_their_own_answers(
    pool: DecoderPool, photos: list[DecodeRequest]
) -> None:
    answers: dict[int, list[Decoded]] = {}

    def work(seed: int) -> None:
        items = photos[seed:] + photos[:seed]
        for _ in range(5):
            answers[seed] = pool.decode(items, SPEC)
            assert_answers(items, answers[seed])

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [0, 1, 2]
    assert all(answer.readable for some in answers.values() for answer in some)


def plain_pillow_loads(path: Path, formats: Sequence[str]) -> set[str]:
    """Which files under `path` a plain process opens and loads within the default limits."""
    program = """
import sys
from pathlib import Path
from PIL import Image
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        with Image.open(path, formats=sys.argv[2].split(",")) as image:
            if image.width * image.height <= 50_000_000:
                image.load()
                print(path.name, flush=True)
    except Exception:
        pass
"""
    arguments = [sys.executable, "-W", "ignore", "-c", program, str(path), ",".join(formats)]
    done = subprocess.run(arguments, capture_output=True, check=True)
    return set(done.stdout.decode().split("\n")) - {""}


def test_odd_images_end_with_pixels_or_a_reason(pool: DecoderPool, data_dir: Path) -> None:
    folder = data_dir / "odd-images"
    paths = sorted(folder.iterdir())
    items = [request(path) for path in paths]
    before = pool.process_ids
    answers = pool.decode(items, SPEC)
    assert_answers(items, answers)
    assert pool.process_ids == before  # not one of them cost a child
    readable = {path.name for path, a in zip(paths, answers, strict=True) if a.readable}
    loadable = plain_pillow_loads(folder, allowed_formats())
    assert loadable - readable == set()
    assert len(readable) > 300


def become_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def become_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def become_ring(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def become_socket(path: Path) -> None:
    path.unlink()
    here = Path.cwd()
    os.chdir(path.parent)  # its path as a whole may be longer than a socket's may be
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(path.name)
    finally:
        os.chdir(here)


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda path: path.unlink(), "is gone"),
        (lambda path: path.write_bytes(b"other bytes"), "no longer match"),
        (become_folder, "not a regular file"),
        (become_fifo, "not a regular file"),
        (become_ring, "not a regular file"),
        (become_socket, "not a regular file"),
    ],
    ids=[
        "gone",
        "altered",
        "a folder",
        "a FIFO that nobody writes",
        "a link to itself",
        "a socket",
    ],
)
def test_a_stored_file_that_is_not_what_it_was_is_missing(
    pool: DecoderPool, photos: list[DecodeRequest], prepare: Callable[[Path], object], words: str
) -> None:
    prepare(photos[3].path)
    answers = pool.decode(photos, SPEC)
    assert_answers(photos, answers)
    assert answers[3].code is FailureCode.MISSING
    assert words in str(answers[3].detail)
    assert sum(not answer.readable for answer in answers) == 1


def test_a_disk_that_gives_an_error_is_no_fault_of_the_image(
    pool: DecoderPool, photos: list[DecodeRequest]
) -> None:
    """Only who says that the file is gone, none, or another says something of the image."""
    file = photos[0].path
    unasked = DecodeRequest(sha256=photos[3].sha256, path=file / "below a file")
    before = pool.process_ids
    answers = pool.decode([*photos[:3], unasked, *photos[4:]], SPEC)
    assert answers[3].unread == f"{file / 'below a file'}: Not a directory"
    assert (answers[3].code, answers[3].detail, answers[3].readable) == (None, None, False)
    assert sum(not answer.readable for answer in answers) == 1
    assert pool.process_ids == before


def test_bombs_are_refused_or_bounded(pool: DecoderPool, tmp_path: Path) -> None:
    lying = png_bomb(2_000_000_000, 2_000_000_000, rows=0)
    assert len(lying) < 160
    items = [
        write(tmp_path / "lying.png", lying),
        write(tmp_path / "huge.png", png_bomb(40_000, 40_000, rows=4_000)),
        write(tmp_path / "within bounds.png", png_bomb(7_000, 7_000, rows=7_000)),
    ]
    answers = pool.decode(items, SPEC)
    assert_answers(items, answers)
    codes = [answer.code for answer in answers]
    assert codes == [FailureCode.TOO_MANY_PIXELS, FailureCode.TOO_MANY_PIXELS, None]


def test_a_file_with_too_many_bytes_is_not_read(
    photos: list[DecodeRequest], tmp_path: Path
) -> None:
    items = [*photos[:2], write(tmp_path / "big", bytes(5_000))]
    with DecoderPool(1, ImageLimits(max_bytes=4_000)) as small:
        answers = small.decode(items, SPEC)
    assert [answer.code for answer in answers] == [None, None, FailureCode.TOO_LARGE]


@linux_only
def test_too_much_memory_costs_the_image_only(photos: list[DecodeRequest], tmp_path: Path) -> None:
    bomb = write(tmp_path / "bomb.png", png_bomb(7_000, 7_000, rows=7_000))
    items = [*photos[:5], bomb, *photos[5:]]
    with DecoderPool(1, ImageLimits(max_memory_bytes=32 * 1024 * 1024)) as small:
        answers = small.decode(items, SPEC)
    assert_answers(items, answers)
    assert answers[5].code is FailureCode.DECODE_MEMORY
    assert sum(not answer.readable for answer in answers) == 1


def test_too_much_processor_time_costs_the_image_only(
    photos: list[DecodeRequest], tmp_path: Path
) -> None:
    slow = write(tmp_path / "slow.jpg", slow_jpeg())
    with DecoderPool(1, ImageLimits(max_seconds=0.05)) as hasty:
        answers = hasty.decode([*photos[:5], slow, *photos[5:]], SPEC)
    assert answers[5].code is FailureCode.DECODE_TIMEOUT
    assert "ATELIER_IMAGE_MAX_SECONDS" in str(answers[5].detail)
    assert sum(not answer.readable for answer in answers) == 1


def processor_seconds_of_children() -> float:
    """Of all that ended and was waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_an_image_gets_its_processor_time_and_no_more(
    photos: list[DecodeRequest], tmp_path: Path
) -> None:
    """Counted by the kernel, not by a clock: of a bound of 1 s, nothing is rounded up to 2."""
    slow = write(tmp_path / "slow.jpg", slow_jpeg())
    limits = ImageLimits(max_seconds=1)
    before = processor_seconds_of_children()
    with DecoderPool(1, limits) as calm:
        calm.decode(photos[:1], SPEC)
    between = processor_seconds_of_children()
    child = DecoderProcess(limits)
    child.wall_seconds = 100  # on a busy machine the clock must not come first
    with pytest.raises(DecoderDied) as caught:
        list(child.exchange(SPEC, [photos[0], slow]))
    assert caught.value.verdict[0] is FailureCode.DECODE_TIMEOUT
    assert "of processor time" in caught.value.verdict[1]
    start = between - before
    assert 0.5 < processor_seconds_of_children() - between - start < 1.5


def test_a_measured_pool_tells_what_each_image_took(tmp_path: Path) -> None:
    small, large = (encoded_png(edge) for edge in (40, 4_000))
    items = [
        write(tmp_path / "small.png", small),
        write(tmp_path / "large.png", large),
        write(tmp_path / "again.png", small[:-1] + b"?"),
        write(tmp_path / "broken.png", small[:90]),
    ]
    with DecoderPool(1, LIMITS, measured=True) as measuring:
        answers = measuring.decode(items, SPEC)
    assert [answer.readable for answer in answers] == [True, True, True, False]
    costs = [answer.cost for answer in answers if answer.cost is not None]
    assert len(costs) == 4
    assert costs[1].cpu_seconds > 10 * costs[0].cpu_seconds > 0
    if sys.platform == "linux":
        pixels = 4 * 4_000 * 4_000  # RGB has four bytes a pixel in Pillow
        assert pixels < costs[1].peak_bytes < LIMITS.max_memory_bytes
        assert all(cost.peak_bytes < pixels // 4 for cost in (costs[0], *costs[2:]))  # its own peak


def test_a_pool_measures_only_when_told(pool: DecoderPool, photos: list[DecodeRequest]) -> None:
    assert all(answer.cost is None for answer in pool.decode(photos, SPEC))


def encoded_png(edge: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (edge, edge), "red").save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def slow_jpeg(scans: int = 500) -> bytes:
    """A progressive JPEG of 80 kB whose last scan is repeated: some seconds' work, as an attack."""
    buffer = io.BytesIO()
    Image.new("L", (4_000, 4_000)).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last_scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last_scan * scans + data[-2:]


class Killer(threading.Thread):
    """Sends a signal to children of a pool as soon as it sees one at work."""

    def __init__(self, pool: DecoderPool, number: signal.Signals, times: int) -> None:
        super().__init__()
        self._pool, self._number, self._times = pool, number, times

    def run(self) -> None:
        for _ in range(self._times):
            time.sleep(0.02)
            for pid in self._pool.process_ids[:1]:
                os.kill(pid, self._number)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGXCPU])
def test_children_killed_from_outside_cost_nothing(
    photos: list[DecodeRequest], number: signal.Signals
) -> None:
    items = photos * 20
    with DecoderPool(2, LIMITS) as victim:
        killer = Killer(victim, number, times=4)
        killer.start()
        answers = [victim.decode(items, SPEC) for _ in range(3)]
        killer.join()
    for some in answers:
        assert_answers(items, some)
        assert all(answer.readable for answer in some)


def test_a_child_killed_while_idle_is_replaced(photos: list[DecodeRequest]) -> None:
    with DecoderPool(1, LIMITS) as victim:
        victim.decode(photos, SPEC)
        [before] = victim.process_ids
        os.kill(before, signal.SIGKILL)
        wait_for(lambda: not is_running(before))
        assert all(answer.readable for answer in victim.decode(photos, SPEC))
        assert victim.process_ids != [before]


def is_running(pid: int) -> bool:
    """Neither gone nor a zombie that its parent has not looked at yet."""
    status = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, check=False)
    return status.returncode == 0 and not status.stdout.startswith(b"Z")


@pytest.fixture
def orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where children that start from now on look for orders to fail. A few seconds are enough to
    see that one hangs."""
    monkeypatch.setattr(decoder_process, "_GRACE_SECONDS", 1.0)
    monkeypatch.setattr(decoder_process, "_END_SECONDS", 0.2)
    folder = tmp_path / "orders"
    folder.mkdir()
    failpoints.switch_on(folder)
    yield folder
    failpoints.switch_on(None)


HASTY = ImageLimits(max_seconds=0.1)


def test_an_image_that_is_in_hand_is_blamed_for_a_hang(
    photos: list[DecodeRequest], orders: Path
) -> None:
    (orders / "decoder.image").write_text(f"hang key={photos[1].sha256} always")
    with DecoderPool(1, HASTY) as hanging:
        [before] = hanging.process_ids
        answers = hanging.decode(photos[:4], SPEC)
        assert hanging.process_ids != [before]
        assert is_gone(before)
    assert [a.code for a in answers] == [None, FailureCode.DECODE_TIMEOUT, None, None]


def test_an_image_that_is_waited_for_is_not_blamed(
    photos: list[DecodeRequest], orders: Path
) -> None:
    """A server restarts, a disk has a bad sector: the child hangs before it has any bytes."""
    (orders / "decoder.read").write_text(f"hang key={photos[1].sha256} always")
    told: list[int] = []
    with DecoderPool(1, HASTY) as hanging:
        [before] = hanging.process_ids
        answers = hanging.decode(photos[:4], SPEC, told.append)
        assert len(hanging.process_ids) == 1
        assert is_gone(before)
    assert [answer.code for answer in answers] == [None] * 4
    assert [answer.readable for answer in answers] == [True, False, True, True]
    assert f"{photos[1].path}: no bytes within" in str(answers[1].unread)
    assert told.count(1) > 1, "who waits for a disk, and not for ever, is not stuck"


def test_a_child_that_was_stopped_before_it_read_blames_nobody(
    photos: list[DecodeRequest], orders: Path
) -> None:
    assert orders.is_dir()
    with DecoderPool(1, HASTY) as hanging:
        os.kill(hanging.process_ids[0], signal.SIGSTOP)
        answers = hanging.decode(photos[:4], SPEC)
    assert [answer.readable for answer in answers] == [False, True, True, True]
    assert answers[0].code is None
    assert answers[0].unread is not None


def test_a_disk_that_is_away_fails_the_call_and_not_the_pool(
    photos: list[DecodeRequest], orders: Path
) -> None:
    (orders / "decoder.read").write_text("hang always")
    with DecoderPool(2, HASTY) as hanging:
        with pytest.raises(StoreAwayError, match=r"does not answer .*no bytes within"):
            hanging.decode(photos[:8], SPEC)
        (orders / "decoder.read").unlink()

        def both_work() -> bool:  # one may do it all while the other's child is yet to come
            assert all(answer.readable for answer in hanging.decode(photos, SPEC))
            return len(hanging.process_ids) == 2

        wait_for(both_work)


def test_beside_a_child_that_cannot_be_ended_no_other_is_started(
    photos: list[DecodeRequest], orders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that waits for a disk where the kernel waits with it (state D of ps(1))."""
    (orders / "decoder.read").write_text("hang")
    with DecoderPool(1, HASTY) as hanging:
        [unkillable] = hanging.process_ids
        monkeypatch.setattr(hanging._lanes[0]._child._process, "kill", lambda: None)  # type: ignore[union-attr]
        for _ in range(2):
            with pytest.raises(StoreAwayError, match=f"process {unkillable} cannot be ended"):
                hanging.decode(photos[:4], SPEC)
            assert hanging.process_ids == []
        os.kill(unkillable, signal.SIGKILL)
        assert all(answer.readable for answer in hanging.decode(photos, SPEC))
        assert len(hanging.process_ids) == 1
    assert is_gone(unkillable)


def test_the_others_do_the_work_of_a_child_that_cannot_be_ended(
    photos: list[DecodeRequest], orders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bad sector, over which a disk takes its time, keeps nothing else waiting."""
    (orders / "decoder.read").write_text(f"hang key={photos[1].sha256} always")
    with DecoderPool(2, HASTY) as hanging:
        for lane in hanging._lanes:
            monkeypatch.setattr(lane._child._process, "kill", lambda: None)  # type: ignore[union-attr]
        both = hanging.process_ids
        answers = hanging.decode(photos, SPEC)
        assert [a.sha256 for a in answers if not a.readable] == [photos[1].sha256]
        for _ in range(3):
            assert len(hanging.process_ids) == 1
            assert all(answer.readable for answer in hanging.decode(photos[2:], SPEC))
        [unkillable] = set(both) - set(hanging.process_ids)
        os.kill(unkillable, signal.SIGKILL)
        wait_for(lambda: all(lane.works for lane in hanging._lanes))
        assert all(answer.readable for answer in hanging.decode(photos[2:] * 20, SPEC))
        assert len(hanging.process_ids) == 2


@pytest.mark.parametrize("action", ["exit", "kill", "raise"])
def test_a_child_that_ends_before_it_read_an_image_blames_nobody(
    photos: list[DecodeRequest], orders: Path, action: str
) -> None:
    with DecoderPool(1, LIMITS) as dying:
        assert all(answer.readable for answer in dying.decode(photos[:1], SPEC))
        (orders / "decoder.read").write_text(action)
        assert all(answer.readable for answer in dying.decode(photos, SPEC))
        (orders / "decoder.read").write_text(f"{action} always")
        with pytest.raises(DecoderUnavailable, match="before they have read an image"):
            dying.decode(photos, SPEC)


def test_one_that_ends_with_an_image_in_hand_blames_it(
    photos: list[DecodeRequest], orders: Path
) -> None:
    (orders / "decoder.image").write_text(f"exit key={photos[2].sha256} always")
    with DecoderPool(1, LIMITS) as dying:
        answers = dying.decode(photos, SPEC)
    assert [a.sha256 for a in answers if not a.readable] == [photos[2].sha256]
    assert answers[2].code is FailureCode.DECODER_CRASH


@linux_only
def test_a_child_that_is_slow_and_works_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine short of processors no clock may fail a sound picture; its caller is told."""
    # The unit of what is measured is a hundredth of a second; a busy machine may give two in one.
    monkeypatch.setattr(decoder_process, "_PROBE_SECONDS", 1.0)
    told: list[int] = []
    with DecoderPool(1, ImageLimits(max_seconds=100)) as patient:
        child = patient._lanes[0]._child
        assert child is not None
        child.wall_seconds = 1.1  # as if the machine gave it next to nothing of its time
        # Seconds, on any machine: it is looked at once in a second.
        item = write(tmp_path / "slow.jpg", slow_jpeg(scans=800))
        answers = patient.decode([item], SPEC, told.append)
    assert [answer.code for answer in answers] == [None]
    assert told[-1] == 1
    assert 0 in told  # nothing was finished, but it was worked on


def test_a_child_that_starts_slowly_is_seen_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a starved machine that takes longer than a worker may seem to stand still."""
    monkeypatch.setattr(decoder_process, "_PROBE_SECONDS", 0.02)
    seen: list[None] = []
    DecoderProcess(LIMITS, on_working=lambda: seen.append(None)).close()
    assert seen


def test_who_may_open_no_file_blames_no_picture(
    photos: list[DecodeRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """How much time the child used cannot be told then."""

    def refuse(*_: object, **__: object) -> str:
        raise OSError(errno.EMFILE, "Too many open files")

    child = DecoderProcess(LIMITS)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", refuse)
        patch.setattr(decoder_process, "_PROBE_SECONDS", 0.0001)
        answers = list(child.exchange(SPEC, photos))
    child.close()
    assert [answer.code for answer in answers] == [None] * len(photos)


def test_a_crash_is_blamed_on_the_image_in_hand(photos: list[DecodeRequest]) -> None:
    """A SIGSEGV while images are in hand, as a bug in a decoder raises it."""
    child = DecoderProcess(LIMITS)
    answers = child.exchange(SPEC, photos * 50)
    next(answers)
    os.kill(child.pid, signal.SIGSEGV)
    with pytest.raises(DecoderDied) as caught:
        list(answers)
    assert not caught.value.outside
    assert caught.value.verdict[0] is FailureCode.DECODER_CRASH
    assert "SIGSEGV" in caught.value.verdict[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_groups_signals_are_the_parents_affair(
    pool: DecoderPool, photos: list[DecodeRequest], number: signal.Signals
) -> None:
    before = pool.process_ids
    for pid in before:
        os.kill(pid, number)
    assert all(answer.readable for answer in pool.decode(photos, SPEC))
    assert pool.process_ids == before


@linux_only
def test_files_and_processes_return_to_where_they_were(photos: list[DecodeRequest]) -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before, threads = open_files(), threading.active_count()
    seen: list[int] = []
    for _ in range(2):
        with DecoderPool(2, LIMITS) as short_lived:
            inside = open_files()
            for _ in range(3):
                seen += short_lived.process_ids
                os.kill(short_lived.process_ids[0], signal.SIGKILL)
                assert all(answer.readable for answer in short_lived.decode(photos, SPEC))
            assert open_files() <= inside
    assert open_files() == before
    assert threading.active_count() == threads
    assert all(is_gone(pid) for pid in seen)


def test_children_end_with_a_parent_that_is_killed() -> None:
    program = """
import sys, time
from tagging.images.decoders import DecoderPool
from tagging.images.rejection import ImageLimits
pool = DecoderPool(2, ImageLimits())
print(*pool.process_ids, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        parent.kill()
    assert len(pids) == 2
    wait_for(lambda: not any(is_running(pid) for pid in pids))


def test_children_know_no_secrets(
    photos: list[DecodeRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATELIER_DATABASE_URL", "postgresql://u:secret@host/db")
    with DecoderPool(1, LIMITS) as secretive:
        assert all(answer.readable for answer in secretive.decode(photos, SPEC))
        if sys.platform == "linux":
            environment = Path(f"/proc/{secretive.process_ids[0]}/environ").read_bytes()
            assert b"secret" not in environment


VICTIM = """
import ctypes, os, subprocess, sys

if sys.argv[1] == "capable":
    # Root's rights, which no service of ours has: they are gone with the next program.
    for right in range(64):
        ctypes.CDLL(None).prctl(24, right, 0, 0, 0)  # PR_CAPBSET_DROP
    os.execv(sys.executable, [sys.executable, sys.argv[0], "plain", *sys.argv[2:]])
raise SystemExit(subprocess.run([sys.executable, *sys.argv[2:], str(os.getpid())]).returncode)
"""
"""What starts a decoder, and knows its secrets."""

ATTACK = """
import contextlib, json, os, socket, sys
from pathlib import Path
from tagging.images import decoder

free, port, folder, parent = sys.argv[4:]

def taken_over(_requests, answers, *_):
    tries = {
        "environment": lambda: Path(f"/proc/{parent}/environ").read_bytes(),
        "memory": lambda: Path(f"/proc/{parent}/mem").open("rb").close(),
        "files": lambda: os.readlink(f"/proc/{parent}/fd/0"),
        "signal": lambda: os.kill(int(parent), 0),
        "connect": lambda: socket.create_connection(("127.0.0.1", int(port)), 10).close(),
        "listen": lambda: socket.create_server(("127.0.0.1", 0)).close(),
        "write": lambda: Path(folder, "photo").open("r+b").close(),
        "cut": lambda: os.truncate(Path(folder, "photo"), 0),
        "make": lambda: Path(folder, "made").touch(),
        "rename": lambda: Path(folder, "photo").rename(Path(folder, "renamed")),
        "remove": lambda: Path(folder, "old").unlink(),
        "start": lambda: os.waitpid(os.posix_spawn("/bin/sh", ["sh", "-c", ":"], {}), 0),
    }
    done = []
    for name, attempt in tries.items():
        with contextlib.suppress(OSError):
            attempt()
            done.append(name)
    os.write(answers, json.dumps(done).encode())

if free == "free":
    decoder.confine = lambda writable: None
decoder._serve = taken_over
decoder.main()
"""
"""What a decoder tries when a picture has taken it over; it answers with what it was able to do."""

HELD_SINCE = {
    1: {"environment", "memory", "files", "write", "make", "rename", "remove", "start"},
    3: {"cut"},
    4: {"connect", "listen"},
    6: {"signal"},
}
"""The version of Landlock -> what it keeps a decoder from."""


@pytest.mark.skipif(confinement.supported() == 0, reason="this kernel has no Landlock")
def test_a_decoder_that_is_taken_over_reaches_nobody(tmp_path: Path) -> None:
    (tmp_path / "victim.py").write_text(VICTIM)
    (tmp_path / "attack.py").write_text(ATTACK)
    limits = json.dumps(dataclasses.asdict(LIMITS))

    def able(how: str) -> set[str]:
        folder = tmp_path / how
        folder.mkdir()
        for name in ("photo", "old"):
            (folder / name).touch()
        with socket.create_server(("127.0.0.1", 0)) as server:
            attack = [str(tmp_path / "attack.py"), limits, "", "", how]
            attack += [str(server.getsockname()[1]), str(folder)]
            command = [sys.executable, str(tmp_path / "victim.py"), "capable", *attack]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
        assert done.returncode == 0, done.stderr
        return set(json.loads(b"[" + done.stdout.rpartition(b"[")[2]))

    everything = set[str]().union(*HELD_SINCE.values())
    held = [what for since, what in HELD_SINCE.items() if since <= confinement.supported()]
    assert able("free") == everything  # it would, if nothing held it
    assert able("confined") == everything - set[str]().union(*held)


def test_a_closed_pool_says_so(photos: list[DecodeRequest]) -> None:
    closed = DecoderPool(1, LIMITS)
    closed.close()
    closed.close()
    with pytest.raises(DecoderUnavailable, match="is closed"):
        closed.decode(photos, SPEC)


def test_closing_ends_what_is_in_progress(photos: list[DecodeRequest]) -> None:
    busy = DecoderPool(1, LIMITS)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            busy.decode(photos * 500, SPEC)
        except DecoderUnavailable as failure:
            failures.append(failure)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.1)
    busy.close()
    thread.join(10)
    assert not thread.is_alive()
    assert len(failures) == 1
    assert busy.process_ids == []


def test_children_that_do_not_start_are_reported_with_what_they_printed() -> None:
    with pytest.raises(DecoderUnavailable, match=r"did not start .*Traceback|No decoder process"):
        DecoderPool(1, BrokenLimits())
    with pytest.raises(ValueError, match="at least 1 process, got 0"):
        DecoderPool(0, LIMITS)


class BrokenLimits(ImageLimits):
    """Passes here, but the child gets a number that it refuses."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "max_pixels", -1)
