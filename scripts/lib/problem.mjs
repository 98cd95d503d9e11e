// @ts-check

/** Something that the person at the terminal can mend. The message says what is wrong and what to do; no stack is shown. */
export class Problem extends Error {}
