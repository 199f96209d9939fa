"""Predictions from Python: the command's numbers, its texts, and plain numbers."""

import dataclasses
import json
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

import kirsh
from launch import clean_environment


def command(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "kirsh", "simulate", *arguments, "--json"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("arguments", "keywords"),
    [
        (["allreduce", "-n", "64"], {"ranks": 64}),
        (
            "allreduce -n 1024 -s 100M --bandwidth 10Gbit --latency 50us".split(),
            {"ranks": 1024, "size": "100M", "bandwidth": "10Gbit", "latency": "50us"},
        ),
        (
            "allreduce -n 16 -s 100M --bandwidth 1Gbit --wire int8".split(),
            {"ranks": 16, "size": "100M", "bandwidth": "1Gbit", "wire": "int8"},
        ),
        (
            "alltoall -n 12 -s 1001 --ranks-per-host 4 --cores 2 --dtype int64".split(),
            {"ranks": 12, "size": 1001, "ranks_per_host": 4, "cores": 2, "dtype": "int64"},
        ),
        (
            "allreduce -n 32 --hosts-per-switch 8 --oversubscription 2 --op max "
            "--straggler 1.5 --straggler-rank 7".split(),
            {
                "ranks": 32,
                "hosts_per_switch": 8,
                "oversubscription": 2,
                "op": kirsh.MAX,
                "straggler": 1.5,
                "straggler_rank": 7,
            },
        ),
        (
            "broadcast -n 9 -s 64K --hosts-per-switch 3 --algorithm chain --straggler 2".split(),
            {
                "ranks": 9,
                "size": 64 << 10,
                "hosts_per_switch": 3,
                "algorithm": "chain",
                "straggler": "2",
            },
        ),
    ],
)
def test_the_answers_are_those_of_the_command(arguments, keywords):
    document = command(*arguments)
    rows = kirsh.simulate(arguments[0], **keywords)
    assert len(rows) == len(document["results"]) >= 1
    for row, line in zip(rows, document["results"], strict=True):
        assert isinstance(row, kirsh.Simulated)
        assert row.size == document["size"]
        assert row.seconds == line["time_us"] / 1e6
        assert (row.algbw, row.busbw) == (line["algbw_gbps"], line["busbw_gbps"])
        for name in ("algorithm", "slice", "bytes_sent", "steps", "chosen"):
            assert getattr(row, name) == line[name], name
    assert [row.seconds for row in rows] == sorted(row.seconds for row in rows)


def test_numbers_in_base_units_mean_what_texts_mean():
    texts = {"size": "3M", "bandwidth": "2.5Gbit", "latency": "50us", "straggler": "1.25"}
    want = kirsh.simulate("allreduce", ranks=16, **texts)
    numbers = {"size": 3 << 20, "bandwidth": 2.5e9, "latency": 50e-6, "straggler": 1.25}
    assert kirsh.simulate("allreduce", ranks=16, **numbers) == want
    of_numpy = {
        "size": np.int64(3 << 20),
        "bandwidth": np.int64(2_500_000_000),
        "latency": np.float64(50e-6),
        "straggler": np.float32(1.25),
    }
    assert kirsh.simulate("allreduce", ranks=np.int32(16), **of_numpy) == want
    assert kirsh.simulate("allreduce", ranks=16, **{**numbers, "size": float(3 << 20)}) == want
    slower = kirsh.simulate("allreduce", ranks=16, **{**numbers, "bandwidth": 1e9})
    assert slower[0].seconds > 2 * want[0].seconds


def test_one_algorithm_all_and_the_chosen():
    every = kirsh.simulate("allreduce", ranks=8)
    assert kirsh.simulate("allreduce", ranks=8, algorithm="all") == every
    assert len({row.algorithm for row in every}) == len(every) > 3
    assert sum(row.chosen for row in every) == 1
    for row in every:
        assert kirsh.simulate("allreduce", ranks=8, algorithm=row.algorithm) == [row]


def test_a_table_has_the_costs_that_are_not_given(tmp_path):
    text = """
        kirsh-costs 1
        cores = 4
        fold_ns_per_byte = 0.1
        fold_half_ns_per_byte = 0.1
        move_ns_per_byte = 0.1
        local.latency_us = 1
        local.wire_ns_per_byte = 0
        local.frame_us = 1
        local.copy_ns_per_byte = 0.1
        remote.latency_us = 2
        remote.wire_ns_per_byte = 20
        remote.frame_us = 2
        remote.copy_ns_per_byte = 0.1
    """
    (tmp_path / "table").write_text(text)
    table = {"table": tmp_path / "table", "size": "64K"}
    row = kirsh.simulate("allreduce", ranks=4, algorithm="ring", **table)[0]
    line = command(
        *"allreduce -n 4 -s 64K --algorithm ring --table".split(), str(tmp_path / "table")
    )["results"][0]
    assert row.seconds == line["time_us"] / 1e6
    faster = kirsh.simulate("allreduce", ranks=4, algorithm="ring", bandwidth="100Gbit", **table)
    assert faster[0].seconds < row.seconds
    with pytest.raises(kirsh.KirshError, match="nowhere") as caught:
        kirsh.simulate("allreduce", ranks=4, table="/nowhere")
    assert caught.value.kind == "configuration"


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"ranks": 0}, "number of ranks is 0, and can be 1 to 65536"),
        ({"ranks": 65537}, "number of ranks is 65537"),
        ({"ranks": -1}, "ranks=-1 is not a number"),
        ({"ranks": 2.5}, "ranks=2.5 is not a number"),
        ({"size": "12X"}, "size='12X': give bytes, or a number with K, M or G"),
        ({"size": -1}, "size=-1: give bytes"),
        ({"size": 1.5}, "size=1.5: give bytes"),
        ({"size": 2**50}, "no call is that large"),
        ({"size": 2.0**80}, "no call is that large"),
        ({"bandwidth": "10"}, "bandwidth='10': give a rate such as 10Gbit"),
        ({"bandwidth": 10}, "bandwidth=10: rates from 1Mbit to 10Tbit"),
        ({"bandwidth": float("nan")}, "rates from 1Mbit"),
        ({"bandwidth": []}, r"bandwidth=\[\]: give a number or a text"),
        ({"latency": "50"}, "latency='50': give a time such as 50us"),
        ({"latency": 50}, "latency=50: latencies up to 10s"),
        ({"latency": -1e-6}, "latencies up to 10s"),
        ({"ranks_per_host": 0}, "ranks per host is 0"),
        ({"cores": 0}, "cores is 0"),
        ({"hosts_per_switch": 0}, "hosts per switch is 0"),
        ({"oversubscription": 2}, "needs the number of hosts per switch"),
        ({"hosts_per_switch": 2, "oversubscription": 2000}, "oversubscription is 2000"),
        ({"straggler": 0.5}, "straggler=0.5: give a factor from 1 to 1000"),
        ({"straggler": 2, "straggler_rank": 4}, "4 is not a rank of a world of 4"),
        ({"straggler_rank": 1}, "nobody says how slow"),
        ({"algorithm": "rings"}, "algorithm='rings' is none of ring"),
        ({"op": "mean"}, "op='mean' is none of sum"),
        ({"op": "band"}, "band is not defined on float32"),
        ({"dtype": "complex32"}, "dtype='complex32' is none of"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_says_what_could(keywords, said):
    with pytest.raises(kirsh.InvalidArgumentError, match=said) as caught:
        kirsh.simulate("allreduce", **{"ranks": 4, **keywords})
    assert caught.value.scope == "call"


def test_what_nothing_carries_out_is_unsupported():
    for keywords, said in [
        ({"collective": "allreduce", "algorithm": "chain"}, "chain does not carry out allreduce"),
        ({"collective": "alltoallv"}, "simulate the even form"),
    ]:
        with pytest.raises(kirsh.UnsupportedError, match=said):
            kirsh.simulate(ranks=4, **keywords)
    with pytest.raises(kirsh.InvalidArgumentError, match="collective='allreduces' is none of"):
        kirsh.simulate("allreduces", ranks=4)


def test_other_threads_run_while_it_thinks():
    asked, ran = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: (asked.wait(60), ran.set()))
    thread.start()
    # From here on this thread is not made to let go of the interpreter: another one runs only while
    # a prediction has let go of it by itself.
    switches = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        asked.set()
        for _ in range(50):
            kirsh.simulate("allreduce", ranks=512, algorithm="halving_doubling")
            if ran.is_set():
                break
        else:
            raise AssertionError("fifty predictions, and the other thread has not run")
    finally:
        sys.setswitchinterval(switches)
        thread.join(60)


def test_an_answer_is_a_value():
    row = kirsh.simulate("barrier", ranks=4)[0]
    assert pickle.loads(pickle.dumps(row)) == row
    assert dataclasses.asdict(row)["size"] == 0 and "seconds=" in repr(row)
    with pytest.raises(dataclasses.FrozenInstanceError):
        row.seconds = 0
