/** Fenced blocks of a page in Markdown. */
export interface Block {
  language: string;
  /** Where it begins, from 1. */
  line: number;
  text: string;
  /** Why it is not run: a comment `<!-- not run: … -->` right above it. */
  reason: string | undefined;
}

export function blocksOf(page: string): Block[] {
  const lines = page.split('\n');
  const blocks: Block[] = [];
  for (let at = 0; at < lines.length; at++) {
    const [, indent, language] = /^( *)```(\S*)$/.exec(lines[at]!) ?? [];
    if (language === undefined) continue;
    const end = lines.findIndex((line, i) => i > at && line === `${indent}\`\`\``);
    if (end < 0) throw new Error(`the block that begins in line ${at + 1} has no end`);
    const [, reason] = /^<!-- not run: (.*) -->$/.exec(lines[at - 1] ?? '') ?? [];
    blocks.push({ language, line: at + 1, text: lines.slice(at + 1, end).join('\n'), reason });
    at = end;
  }
  return blocks;
}
