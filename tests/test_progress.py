"""How far a long job is, in lines: what is counted, how fast, how long it will take."""

import io

from fieldtrial.panel.progress import LINE_SECONDS, RECENT_SECONDS, Advance
from fieldtrial.panel.terminal import console


def test_lines_say_how_far_it_is_and_what_an_earlier_command_did_counts_no_speed() -> None:
    now, out = [0.0], io.StringIO()
    with Advance(console(file=out), "detect", 10_000, 4_000, now=lambda: now[0]) as advance:
        assert advance.text() == "4,000/10,000 frames"
        for _ in range(12):
            now[0] += 1
            advance.add(100)
        now[0] = 60
        advance.add(0)
        assert advance.text() == "5,200/10,000 frames, 20.0 frames/s, 0:04:00 left"
        now[0] = 60 + 10 * RECENT_SECONDS
        advance.add(0)
        assert advance.text() == "5,200/10,000 frames", "nothing has come for long"
        advance.add(4_800)
    assert LINE_SECONDS == 10
    assert out.getvalue().splitlines() == [
        "0:00:10  detect: 5,000/10,000 frames, 100.0 frames/s, 0:00:50 left",
        "0:01:00  detect: 5,200/10,000 frames, 20.0 frames/s, 0:04:00 left",
        "0:11:00  detect: 5,200/10,000 frames",
        "0:11:00  detect: 10,000/10,000 frames, 8.0 frames/s",
    ]


def test_a_stream_has_no_total() -> None:
    now = [0.0]
    advance = Advance(console(file=io.StringIO()), "live", 0, now=lambda: now[0])
    now[0] = 2.0
    advance.add(50)
    assert advance.text() == "50 frames, 25.0 frames/s"
