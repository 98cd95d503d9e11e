export { openCheckpoint, type Checkpoint } from './checkpoint.js';
