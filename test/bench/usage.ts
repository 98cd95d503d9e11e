/** What `npm run bench -- --help` prints. */
export const USAGE = `  npm run bench                all of it; --quick for a look; --only workloads,trace,busy,memory,http for parts
  npm run bench -- machine     only this machine's ceilings
  npm run bench -- kernels     every kernel beside those ceilings
  npm run bench -- tune        finds this machine's tuning and writes it to --json FILE (weft-tuning.json)
  npm run bench -- host        only what the host does for a step
  npm run bench -- gateway     what stands between a client and an executor, beside Portkey and LiteLLM
  npm run bench -- start [8b]  a first start, and a second one from the packed cache, of 1.1B parameters or of 8B
  npm run bench -- experts     twenty adapters that bring experts in one batch, beside the base, the floor and transformers one by one
  npm run bench -- http        32 streams through HTTP beside the engine alone, and an upload's way to its first token

  --workloads 1-base,…         <requests>-base, -one (all on one adapter), -distinct (each its own); prefill-<tokens>; long-<tokens>
  --modes reference,bf16,int8  ours: reference; bf16 (activations), int8 (weights), kv8 (int8 cache), or several: int8+kv8
  --isa avx2,avx512            ours: instruction sets, the first one is judged (default: the best, and avx2 where that is another)
  --peers llama,openvino       parts of peers' names, PEFT's too where it is slow (default: all that are installed; none: -)
  --prompt, --new, --rounds, --threads, --timeout (seconds for a peer's round), --pool (MiB)
  --cache DIR                  keeps the peers' copies of the model for the next run, which must be on the same model
  --client bare|openai         who reads what comes through HTTP: openai is the official client, which takes its share of the processors
  --json FILE, --markdown FILE everything, and the tables

  WEFT_SMOLLM2=DIR             the base: a folder with the checkpoint (test/fixtures/README.md says how to make one)
  WEFT_BENCH_PYTHON=python     a Python with the peers (peers/README.md); those it lacks are named and left out
  WEFT_BENCH_VLLM_PYTHON=python   a Python with vLLM, if that is another: it wants its own torch and transformers
  WEFT_BENCH_LLAMA_SERVER=FILE llama.cpp's HTTP server
  WEFT_BENCH_PORTKEY=DIR       a folder in which \`npm install @portkey-ai/gateway\` was done
  WEFT_BENCH_LITELLM=DIR       a virtual environment in which \`pip install 'litellm[proxy]'\` was done
  WEFT_TEST_DATABASE_URL=      a PostgreSQL in which databases may be made (gateway)`;
