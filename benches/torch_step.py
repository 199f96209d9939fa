"""What communication adds to a training step under DistributedDataParallel: Kirsh beside Gloo.

    python benches/torch_step.py [--ranks 2] [--rate 1gbit] [--models mlp] [--wires bf16 int8] [--json FILE]
    python benches/torch_step.py --auto [--ranks 2] [--rate 1gbit] [--models mlp] [--json FILE]

Each rank trains the same model in turns: without DDP ("alone"), under DDP with a hook that sends nothing
("silent"), over Gloo, over Kirsh, over Kirsh with gradients in a wire format; the rounds repeat that. A
turn's time is that of the slowest rank. Shown are medians over the rounds, what each adds to a silent step,
which is what communication adds, and that beside what Gloo adds (medians of the ratios within a round).
Without --rate all ranks are on loopback, with it each is on a host of its own, a network namespace with a
shaped cable, which needs root and iproute2. Needs torch and the package kirsh; resnet18 needs torchvision.

With --auto the hook that chooses the wire format takes turns with the same hook without a format, for as many
steps as it needs to try some, and who begins changes from round to round. Shown are both steps, and what one takes
of the other: quartiles of the rounds, and of all steps together, those in which it tried formats among them.
"""

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time

from hosts import Hosts, Unavailable

# Of the step's added time over Gloo's: loopback, 1 Gbit/s, and there in fewer bytes.
GOALS = {"loopback": {"kirsh": 0.6}, "1gbit": {"kirsh": 1.0, "kirsh bf16": 0.6, "kirsh int8": 0.35}}

# Steps with "auto" over those without a format.
AUTO_GOAL = 1.02
PLAIN, AUTO = "kirsh none", "kirsh auto"


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rate", choices=["1gbit", "10gbit"])
    parser.add_argument("--models", nargs="+", default=["mlp", "transformer"], choices=sorted(MODELS))
    parser.add_argument("--wires", nargs="*", default=[], choices=["bf16", "f16", "int8", "auto"])
    parser.add_argument("--auto", action="store_true", help="what choosing the wire format costs, or gains")
    parser.add_argument("--rounds", type=int, help="5; with --auto 10")
    parser.add_argument("--steps", type=int, help="steps of a turn, after one to warm up: 5; with --auto 63")
    parser.add_argument("--json", help="where to write the figures")
    parser.add_argument("--as-rank", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (10 if arguments.auto else 5)
    arguments.steps = arguments.steps or (63 if arguments.auto else 5)
    return arguments


def mlp(torch):
    """25 MB of parameters."""
    nn = torch.nn
    model = nn.Sequential(
        nn.Linear(1024, 2048), nn.ReLU(), nn.Linear(2048, 1536), nn.ReLU(), nn.Linear(1536, 640)
    )
    return model, lambda: torch.randn(32, 1024)


def transformer(torch):
    """50 MB of parameters."""
    nn = torch.nn
    layer = nn.TransformerEncoderLayer(512, 8, 2048, dropout=0.0, batch_first=True)
    return nn.TransformerEncoder(layer, 4), lambda: torch.randn(2, 32, 512)


def resnet18(torch):
    """45 MB of parameters."""
    import torchvision

    return torchvision.models.resnet18(), lambda: torch.randn(4, 3, 96, 96)


MODELS = {"mlp": mlp, "transformer": transformer, "resnet18": resnet18}


def train(arguments):
    """One rank: the seconds of a step for each model, contestant and round, printed by rank 0."""
    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    import kirsh.torch

    def silent(_state: None, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        """All that DDP does but for the sending: gradients of this rank alone."""
        future = torch.futures.Future()
        future.set_result(bucket.buffer())
        return future

    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    groups = {"gloo": dist.group.WORLD, "kirsh": dist.new_group(backend="kirsh")}
    contestants = ["alone", "silent", "gloo", "kirsh", *(f"kirsh {wire}" for wire in arguments.wires)]
    if arguments.auto:
        contestants = [PLAIN, AUTO]
    found = {}
    for name in arguments.models:
        torch.manual_seed(1)
        models, states = {}, {}
        for contestant in contestants:
            model, draw = MODELS[name](torch)
            if contestant == "silent":
                model = DistributedDataParallel(model)
                model.register_comm_hook(None, silent)
            elif contestant != "alone":
                backend, *wire = contestant.split()
                model = DistributedDataParallel(model, process_group=groups[backend])
                if wire:
                    states[contestant] = state = kirsh.torch.HookState(wire=wire[0], group=groups[backend])
                    model.register_comm_hook(state, kirsh.torch.allreduce_hook)
            models[contestant] = model, torch.optim.SGD(model.parameters(), lr=1e-3)
        times = {contestant: [] for contestant in models}
        for number in range(arguments.rounds):
            for contestant in reversed(contestants) if number % 2 else contestants:
                model, optimizer = models[contestant]
                x = draw()
                for step in range(arguments.steps + 1):
                    if step == 1:
                        dist.barrier()
                        began = time.perf_counter()
                    optimizer.zero_grad()
                    model(x).square().mean().backward()
                    optimizer.step()
                took = torch.tensor([(time.perf_counter() - began) / arguments.steps])
                dist.all_reduce(took, dist.ReduceOp.MAX)
                times[contestant].append(took.item())
        size = sum(one.numel() * 4 for one in models[contestants[0]][0].parameters())
        found[name] = {"bytes": size, "times": times}
        if arguments.auto:
            found[name] |= {"chosen": states[AUTO].chosen, "measured": states[AUTO].measured}
    if dist.get_rank() == 0:
        print(json.dumps(found))
    dist.destroy_process_group()


def launch(arguments, hosts):
    """Starts the ranks, and returns what rank 0 has found."""
    command = [sys.executable, *sys.argv, "--as-rank"]
    address = "127.0.0.1" if hosts is None else hosts.address(0)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ranks = []
    for rank in range(arguments.ranks):
        named = {"RANK": str(rank), "WORLD_SIZE": str(arguments.ranks), "MASTER_ADDR": address,
                 "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
                 "GLOO_SOCKET_IFNAME": "lo" if hosts is None else "eth0"}
        start = subprocess.Popen if hosts is None else lambda *a, host=rank, **k: hosts.popen(host, *a, **k)
        ranks.append(start(command, env={**os.environ, **named}, stdout=subprocess.PIPE, text=True))
    said = [rank.communicate()[0] for rank in ranks]
    codes = [rank.returncode for rank in ranks]
    if any(codes):
        sys.exit(f"the ranks ended with {codes}")
    return json.loads(said[0].splitlines()[-1])


def rows(model, found, goals):
    times = found["times"]
    silent = times["silent"]
    for contestant, own in times.items():
        added = [one - base for one, base in zip(own, silent)]
        of_gloo = [one / (gloo - base) for one, gloo, base in zip(added, times["gloo"], silent)]
        yield {
            "model": model, "bytes": found["bytes"], "contestant": contestant,
            "step_ms": 1e3 * statistics.median(own), "added_ms": 1e3 * statistics.median(added),
            "added_of_gloo": statistics.median(of_gloo), "goal": goals.get(contestant),
        }


def rows_of_auto(model, found):
    plain, auto = found["times"][PLAIN], found["times"][AUTO]
    low, middle, high = statistics.quantiles([one / base for one, base in zip(auto, plain)], n=4)
    yield {
        "model": model, "bytes": found["bytes"], "none_ms": 1e3 * statistics.median(plain),
        "auto_ms": 1e3 * statistics.median(auto), "ratio": middle, "ratio_quartiles": [low, high],
        "ratio_of_all": sum(auto) / sum(plain), "chosen": found["chosen"], "measured": found["measured"],
        "goal": AUTO_GOAL,
    }


def show_auto(row):
    low, high = row["ratio_quartiles"]
    print(f"{row['model']:<12} {row['bytes'] / 1e6:>6.1f} {row['none_ms']:>9.1f} {row['auto_ms']:>9.1f} "
          f"{row['ratio']:>7.3f} ({low:.3f} to {high:.3f}) {row['ratio_of_all']:>7.3f} {row['goal']:>6.2f}  "
          f"{row['chosen']}")


def show(row):
    ratio = "" if row["contestant"] in ("alone", "silent", "gloo") else f"{row['added_of_gloo']:.2f}"
    goal = "" if row["goal"] is None else f"{row['goal']:.2f}"
    print(f"{row['model']:<12} {row['bytes'] / 1e6:>6.1f} {row['contestant']:<12} {row['step_ms']:>9.1f} "
          f"{row['added_ms']:>9.1f} {ratio:>8} {goal:>6}")


def main():
    arguments = parse()
    if arguments.as_rank:
        train(arguments)
        return
    try:
        if arguments.rate:
            with Hosts(arguments.ranks, arguments.rate) as hosts:
                found = launch(arguments, hosts)
        else:
            found = launch(arguments, None)
    except Unavailable as why:
        sys.exit(f"skipped: {why}")
    place = arguments.rate or "loopback"
    print(f"{arguments.ranks} ranks, {place}, {arguments.rounds} rounds of {arguments.steps} steps")
    if arguments.auto:
        table = [row for model in found for row in rows_of_auto(model, found[model])]
        print(f"{'model':<12} {'MB':>6} {'none ms':>9} {'auto ms':>9} {'auto/none, quartiles':>24} "
              f"{'all':>7} {'goal':>6}")
    else:
        table = [row for model in found for row in rows(model, found[model], GOALS.get(place, {}))]
        print(f"{'model':<12} {'MB':>6} {'':<12} {'step ms':>9} {'added ms':>9} {'of Gloo':>8} {'goal':>6}")
    for row in table:
        (show_auto if arguments.auto else show)(row)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump({"date": time.strftime("%Y-%m-%d"), "kernel": platform.release(), "cores": os.cpu_count(),
                       "ranks": arguments.ranks, "place": place, "rounds": arguments.rounds,
                       "steps": arguments.steps, "rows": table}, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
