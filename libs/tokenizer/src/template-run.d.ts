/** A template's source, its variables (JSON values), and the time of strftime_now (Unix ms). parseOnly: the answer is empty. */
export interface TemplateJob { source: string; variables: Record<string, unknown>; nowMs: number; parseOnly?: boolean }

export declare class TemplateRefusal extends Error {}

export declare class TemplateRunner {
  /** Throws TemplateRefusal, or what went wrong. */
  run(job: TemplateJob): string;
}

/** Throws where the source is no template. */
export declare function parseTemplate(source: string): unknown;
