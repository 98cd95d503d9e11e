import { describe, expect, test } from 'vitest';
import { CommandList, Header, OPS, at, type Op } from '@weft/kernels';
import { CASES, copyArgs, type Case } from './cases.js';
import { deviceOf, isas, runOp, variants, type Values } from './harness.js';

const device = deviceOf({ isa: isas.at(-1)!, threads: 2 });
const run = (c: Case, args: Case['args']) => runOp(device, c.op, args as never, c.header);
const refusal = async (c: Case, args: Case['args']): Promise<{ code: string; message: string }> => {
  try {
    await run(c, args);
  } catch (error) {
    return error as { code: string; message: string };
  }
  throw new Error(`${c.op.name} was not refused`);
};

test('there is a case for every op', () => {
  expect(CASES.map(c => c.op.name)).toEqual(Object.keys(OPS));
});

describe.each(CASES)('$op.name', c => {
  const params = Object.keys(c.op.params);

  test.each(variants)('runs when it is right: $isa, $threads threads', async variant => {
    await runOp(deviceOf(variant), c.op, copyArgs(c.args) as never, c.header);
  });

  test.each(Object.keys(c.op.operands).filter(name => c.args[name]))('refuses operand %s when it is one value too small', async name => {
    const args = copyArgs(c.args);
    const values = args[name] as Values;
    args[name] = values.subarray(0, values.length - (values.BYTES_PER_ELEMENT === 1 ? 4 : 1));
    const error = await refusal(c, args);
    expect(error.code).toBe('list_invalid');
    expect(error.message).toMatch(new RegExp(`^op 0 \\(${c.op.name}\\): ${name} reaches byte \\d+ of ${name}`));
  });

  const operands = Object.entries(c.op.operands as Op['operands']).filter(([name]) => c.args[name]);
  const lds = operands.filter(([, o]) => o.kind === 'rows' && typeof o.ld === 'string' && o.ld !== o.cols && o.cols !== 1);
  if (lds.length) {
    test.each(lds.map(([name, o]) => ({ name, ld: o.ld as string, cols: o.cols })))('refuses $ld of $name when it is less than its columns', async ({ ld, cols }) => {
      const args = copyArgs(c.args);
      args[ld] = (typeof cols === 'number' ? cols : args[cols] as number) - 1;
      const error = await refusal(c, args);
      expect(error).toMatchObject({ code: 'list_invalid', message: expect.stringContaining(`${ld} of `) });
    });
  }

  const dims = [...new Set(operands.flatMap(([, o]) => [o.rows, o.cols, o.ld]).filter(dim => typeof dim === 'string'))];
  test.each(dims)('refuses %s when it is 0, or too large for any memory', async dim => {
    for (const value of [0, 0x7fffffff, 0x80000000, 0xffffffff]) {
      const error = await refusal(c, { ...copyArgs(c.args), [dim]: value });
      expect(error.code).toBe('list_invalid');
      expect(error.message).toMatch(/^op 0 /);
    }
  });

  const writers = operands.filter(([, o]) => o.access !== 'in').flatMap(([name]) => operands.filter(([other]) => other !== name).map(([other]) => ({ name, other })));
  if (writers.length) {
    test.each(writers)('refuses $name where it overlaps $other', async ({ name, other }) => {
      const buffers = Object.fromEntries(operands.map(([operand]) => [operand, device.alloc(1 << 16, operand)]));
      const refs = Object.fromEntries(operands.map(([operand]) => [operand, at(operand === name ? buffers[other]! : buffers[operand]!)]));
      const error = await device.submit(new CommandList().add(c.op, { ...c.args, ...refs } as never), { bindings: {} }).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ code: 'list_invalid', message: expect.stringMatching(new RegExp(`overlaps (${name}|${other})`)) });
      Object.values(buffers).forEach(buffer => device.free(buffer));
    });
  }

  const counts = Object.entries(c.op.params as Op['params']).filter(([, p]) => p.kind === 'count');
  test.each(counts)('refuses %s when the frame counts more than its capacity, or below 0', async (name, param) => {
    const capacity = c.args[param.capacity!] as number;
    const counted = (value: number) => ({ ...c, header: { tokens: value } });
    const args = () => ({ ...copyArgs(c.args), [name]: Header.tokens });
    await run(counted(capacity), args());
    expect(await refusal(counted(-1), args())).toMatchObject({ code: 'list_invalid', message: expect.stringContaining(`${name}: header[1] of the frame is -1`) });
    if (param.from) await run(counted((c.args[param.from] as number) + 1), args());
    else expect(await refusal(counted(capacity + 1), args())).toMatchObject({ message: expect.stringContaining(`more than ${param.capacity} = ${capacity}`) });
    expect(await refusal(c, { ...args(), [name]: 16 })).toMatchObject({ message: expect.stringContaining(`${name} = 16 is no header word`) });
  });

  if (c.wrong.length) {
    test.each(c.wrong)('refuses %s[%i] = %i', async (operand, word, value, message) => {
      const args = copyArgs(c.args);
      (args[operand] as Int32Array)[word] = value;
      const error = await refusal(c, args);
      expect(error.code).toBe('list_invalid');
      expect(error.message).toMatch(new RegExp(`^op 0 \\(${c.op.name}\\): `));
      expect(error.message).toMatch(message);
    });
  }

  test('survives any word of its params', async () => {
    for (const name of params) {
      for (const value of [0, 1, 2, 3, 15, 16, 17, 127, 0x7fffffff, 0x80000000, 0xffffffff]) {
        if ((c.op.params as Op['params'])[name]!.kind === 'f32') continue;
        await run(c, { ...copyArgs(c.args), [name]: value }).catch((error: { code: string }) => expect(error.code).toBe('list_invalid'));
      }
    }
  });
});
