#!/usr/bin/env python3
"""vLLM's CPU build as a benchmark peer, through its offline API (`LLM`), the engine in this process.

  python vllm_peer.py --base DIR [--adapters DIR/bench-00 ...] --workload 8-distinct --prompt 32 --new 64

All requests are queued before the engine's first step. That step reads every prompt whole and chooses each request's
first token: prefill, including vLLM's checks of the inputs. Every later step chooses one more token for each request:
decode. So the phases are timed as they are, and a step that leaves a request out ends the run.

Its best mode on few cores: bf16; no second process for the engine, which would take a core from the kernels; Intel's
OpenMP, one thread bound to each core; compiled, except with adapters, for which vLLM turns compilation off. It pads
every adapter to `max_lora_rank`: here the lowest limit it has that holds all adapters given.
"""
import json, os, pathlib, re, sys

from common import Runner, arguments, machine_isa, parse_workload, prompt_ids, run

KV_BYTES = 2 << 30      # or vLLM would take most of the machine's memory; SmolLM2-135M needs 23 KB a token


def restart_with(environment):
    """OpenMP and vLLM read these when they are loaded, so they have to be there before Python is."""
    if all(os.environ.get(name) == value for name, value in environment.items()): return
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **environment})


def environment(threads):
    """What vLLM sets for its own workers when it starts any: `threads` OpenMP threads, each bound to one core."""
    cores = [str(core) for core in sorted(os.sched_getaffinity(0))[:threads]]
    preload, intel = os.environ.get("LD_PRELOAD", ""), pathlib.Path(sys.prefix, "lib/libiomp5.so")
    if intel.exists() and not re.search(r"lib[gi]?omp", preload): preload = f"{preload}:{intel}".lstrip(":")
    binding = ({"KMP_AFFINITY": f"granularity=fine,explicit,proclist=[{','.join(cores)}]", "KMP_BLOCKTIME": "5", "KMP_TPAUSE": "0"}
               if "libiomp" in preload else {"GOMP_CPU_AFFINITY": " ".join(cores)})
    return {"LD_PRELOAD": preload, "OMP_NUM_THREADS": str(threads), "VLLM_CPU_OMP_THREADS_BIND": ",".join(cores), **binding,
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_USE_AOT_COMPILE": "0",        # 0.32 can't load what it compiled ahead of time for a CPU: every start would compile
            "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}


class Run(Runner):
    def __init__(self, engine, adapters, new):
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind
        self.engine, self.adapters = engine, adapters       # a LoRARequest or None of each request
        self.params = SamplingParams(temperature=0, max_tokens=new, ignore_eos=True, detokenize=False, output_kind=RequestOutputKind.DELTA)

    def reset(self):
        if self.engine.has_unfinished_requests(): raise SystemExit("vLLM has not finished the round before")

    def prefill(self, prompts):
        from vllm.inputs import tokens_input
        for r, (prompt, adapter) in enumerate(zip(prompts, self.adapters)):
            self.engine.add_request(str(r), tokens_input(prompt), self.params, lora_request=adapter)
        self.step()

    def step(self):
        tokens = sum(len(request.outputs[0].token_ids) for request in self.engine.step())
        if tokens != len(self.adapters): raise SystemExit(f"vLLM chose {tokens} tokens in a step of {len(self.adapters)} requests")


def rank_limit(folders):
    """The lowest `max_lora_rank` that vLLM allows and that holds every adapter."""
    from typing import get_args
    from vllm.config.lora import MaxLoRARanks
    rank = max(json.loads((folder / "adapter_config.json").read_text())["r"] for folder in folders)
    return min((limit for limit in get_args(MaxLoRARanks) if limit >= rank), default=rank)


def main():
    ap = arguments(__doc__)
    ap.add_argument("--base", required=True); ap.add_argument("--adapters", nargs="*", default=[], type=pathlib.Path)
    a = ap.parse_args()
    restart_with(environment(a.threads))
    import torch, vllm
    from vllm.lora.request import LoRARequest
    requests, assigned = parse_workload(a.workload, len(a.adapters))
    adapters = [None if k is None else LoRARequest(a.adapters[k].name, k + 1, str(a.adapters[k])) for k in assigned]
    lora = {} if None in assigned else {"enable_lora": True, "max_loras": len(set(assigned)), "max_lora_rank": rank_limit(a.adapters)}
    llm = vllm.LLM(a.base, dtype="bfloat16", skip_tokenizer_init=True, enable_prefix_caching=False, max_model_len=a.prompt + a.new, max_num_seqs=requests,
                   max_num_batched_tokens=max(requests * a.prompt, a.prompt + a.new), enable_chunked_prefill=False, kv_cache_memory_bytes=KV_BYTES, **lora)
    run("vllm", f"vllm {vllm.__version__} torch {torch.__version__}", machine_isa(), "bf16", a, Run(llm.llm_engine, adapters, a.new),
        [prompt_ids(r, a.prompt, llm.model_config.get_vocab_size()) for r in range(requests)])


if __name__ == "__main__": main()
