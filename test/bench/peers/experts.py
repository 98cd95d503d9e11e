"""transformers with ESFT adapters, one after another: BASE THREADS PROMPT NEW ADAPTER… prints tokens/s of each dtype as JSON."""
import json, os, pathlib, sys, time

base, threads, prompt, new, *adapters = sys.argv[1:]
os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": threads}
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

torch.set_num_threads(int(threads))


@torch.no_grad()
def put_experts(folder, model):
    for file in sorted(pathlib.Path(folder).glob("*.safetensors")):
        for key, value in load_file(file).items():
            _, _, layer, _, _, expert, part, _ = key.split(".")
            experts = model.model.layers[int(layer)].mlp.experts
            inner = experts.down_proj.shape[2]
            place = {"gate_proj": experts.gate_up_proj[int(expert)][:inner], "up_proj": experts.gate_up_proj[int(expert)][inner:],
                     "down_proj": experts.down_proj[int(expert)]}[part]
            place.copy_(value)


rates = {}
for name, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype).eval()
    ids = torch.randint(3, model.config.vocab_size, (1, int(prompt)), generator=torch.Generator().manual_seed(1))
    generate = lambda: model.generate(ids, max_new_tokens=int(new), min_new_tokens=int(new), do_sample=False, pad_token_id=0)
    with torch.no_grad():
        generate()
        seconds = []
        for adapter in adapters:
            put_experts(adapter, model)
            start = time.perf_counter()
            generate()
            seconds.append(time.perf_counter() - start)
    rates[name] = int(new) * len(seconds) / sum(seconds)
    del model
print(json.dumps(rates))
