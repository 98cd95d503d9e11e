/** What is wrong with an adapter, as lines for a person. */
import type { Finding } from './api.js';

/** An adapter of another base has a finding for every tensor. */
const TOLD_MAX = 3;

export function findingLines(findings: readonly Finding[]): string[] {
  const told = findings.slice(0, TOLD_MAX).map(({ code, field, tensor, message }) =>
    [code, field && `field ${field}`, tensor && !message.includes(tensor) && `tensor ${tensor}`, message].filter(Boolean).join(' · '));
  return findings.length > TOLD_MAX ? [...told, `and ${findings.length - TOLD_MAX} more`] : told;
}
