export * from './adapter-table.js';
export { CommandList, at, bound } from './command-list.js';
export * from './cost.js';
export { createCpuDevice, type CpuDeviceOptions } from './cpu-device.js';
export * from './device.js';
export * from './frame.js';
export { crc32c } from './native.js';
export type { Op, OpArgs, Ref } from './op.js';
export * from './ops.js';
