"""The linear maps of Llama 3.1 8B by PyTorch on this machine's GPU: what a library makes of the same shapes.

bf16, weights of all layers apart (a map's weights do not stay in a cache), each measurement one CUDA graph. One JSON line a
figure: ms are those of one map, or of all maps of a step ("all"). With --out the lines go there, and values to stdout.
"""
import argparse
import json
import statistics
import sys

import torch

HIDDEN, INTERMEDIATE, QKV, VOCAB, LAYERS = 4096, 14336, 6144, 128256, 32
MAPS = {"qkv": (QKV, HIDDEN), "o": (HIDDEN, HIDDEN), "gate+up": (2 * INTERMEDIATE, HIDDEN), "down": (HIDDEN, INTERMEDIATE)}
ROWS = (1, 8, 32, 64, 128, 512, 2048)


def milliseconds(work, runs=10):
    """Median, fastest and slowest of a graph of `work`."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    times = []
    for run in range(runs + 2):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        if run >= 2:
            times.append(begin.elapsed_time(end))
    return statistics.median(times), min(times), max(times)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", help="a file for the lines")
    parser.add_argument("--layers", type=int, default=LAYERS)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("torch sees no GPU")
    out = open(options.out, "w") if options.out else sys.stdout

    def report(**fields):
        print(json.dumps(fields), file=out, flush=True)
        if out is not sys.stdout:
            print("torch", *(f"{value:.4g}" if isinstance(value, float) else value for value in fields.values()), sep=" | ", flush=True)

    device = torch.device("cuda")
    report(torch=torch.__version__, cuda=torch.version.cuda, gpu=torch.cuda.get_device_name())

    from_, to = (torch.empty(2**30, dtype=torch.uint8, device=device) for _ in range(2))
    median, fastest, slowest = milliseconds(lambda: to.copy_(from_))
    report(what="copy in the device", ms=median, fastest=fastest, slowest=slowest, gbs=2 * 2**30 / median / 1e6)
    del from_, to

    def random(*shape):
        return torch.randn(*shape, dtype=torch.bfloat16, device=device)

    for size in (4096, 8192):
        a, b, y = random(size, size), random(size, size), random(size, size)
        median, fastest, slowest = milliseconds(lambda: [torch.mm(a, b.t(), out=y) for _ in range(6)])
        tflops = 6 * 2 * size**3 / median / 1e9
        report(what=f"matrix product {size}", ms=median / 6, fastest=fastest / 6, slowest=slowest / 6, tflops=tflops)
        del a, b, y

    weights = {name: [random(*shape) * shape[1] ** -0.5 for _ in range(options.layers)] for name, shape in MAPS.items()}
    head = random(VOCAB, HIDDEN) * HIDDEN**-0.5
    for rows in ROWS:
        x = {k: random(rows, k) for k in (HIDDEN, INTERMEDIATE)}
        y = {n: torch.empty(rows, n, dtype=torch.bfloat16, device=device) for n in {shape[0] for shape in MAPS.values()}}
        head_rows = min(rows, 64)
        logits = torch.empty(head_rows, VOCAB, dtype=torch.bfloat16, device=device)

        def one(name):
            n, k = MAPS[name]
            for w in weights[name]:
                torch.mm(x[k], w.t(), out=y[n])

        def the_head():
            torch.mm(x[HIDDEN][:head_rows], head.t(), out=logits)

        def everything():
            for layer in range(options.layers):
                for name, (n, k) in MAPS.items():
                    torch.mm(x[k], weights[name][layer].t(), out=y[n])
            the_head()

        def figures(name, work, times, values, flop_rows):
            median, fastest, slowest = (ms / times for ms in milliseconds(work))
            gbs, tflops = 2 * values / median / 1e6, 2 * values * flop_rows / median / 1e9
            report(rows=rows, map=name, ms=median, fastest=fastest, slowest=slowest, gbs=gbs, tflops=tflops)

        for name, (n, k) in MAPS.items():
            figures(name, lambda: one(name), options.layers, n * k, rows)
        figures("head", the_head, 1, VOCAB * HIDDEN, head_rows)
        figures("all", everything, 1, options.layers * sum(n * k for n, k in MAPS.values()) + VOCAB * HIDDEN, rows)


main()
