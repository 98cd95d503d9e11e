/** The same bits alone and in any company: the other half of the mixes. */
import { testBits } from './bits.js';

testBits(1);
