from ethosteer.collect.web import limits
from ethosteer.collect.web.limits import RateLimit


def test_a_burst_passes_and_then_one_each_interval():
    now = [100.0]
    limit = RateLimit(rate=0.5, burst=3, clock=lambda: now[0])
    assert [limit.wait("a") for _ in range(5)] == [0, 0, 0, 2, 2], "refusals are not counted"
    assert limit.wait("b") == 0, "another key has its own burst"
    now[0] += 1.0
    assert limit.wait("a") == 1
    now[0] += 1.0
    assert [limit.wait("a"), limit.wait("a")] == [0, 2]
    now[0] += 1e6
    assert [limit.wait("a") for _ in range(4)] == [0, 0, 0, 2], "no more than the burst is saved"


def test_keys_are_forgotten_so_that_memory_does_not_grow(monkeypatch):
    monkeypatch.setattr(limits, "MOST_KEYS", 2)
    limit = RateLimit(rate=0.001, burst=1, clock=lambda: 0.0)
    assert [limit.wait(key) for key in "abc"] == [0, 0, 0]
    assert limit.wait("c") == 1000
    assert limit.wait("a") == 0, "the key used least recently is new again"
