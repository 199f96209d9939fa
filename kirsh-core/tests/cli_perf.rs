//! `kirsh perf`: the columns of nccl-tests, right results, and exit codes that say when not.

mod cli_support;

use cli_support::{Kirsh, Output};

/// One line of the table.
#[derive(Debug)]
struct Row {
    size: u64,
    count: u64,
    dtype: String,
    redop: String,
    root: i64,
    time_us: f64,
    algbw: f64,
    busbw: f64,
    wrong: String,
}

/// The table's lines, each of which must have every column.
fn table(out: &Output) -> Vec<Row> {
    assert_eq!(out.code, 0, "{out:?}");
    let lines = out.stdout_lines();
    lines.iter().filter(|line| !line.starts_with('#')).map(|line| row(line)).collect()
}

fn row(line: &str) -> Row {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let [size, count, dtype, redop, root, time, algbw, busbw, wrong] = columns[..] else {
        panic!("nine columns: {line:?}");
    };
    Row {
        size: size.parse().unwrap(),
        count: count.parse().unwrap(),
        dtype: dtype.to_owned(),
        redop: redop.to_owned(),
        root: root.parse().unwrap(),
        time_us: time.parse().unwrap(),
        algbw: algbw.parse().unwrap(),
        busbw: busbw.parse().unwrap(),
        wrong: wrong.to_owned(),
    }
}

fn perf(arguments: &str) -> Kirsh {
    Kirsh::new(["perf"]).args(arguments.split_whitespace())
}

/// Whether both are the same but for their rounding to two digits.
fn near(left: f64, right: f64) -> bool {
    (left - right).abs() <= 0.011 + 0.02 * left.abs()
}

#[test]
fn calls_of_several_channels_are_right_and_the_heading_says_how_many() {
    for collective in ["allreduce", "allgather", "alltoall"] {
        let out = perf(&format!("{collective} -n 2 -b 4 -e 1M -f 64 -i 4 -w 1 --channels 3")).run();
        let rows = table(&out);
        assert!(rows.iter().all(|row| row.wrong == "0"), "{out:?}");
        assert!(out.stdout_lines()[0].ends_with(", channels 3"), "{out:?}");
    }
    let out = perf("allreduce -n 2 --channels 9").run();
    assert!(out.code != 0 && out.stderr().contains("9"), "{out:?}");
}

#[test]
fn allreduce_prints_every_size_once_and_is_right_on_both_drivers() {
    for driver in ["uring", "poll"] {
        let out = perf("allreduce -n 2 -b 4 -e 1M -f 16 -i 4 -w 1").env("KIRSH_DRIVER", driver);
        let out = out.run();
        let rows = table(&out);
        let sizes: Vec<u64> = rows.iter().map(|row| row.size).collect();
        assert_eq!(sizes, [4, 64, 1024, 16 << 10, 256 << 10], "rank 0 alone prints: {out:?}");
        for row in &rows {
            assert_eq!((row.count, row.dtype.as_str()), (row.size / 4, "float32"), "{row:?}");
            assert_eq!((row.redop.as_str(), row.root), ("sum", -1), "{row:?}");
            assert_eq!(row.wrong, "0", "{row:?}");
            assert!(row.time_us > 0.0, "{row:?}");
            assert!(near(row.algbw, row.size as f64 / row.time_us / 1e3), "{row:?}");
            assert!(near(row.busbw, row.algbw), "2(n-1)/n is 1 for two ranks: {row:?}");
        }
        let head = &out.stdout_lines()[0];
        assert!(head.contains(&format!("driver {driver}")), "{head}");
    }
}

#[test]
fn busbw_of_allreduce_counts_what_each_link_carries() {
    let rows = table(&perf("allreduce -n 4 -b 1M -e 1M -i 3 -w 1").run());
    assert_eq!(rows.len(), 1);
    assert!(near(rows[0].busbw, 1.5 * rows[0].algbw), "2(n-1)/n is 1.5 for four: {rows:?}");
}

#[test]
fn elements_may_travel_encoded_and_are_as_right_as_that_can_be() {
    for wire in ["bf16", "f16", "int8"] {
        for collective in ["allreduce --out-of-place", "allgather", "reduce_scatter", "allgatherv"]
        {
            let rows = perf(&format!("{collective} -n 3 --wire {wire} -b 4K -e 64K -f 16 -i 3"));
            let out = rows.run();
            assert!(out.stdout_lines()[0].ends_with(&format!(", wire {wire}")), "{out:?}");
            for row in table(&out) {
                assert_eq!(row.wrong, "0", "{collective} {wire} {row:?}");
            }
        }
    }
    for (arguments, text) in [
        ("broadcast --wire int8", "wire=int8 in broadcast"),
        ("allreduce --wire bf16 --dtype float64", "wire=bf16 of float64"),
        ("allreduce --wire bf16 --algorithm tree", "choose from ring, halving_doubling"),
    ] {
        let out = perf(arguments).run();
        assert_eq!(out.code, 2, "{out:?}");
        assert!(String::from_utf8_lossy(&out.stderr).contains(text), "{out:?}");
    }
}

#[test]
fn broadcast_comes_from_the_root_and_its_busbw_is_its_algbw() {
    for driver in ["uring", "poll"] {
        let arguments = "broadcast -n 3 --root 2 --dtype int64 -b 8 -e 512K -f 64 -i 3";
        let rows = table(&perf(arguments).env("KIRSH_DRIVER", driver).run());
        assert_eq!(rows.len(), 3, "{rows:?}");
        for row in rows {
            assert_eq!((row.redop.as_str(), row.root, row.wrong.as_str()), ("none", 2, "0"));
            assert!((row.algbw - row.busbw).abs() < 1e-9, "{row:?}");
        }
    }
}

#[test]
fn a_barrier_is_one_line_of_no_bytes() {
    for driver in ["uring", "poll"] {
        for started in ["", " --started"] {
            let out = perf(&format!("barrier -n 2 -i 20{started}")).env("KIRSH_DRIVER", driver);
            let rows = table(&out.run());
            assert_eq!(rows.len(), 1, "{rows:?}");
            assert_eq!((rows[0].size, rows[0].count), (0, 0));
            assert!(rows[0].time_us > 0.0);
        }
    }
}

#[test]
fn every_operator_and_type_gives_its_exact_result() {
    let types = "int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 bfloat16 float32 float64 complex64 complex128";
    let cases = types.split(' ').map(|dtype| (dtype, "sum")).chain([
        ("int32", "prod"),
        ("bfloat16", "prod"),
        ("float16", "avg"),
        ("float64", "avg"),
        ("complex64", "prod"),
        ("complex128", "avg"),
        ("complex64", "premul_sum"),
        ("bfloat16", "premul_sum"),
        ("float32", "premul_sum"),
        ("float32", "min"),
        ("int8", "max"),
        ("uint8", "band"),
        ("int64", "bor"),
        ("uint32", "bxor"),
        ("int16", "land"),
        ("uint64", "lor"),
        ("int32", "lxor"),
    ]);
    for (dtype, op) in cases {
        let arguments =
            format!("allreduce -n 3 -b 40000 -e 40000 -i 1 -w 0 --dtype {dtype} --op {op}");
        let rows = table(&perf(&arguments).run());
        assert_eq!((rows[0].wrong.as_str(), rows[0].redop.as_str()), ("0", op), "{arguments}");
    }
}

#[test]
fn other_ways_to_call_give_the_same_result() {
    for way in ["--out-of-place", "--started", "--in-place", "--algorithm recursive_doubling"] {
        for driver in ["uring", "poll"] {
            let arguments = format!("allreduce -n 2 -b 64K -e 64K -i 3 {way}");
            let rows = table(&perf(&arguments).env("KIRSH_DRIVER", driver).run());
            assert_eq!(rows[0].wrong, "0", "{arguments}");
        }
    }
}

#[test]
fn what_is_not_checked_is_not_called_right() {
    let out = perf("allreduce -n 2 -b 4 -e 4 -i 2 --no-check").run();
    assert_eq!(table(&out)[0].wrong, "N/A");
    assert!(!out.stdout_lines().join("\n").contains("OK"), "{out:?}");
    let out = perf("allreduce -n 2 -b 4 -e 4 -i 2 --no-check --check").run();
    assert_eq!(table(&out)[0].wrong, "0", "the last one counts");
}

#[test]
fn csv_and_json_say_what_the_table_says() {
    let out = perf("allreduce -n 2 -b 1K -e 2K -i 2 --csv").run();
    assert_eq!(out.code, 0, "{out:?}");
    let lines = out.stdout_lines();
    assert_eq!(lines[0], "size,count,type,redop,root,time_us,algbw_gbps,busbw_gbps,wrong,calls");
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[1].starts_with("1024,256,float32,sum,-1,"), "{lines:?}");
    assert!(lines[2].ends_with(",0,2"), "{lines:?}");

    let out = perf("broadcast -n 2 -b 1K -e 2K -i 2 --json").run();
    assert_eq!(out.code, 0, "{out:?}");
    let value: serde_json::Value = serde_json::from_slice(&out.stdout).expect("one document");
    assert_eq!((&value["ranks"], &value["collective"]), (&2.into(), &"broadcast".into()));
    let results = value["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    assert_eq!((&results[1]["size"], &results[1]["wrong"]), (&2048.into(), &0.into()));
    assert!(results[1]["redop"].is_null() && results[1]["time_us"].as_f64().unwrap() > 0.0);
}

#[test]
fn under_a_launcher_it_joins_the_world_that_is_there() {
    let kirsh = env!("CARGO_BIN_EXE_kirsh");
    for extra in [&[][..], &["-n", "2"]] {
        let command = [kirsh, "perf", "allreduce", "-b", "4", "-e", "4", "-i", "2"];
        let run = Kirsh::new(["run", "-n", "2", "--no-prefix", "--"]).args(command).args(extra);
        let out = run.run();
        assert_eq!(table(&out).len(), 1, "two ranks, one table: {out:?}");
        assert!(out.stdout_lines()[0].contains("2 ranks"), "{out:?}");
    }
    let out = perf("barrier -n 3").env("RANK", "0").env("WORLD_SIZE", "1").run();
    assert_eq!(out.code, 1);
    assert!(out.stderr().contains("RANK and WORLD_SIZE"), "who says so: {out:?}");
}

#[test]
fn without_ranks_or_launcher_it_is_a_world_of_one() {
    let rows = table(&perf("allreduce -b 1K -e 1K -i 2").run());
    assert_eq!((rows[0].wrong.as_str(), rows[0].busbw), ("0", 0.0), "no link carries anything");
}

#[test]
fn what_cannot_be_meant_is_refused_before_any_rank_starts() {
    for (arguments, word) in [
        ("allreduce -b 2K -e 1K", "-e 1024"),
        ("allreduce --op band", "band"),
        ("allreduce --op median", "premul_sum"),
        ("allreduce --dtype byte", "bfloat16"),
        ("allreduce --out-of-place --started", "--started"),
        ("broadcast --out-of-place", "broadcast"),
        ("barrier --csv --json", "--json"),
        ("allreduce -i 0", "auto"),
        ("allreduce -f 1", "1"),
        ("allreduce -b 1X", "K, M or G"),
        ("allswap", "alltoallv"),
        ("reduce --out-of-place", "one array"),
        ("allgather --in-place", "two arrays"),
        ("scan --op avg", "avg"),
        ("reduce_scatter --op band", "band"),
    ] {
        let out = perf(arguments).args(["-n", "2"]).run();
        assert_eq!(out.code, 2, "{arguments}: {out:?}");
        assert!(out.stderr().contains(word), "{arguments}: {out:?}");
        assert!(out.stdout.is_empty());
    }
}

/// Each collective, what its count column is of so many elements on so many ranks, and what its
/// bus bandwidth is of its algorithm bandwidth.
type Collective = (&'static str, fn(u64, u64) -> u64, fn(f64) -> f64);

const COLLECTIVES: [Collective; 16] = {
    const WHOLE: fn(u64, u64) -> u64 = |elements, _| elements;
    const PART: fn(u64, u64) -> u64 = |elements, ranks| elements / ranks;
    const ONE: fn(f64) -> f64 = |_| 1.0;
    const OTHERS: fn(f64) -> f64 = |n| (n - 1.0) / n;
    [
        ("allreduce", WHOLE, |n| 2.0 * (n - 1.0) / n),
        ("reduce", WHOLE, ONE),
        ("broadcast", WHOLE, ONE),
        ("scan", WHOLE, ONE),
        ("exscan", WHOLE, ONE),
        ("allgather", PART, OTHERS),
        ("reduce_scatter", PART, OTHERS),
        ("gather", PART, OTHERS),
        ("scatter", PART, OTHERS),
        ("alltoall", PART, OTHERS),
        ("allgatherv", WHOLE, OTHERS),
        ("reduce_scatterv", WHOLE, OTHERS),
        ("gatherv", WHOLE, OTHERS),
        ("scatterv", WHOLE, OTHERS),
        ("alltoallv", WHOLE, OTHERS),
        ("barrier", |_, _| 0, ONE),
    ]
};

#[test]
fn every_collective_is_right_on_one_two_and_three_ranks_with_the_columns_of_nccl_tests() {
    for (collective, count, bus_factor) in COLLECTIVES {
        for ranks in [1, 2, 3] {
            let root = if has_root(collective) { ranks - 1 } else { 0 };
            let arguments = format!(
                "{collective} -n {ranks} --root {root} --dtype int32 -b 4 -e 50000 -f 111 -i 2 -w 1"
            );
            let rows = table(&perf(&arguments).run());
            let largest = rows.last().unwrap();
            // 4 * 111^2 bytes are 12321 elements, which three divides and two does not.
            let elements = if collective == "barrier" { 0 } else { 12321 };
            let parts = if count(6, 3) == 2 { ranks } else { 1 };
            assert_eq!(largest.count, count(elements, ranks), "{arguments}");
            assert_eq!(largest.size, 4 * (elements / parts * parts), "{arguments}");
            for row in &rows {
                assert_eq!(row.wrong, "0", "{arguments}: {row:?}");
                let busbw = row.algbw * bus_factor(ranks as f64);
                assert!(near(row.busbw, busbw), "{arguments}: {row:?} and not {busbw}");
                assert_eq!(row.root, if has_root(collective) { root as i64 } else { -1 });
                let redop = if reduces(collective) { "sum" } else { "none" };
                assert_eq!(row.redop, redop, "{arguments}");
            }
        }
    }
}

fn has_root(collective: &str) -> bool {
    ["reduce", "broadcast", "gather", "scatter", "gatherv", "scatterv"].contains(&collective)
}

fn reduces(collective: &str) -> bool {
    ["allreduce", "reduce", "scan", "exscan", "reduce_scatter", "reduce_scatterv"]
        .contains(&collective)
}

#[test]
fn started_calls_of_every_collective_are_right() {
    for (collective, ..) in COLLECTIVES {
        let arguments = format!("{collective} -n 3 --dtype float32 -b 40K -e 40K -i 1 --started");
        assert_eq!(table(&perf(&arguments).run())[0].wrong, "0", "{arguments}");
    }
}

#[test]
fn operators_are_right_in_what_reduces_a_part_or_the_ranks_below() {
    for collective in ["reduce", "reduce_scatter", "reduce_scatterv", "scan", "exscan"] {
        for op in ["premul_sum", "prod", "max"] {
            let arguments = format!("{collective} -n 3 --op {op} -b 20K -e 20K -i 1");
            assert_eq!(table(&perf(&arguments).run())[0].wrong, "0", "{arguments}");
        }
    }
    let arguments = "reduce_scatter -n 3 --op avg -b 20K -e 20K -i 1";
    assert_eq!(table(&perf(arguments).run())[0].wrong, "0");
}

#[test]
fn a_failing_call_fails_the_command_on_every_rank() {
    let out = perf("broadcast -n 2 --root 7 -b 4 -e 4").run();
    assert_eq!(out.code, 1, "{out:?}");
    assert!(out.stderr().contains("root 7"), "{out:?}");
    let out = perf("allreduce -n 2 --algorithm chain -b 4 -e 4").run();
    assert_eq!(out.code, 1, "{out:?}");
    assert!(out.stderr().contains("chain"), "{out:?}");
}

#[test]
fn a_number_of_sockets_is_used_and_shown_and_one_that_cannot_be_is_refused() {
    let out = perf("allreduce -n 2 --stripes 3 -b 1M -e 1M -i 3").run();
    let rows = table(&out);
    assert!(rows.len() == 1 && rows[0].wrong == "0", "{out:?}");
    assert!(out.stdout_lines()[0].ends_with(", 3 sockets"), "{out:?}");
    let out = perf("allreduce -n 2 --stripes 9 -b 1M -e 1M").run();
    assert!(out.code == 2 && out.stderr().contains("--stripes"), "{out:?}");
}
