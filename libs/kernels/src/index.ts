export * from './adapter-table.js';
export { CommandList, at, bound } from './command-list.js';
export * from './cost.js';
export * from './device.js';
export * from './frame.js';
export type { Op, OpArgs, Ref } from './op.js';
export * from './ops.js';
