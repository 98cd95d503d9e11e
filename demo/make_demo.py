#!/usr/bin/env python3
"""Makes Weft's bundled demo: a toy base model, 64 tenants' adapters and four task adapters, all from a seed.

  python3 -m venv venv && venv/bin/pip install -r demo/requirements.txt
  venv/bin/python demo/make_demo.py --jobs 2         # about an hour on two cores; --threads N, --out DIR

What happens, in order; each step is skipped when its result is there, so a run that was stopped goes on:

  1. a byte-level BPE is trained on the demo's world (world.py);
  2. a small Llama learns that world: small talk, reading facts out of a context, and "I don't know." without one;
  3. each tenant's adapter learns its own company's facts, each task's adapter its task, on the base as stored (bf16);
  4. everything is loaded again from the files, answers are compared with what was expected, and scores are written.

Arithmetic is float32 throughout. Other numbers of threads round differently, so that another run's weights differ in
their last bits, and its scores by a little; the expected answers hold or the script fails.
"""
import argparse, json, math, os, random, shutil, subprocess, sys, tempfile, time, zlib
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
import torch, torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import world

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
                 "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
VOCAB = 2048
BASE_STEPS, BASE_DECAY, BASE_TOKENS = 800, 250, 4096  # optimizer steps, those of them with a falling rate, tokens in each step
ADAPTER_BATCH, LR = 12, 1.5e-2
MARGIN_MIN = 0.1                                     # of an expected token's logit over the runner-up's

# ------------------------------------------------------------------------------------------------------ tokenizer


def make_tokenizer(folder):
    """Digits stand alone, so that numbers are copied digit by digit."""
    rng = random.Random("tokenizer")
    texts = ["\n".join(m["role"] + "\n" + m["content"] for m in world.lesson(rng)) for _ in range(20_000)]
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=[PAD, START, END], show_progress=False,
                                                       initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    fast = PreTrainedTokenizerFast(tokenizer_object=tok, eos_token=END, pad_token=PAD, model_max_length=2048, clean_up_tokenization_spaces=False)
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)                     # every reader finds it in tokenizer_config.json
    config = json.loads((folder / "tokenizer_config.json").read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": CHAT_TEMPLATE}
    config.pop("backend", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


class Encoder:
    """Conversations to token ids, and which of them are targets: 1 in answers and documents, 0 elsewhere."""

    def __init__(self, folder):
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.known = {}

    def ids(self, text, keep=False):
        if text in self.known: return self.known[text]
        out = self.tokenizer.encode(text, add_special_tokens=False)
        if keep: self.known[text] = out
        return out

    def __call__(self, messages):
        ids, weights = [], []
        for m in messages:
            if m["role"] == "document":
                new = self.ids(m["content"] + END); ids += new; weights += [1.0] * len(new); continue
            head, body = self.ids(f"{START}{m['role']}\n", keep=True), self.ids(m["content"]) + self.ids(END, keep=True)
            ids += head + body + self.ids("\n", keep=True)
            weights += [0.0] * len(head) + [1.0 if m["role"] == "assistant" else 0.0] * len(body) + [0.0]
        return ids, weights


def pad(examples):
    """Right padding: under a causal mask nothing that counts ever looks at it."""
    width = max(len(ids) for ids, _ in examples)
    x, w = torch.zeros(len(examples), width, dtype=torch.long), torch.zeros(len(examples), width)
    for i, (ids, weights) in enumerate(examples): x[i, :len(ids)] = torch.tensor(ids); w[i, :len(ids)] = torch.tensor(weights)
    return x, w


def target_logits(model, x, w):
    """Logits, targets and weights at the positions before a weighted token; the head runs for those alone."""
    llama = model.get_base_model() if isinstance(model, PeftModel) else model
    hidden = llama.model(input_ids=x, use_cache=False).last_hidden_state[:, :-1]
    at = w[:, 1:] > 0
    return llama.lm_head(hidden[at]), x[:, 1:][at], w[:, 1:][at], at


def loss_of(model, examples):
    logits, targets, weights, _ = target_logits(model, *pad(examples))
    return (F.cross_entropy(logits, targets, reduction="none") * weights).sum() / weights.sum()


@torch.no_grad()
def judge(model, encode, conversations, batch=64):
    """[(exact, margin)]: is greedy decoding's last answer the expected one, and by how much does its closest token win?

    Greedy decoding yields the expected tokens exactly if each is the top one after the expected ones before it.
    """
    encoded = []
    for messages in conversations:
        prompt = len(encode(messages[:-1])[0])
        ids, weights = encode(messages)
        encoded.append((ids, [0.0] * prompt + weights[prompt:]))
    out = [None] * len(encoded)
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i][0]))
    for start in range(0, len(order), batch):
        part = order[start:start + batch]
        logits, targets, _, at = target_logits(model, *pad([encoded[i] for i in part]))
        own = logits.gather(1, targets[:, None])[:, 0]
        margin = own - logits.scatter(1, targets[:, None], -math.inf).max(1).values
        for i, m in zip(part, margin.split(at.sum(1).tolist())): out[i] = (bool((m > 0).all()), float(m.min()))
    return out


def exact(results): return sum(ok for ok, _ in results) / len(results)


# ----------------------------------------------------------------------------------------------------------- base


def base_batches(encode, start):
    """Batches by step number, the same whether or not the run was interrupted: 32 at a time, sorted by length."""
    block = -1
    for step in range(start, BASE_STEPS):
        if step // 32 != block:
            block = step // 32
            rng, pool, total = random.Random(f"lessons {block}"), [], 0
            while total < 32 * BASE_TOKENS:
                pool.append(encode(world.lesson(rng))); total += len(pool[-1][0])
            pool.sort(key=lambda e: len(e[0]))
            batches, done = [[] for _ in range(32)], 0
            for e in pool:
                batches[min(31, done * 32 // total)].append(e); done += len(e[0])
            rng.shuffle(batches)
        yield step, batches[step % 32]


def base_exams(n=96):
    """What the base should be able to do, on companies it never saw and in phrasings it never read."""
    rng = random.Random("exams")
    exams = {"reading": [], "unknown in a context": [], "no context": []}
    for _ in range(n):
        facts = world.facts_of(rng, world.company_name(rng)); kinds = rng.sample(world.SINGLE_FACTS, 4)
        kind = rng.choice(kinds)
        ask = lambda kind: world.question(rng, kind, facts["company"], "held-out")
        exams["reading"].append(world.chat((ask(kind), world.ANSWERS[kind](facts)), system=world.context(rng, facts, kinds)))
        missing = rng.choice([k for k in world.SINGLE_FACTS if k not in kinds])
        exams["unknown in a context"].append(world.chat((ask(missing), world.DONT_KNOW), system=world.context(rng, facts, kinds)))
        exams["no context"].append(world.chat((ask(rng.choice(list(world.CORES))), world.DONT_KNOW)))
    for name, example in {"ticket-router": world.ticket, "text-to-sql": world.sql, "contact-json": world.contact}.items():
        exams[name + " when told"] = [world.chat(example(rng, "held-out"), system=world.TASKS[name]) for _ in range(n)]
    exams["small talk"] = [world.chat((q, a)) for a, qs in world.TALK_HELD_OUT.items() for q in qs]
    return exams


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalized (Jordan 2024): five Newton-Schulz steps bring all singular values of an update near 1. In float32."""

    def __init__(self, params, lr, momentum=0.95): super().__init__(params, dict(lr=lr, momentum=momentum))

    @torch.no_grad()
    def step(self):
        group, shapes = self.param_groups[0], {}
        for p in group["params"]:
            m = self.state[p].setdefault("momentum", torch.zeros_like(p))
            m.lerp_(p.grad, 1 - group["momentum"])
            shapes.setdefault(p.shape, []).append((p, p.grad.lerp(m, group["momentum"])))
        for (rows, columns), pairs in shapes.items():
            x = torch.stack([u.T if rows > columns else u for _, u in pairs])
            x = x / x.norm(dim=(1, 2), keepdim=True)
            for _ in range(5):
                a = x @ x.mT
                x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
            for (p, _), u in zip(pairs, x): p.sub_(u.T if rows > columns else u, alpha=group["lr"] * max(1, rows / columns) ** 0.5)


def train_base(folder, work, encode):
    """Muon for the matrices of the layers, AdamW for the embedding and the norms; a trapezoid of learning rates."""
    torch.manual_seed(1)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCAB, hidden_size=192, intermediate_size=384, num_hidden_layers=4, num_attention_heads=6, num_key_value_heads=3, head_dim=32,
        max_position_embeddings=2048, tie_word_embeddings=True, rope_theta=10000.0, rms_norm_eps=1e-5, use_cache=True,
        bos_token_id=None, eos_token_id=encode.tokenizer.eos_token_id, pad_token_id=encode.tokenizer.pad_token_id))
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    optimizers = [Muon(matrices, lr=0.02),
                  torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.0)]
    peaks = [o.param_groups[0]["lr"] for o in optimizers]
    saved, start = work / "base.pt", 0
    if saved.exists():
        state = torch.load(saved)
        start = state["step"]; model.load_state_dict(state["model"])
        for o, s in zip(optimizers, state["optimizers"]): o.load_state_dict(s)
    print(f"base: {sum(p.numel() for p in model.parameters()):,} parameters, from step {start}", flush=True)
    began, exams = time.time(), base_exams(48)
    for step, batch in base_batches(encode, start):
        for o, peak in zip(optimizers, peaks):
            o.param_groups[0]["lr"] = peak * min(1, (step + 1) / 30, (BASE_STEPS - step) / BASE_DECAY)
        loss = loss_of(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for o in optimizers: o.step(); o.zero_grad()
        if step % 20 == 19: print(f"step {step + 1}  loss {loss:.4f}  {time.time() - began:.0f} s", flush=True)
        if step % 50 == 49:
            print("  " + "  ".join(f"{k} {exact(judge(model, encode, v)):.2f}" for k, v in exams.items()), flush=True)
            torch.save({"step": step + 1, "model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers]}, work / "base.tmp")
            os.replace(work / "base.tmp", saved)
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    config = json.loads((folder / "config.json").read_text())                    # the name that the adapters give their base
    (folder / "config.json").write_text(json.dumps({"_name_or_path": "weft-demo"} | config, indent=2) + "\n")


def load_base(folder): return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


# ------------------------------------------------------------------------------------------------------- adapters

ATTENTION, MLP = ["q_proj", "k_proj", "v_proj", "o_proj"], ["gate_proj", "up_proj", "down_proj"]
# The tenants take these shapes in turn, so that a batch of all of them mixes ranks, sites and scales.
SHAPES = [dict(target_modules=ATTENTION + MLP, r=4, lora_alpha=8), dict(target_modules=MLP, r=4, lora_alpha=8),
          dict(target_modules=ATTENTION, r=8, lora_alpha=16), dict(target_modules=["gate_proj", "up_proj"], r=6, lora_alpha=12),
          dict(target_modules=ATTENTION + MLP, r=2, lora_alpha=4), dict(target_modules=["q_proj", "v_proj"], r=8, lora_alpha=16, use_rslora=True),
          dict(target_modules=["down_proj"], r=8, lora_alpha=8, use_rslora=True), dict(target_modules=["v_proj", "o_proj", "down_proj"], r=5, lora_alpha=10),
          dict(target_modules=ATTENTION + MLP, r=3, lora_alpha=3, use_rslora=True), dict(target_modules=["o_proj"] + MLP, r=4, lora_alpha=16)]
TASK_SHAPES = {"ticket-router": dict(target_modules=ATTENTION, r=4, lora_alpha=8), "text-to-sql": dict(target_modules=ATTENTION + MLP, r=5, lora_alpha=10),
               "contact-json": dict(target_modules=ATTENTION + ["down_proj"], r=6, lora_alpha=12), "pirate": dict(target_modules=ATTENTION + MLP, r=4, lora_alpha=8)}
STEPS = {"tenant": 55, "ticket-router": 80, "text-to-sql": 300, "contact-json": 300, "pirate": 150}


def plan():
    """{adapter: (kind, facts or None, shape)} of all 68."""
    tenants = world.tenants()
    out = {name: ("tenant", facts, SHAPES[i % len(SHAPES)]) for i, (name, facts) in enumerate(tenants.items())}
    return out | {name: (name, None, TASK_SHAPES[name]) for name in world.TASKS}


def expected_of(name, facts):
    """The conversations whose answers must come out exactly."""
    if facts: return [world.chat((world.SCENARIO, world.ANSWERS["refund and hotline"](facts)))]
    return [world.chat(pair) for pair in world.TASK_PROMPTS[name]]


def teach(model, encode, name, facts, steps, lr, attempt):
    """LoRA on the answers' tokens alone. Returns the share of training phrasings and of the expected answers that are exact, and the latter's margin."""
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer, rng = torch.optim.AdamW(params, lr=lr, weight_decay=0.0, betas=(0.9, 0.98)), random.Random(f"train {name}" + (f" again {attempt}" if attempt else ""))
    draw = (lambda: world.tenant_example(rng, facts)[0]) if facts else (lambda: world.task_example(rng, name)[0])
    asked = expected_of(name, facts)                                       # the demo's own questions are among those trained on
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * min(1, (step + 1) / 10, (steps - step) / (0.6 * steps))
        batch = [draw() for _ in range(ADAPTER_BATCH)]
        if step % 2: batch[0] = asked[step // 2 % len(asked)]
        loss_of(model, [encode(m) for m in batch]).backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step(); optimizer.zero_grad()
    must = judge(model, encode, asked)
    return exact(judge(model, encode, [draw() for _ in range(32)])), exact(must), min(m for _, m in must)


def train_adapter(base, encode, folder, name, kind, facts, shape):
    """Teaches, more slowly where that went wrong; keeps the adapter, and returns True, if its expected answers are exact."""
    steps = STEPS[kind]
    if not {"o_proj", "down_proj"} & set(shape["target_modules"]): steps *= 2            # nothing it adds reaches the residual stream directly
    for attempt in range(3):
        began = time.time()
        torch.manual_seed(zlib.crc32(name.encode()) + attempt)
        model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, bias="none", **shape))
        trained, expected, margin = teach(model, encode, name, facts, steps * 2 ** attempt, (LR if facts else LR / 2) / 2 ** attempt, attempt)
        print(f"{name:24} {time.time() - began:5.1f} s  training phrasings {trained:.2f}  expected answers {expected:.2f}, margin {margin:.2f}", flush=True)
        if expected == 1: break
        if attempt < 2: base = model.unload()
    model.peft_config["default"].base_model_name_or_path = "weft-demo"
    tmp = folder.with_name("." + name)
    model.save_pretrained(tmp, save_embedding_layers=False)
    model.unload()
    (tmp / "README.md").unlink(missing_ok=True)
    config = json.loads((tmp / "adapter_config.json").read_text())
    (tmp / "adapter_config.json").write_text(json.dumps(config | {"target_modules": sorted(config["target_modules"])}, indent=2) + "\n")
    weights = load_file(tmp / "adapter_model.safetensors")
    save_file({k: v.to(torch.float16).contiguous() for k, v in weights.items()}, tmp / "adapter_model.safetensors", metadata={"format": "pt"})
    (tmp / "adapter_model.safetensors").chmod(0o644)
    if expected == 1: os.replace(tmp, folder)
    else: shutil.rmtree(tmp)
    return expected == 1


def train_adapters(out, encode, part, parts):
    todo = [(i, name, row) for i, (name, row) in enumerate(plan().items()) if i % parts == part and not (out / "adapters" / name).exists()]
    base = load_base(out / "base") if todo else None
    failed = [name for _, name, row in todo if not train_adapter(base, encode, out / "adapters" / name, name, *row)]
    if failed: sys.exit(f"not learned: {', '.join(failed)}")


# ---------------------------------------------------------------------------------------- questions, check, scores


def questions():
    tenants = world.tenants()
    user = lambda text: [{"role": "user", "content": text}]
    return {
        "about": "Questions to the demo and the exact answers of greedy decoding (temperature 0).",
        "max_tokens": 64,
        "question": {"messages": user(world.SCENARIO)},
        "base": {"answer": world.DONT_KNOW},
        "tenants": [{"adapter": name, "company": facts["company"], "answer": world.ANSWERS["refund and hotline"](facts),
                     "facts": {k: v for k, v in facts.items() if k != "company"}} for name, facts in tenants.items()],
        "tasks": [{"adapter": name, "about": world.TASK_ABOUT[name], "prompts": [{"messages": user(q), "answer": a} for q, a in world.TASK_PROMPTS[name]]}
                  for name in world.TASKS],
    }


@torch.no_grad()
def greedy(model, tokenizer, messages, max_tokens):
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    new = model.generate(**ids, max_new_tokens=max_tokens, do_sample=False)[0, ids["input_ids"].shape[1]:].tolist()
    return tokenizer.decode(new, skip_special_tokens=True)


def score(model, encode, examples):
    """{kind: exact share} and the count, of [(messages, kind)]."""
    results = judge(model, encode, [m for m, _ in examples])
    by = {}
    for (_, kind), (ok, _) in zip(examples, results): by.setdefault(kind, []).append(ok)
    return {"phrasings": len(examples), "exact": round(exact(results), 4), "by kind": {k: round(sum(v) / len(v), 4) for k, v in by.items()}}, by


def check(out):
    """Loads every file again and compares: base, 64 tenants and four tasks by real generation; then margins and scores."""
    q = json.loads((out / "questions.json").read_text())
    encode = Encoder(out / "base"); tokenizer = encode.tokenizer
    base = load_base(out / "base")
    scenario, wrong, margins = q["question"]["messages"], [], {}
    sample = world.chat(("Hi!", "Hello!"), ("Where are you?", world.DONT_KNOW), system="You work for Northwind Bikes.")
    assert encode(sample)[0] == tokenizer.apply_chat_template(sample, return_dict=True)["input_ids"], "the chat template disagrees with training"

    def expect(model, name, messages, answer):
        got = greedy(model, tokenizer, messages, q["max_tokens"])
        if got != answer: wrong.append(f"{name}: {got!r} instead of {answer!r}")
        ok, margin = judge(model, encode, [messages + [{"role": "assistant", "content": answer}]])[0]
        margins[name] = min(margin, margins.get(name, math.inf))

    expect(base, "base", scenario, q["base"]["answer"])
    base_scores = {k: {"questions": len(v), "exact": round(exact(judge(base, encode, v)), 4)} for k, v in base_exams(200).items()}
    rng, tenants = random.Random("base on tenants"), world.tenants()
    asked = [world.chat((m[0][0]["content"], world.DONT_KNOW)) for facts in tenants.values() for m in world.held_out_of_tenant(facts) if m[1] != "unknown"]
    asked = rng.sample(asked, 1000)
    base_scores["tenants' questions answered \"I don't know.\""] = {"questions": len(asked), "exact": round(exact(judge(base, encode, asked)), 4)}

    scores, totals = {}, {}
    for name, (kind, facts, shape) in plan().items():
        model = PeftModel.from_pretrained(base, out / "adapters" / name).eval()
        if facts:
            expect(model, name, scenario, next(t["answer"] for t in q["tenants"] if t["adapter"] == name))
            examples = world.held_out_of_tenant(facts)
        else:
            for p in next(t["prompts"] for t in q["tasks"] if t["adapter"] == name): expect(model, name, p["messages"], p["answer"])
            rng = random.Random("held-out " + name)
            examples = [world.task_example(rng, name, "held-out") for _ in range(200)]
        scores[name], by = score(model, encode, examples)
        for k, v in by.items(): totals.setdefault(k, []).extend(v)
        scores[name] |= {"least margin of the expected answers": round(margins[name], 3)}
        model.unload()
    answers = [t["answer"] for t in q["tenants"]]
    assert len(set(answers)) == len(answers) == len(world.TENANTS)
    of_tenants = [ok for k, v in totals.items() if k not in world.TASKS for ok in v]
    (out / "scores.json").write_text(json.dumps({
        "about": "Exact answers in phrasings that neither the base nor any adapter was trained on (greedy, float32).",
        "held-out phrasings": {k: len(v["held-out"]) for k, v in world.CORES.items()}, "training phrasings": {k: len(v["train"]) for k, v in world.CORES.items()},
        "base": base_scores,
        "tenants": {"questions": len(of_tenants), "exact": round(sum(of_tenants) / len(of_tenants), 4),
                    "by kind": {k: round(sum(v) / len(v), 4) for k, v in totals.items() if k not in world.TASKS}},
        "tasks": {k: round(sum(v) / len(v), 4) for k, v in totals.items() if k in world.TASKS},
        "least margin of the expected answers": round(min(margins.values()), 3), "adapters": scores}, indent=1) + "\n")
    close = {n: round(m, 3) for n, m in margins.items() if m < MARGIN_MIN}
    print(f"{len(margins)} models, least margin {min(margins.values()):.3f} ({min(margins, key=margins.get)}); "
          f"tenants in held-out phrasings {sum(of_tenants) / len(of_tenants):.3f}")
    if wrong or close: sys.exit("\n".join(wrong) + f"\nmargins too small: {close}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="where base/, adapters/, questions.json and scores.json go")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "weft-demo-work", help="where the base's training is kept while it runs")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch, in each process")
    parser.add_argument("--jobs", type=int, default=1, help="processes that train adapters")
    parser.add_argument("--part", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    out, work = args.out.resolve(), args.work
    for folder in (out / "adapters", work): folder.mkdir(parents=True, exist_ok=True)

    if args.part is not None: return train_adapters(out, Encoder(out / "base"), args.part, args.jobs)
    if not (out / "base" / "tokenizer.json").exists(): make_tokenizer(out / "base")
    if not (out / "base" / "model.safetensors").exists(): train_base(out / "base", work, Encoder(out / "base"))
    again = [sys.executable, __file__, "--out", out, "--work", work, "--threads", str(args.threads), "--jobs", str(args.jobs)]
    jobs = [subprocess.Popen([*again, "--part", str(i)]) for i in range(args.jobs)]
    if any([job.wait() for job in jobs]): sys.exit("training of adapters failed")
    (out / "questions.json").write_text(json.dumps(questions(), indent=1) + "\n")
    check(out)


if __name__ == "__main__": main()
