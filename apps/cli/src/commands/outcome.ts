/** What a command found: as a person reads it, and as a program does (--json). */
export interface Outcome {
  text: string;
  json: unknown;
  /** The command did its work, and the answer is no. */
  failed?: boolean;
}

export const mebibytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(1);

/** The day and minute of a time in Unix seconds, in UTC. */
export const minute = (seconds: number | null): string => (seconds === null ? '' : new Date(seconds * 1000).toISOString().slice(0, 16).replace('T', ' '));
